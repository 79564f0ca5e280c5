//! `sockhop deploy`: a file, what the command line says of it, and what its `sockhop.toml` says.
//! Owns no fds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use api::cron::CronOptions;
use api::deploys::{
    ARTEFACT_PART, DeployQuery, DeployedVersion, OPTIONS_PART, OptionChange, VersionBefore,
};
use api::endpoints::{self, GetStatus};
use api::functions::VersionDetails;
use api::options::Options;
use bytesize::ByteSize;
use clap::Args;
use uuid::Uuid;

use super::build;
use super::client::Node;
use super::cron;
use super::domain;
use super::native;
use super::print::print_json;
use super::progress;
use super::project::{self, Project, ProjectError};
use super::urls::{Named, urls};
use super::{Misused, Target};
use compile::inspect::inspect;
use registry::{Access, Reference, SCHEME};

/// A page for browsers, and one for everything else.
const URLS_SHOWN: usize = 2;

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The function: a component or a core module with WASI preview 1, a .wasm file; an executable,
    /// script, zip or folder with a native function (see --kind); or a folder with a sockhop.toml
    /// that names it as `source`, or several in tables [function.NAME] (default: this folder); or
    /// WebAssembly in a registry, oci://HOST/PATH:TAG, with the credentials of Docker or podman
    #[arg(value_name = "FILE|DIR|oci://...")]
    given: Option<PathBuf>,
    /// Ask the registry over HTTP without TLS, as registries on this machine are
    #[arg(long)]
    insecure: bool,
    /// Deploy what is there: by default, a folder is built first, as its sockhop.toml says
    #[arg(long)]
    no_build: bool,
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
    pub(super) fn of_built(folder: &Path, target: Target) -> Self {
        Self {
            given: Some(folder.to_owned()),
            insecure: false,
            no_build: true,
            options: Options::default(),
            no_activate: false,
            no_trial: false,
            json: false,
            target,
        }
    }
}

/// A function that is ready to be sent.
struct Ready {
    name: String,
    options: Options,
    artefact: Vec<u8>,
    /// The schedules of its `sockhop.toml`, if there is one.
    cron: Option<Vec<CronOptions>>,
}

/// Sends what is to be deployed to the node: one function, or all of a project one after another.
/// All are looked at before the first is sent.
pub(super) async fn run(deploy: Deploy) -> anyhow::Result<()> {
    let given = deploy.given.as_deref().and_then(Path::to_str);
    if let Some(reference) = given.filter(|given| given.starts_with(SCHEME)) {
        let function = pulled(reference, deploy.insecure, &deploy.options).await?;
        return send(&deploy, &Node::new(&deploy.target), function).await;
    }
    let folder = deploy.given.as_deref().unwrap_or(Path::new("."));
    if !deploy.no_build
        && folder.is_dir()
        && let Some(found) = project::builds(folder, deploy.options.name.as_deref())?
    {
        build::all(&found).await?;
    }
    let projects = match project::find(deploy.given.as_deref(), deploy.options.name.as_deref()) {
        Err(error @ ProjectError::NoProject { .. }) if deploy.given.is_none() => {
            return Err(Misused(error.to_string()).into());
        }
        found => found?,
    };
    if let Some(path) = projects.iter().find_map(|project| project.read.as_ref()) {
        eprintln!("using {}", path.display());
    }
    let several = projects.len() > 1;
    let ready = projects.into_iter().map(|project| ready(project, &deploy.options));
    let ready: Vec<Ready> = ready.collect::<anyhow::Result<_>>()?;
    let names: Vec<String> = ready.iter().map(|function| function.name.clone()).collect();
    let node = Node::new(&deploy.target);
    for (at, function) in ready.into_iter().enumerate() {
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
            sent => sent?,
        }
    }
    Ok(())
}

/// Looks at a function here: that costs nothing, and the answer needs no node, which looks again.
fn ready(project: Project, given: &Options) -> anyhow::Result<Ready> {
    let Project { file, read, mut options } = project;
    let is_project = read.is_some();
    if let Some(read) = &read {
        // Relative to the file, as its source is.
        options.layers.iter_mut().for_each(|layer| *layer = read.with_file_name(&*layer));
    }
    let mut options = match read {
        // The file is the whole truth about a project: what was taken out of it is not to live on
        // in the active version.
        Some(_) => {
            Options { fresh_options: true, ..given.clone().over(options.without(&given.unset)?) }
        }
        None => given.clone(),
    };
    let name = options.name.take().unwrap_or_else(|| name_of(&file));
    abi::name::check(&name)?;
    options.kind = options.kind.or_else(|| native::kind_of(&file));
    let cron = std::mem::take(&mut options.cron);
    for (at, schedule) in cron.iter().enumerate() {
        schedule
            .check()
            .with_context(|| format!("function {name:?}, [[cron]] number {}", at + 1))?;
    }
    let layers = std::mem::take(&mut options.layers);
    let is_native = options.kind.is_some_and(|kind| kind.native().is_some());
    anyhow::ensure!(
        is_native || layers.is_empty(),
        "--layer is for native functions; leave it out"
    );
    let artefact = match is_native {
        true => native::pack(&file, &layers, options.entry.take().as_deref())?,
        false => read_artefact(&file).map_err(anyhow::Error::msg)?,
    };
    let kind =
        inspect(&artefact, options.kind).with_context(|| format!("{file:?} cannot be deployed"))?;
    options.check(kind).with_context(|| format!("function {name:?}"))?;
    Ok(Ready { name, options, artefact, cron: is_project.then_some(cron) })
}

