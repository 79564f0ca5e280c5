//! What the types of a function look like on the command line, in JSON and in schemas.
#![expect(clippy::unwrap_used, reason = "helpers outside #[test] functions too")]

use clap::{Args as _, Command, Parser as _, ValueEnum};
use schemars::schema_for;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;

/// Returns the name that clap takes for `value`.
fn on_command_line(value: &impl ValueEnum) -> String {
    value.to_possible_value().unwrap().get_name().to_owned()
}

#[test]
fn names_are_the_same_everywhere() {
    fn check<T: ValueEnum + Serialize>(name: fn(T) -> &'static str) {
        for value in T::value_variants() {
            assert_eq!(serde_json::to_value(value).unwrap(), name(value.clone()));
            assert_eq!(on_command_line(value), name(value.clone()));
        }
    }
    check(Kind::name);
    check(FileKind::name);
    check(Isolation::name);
    check(Output::name);
    assert_eq!(Kind::value_variants(), Kind::ALL);
    assert_eq!(serde_json::from_str::<Kind>("\"http\"").unwrap(), Kind::Http02);
}

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    limits: LimitOptions,
}

fn line(given: &[&str]) -> LimitOptions {
    Line::try_parse_from([&["deploy"], given].concat()).unwrap().limits
}

#[test]
fn the_help_of_an_option_has_its_default() {
    let definition = LimitOptions::augment_args(Command::new("deploy"));
    let help: Vec<String> = definition
        .get_arguments()
        .map(|arg| {
            let value = &arg.get_value_names().unwrap()[0];
            format!("--{} <{value}>  {}", arg.get_long().unwrap(), arg.get_help().unwrap())
        })
        .collect();
    assert_eq!(
        help,
        [
            "--memory <SIZE>  Memory of one instance (default 64MiB)",
            "--timeout <TIME>  Wall time of one invocation (default 30s)",
            "--cpu-time <TIME>  Processor time of one invocation (default: as --timeout)",
            "--table-elements <N>  Elements of one instance's tables together (default 20000)",
            "--core-instances <N>  Core instances in one instance (default 30)",
            "--request-body <SIZE>  A request's body (default 10MiB)",
            "--reply-head <SIZE>  A reply's status line and headers (default 64KiB)",
            "--log-size <SIZE>  What one invocation may write to stdout and to stderr \
             (default 256KiB)",
            "--concurrency <N>  Invocations at a time, on all workers together (default 1000)",
            "--queue <N>  Requests that may wait for one of them to end (default 1000)",
            "--queue-timeout <TIME>  How long each may wait (default 10s)",
            "--outbound-requests <N>  Outgoing requests at a time, in each worker (default 64)",
            "--kv-keys <N>  Keys in a bucket that the function writes to (default 100000)",
            "--kv-size <SIZE>  Keys and values in a bucket that the function writes to \
             (default 64MiB)",
            "--kv-calls <N>  Operations on buckets in one invocation (default 1000)",
            "--job-attempts <N>  Attempts at an asynchronous invocation of the function (default 3)",
            "--job-age <TIME>  How old an asynchronous invocation may become (default 6h)",
            "--job-pause <TIME>  The pause after its first attempt, which doubles with each \
             (default 1m)",
            "--processes <N>  Processes of a native function at a time (default 10)",
            "--processes-min <N>  Processes of a native function that are kept although nothing \
             calls it (default 0)",
            "--process-requests <N>  Requests that one process of a native function has at a time \
             (default 0)",
            "--init-timeout <TIME>  How long a process of a native function may take until it is \
             ready (default 10s)",
            "--process-idle <TIME>  How long a process of a native function is kept without a \
             request (default 1m)",
            "--process-grace <TIME>  How long a process of a native function may take to end \
             after SIGTERM (default 10s)",
            "--threads <N>  Threads and subprocesses of one process of a native function \
             (default 1024)",
            "--tmp <SIZE>  What one process of a native function may have in /tmp \
             (default 512MiB)",
        ]
    );
}

