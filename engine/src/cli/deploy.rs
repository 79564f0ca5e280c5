//! `sockhop deploy`: sends what [`ready`](mod@super::ready) has made to a node, and says what has
//! become of it. Owns no fds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use api::cron::ListedCron;
use api::deploys::{ARTEFACT_PART, DeployQuery, DeployedVersion, OPTIONS_PART};
use api::endpoints::{self, GetStatus};
use api::functions::VersionDetails;
use api::options::Options;
use bytesize::ByteSize;
use clap::Args;
use host::printable;
use uuid::Uuid;

use super::Target;
use super::changed::{artefact_line, lines};
use super::client::{Answer, Node};
use super::cron;
use super::domain;
use super::print::print_json;
use super::progress;
use super::ready::{self, Ready, Wanted};
use super::urls::{Named, urls};

/// A page for browsers, and one for everything else.
const URLS_SHOWN: usize = 2;

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The function: a component or a core module with WASI preview 1, a .wasm file; an executable,
    /// script, zip or folder with a native function (see --kind); a folder with an index.html, which
    /// is a static site; a folder with a sockhop.toml that names it as `source`, or several in tables
    /// [function.NAME]; - for a file that stdin gives (default: this folder); or WebAssembly in a
    /// registry, oci://HOST/PATH:TAG, with the credentials of Docker or podman
    #[arg(value_name = "FILE|DIR|-|oci://...")]
    given: Option<PathBuf>,
    /// Ask the registry over HTTP without TLS, as registries on this machine are
    #[arg(long)]
    insecure: bool,
    /// Deploy what is there: by default, a folder is built first, as its sockhop.toml says
    #[arg(long)]
    no_build: bool,
    /// The environment of the project to deploy, a table [environment.NAME] of its sockhop.toml: it
    /// is the function NAME-ENVIRONMENT unless the table says otherwise
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Keep the version without making it active: it can be called as NAME@VERSION
    #[arg(long)]
    no_activate: bool,
    /// Deploy it though it may not answer: by default it must answer a GET / with less than 500, or
    /// as --health-path asks
    #[arg(long)]
    no_trial: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Deploy {
    /// A deploy of all that is in `folder`, as its `sockhop.toml` says, and already built.
    pub(super) fn of_built(
        folder: &Path,
        environment: Option<&str>,
        options: Options,
        target: Target,
    ) -> Self {
        let built = Self::untried(Some(folder.to_owned()), options, target);
        let environment = environment.map(str::to_owned);
        Self { no_build: true, no_trial: false, environment, ..built }
    }

    /// A deploy of what is given to a node on which nobody calls it yet.
    pub(super) fn untried(given: Option<PathBuf>, options: Options, target: Target) -> Self {
        Self {
            given,
            insecure: false,
            no_build: false,
            environment: None,
            options,
            no_activate: false,
            no_trial: true,
            json: false,
            target,
        }
    }

    /// What it sends.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let Self { insecure, no_build, options, .. } = self;
        Wanted {
            given: self.given.as_deref(),
            options,
            environment: self.environment.as_deref(),
            insecure: *insecure,
            no_build: *no_build,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }
}

/// What has become of a function that was sent.
pub(super) struct Sent {
    answer: Answer<DeployedVersion>,
    deployed: DeployedVersion,
    took: Duration,
    scheduled: Vec<ListedCron>,
    pub(super) urls: Vec<String>,
}

/// Sends what is to be deployed to the node: one function, or all of a project one after another.
/// All are looked at before the first is sent.
pub(super) async fn run(deploy: Deploy) -> anyhow::Result<()> {
    let ready = ready::prepare(deploy.wanted()).await?;
    let several = ready.len() > 1;
    let names: Vec<String> = ready.iter().map(|function| function.name.clone()).collect();
    for (at, mut function) in ready.into_iter().enumerate() {
        let node = Node::new(&target(&deploy.target, function.context.take()))?;
        let size = ByteSize(function.artefact.len() as u64).display().iec();
        // A deploy to a machine that was not meant is worse than a line more.
        let place = node.host().map(|_| format!(" to {}", node.whereabouts())).unwrap_or_default();
        eprintln!("deploying {}: {size}{place} ...", function.name);
        match send(&deploy, &node, function).await {
            Err(error) if several => {
                let (done, left) = names.split_at(at);
                let done = if done.is_empty() { "none".to_owned() } else { done.join(", ") };
                bail!(
                    "{}: {error:#}\ndeployed: {done}; not deployed: {}",
                    names[at],
                    left.join(", ")
                );
            }
            sent => tell(&deploy, sent?)?,
        }
    }
    Ok(())
}

