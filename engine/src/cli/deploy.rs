//! `sockhop deploy`: a file, what the command line says of it, and what its `sockhop.toml` says.
//! Owns no fds.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::domain::Domain;
use abi::function::{FileKind, Kind};
use anyhow::{Context as _, bail};
use api::cron::{CronOptions, ListedCron};
use api::deploys::{ARTEFACT_PART, DeployQuery, DeployedVersion, OPTIONS_PART};
use api::endpoints::{self, GetStatus};
use api::functions::VersionDetails;
use api::options::{Assets, Options};
use bytesize::ByteSize;
use clap::Args;
use host::printable;
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::build;
use super::changed::{artefact_line, lines};
use super::client::{Answer, Node};
use super::cron;
use super::domain;
use super::env_file;
use super::native;
use super::print::print_json;
use super::progress;
use super::project::{self, Project, ProjectError, Wanted};
use super::urls::{Named, urls};
use super::{Misused, Target};
use compile::inspect::inspect;
use registry::{Access, Reference, SCHEME};

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

    pub(super) fn target(&self) -> &Target {
        &self.target
    }
}

/// A function that is ready to be sent.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) options: Options,
    pub(super) artefact: Vec<u8>,
    /// The schedules of its `sockhop.toml`, if there is one.
    pub(super) cron: Option<Vec<CronOptions>>,
    /// The hosts that its `sockhop.toml` has it be found by.
    pub(super) domains: Vec<Domain>,
    /// The context that its `sockhop.toml` names, and where that stands.
    pub(super) context: Option<(String, String)>,
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
    let ready = prepare(&deploy).await?;
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

/// Builds what is to be deployed, and looks at it.
pub(super) async fn prepare(deploy: &Deploy) -> anyhow::Result<Vec<Ready>> {
    let reference = deploy.given.as_deref().and_then(Path::to_str);
    if let Some(reference) = reference.filter(|given| given.starts_with(SCHEME)) {
        return Ok(vec![pulled(reference, deploy.insecure, &deploy.options).await?]);
    }
    let wanted =
        Wanted { name: deploy.options.name.as_deref(), environment: deploy.environment.as_deref() };
    if deploy.given.as_deref() == Some(Path::new("-")) {
        let file = piped(wanted)?;
        return Ok(vec![ready(Project::of_file_alone(file.path()), &deploy.options)?]);
    }
    let given = deploy.given.as_deref();
    let folder = given.unwrap_or(Path::new("."));
    if !deploy.no_build
        && folder.is_dir()
        && let Some(found) = project::builds(folder, wanted)?
    {
        build::all(&found).await?;
    }
    let projects = match project::find(given, wanted) {
        // What a folder is was said, so it need not be told by what is in it.
        Err(ProjectError::NoProject { folder })
            if given.is_some() && deploy.options.kind.and_then(FileKind::told).is_some() =>
        {
            vec![Project::of_file_alone(&folder)]
        }
        Err(error @ ProjectError::NoProject { .. }) if given.is_none() => {
            return Err(Misused(error.to_string()).into());
        }
        found => found?,
    };
    if let Some(path) = projects.iter().find_map(|project| project.read.as_ref()) {
        eprintln!("using {}", path.display());
    }
    projects.into_iter().map(|project| ready(project, &deploy.options)).collect()
}

/// The functions of a project as they would be sent, which is in `given` or in this folder.
pub(super) fn of_project(
    given: Option<&Path>,
    name: Option<&str>,
    environment: Option<&str>,
) -> anyhow::Result<Vec<Ready>> {
    let projects = project::find(given, Wanted { name, environment })?;
    let options = Options { name: name.map(str::to_owned), ..Options::default() };
    projects.into_iter().map(|project| ready(project, &options)).collect()
}

/// The node that is meant, where a project has a context.
pub(super) fn target(given: &Target, context: Option<(String, String)>) -> Target {
    Target { project: context, ..given.clone() }
}

/// What stdin gives, as a file.
fn piped(wanted: Wanted<'_>) -> anyhow::Result<NamedTempFile> {
    if wanted.name.is_none() {
        let why = "a file from stdin has no name; say what to call the function: --name NAME";
        return Err(Misused(why.to_owned()).into());
    }
    if wanted.environment.is_some() {
        let why = "--environment is of a project's sockhop.toml, and a file from stdin has none";
        return Err(Misused(why.to_owned()).into());
    }
    let mut file = NamedTempFile::new().context("no temporary file can be made")?;
    // One more than there may be, so that it is told.
    let limit = abi::limits::ARTEFACT_BYTES_MAX as u64 + 1;
    io::copy(&mut io::stdin().take(limit), &mut file).context("stdin cannot be read")?;
    Ok(file)
}

