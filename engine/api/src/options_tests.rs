//! What is read, in all three forms, and what is refused.
#![expect(clippy::unwrap_used, reason = "helpers outside #[test] functions too")]

use std::time::Duration;

use abi::function::{FunctionLimits, Size, Time};
use clap::{Args as _, Command, Parser as _};
use proptest::prelude::*;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn from_line(line: &[&str]) -> Options {
    Line::try_parse_from([&["deploy"], line].concat()).unwrap().options
}

const LINE: &[&str] = &[
    "--name=a",
    "--kind=command",
    "--isolation=process",
    "--instances=reuse=1",
    "--env=A=1",
    "--env=B=x=y",
    "--config=C=2",
    "--arg=-v",
    "--arg",
    "--",
    "--output=cgi",
    "--allow-outbound=example.com:443",
    "--memory=32MiB",
    "--timeout=2s",
    "--cpu-time=1s",
    "--table-elements=10",
    "--core-instances=5",
    "--request-body=1MiB",
    "--reply-head=8KiB",
    "--log-size=0",
    "--concurrency=7",
    "--queue=0",
    "--queue-timeout=1s 500ms",
    "--kv=orders=shop-orders",
    "--kv-size=1MiB",
];

const TOML: &str = r#"
    name = "a"
    kind = "command"
    isolation = "process"
    instances = "reuse=1"
    args = ["-v", "--"]
    output = "cgi"
    allow_outbound = ["example.com:443"]
    memory = "32MiB"
    timeout = "2s"
    cpu_time = "1s"
    table_elements = 10
    core_instances = 5
    request_body = "1MiB"
    reply_head = "8KiB"
    log_size = 0
    concurrency = 7
    queue = 0
    queue_timeout = "1s 500ms"
    kv_size = "1MiB"
    [env]
    A = "1"
    B = "x=y"
    [config]
    C = "2"
    [kv]
    orders = "shop-orders"
"#;

fn read_json(json: &[u8]) -> Result<Options, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[test]
fn flags_keys_and_json_are_the_same() {
    let options = from_line(LINE);
    assert_eq!(toml::from_str::<Options>(TOML).unwrap(), options);
    let json = serde_json::to_vec(&options).unwrap();
    // The name stands in the API's path.
    assert_eq!(read_json(&json).unwrap(), Options { name: None, ..options.clone() });
    let FunctionLimits { memory_bytes_max, timeout_ms, cpu_time_ms, queue_timeout_ms, .. } =
        options.limits.limits();
    assert_eq!(
        (memory_bytes_max, timeout_ms, cpu_time_ms, queue_timeout_ms),
        (32 << 20, 2000, 1000, 1500)
    );
    assert!(options.check(Kind::Command).is_ok());
    for options in [Options::default(), from_line(&[]), toml::from_str("").unwrap()] {
        assert_eq!((options.limits, options.name), (LimitOptions::default(), None));
    }
}

