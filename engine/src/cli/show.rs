//! `list`, `inspect`, `status` and `invoke`: what the node says, for people or as JSON. Owns no fds.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use bytesize::ByteSize;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response};
use serde_json::Value;

use super::client::Node;
use super::versions::targets;
use super::{Show, Target, print_bytes};
use crate::compile::inspect::Kind;
use crate::control::names::check_called;
use crate::control::sync::away_text;
use crate::store::limits::Limits;
use api::status::StoreAway;

#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// The function; NAME@ALIAS or NAME@VERSION for one of its versions
    name: String,
    /// Path and query
    #[arg(long, default_value = "/", value_name = "PATH")]
    path: String,
    /// Method (default GET, or POST with a body)
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<Method>,
    /// A header (repeatable)
    #[arg(long, short = 'H', value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The body; @FILE for what is in a file, @- for what stdin gives
    #[arg(long, short = 'd', value_name = "BODY|@FILE|@-")]
    body: Option<String>,
    /// Print the reply's status and headers too, the invocation's id among them
    #[arg(long, short)]
    include: bool,
    #[command(flatten)]
    target: Target,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    let name = name.trim().parse::<HeaderName>().map_err(|error| error.to_string())?;
    let value = value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?;
    Ok((name, value))
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// `1 function`, `2 functions`.
pub(super) fn counted<N: std::fmt::Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Prints JSON: each record of a list on a line of its own, so that tools can read on as they come.
pub(super) fn print_json(value: &Value) {
    match value {
        Value::Array(records) => records.iter().for_each(|record| say!("{record}")),
        record => say!("{record}"),
    }
}

/// Prints rows under their headings, each column as wide as it needs.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    };
    print(&mut headings.iter().copied());
    rows.iter().for_each(|row| print(&mut row.iter().map(String::as_str)));
}