#[test]
fn a_flag_is_called_like_its_key() {
    let definition = LimitOptions::augment_args(Command::new("deploy"));
    let flags: Vec<&str> = definition.get_arguments().filter_map(|arg| arg.get_long()).collect();
    assert_eq!(flags, LimitOptions::KEYS.map(|key| key.replace('_', "-")));
    assert_eq!(flags, FunctionLimits::default().describe().map(|limit| limit.option));
}

#[test]
fn options_become_limits_and_limits_become_the_fewest_options() {
    let options = line(&["--memory=32MiB", "--timeout=2s", "--queue=0", "--log-size=8GiB"]);
    let limits = options.limits();
    assert_eq!(
        limits,
        FunctionLimits {
            memory_bytes_max: 32 << 20,
            timeout_ms: 2000,
            cpu_time_ms: 2000,
            queue_max: 0,
            log_bytes_max: u32::MAX,
            ..FunctionLimits::default()
        }
    );
    let log_size = Some(Size(u32::MAX.into()));
    assert_eq!(LimitOptions::from(&limits), LimitOptions { log_size, ..options });
    assert!(LimitOptions::from(&FunctionLimits::default()).is_empty());
    let given = line(&["--timeout=2s", "--cpu-time=30s"]);
    assert_eq!(LimitOptions::from(&given.limits()), given);
}

#[test]
fn options_are_laid_over_others_and_unset_by_name() {
    let over = line(&["--memory=1MiB"]).over(line(&["--memory=2MiB", "--cpu-time=1s"]));
    assert_eq!(over, line(&["--memory=1MiB", "--cpu-time=1s"]));
    let mut options = over;
    assert!(options.unset("memory") && options.unset("queue") && !options.unset("memroy"));
    assert_eq!(options, line(&["--cpu-time=1s"]));
    assert!(options.unset("cpu-time") && options.is_empty());
}

#[test]
fn sizes_are_sent_in_bytes_and_times_as_they_were_given() {
    let options = line(&["--memory=65537", "--timeout=1s 500ms", "--queue=0"]);
    assert_eq!(
        serde_json::to_string(&options).unwrap(),
        "{\"memory\":65537,\"timeout\":\"1s 500ms\",\"cpu_time\":null,\"table_elements\":null,\
         \"core_instances\":null,\"request_body\":null,\"reply_head\":null,\"log_size\":null,\
         \"concurrency\":null,\"queue\":0,\"queue_timeout\":null,\"outbound_requests\":null,\
         \"kv_keys\":null,\"kv_size\":null,\"kv_calls\":null,\"job_attempts\":null,\"job_age\":null,\"job_pause\":null,\"processes\":null,\"processes_min\":null,\"process_requests\":null,\
         \"init_timeout\":null,\"process_idle\":null,\"process_grace\":null,\
         \"threads\":null,\"tmp\":null}"
    );
}

#[test]
fn a_schema_of_options_says_how_each_is_written() {
    let schema = Value::from(schema_for!(LimitOptions));
    let option = |key: &str| schema["properties"][key].clone();
    let size = json!([{ "$ref": "#/$defs/Size" }, { "type": "null" }]);
    assert_eq!(
        option("memory"),
        json!({ "description": "Memory of one instance.", "anyOf": size, "default": null })
    );
    for (key, description) in [
        ("timeout", "Wall time of one invocation, as `30s`."),
        ("cpu_time", "Processor time of one invocation, as `30s`. By default, as `timeout`."),
    ] {
        let time = json!({
            "description": description, "type": ["string", "null"], "default": null,
        });
        assert_eq!(option(key), time);
    }
    assert_eq!(option("queue")["type"], json!(["integer", "null"]));
    assert_eq!(schema["required"], Value::Null);
    let forms = &schema["$defs"]["Size"]["anyOf"];
    assert_eq!((&forms[0]["type"], &forms[1]["type"]), (&json!("integer"), &json!("string")));
}

#[test]
fn a_schema_of_limits_requires_all_that_an_answer_has() {
    let schema = Value::from(schema_for!(FunctionLimits));
    assert_eq!(schema["title"], "Limits");
    assert_eq!(schema["required"].as_array().unwrap().len(), FunctionLimits::COUNT);
    assert_eq!(
        schema["properties"]["memory_bytes_max"],
        json!({
            "description": "Memory of one instance.", "type": "integer", "format": "uint64",
            "minimum": 0,
        })
    );
}