/// How registries are asked.
pub(super) fn access(insecure: bool) -> Access {
    Access { insecure, file_bytes_max: abi::limits::ARTEFACT_BYTES_MAX as u64 }
}

/// Returns what is in a registry, ready to be sent to a node, with where it is from.
async fn pulled(reference: &str, insecure: bool, given: &Options) -> anyhow::Result<Ready> {
    let reference: Reference = reference.parse()?;
    let mut options = given.clone();
    let name = options.name.take().unwrap_or_else(|| reference.name().replace(['_', '.'], "-"));
    abi::name::check(&name)?;
    eprintln!("pulling {reference} ...");
    let pulled = registry::pull(&reference, access(insecure)).await?;
    options.origin = Some(pulled.origin.to_string());
    let kind = inspect(&pulled.file, options.kind)
        .with_context(|| format!("{reference} cannot be deployed"))?;
    options.check(kind).with_context(|| format!("function {name:?}"))?;
    Ok(Ready { name, options, artefact: pulled.file, cron: None })
}

async fn send(deploy: &Deploy, node: &Node, function: Ready) -> anyhow::Result<()> {
    let Ready { name, options, artefact, cron } = function;
    eprintln!("deploying {name}: {} ...", ByteSize(artefact.len() as u64).display().iec());
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
    let VersionDetails { version, number, previews, instances, .. } = &deployed.version;
    let reference = if deploy.no_activate { format!("@v{number}") } else { String::new() };
    let urls = match deploy.no_activate && !*previews {
        true => Vec::new(),
        false => urls_at(node, &name, &reference).await?,
    };
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
    differences(&deployed).iter().for_each(|line| eprintln!("{line}"));
    deployed.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let active = if deploy.no_activate { ", not active" } else { "" };
    say!(
        "deployed {name}, version v{number} {version}{active}, in {:.2} s",
        started.elapsed().as_secs_f64()
    );
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
        say!("sockhop invoke {name}{reference}");
    }
    Ok(())
}

/// Where a function can be called on this node.
async fn urls_at(node: &Node, name: &str, reference: &str) -> anyhow::Result<Vec<String>> {
    let status = node.call(GetStatus::at()).await?.read()?.node;
    let domains = domain::of_function(node, name).await;
    let named =
        Named { listeners: &status.listeners, by_path: status.path_routes, domains: &domains };
    Ok(urls(&named, name, reference))
}

/// Prints where a function can be called.
pub(super) async fn print_urls(node: &Node, name: &str) -> anyhow::Result<()> {
    urls_at(node, name, "").await?.iter().take(URLS_SHOWN).for_each(|url| say!("{url}"));
    Ok(())
}

/// What the version has otherwise than the one before it, a line each. Nothing if that is a matter
/// of course.
fn differences(deployed: &DeployedVersion) -> Vec<String> {
    let DeployedVersion { before, options_kept, changed, .. } = deployed;
    let Some(VersionBefore { number: before, .. }) = before else { return Vec::new() };
    let heading = match (*options_kept, changed.is_empty()) {
        (true, true) => format!("options: as in v{before}"),
        (true, false) => format!("options: as in v{before}, but for"),
        (false, false) => format!("options that differ from v{before}:"),
        (false, true) => return Vec::new(),
    };
    let lines = changed
        .iter()
        .map(|OptionChange { option, from, to }| format!("  {option}: {from} -> {to}"));
    std::iter::once(heading).chain(lines).collect()
}

/// The file to deploy, looked at before it is sent anywhere.
pub(super) fn read_artefact(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |error| format!("{path:?} cannot be read: {error}");
    let meta = std::fs::metadata(path).map_err(describe)?;
    if meta.is_dir() {
        return Err(format!(
            "{path:?} is a folder; expected a WebAssembly component, a file, or with --kind lambda, server or azure the \
             folder of a native function"
        ));
    }
    let limit = abi::limits::ARTEFACT_BYTES_MAX as u64;
    if meta.len() > limit {
        return Err(format!("{path:?} has {} bytes; at most {limit} can be deployed", meta.len()));
    }
    std::fs::read(path).map_err(describe)
}

/// A file's stem as a function's name, where it can be one.
fn name_of(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase()
        .replace(['_', '.'], "-")
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

    #[test]
    fn names_come_from_files() {
        for (file, name) in
            [("a/Hello_World.wasm", "hello-world"), ("x.component.wasm", "x-component")]
        {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }

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
            let before = Some(VersionBefore { version: "x".to_owned(), number: 3 });
            differences(&made(before, kept, changed))
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
    }
}