#[test]
fn what_is_misspelt_is_told() {
    for (line, word) in
        [("memroy = 1", "memroy"), ("timeout = \"later\"", "expected"), ("timeout = 5", "string")]
    {
        let error = toml::from_str::<Options>(line).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(read_json(b"{\"memory_bytes_max\": 1}").is_err());
}

#[test]
fn the_command_line_wins_and_adds() {
    let file: Options = toml::from_str(TOML).unwrap();
    let both =
        from_line(&["--memory=1MiB", "--env=A=2", "--env=Z=3", "--arg=x"]).over(file.clone());
    let (memory, timeout) = (both.limits.memory, both.limits.timeout);
    assert_eq!((memory, timeout), (Some(Size(1 << 20)), file.limits.timeout));
    assert_eq!(both.args, ["x"]);
    let env: BTreeMap<_, _> = both.env.into_iter().collect();
    let expected =
        [("A", "2"), ("B", "x=y"), ("Z", "3")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(env, BTreeMap::from(expected));
    assert_eq!(Options::default().over(file.clone()), file);
}

#[test]
fn processor_time_is_wall_time_unless_said() {
    assert_eq!(from_line(&["--timeout=5s"]).limits.limits().cpu_time_ms, 5000);
    assert_eq!(from_line(&["--timeout=5s", "--cpu-time=1s"]).limits.limits().cpu_time_ms, 1000);
}

#[test]
fn options_are_held_to_their_limits() {
    for (line, kind, word) in [
        (&["--memory=1"][..], Kind::Http02, "--memory is 1 B; expected"),
        (&["--memory=8TiB"], Kind::Http02, "--memory"),
        (&["--timeout=0s"], Kind::Http02, "--timeout is 0s; expected"),
        (&["--timeout=9days"], Kind::Http02, "--timeout"),
        (&["--cpu-time=1ms"], Kind::Http02, "--cpu-time"),
        (&["--table-elements=0"], Kind::Http02, "--table-elements"),
        (&["--core-instances=101"], Kind::Http02, "--core-instances"),
        (&["--reply-head=8GiB"], Kind::Http02, "--reply-head"),
        (&["--log-size=65MiB"], Kind::Http02, "--log-size"),
        (&["--concurrency=0"], Kind::Http02, "--concurrency"),
        (&["--queue=100001"], Kind::Http02, "--queue is 100001; expected 0 to 100000"),
        (&["--queue-timeout=1h"], Kind::Http02, "--queue-timeout"),
        (
            &["--allow-outbound=https://a/"],
            Kind::Http02,
            "--allow-outbound: the allowed destination",
        ),
        (&["--allow-outbound=example.com"], Kind::Http02, "HOST:PORT"),
        (&["--arg=x"], Kind::Http03, "--arg is for commands"),
        (&["--output=raw"], Kind::Http02, "--output is for commands"),
        (&["--instances=reuse=2"], Kind::Command, "--instances reuse=2"),
    ] {
        let why = from_line(line).check(kind).unwrap_err().to_string();
        assert!(why.contains(word), "{line:?}: {why}");
    }
    let env = |name: &str, value: String| Options {
        env: vec![(name.to_owned(), value)],
        ..Options::default()
    };
    let why = |options: Options| options.check(Kind::Http02).unwrap_err().to_string();
    assert!(why(env("", "x".into())).contains("--env"));
    assert!(why(env("A=B", "x".into())).contains("A=B"));
    assert!(why(env("A", "x".repeat(1 << 20))).contains("bytes"));
    assert!(env("A", "x=y".into()).check(Kind::Http02).is_ok());
    let many = Options { args: vec![String::new(); limits::ARGS_MAX + 1], ..Options::default() };
    assert!(many.check(Kind::Command).unwrap_err().to_string().contains("--arg"));
    let zero = Options { args: vec!["\0".to_owned()], ..Options::default() };
    assert!(zero.check(Kind::Command).unwrap_err().to_string().contains("zero byte"));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,120}") {
        let _ = toml::from_str::<Options>(&text);
        let _ = read_json(text.as_bytes());
        let _ = text.parse::<Time>();
        if let Ok(options) = Line::try_parse_from(["deploy", &format!("--timeout={text}")]) {
            let _ = options.options.check(Kind::Http02);
        }
    }

    #[test]
    fn the_limits_are_checked_as_the_catalogue_does(
        memory: u64, timeout_ms: u64, body: u64, numbers: [u32; 4],
    ) {
        let time = Time(Duration::from_millis(timeout_ms));
        let limits = LimitOptions {
            memory: Some(Size(memory)),
            timeout: Some(time),
            queue_timeout: Some(time),
            request_body: Some(Size(body)),
            table_elements: Some(numbers[0]),
            core_instances: Some(numbers[1]),
            concurrency: Some(numbers[2]),
            queue: Some(numbers[3]),
            ..LimitOptions::default()
        };
        let options = Options { limits, ..Options::default() };
        let fits = options.limits.limits().check().is_ok();
        prop_assert_eq!(options.check(Kind::Http02).is_ok(), fits);
    }
}