/// The node that is meant, where a project has a context.
pub(super) fn target(given: &Target, context: Option<(String, String)>) -> Target {
    Target { project: context, ..given.clone() }
}

/// Sends a function to the node.
pub(super) async fn send(deploy: &Deploy, node: &Node, function: Ready) -> anyhow::Result<Sent> {
    let Ready { name, options, artefact, cron, domains, .. } = function;
    let started = Instant::now();
    let id = Uuid::now_v7();
    let boundary = format!("sockhop-{}", id.simple());
    let form = form(&boundary, &serde_json::to_vec(&options)?, &artefact);
    let (activate, trial) = (!deploy.no_activate, !deploy.no_trial);
    let call = endpoints::Deploy::at(&name).with(&DeployQuery { activate, trial });
    let sent = Arc::default();
    let upload = progress::Upload { bytes: form.len(), sent: Arc::clone(&sent) };
    let deploying = node.deploy(call, &id, (&boundary, form.into()), &sent);
    let answer = progress::shown(node, &id, &upload, !deploy.json, deploying).await?;
    let deployed = answer.read()?;
    // Schedules ring what is active.
    let scheduled = match cron.filter(|_| !deploy.no_activate) {
        Some(wanted) => cron::apply(node, &name, wanted).await.with_context(|| {
            format!("{name} is deployed, and rung by the schedules that it had before")
        })?,
        None => Vec::new(),
    };
    if !deploy.no_activate {
        domain::add_all(node, &name, &domains)
            .await
            .with_context(|| format!("{name} is deployed, and not found by all of its domains"))?;
    }
    let urls = match deploy.no_activate && !deployed.version.previews {
        true => Vec::new(),
        false => urls_at(node, &name, &reference(deploy, &deployed)).await?,
    };
    Ok(Sent { answer, deployed, took: started.elapsed(), scheduled, urls })
}

/// What is behind the name of a version that the bare name does not mean.
fn reference(deploy: &Deploy, deployed: &DeployedVersion) -> String {
    match deploy.no_activate {
        true => format!("@v{}", deployed.version.number),
        false => String::new(),
    }
}

/// Says what has become of a function.
fn tell(deploy: &Deploy, sent: Sent) -> anyhow::Result<()> {
    let Sent { answer, deployed, took, scheduled, urls } = sent;
    let VersionDetails { name, version, number, instances, .. } = &deployed.version;
    if deploy.json {
        let mut json = answer.json;
        if let Some(fields) = json.as_object_mut() {
            fields.insert("url".to_owned(), urls.first().cloned().into());
            fields.insert("urls".to_owned(), urls.into());
            fields.insert("cron".to_owned(), serde_json::to_value(&scheduled)?);
        }
        print_json(&json);
        return Ok(());
    }
    let notes = deployed.notes.iter().map(|note| format!("note: {note}"));
    let told = differences(&deployed).into_iter().chain(notes);
    told.for_each(|line| eprintln!("{}", printable::line(&line)));
    let active = if deploy.no_activate { ", not active" } else { "" };
    say!("deployed {name}, version v{number} {version}{active}, in {:.2} s", took.as_secs_f64());
    if instances.starts_with("reuse=") {
        eprintln!(
            "note: an instance that still holds its request is not reused, as those of JavaScript and Python are as a rule; \
             after the first calls, `sockhop inspect {name}` says how many were"
        );
    }
    scheduled.iter().for_each(cron::added);
    for url in urls.iter().take(URLS_SHOWN) {
        say!("{url}");
    }
    if urls.is_empty() {
        say!("sockhop invoke {name}{}", reference(deploy, &deployed));
    }
    Ok(())
}

