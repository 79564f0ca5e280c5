//! What is to be sent to a node: a file, a folder, a project, what stdin gives, or what is in a
//! registry, built, read, and looked at here. Owns no fds.

use std::io::{self, Read as _};
use std::path::Path;

use abi::domain::Domain;
use abi::function::{FileKind, Kind};
use anyhow::Context as _;
use api::cron::CronOptions;
use api::options::{Assets, Options};
use compile::inspect::inspect;
use registry::{Access, Reference, SCHEME};
use tempfile::NamedTempFile;

use super::Misused;
use super::build;
use super::env_file;
use super::native;
use super::project::{self, Project, ProjectError};

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// A file, a folder, `-` for stdin, or a reference in a registry; without it this folder.
    pub(super) given: Option<&'a Path>,
    pub(super) options: &'a Options,
    pub(super) environment: Option<&'a str>,
    /// Whether a registry is asked without TLS.
    pub(super) insecure: bool,
    pub(super) no_build: bool,
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

/// Builds what is to be deployed, and looks at it.
pub(super) async fn prepare(wanted: Wanted<'_>) -> anyhow::Result<Vec<Ready>> {
    let Wanted { given, options, environment, insecure, no_build } = wanted;
    let reference = given.and_then(Path::to_str);
    if let Some(reference) = reference.filter(|given| given.starts_with(SCHEME)) {
        return Ok(vec![pulled(reference, insecure, options).await?]);
    }
    let of = project::Wanted { name: options.name.as_deref(), environment };
    if given == Some(Path::new("-")) {
        let file = piped(of)?;
        return Ok(vec![ready(Project::of_file_alone(file.path()), options)?]);
    }
    let folder = given.unwrap_or(Path::new("."));
    if !no_build
        && folder.is_dir()
        && let Some(found) = project::builds(folder, of)?
    {
        build::all(&found).await?;
    }
    let projects = match project::find(given, of) {
        // What a folder is was said, so it need not be told by what is in it.
        Err(ProjectError::NoProject { folder })
            if given.is_some() && options.kind.and_then(FileKind::told).is_some() =>
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
    projects.into_iter().map(|project| ready(project, options)).collect()
}

/// The functions of a project as they would be sent, which is in `given` or in this folder.
pub(super) fn of_project(
    given: Option<&Path>,
    name: Option<&str>,
    environment: Option<&str>,
) -> anyhow::Result<Vec<Ready>> {
    let projects = project::find(given, project::Wanted { name, environment })?;
    let options = Options { name: name.map(str::to_owned), ..Options::default() };
    projects.into_iter().map(|project| ready(project, &options)).collect()
}

/// What stdin gives, as a file.
fn piped(wanted: project::Wanted<'_>) -> anyhow::Result<NamedTempFile> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        for (file, name) in
            [("a/Hello_World.wasm", "hello-world"), ("x.component.wasm", "x-component")]
        {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