#[test]
fn json_has_sizes_to_the_byte_and_neither_name_nor_source() {
    let options = Options {
        source: Some("a.wasm".into()),
        ..from_line(&["--name=a", "--memory=65537", "--timeout=1500ms", "--env=B=1", "--env=A=2"])
    };
    assert_eq!(
        serde_json::to_string(&options).unwrap(),
        "{\"kind\":null,\"isolation\":null,\"instances\":null,\"env\":{\"A\":\"2\",\"B\":\"1\"},\
         \"config\":{},\"args\":[],\"output\":null,\"allow_outbound\":[],\"kv\":{},\"memory\":65537,\
         \"timeout\":\"1s 500ms\",\"cpu_time\":null,\"table_elements\":null,\
         \"core_instances\":null,\"request_body\":null,\"reply_head\":null,\"log_size\":null,\
         \"concurrency\":null,\"queue\":null,\"queue_timeout\":null,\
         \"outbound_requests\":null,\"kv_keys\":null,\"kv_size\":null,\"kv_calls\":null,\"job_attempts\":null,\"job_age\":null,\"job_pause\":null,\"processes\":null,\"processes_min\":null,\
         \"process_requests\":null,\"init_timeout\":null,\"process_idle\":null,\
         \"process_grace\":null,\"threads\":null,\"tmp\":null,\"previews\":null,\"health_path\":null,\
         \"handler\":null,\"report_lines\":null,\"network\":null,\"websocket\":null,\"respond_async\":null,\"dead_letters\":null,\"description\":null,\"role\":null}"
    );
}

#[test]
fn json_is_read_as_people_write_it() {
    let json = br#"{"memory": "64MiB", "request_body": 100001, "timeout": "1s 500ms",
        "kind": "command", "isolation": "process", "output": "cgi", "instances": "fresh",
        "env": {"A": "1"}, "queue": null, "name": "of-the-toml", "source": "a.wasm"}"#;
    let expected = Options {
        source: Some("a.wasm".into()),
        ..from_line(&[
            "--memory=64MiB",
            "--request-body=100001",
            "--timeout=1s 500ms",
            "--kind=command",
            "--isolation=process",
            "--output=cgi",
            "--instances=fresh",
            "--env=A=1",
            "--name=of-the-toml",
        ])
    };
    assert_eq!(read_json(json).unwrap(), expected);
    assert_eq!(read_json(b"{}").unwrap(), Options::default());
    for (json, words) in [
        (r#"{"memory": "much"}"#, ["memory", "64MiB"]),
        (r#"{"memory": true}"#, ["size", "64MiB"]),
        (r#"{"cpu_time": "later"}"#, ["cpu_time", "5s"]),
        (r#"{"instances": "many"}"#, ["instances", "reuse=N"]),
        (r#"{"kind": "script"}"#, ["script", "command"]),
        (r#"{"memory_bytes_max": 1}"#, ["memory_bytes_max", "memory"]),
    ] {
        let error = read_json(json.as_bytes()).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn every_option_can_be_unset() {
    let definition = Options::augment_args(Command::new("deploy"));
    // The files are sent with each deploy, and so are not kept from the one before.
    let not =
        ["name", "kind", "layers", "env_files", "entry", "single_page", "fresh_options", "unset"];
    let keys = definition.get_arguments().filter(|arg| !not.contains(&arg.get_id().as_str()));
    let keys: Vec<String> = keys.filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    assert!(keys.len() > 15, "{keys:?}");
    let all = Options {
        name: None,
        kind: None,
        ..from_line(LINE).over(from_line(&[
            "--outbound-requests=3",
            "--previews",
            "--health-path=/",
            "--handler=app.handler",
            "--report-lines",
            "--description=what it is",
        ]))
    };
    assert_eq!(all.clone().without(&keys).unwrap(), Options::default());
    let one = ["env.A", "cpu_time", "env.OTHER"].map(str::to_owned);
    let one = all.clone().without(&one).unwrap();
    let env = [("B".to_owned(), "x=y".to_owned())];
    assert_eq!((&one.env[..], one.limits.cpu_time), (&env[..], None));
    assert_eq!(one.config, all.config);
    let error = all.without(&["memroy".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("memroy"), "{error}");
    assert!(unsettable("env.A").is_ok() && unsettable("env_A").is_err());
}
