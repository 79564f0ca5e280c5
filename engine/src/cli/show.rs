//! `list`, `inspect` and `status`: what the node has and does, for people or as JSON. Owns no fds.

use abi::choice::ACTIVE;
use abi::function::{FunctionLimits, Kind, NetworkMode, WebSocketMode, has_limit};
use api::cron::CronStatus;
use api::endpoints::{GetFunction, GetStatus, ListFunctions};
use api::functions::{Function, InspectedFunction, Reuse};
use api::jobs::JobsStatus;
use api::status::{StateUse, Status, WorkerStatus};
use bytesize::ByteSize;
use clap::Args;
use control::functions::store_state::away_text;
use host::printable;

use super::Show;
use super::client::Node;
use super::print::{counted, print_json, table, targets};

/// The limits of a version as people write them, by their options' names.
fn limits(limits: &FunctionLimits, kind: Kind) -> Vec<(&'static str, String)> {
    // Its default is the kind's.
    let process_requests_max = limits.process_requests(kind);
    let limits = FunctionLimits { process_requests_max, ..limits.clone() };
    let all = limits.describe().into_iter().filter(|limit| has_limit(kind, limit.option));
    all.map(|limit| (limit.option, limit.text())).collect()
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
    let answer = Node::new(&show.target)?.call(ListFunctions::at()).await?;
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
        let limits = limits(&version.limits, version.kind);
        let limit = |name| {
            limits
                .iter()
                .find(|(option, _)| *option == name)
                .map_or("-", |(_, text)| text)
                .to_owned()
        };
        let (kind, isolation) = (version.kind.name(), version.isolation.name());
        // A native function has processes, of which each serves many requests.
        let instances = if version.kind.is_wasm() { version.instances } else { "-".to_owned() };
        let mut row = vec![version.name, kind.to_owned(), isolation.to_owned(), instances];
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
    let answer = Node::new(&show.target)?.call(GetFunction::at(&name)).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let InspectedFunction { function: Function { version, aliases }, versions, reuse } =
        answer.read()?;
    let line = |key: &str, value: &str| say!("{key:<17} {}", printable::line(value));
    line("name", &version.name);
    line("version", &format!("v{} {}", version.number, version.version));
    line("kind", version.kind.name());
    line("isolation", version.isolation.name());
    if version.kind.is_wasm() {
        line("instances", &version.instances);
    }
    if let Some(reuse) = reuse {
        line("reuse", &reuse_text(&reuse));
    }
    if version.kind == Kind::Command {
        line("output", version.output.name());
    }
    let texts = [
        ("description", &version.description),
        ("handler", &version.handler),
        ("dead-letters", &version.dead_letters),
    ];
    for (key, text) in texts {
        text.iter().for_each(|text| line(key, text));
    }
    if version.network != NetworkMode::default() {
        line("network", version.network.name());
    }
    if version.websocket != WebSocketMode::default() {
        line("websocket", version.websocket.name());
    }
    if version.respond_async {
        line("respond-async", "true");
    }
    if version.report_lines {
        line("report-lines", "true");
    }
    limits(&version.limits, version.kind).iter().for_each(|(option, value)| line(option, value));
    let size = ByteSize(version.artefact_bytes);
    line("artefact", &format!("sha256:{} ({})", version.artefact, size.display().iec()));
    version.origin.iter().for_each(|origin| line("origin", origin));
    for (key, values) in [("arg", &version.args), ("allow-outbound", &version.allow_outbound)] {
        values.iter().for_each(|value| line(key, value));
    }
    for (key, values) in [("env", &version.env), ("config", &version.config), ("kv", &version.kv)] {
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
    let asked = Node::new(&show.target)?;
    let answer = asked.call(GetStatus::at()).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let Status { node, workers, state } = answer.read()?;
    let functions = counted(node.functions, "function");
    say!("node {} on {}: {functions}", node.pid, node.listeners.join(" "));
    say!("asked: {}", asked.whereabouts());
    if let Some(away) = &node.store_away {
        say!("{}", away_text(away));
    }
    match &state {
        Some(StateUse { error: Some(error), .. }) => {
            say!("state of functions cannot be used: {error}");
        }
        Some(StateUse { buckets, keys, bytes, .. }) => say!(
            "state of functions, on this node alone: {} in {}, {}",
            counted(*keys, "key"),
            counted(*buckets, "bucket"),
            ByteSize(*bytes).display().iec()
        ),
        None => {}
    }
    cron_lines(&node.cron).iter().for_each(|line| say!("{line}"));
    let JobsStatus { queued, running, dead } = node.jobs;
    if queued + running + dead > 0 {
        let dead = counted(dead, "dead letter");
        say!("asynchronous invocations: {queued} queued, {running} running, {dead}");
    }
    for limit in &node.native_limits {
        say!("native functions: {limit}");
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

/// Says who rings by schedules. Says nothing where there is nothing to say.
fn cron_lines(CronStatus { rings, schedules, nodes }: &CronStatus) -> Vec<String> {
    if *schedules == 0 {
        return Vec::new();
    }
    let count = counted(*schedules, "schedule");
    let who = match (rings, nodes.as_slice()) {
        (true, _) => "this node rings".to_owned(),
        (false, []) => "no node rings; start one with --cron on".to_owned(),
        (false, nodes) => format!("rung by {}", nodes.join(", ")),
    };
    let line = format!("cron: {count}, {who}");
    let others = nodes.len().saturating_sub(1);
    let several = (others > 0).then(|| {
        let nodes = nodes.join(", ");
        format!("cron: several nodes have rung lately ({nodes}): set --cron off on all but one")
    });
    [line].into_iter().chain(several).collect()
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