/// The limits of a function as people write them, by their options' names. A node of another build may tell none.
fn limits(function: &Value) -> Vec<(&'static str, String)> {
    let limits = function.get("limits").cloned().and_then(|limits| serde_json::from_value::<Limits>(limits).ok());
    let described = limits.map(|limits| limits.describe());
    described.into_iter().flatten().map(|(option, unit, amount, _)| (option, unit.text(amount))).collect()
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List those that were removed and can be restored
    #[arg(long)]
    removed: bool,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn list(List { removed, show }: List) -> anyhow::Result<()> {
    if removed {
        return super::remove::list(&show).await;
    }
    let functions = Node::new(&show.target).get("/v1/functions").await?;
    if show.json {
        print_json(&functions);
        return Ok(());
    }
    let functions = functions.as_array().map_or(&[][..], Vec::as_slice);
    if functions.is_empty() {
        say!("no functions; deploy one with: sockhop deploy FILE.wasm");
        return Ok(());
    }
    let row = |function: &Value| {
        let limits = limits(function);
        let limit = |name| limits.iter().find(|(option, _)| *option == name).map_or("-", |(_, text)| text).to_owned();
        let cell = |key| text(function, key).to_owned();
        let mut row = ["name", "kind", "isolation", "instances"].map(cell).to_vec();
        row.extend(["memory", "timeout", "concurrency"].map(limit));
        let active = function.pointer("/aliases/active").map(|active| targets(active, "targets"));
        row.push(active.unwrap_or_else(|| format!("v{}, not active", number(function, "number"))));
        row
    };
    let rows: Vec<_> = functions.iter().map(row).collect();
    table(&["NAME", "KIND", "ISOLATION", "INSTANCES", "MEMORY", "TIMEOUT", "CONCURRENCY", "VERSION"], &rows);
    Ok(())
}

pub(super) async fn inspect(name: String, show: Show) -> anyhow::Result<()> {
    abi::name::check(&name)?;
    let function = Node::new(&show.target).get(&format!("/v1/functions/{name}")).await?;
    if show.json {
        print_json(&function);
        return Ok(());
    }
    let line = |key: &str, value: &str| say!("{key:<17} {value}");
    line("name", text(&function, "name"));
    line("version", &format!("v{} {}", number(&function, "number"), text(&function, "version")));
    for key in ["kind", "isolation", "instances"] {
        line(key, text(&function, key));
    }
    if let Some(reuse) = function.get("reuse").and_then(Value::as_object) {
        line("reuse", &reuse_text(reuse));
    }
    if text(&function, "kind") == Kind::Command.name() {
        line("output", text(&function, "output"));
    }
    limits(&function).iter().for_each(|(option, value)| line(option, value));
    let size = ByteSize(number(&function, "artefact_bytes"));
    line("artefact", &format!("sha256:{} ({})", text(&function, "artefact"), size.display().iec()));
    for (key, list) in [("arg", "args"), ("allow-outbound", "allow_outbound")] {
        let values = function.get(list).and_then(Value::as_array).into_iter().flatten();
        values.for_each(|value| line(key, value.as_str().unwrap_or_default()));
    }
    for key in ["env", "config"] {
        for (name, value) in function.get(key).and_then(Value::as_object).into_iter().flatten() {
            line(key, &format!("{name}={}", value.as_str().unwrap_or_default()));
        }
    }
    for (name, alias) in function.get("aliases").and_then(Value::as_object).into_iter().flatten() {
        line("alias", &format!("{name}: {}", targets(alias, "targets")));
    }
    let versions = function.get("versions").and_then(Value::as_array).into_iter().flatten();
    let numbers: Vec<String> = versions.map(|version| format!("v{}", number(version, "number"))).collect();
    line("versions", &numbers.join(" "));
    Ok(())
}

/// What became of instances behind a request, in words.
fn reuse_text(reuse: &serde_json::Map<String, Value>) -> String {
    let words = |(outcome, count): (&String, &Value)| {
        let count = count.as_u64().filter(|count| *count > 0)?;
        Some(match outcome.as_str() {
            "kept" => format!("{count} kept for another request"),
            "served" => format!("{count} had served all they may"),
            "request" => format!("{count} not kept: they still held their request"),
            "memory" => format!("{count} not kept: they had grown to near --memory"),
            "room" => format!("{count} not kept: the worker keeps as many as it can"),
            other => format!("{count} {other}"),
        })
    };
    reuse.iter().filter_map(words).collect::<Vec<_>>().join(", ")
}

pub(super) async fn status(show: Show) -> anyhow::Result<()> {
    let status = Node::new(&show.target).get("/v1/status").await?;
    if show.json {
        print_json(&status);
        return Ok(());
    }
    let node = status.get("node").unwrap_or(&Value::Null);
    let listeners: Vec<&str> =
        node.get("listeners").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let functions = counted(number(node, "functions"), "function");
    say!("node {} on {}: {functions}", number(node, "pid"), listeners.join(" "));
    if let Some(away) = node.get("store_away").and_then(|away| serde_json::from_value::<StoreAway>(away.clone()).ok()) {
        say!("{}", away_text(&away));
    }
    let counters = ["connections_open", "connections_taken", "returns", "requests", "in_flight", "modules", "restarts"];
    let row = |worker: &Value| {
        let mut row = vec![text(worker, "pool").to_owned(), text(worker, "state").to_owned()];
        row.push(worker.get("pid").and_then(Value::as_u64).map_or("-".to_owned(), |pid| pid.to_string()));
        row.push(number(worker, "core").to_string());
        row.extend(counters.iter().map(|key| number(worker, key).to_string()));
        row
    };
    let workers = status.get("workers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let headings =
        ["POOL", "STATE", "PID", "CORE", "OPEN", "HOPS", "RETURNS", "REQUESTS", "RUNNING", "MODULES", "RESTARTS"];
    table(&headings, &workers.iter().map(row).collect::<Vec<_>>());
    for worker in workers.iter().filter(|worker| number(worker, "failed_starts") > 0) {
        let (times, core) = (counted(number(worker, "failed_starts"), "time"), number(worker, "core"));
        say!("the {} worker on core {core} has failed to start {times}:", text(worker, "pool"));
        say!("  {}", text(worker, "last_words").replace('\n', "\n  "));
    }
    Ok(())
}

pub(super) async fn invoke(invoke: Invoke) -> anyhow::Result<()> {
    check_called(&invoke.name)?;
    let body = body(invoke.body.as_deref())?;
    let method = invoke.method.unwrap_or(if invoke.body.is_some() { Method::POST } else { Method::GET });
    let slash = if invoke.path.starts_with('/') { "" } else { "/" };
    let path = format!("/v1/functions/{}/invoke{slash}{}", invoke.name, invoke.path);
    let response = Node::new(&invoke.target).request(method, &path, &invoke.header, body).await?;
    let status = response.status();
    // Without the mark of an invocation it is the control API that answers: there was no call.
    let id = response.headers().get(abi::problem::INVOCATION_ID_HEADER).cloned();
    let Some(id) = id.as_ref().and_then(|id| id.to_str().ok()) else {
        let bytes = response.into_body().collect().await?.to_bytes();
        let error = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
        bail!("{}", error.get("error").and_then(Value::as_str).unwrap_or("the node gave no answer"));
    };
    if invoke.include {
        print_bytes(&head(&response));
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the reply was cut short")?;
        if let Some(data) = frame.data_ref() {
            print_bytes(data);
        }
    }
    if status.is_client_error() || status.is_server_error() {
        bail!("HTTP {}; `sockhop logs {id}` shows what the function has written", status.as_u16());
    }
    Ok(())
}

/// What is given as a body, or where it is.
fn body(given: Option<&str>) -> anyhow::Result<Bytes> {
    Ok(match given.map(|given| (given, given.strip_prefix('@'))) {
        None => Bytes::new(),
        Some((_, Some("-"))) => {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).context("stdin cannot be read")?;
            body.into()
        }
        Some((_, Some(file))) => {
            let file = PathBuf::from(file);
            std::fs::read(&file).with_context(|| format!("{file:?} cannot be read"))?.into()
        }
        Some((body, None)) => body.to_owned().into(),
    })
}

/// A reply's head, as it came.
fn head(response: &Response<Incoming>) -> Vec<u8> {
    let mut head = format!("{:?} {}\n", response.version(), response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    head.push(b'\n');
    head
}
