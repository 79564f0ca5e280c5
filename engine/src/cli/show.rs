//! `list`, `inspect`, `status` and `invoke`: what the node says, for people or as JSON. Owns no
//! fds.

use std::io::Read as _;
use std::path::PathBuf;

use abi::choice::ACTIVE;
use abi::function::{FunctionLimits, Kind};
use anyhow::{Context as _, bail};
use api::endpoints::{self, GetFunction, GetStatus, ListFunctions};
use api::functions::{Function, InspectedFunction, Reuse};
use api::status::{Status, WorkerStatus};
use bytes::Bytes;
use bytesize::ByteSize;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response};
use serde_json::Value;

use super::client::{Node, reason};
use super::versions::targets;
use super::{Show, Target, print_bytes};
use control::names::check_called;
use control::sync::away_text;

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

/// `1 function`, `2 functions`.
pub(super) fn counted<N: std::fmt::Display + PartialEq + From<u8>>(
    number: N,
    what: &str,
) -> String {
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
        let line: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    };
    print(&mut headings.iter().copied());
    rows.iter().for_each(|row| print(&mut row.iter().map(String::as_str)));
}

/// The limits of a version as people write them, by their options' names.
fn limits(limits: &FunctionLimits) -> Vec<(&'static str, String)> {
    limits.describe().into_iter().map(|limit| (limit.option, limit.text())).collect()
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
    let answer = Node::new(&show.target).call(ListFunctions::at()).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let functions = answer.read()?;
    if functions.is_empty() {
        say!("no functions; deploy one with: sockhop deploy FILE.wasm");
        return Ok(());
    }
    let row = |Function { version, aliases }: Function| {
        let limits = limits(&version.limits);
        let limit = |name| {
            limits
                .iter()
                .find(|(option, _)| *option == name)
                .map_or("-", |(_, text)| text)
                .to_owned()
        };
        let (kind, isolation) = (version.kind.name(), version.isolation.name());
        let mut row = vec![version.name, kind.to_owned(), isolation.to_owned(), version.instances];
        row.extend(["memory", "timeout", "concurrency"].map(limit));
        let active = aliases.get(ACTIVE).map(|active| targets(&active.targets));
        row.push(active.unwrap_or_else(|| format!("v{}, not active", version.number)));
        row
    };
    let rows: Vec<_> = functions.into_iter().map(row).collect();
    table(
        &["NAME", "KIND", "ISOLATION", "INSTANCES", "MEMORY", "TIMEOUT", "CONCURRENCY", "VERSION"],
        &rows,
    );
    Ok(())
}

pub(super) async fn inspect(name: String, show: Show) -> anyhow::Result<()> {
    abi::name::check(&name)?;
    let answer = Node::new(&show.target).call(GetFunction::at(&name)).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let InspectedFunction { function: Function { version, aliases }, versions, reuse } =
        answer.read()?;
    let line = |key: &str, value: &str| say!("{key:<17} {value}");
    line("name", &version.name);
    line("version", &format!("v{} {}", version.number, version.version));
    line("kind", version.kind.name());
    line("isolation", version.isolation.name());
    line("instances", &version.instances);
    if let Some(reuse) = reuse {
        line("reuse", &reuse_text(&reuse));
    }
    if version.kind == Kind::Command {
        line("output", version.output.name());
    }
    limits(&version.limits).iter().for_each(|(option, value)| line(option, value));
    let size = ByteSize(version.artefact_bytes);
    line("artefact", &format!("sha256:{} ({})", version.artefact, size.display().iec()));
    for (key, values) in [("arg", &version.args), ("allow-outbound", &version.allow_outbound)] {
        values.iter().for_each(|value| line(key, value));
    }
    for (key, values) in [("env", &version.env), ("config", &version.config)] {
        values.iter().for_each(|(name, value)| line(key, &format!("{name}={value}")));
    }
    for (name, alias) in &aliases {
        line("alias", &format!("{name}: {}", targets(&alias.targets)));
    }
    let numbers: Vec<String> =
        versions.iter().map(|version| format!("v{}", version.number)).collect();
    line("versions", &numbers.join(" "));
    Ok(())
}

/// What became of instances behind a request, in words.
fn reuse_text(Reuse { kept, memory, request, room, served }: &Reuse) -> String {
    let words = [
        (kept, "kept for another request"),
        (memory, "not kept: they had grown to near --memory"),
        (request, "not kept: they still held their request"),
        (room, "not kept: the worker keeps as many as it can"),
        (served, "had served all they may"),
    ];
    let words = words.into_iter().filter(|(count, _)| **count > 0);
    words.map(|(count, words)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
}

pub(super) async fn status(show: Show) -> anyhow::Result<()> {
    let answer = Node::new(&show.target).call(GetStatus::at()).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let Status { node, workers } = answer.read()?;
    let functions = counted(node.functions, "function");
    say!("node {} on {}: {functions}", node.pid, node.listeners.join(" "));
    if let Some(away) = &node.store_away {
        say!("{}", away_text(away));
    }
    let headings = [
        "POOL", "STATE", "PID", "CORE", "OPEN", "HOPS", "RETURNS", "REQUESTS", "RUNNING",
        "MODULES", "RESTARTS",
    ];
    table(&headings, &workers.iter().map(worker_row).collect::<Vec<_>>());
    for worker in workers.iter().filter(|worker| worker.failed_starts > 0) {
        let (times, core) = (counted(u64::from(worker.failed_starts), "time"), worker.core);
        say!("the {} worker on core {core} has failed to start {times}:", worker.pool);
        say!("  {}", worker.last_words.as_deref().unwrap_or("-").replace('\n', "\n  "));
    }
    Ok(())
}

fn worker_row(worker: &WorkerStatus) -> Vec<String> {
    vec![
        worker.pool.clone(),
        worker.state.name().to_owned(),
        worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        worker.core.to_string(),
        worker.connections_open.to_string(),
        worker.connections_taken.to_string(),
        worker.returns.to_string(),
        worker.requests.to_string(),
        worker.in_flight.to_string(),
        worker.modules.to_string(),
        worker.restarts.to_string(),
    ]
}

pub(super) async fn invoke(invoke: Invoke) -> anyhow::Result<()> {
    check_called(&invoke.name)?;
    let body = body(invoke.body.as_deref())?;
    let method =
        invoke.method.unwrap_or(if invoke.body.is_some() { Method::POST } else { Method::GET });
    let call =
        endpoints::Invoke::at(&invoke.name, invoke.path.strip_prefix('/').unwrap_or(&invoke.path));
    let response =
        Node::new(&invoke.target).request(method, call.path(), &invoke.header, body).await?;
    let status = response.status();
    // Without the mark of an invocation it is the control API that answers: there was no call.
    let id = response.headers().get(abi::problem::INVOCATION_ID_HEADER).cloned();
    let Some(id) = id.as_ref().and_then(|id| id.to_str().ok()) else {
        let bytes = response.into_body().collect().await?.to_bytes();
        bail!("{}", reason(&bytes).unwrap_or_else(|| "the node gave no answer".to_owned()));
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
