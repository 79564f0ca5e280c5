//! A function for any event, as users of `lambda_runtime` write it.
//!
//! It returns the event that it was given, unless that has one of these fields, or is of a Function
//! URL and its body is JSON with one. What is there is done in this order.
//!
//! | field      | what it does                                                                  |
//! |------------|-------------------------------------------------------------------------------|
//! | `log`      | writes so many lines, `line I` from 0 on, to stdout and as many to stderr     |
//! | `sleep_ms` | waits                                                                         |
//! | `error`    | returns an error with this text                                               |
//! | `panic`    | panics with this text                                                         |
//! | `exit`     | ends the process with this code                                               |
//! | `bytes`    | returns a string that is so many bytes of JSON, its quotes included           |
//! | `env`      | returns the environment                                                       |
//! | `context`  | returns the context of the invocation                                         |
//! | `pid`      | returns the number of invocations that its process has had, and a name for it |
//!
//! Its environment changes how it starts: `INIT_SLEEP_MS` waits, `INIT_EXIT` ends with that code
//! after a line on stderr, and `GRACEFUL` registers for SIGTERM, upon which it writes
//! `told to stop` to stdout. With `AWS_LAMBDA_MAX_CONCURRENCY` it asks for that many events at a time.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::{Error, LambdaEvent, run_concurrent, service_fn};
use serde_json::{Value, json};

static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

/// A name of this process: in a namespace of its own all pids are alike.
static STARTED_NS: LazyLock<String> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos().to_string()
});

#[tokio::main]
async fn main() -> Result<(), Error> {
    LazyLock::force(&STARTED_NS);
    if let Some(ms) = variable("INIT_SLEEP_MS") {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if let Some(code) = variable("INIT_EXIT") {
        eprintln!("last words of the init");
        std::process::exit(i32::try_from(code)?);
    }
    if std::env::var_os("GRACEFUL").is_some() {
        lambda_runtime::spawn_graceful_shutdown_handler(|| async { println!("told to stop") })
            .await;
    }
    run_concurrent(service_fn(handle)).await
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    let invocations = INVOCATIONS.fetch_add(1, Relaxed) + 1;
    let body = payload["requestContext"].as_object().and(payload["body"].as_str());
    let fields = match body {
        Some(body) => serde_json::from_str(body).unwrap_or_default(),
        None => payload.clone(),
    };
    let number = |field: &str| fields[field].as_u64();
    for i in 0..number("log").unwrap_or(0) {
        println!("line {i}");
        eprintln!("line {i}");
    }
    if let Some(ms) = number("sleep_ms") {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if let Some(text) = fields["error"].as_str() {
        return Err(text.into());
    }
    if let Some(text) = fields["panic"].as_str() {
        panic!("{text}");
    }
    if let Some(code) = fields["exit"].as_i64() {
        std::process::exit(i32::try_from(code)?);
    }
    if let Some(bytes) = number("bytes") {
        return Ok(Value::String("x".repeat(usize::try_from(bytes)?.saturating_sub(2))));
    }
    if fields.get("env").is_some() {
        return Ok(json!(std::env::vars().collect::<BTreeMap<_, _>>()));
    }
    if fields.get("context").is_some() {
        return Ok(json!({
            "request_id": context.request_id,
            "deadline_ms": context.deadline,
            "arn": context.invoked_function_arn,
            "trace": context.xray_trace_id,
            "client": context.client_context,
            "function": context.env_config.function_name,
            "version": context.env_config.version,
            "memory_mb": context.env_config.memory,
        }));
    }
    if fields.get("pid").is_some() {
        return Ok(json!({ "invocations": invocations, "process": *STARTED_NS }));
    }
    Ok(payload)
}