/// Looks at a function here: that costs nothing, and the answer needs no node, which looks again.
fn ready(project: Project, given: &Options) -> anyhow::Result<Ready> {
    let Project { file, read, mut options, suffix, is_of_several } = project;
    let is_project = read.is_some();
    if let Some(read) = &read {
        // Relative to the file, as its source is.
        options.layers.iter_mut().for_each(|layer| *layer = read.with_file_name(&*layer));
        if let Some(assets) = &mut options.assets {
            assets.directory = read.with_file_name(&assets.directory);
        }
        options = env_file::load(options, |path| read.with_file_name(path))?;
    }
    let mut given = env_file::load(given.clone(), Path::to_owned)?;
    if is_of_several {
        // It says which of them is meant, and not what to call it.
        given.name = None;
    }
    let given = &given;
    let mut options = match read {
        // The file is the whole truth about a project: what was taken out of it is not to live on
        // in the active version.
        Some(_) => {
            Options { fresh_options: true, ..given.clone().over(options.without(&given.unset)?) }
        }
        None => given.clone(),
    };
    let name = options.name.take().unwrap_or_else(|| format!("{}{suffix}", name_of(&file)));
    abi::name::check(&name)?;
    options.kind = options.kind.or_else(|| native::kind_of(&file));
    let cron = std::mem::take(&mut options.cron);
    for (at, schedule) in cron.iter().enumerate() {
        schedule
            .check()
            .with_context(|| format!("function {name:?}, [[cron]] number {}", at + 1))?;
    }
    let domains = std::mem::take(&mut options.domains);
    let domains = domains
        .iter()
        .map(|domain| domain.parse().with_context(|| format!("function {name:?}, key domains")));
    let domains = domains.collect::<anyhow::Result<_>>()?;
    let context = options.context.take().map(|context| (context, "sockhop.toml".to_owned()));
    let layers = std::mem::take(&mut options.layers);
    let told = options.kind.and_then(FileKind::told);
    let is_native = told.is_some_and(Kind::is_native);
    anyhow::ensure!(
        is_native || layers.is_empty(),
        "--layer is for native functions; leave it out"
    );
    let is_single_page = options.single_page.take().unwrap_or_default();
    anyhow::ensure!(
        !is_single_page || told == Some(Kind::Static),
        "--single-page is for static sites (--kind static); leave it out"
    );
    let assets = options.assets.take();
    anyhow::ensure!(
        assets.is_none() || told.is_none(),
        "[assets] is for WebAssembly, whose files it serves before it calls it; leave it out"
    );
    let artefact = match told {
        Some(Kind::Static) => native::pack_site(&file, is_single_page)?,
        Some(_) => native::pack(&file, &layers, options.entry.take().as_deref())?,
        None => read_artefact(&file).map_err(anyhow::Error::msg)?,
    };
    let kind =
        inspect(&artefact, options.kind).with_context(|| format!("{file:?} cannot be deployed"))?;
    options.check(kind).with_context(|| format!("function {name:?}"))?;
    let artefact = match assets {
        Some(Assets { directory }) => native::pack_with_assets(&artefact, &directory)?,
        None => artefact,
    };
    let cron = is_project.then_some(cron);
    Ok(Ready { name, kind, options, artefact, cron, domains, context })
}

/// How registries are asked.
pub(super) fn access(insecure: bool) -> Access {
    Access { insecure, file_bytes_max: abi::limits::ARTEFACT_BYTES_MAX as u64 }
}

/// Returns what is in a registry, ready to be sent to a node, with where it is from.
async fn pulled(reference: &str, insecure: bool, given: &Options) -> anyhow::Result<Ready> {
    let reference: Reference = reference.parse()?;
    let mut options = env_file::load(given.clone(), Path::to_owned)?;
    let name = options.name.take().unwrap_or_else(|| reference.name().replace(['_', '.'], "-"));
    abi::name::check(&name)?;
    eprintln!("pulling {reference} ...");
    let pulled = registry::pull(&reference, access(insecure)).await?;
    options.origin = Some(pulled.origin.to_string());
    let kind = inspect(&pulled.file, options.kind)
        .with_context(|| format!("{reference} cannot be deployed"))?;
    options.check(kind).with_context(|| format!("function {name:?}"))?;
    let (artefact, cron, domains, context) = (pulled.file, None, Vec::new(), None);
    Ok(Ready { name, kind, options, artefact, cron, domains, context })
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

/// The file to deploy, looked at before it is sent anywhere.
pub(super) fn read_artefact(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |error| format!("{path:?} cannot be read: {error}");
    let meta = std::fs::metadata(path).map_err(describe)?;
    if meta.is_dir() {
        return Err(format!(
            "{path:?} is a folder; expected a WebAssembly component, a file, or with --kind lambda, server or azure the \
             folder of a native function, with --kind static that of a site"
        ));
    }
    let limit = abi::limits::ARTEFACT_BYTES_MAX as u64;
    if meta.len() > limit {
        return Err(format!("{path:?} has {} bytes; at most {limit} can be deployed", meta.len()));
    }
    std::fs::read(path).map_err(describe)
}

/// A file's stem, or a folder's name, as a function's name, where it can be one.
fn name_of(file: &Path) -> String {
    // `.` has no name of its own.
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    whole
        .file_stem()
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
    use api::deploys::{OptionChange, VersionBefore};

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