/// Where a function can be called on this node.
async fn urls_at(node: &Node, name: &str, reference: &str) -> anyhow::Result<Vec<String>> {
    let status = node.call(GetStatus::at()).await?.read()?.node;
    let domains = domain::of_function(node, name).await;
    let named = Named {
        listeners: &status.listeners,
        by_path: status.path_routes,
        domains: &domains,
        host: node.host(),
    };
    Ok(urls(&named, name, reference))
}

/// Prints where a function can be called.
pub(super) async fn print_urls(node: &Node, name: &str) -> anyhow::Result<()> {
    urls_at(node, name, "").await?.iter().take(URLS_SHOWN).for_each(|url| say!("{url}"));
    Ok(())
}

/// What the version has otherwise than the one before it, a line each.
fn differences(deployed: &DeployedVersion) -> Vec<String> {
    let DeployedVersion { version, before, options_kept, changed, .. } = deployed;
    let Some(before) = before else { return Vec::new() };
    // A node of an earlier build does not say.
    let file = (!before.artefact.is_empty()).then(|| artefact_line(before, version));
    let before = before.number;
    let heading = match (*options_kept, changed.is_empty()) {
        (true, true) => Some(format!("options: as in v{before}")),
        (true, false) => Some(format!("options: as in v{before}, but for")),
        (false, false) => Some(format!("options that differ from v{before}:")),
        (false, true) => None,
    };
    file.into_iter().chain(heading).chain(lines(changed)).collect()
}

/// multipart/form-data (RFC 7578) with the two parts the node expects. The boundary is random
/// enough not to be in them.
fn form(boundary: &str, options: &[u8], artefact: &[u8]) -> Vec<u8> {
    let mut form = Vec::with_capacity(artefact.len() + options.len() + 512);
    for (name, kind, bytes) in
        [(OPTIONS_PART, "application/json", options), (ARTEFACT_PART, "application/wasm", artefact)]
    {
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\ncontent-type: {kind}\r\n\r\n"
        );
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(bytes);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    form
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::function::FunctionLimits;
    use api::deploys::{OptionChange, VersionBefore};

    fn made(
        before: Option<VersionBefore>,
        options_kept: bool,
        changed: Vec<OptionChange>,
    ) -> DeployedVersion {
        let json = serde_json::json!({
            "name": "a", "version": "y", "number": 4, "created_ms": 1, "kind": "command",
            "artefact": "00", "artefact_bytes": 1, "isolation": "shared", "previews": false,
            "instances": "fresh", "limits": FunctionLimits::default(), "env": {}, "config": {}, "args": [],
            "output": "raw", "allow_outbound": [],
        });
        let version = serde_json::from_value(json).unwrap();
        DeployedVersion { version, before, options_kept, changed, notes: Vec::new() }
    }

    #[test]
    fn what_differs_is_a_line_each() {
        let deployed = |kept: bool, changed: Vec<OptionChange>| {
            let before = VersionBefore {
                version: "x".to_owned(),
                number: 3,
                artefact: String::new(),
                artefact_bytes: 0,
            };
            differences(&made(Some(before), kept, changed))
        };
        let [option, from, to] = ["memory", "64.0 MiB", "32.0 MiB"].map(str::to_owned);
        let memory = vec![OptionChange { option, from, to }];
        let line = "  memory: 64.0 MiB -> 32.0 MiB".to_owned();
        assert_eq!(
            deployed(true, memory.clone()),
            ["options: as in v3, but for".to_owned(), line.clone()]
        );
        assert_eq!(deployed(false, memory), ["options that differ from v3:".to_owned(), line]);
        assert_eq!(deployed(true, Vec::new()), ["options: as in v3"]);
        assert!(
            deployed(false, Vec::new()).is_empty()
                && differences(&made(None, false, Vec::new())).is_empty()
        );
        let with_file = |artefact: &str| {
            let before = VersionBefore {
                version: "x".to_owned(),
                number: 3,
                artefact: artefact.to_owned(),
                artefact_bytes: 2048,
            };
            differences(&made(Some(before), false, Vec::new()))
        };
        assert_eq!(with_file("00"), ["artefact: as in v3"]);
        assert_eq!(with_file("01"), ["artefact: 2.0 KiB -> 1 B"]);
    }
}
