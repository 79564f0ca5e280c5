//! `sockhop dev`: a node of its own for one project, which is built and deployed anew at each
//! change, with the functions' logs. While a build fails, the version before goes on.
//!
//! One loop: wait for a change, build, deploy. A signal drops it, and with that the build that runs;
//! then the node is ended. Owns the watches of the folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use abi::message::Digest;
use anyhow::Context as _;
use api::options::Options;
use clap::Args;
use host::files;

use super::client::Node;
use super::deploy::{self, Deploy};
use super::private_node::{PrivateNode, Starting, Stop};
use super::project::{self, Builds, Wanted};
use super::watch::Watch;
use super::{Misused, Target, build, logs};

/// The node's data folder in the project. It stays, and with it what was compiled.
const DATA: &str = ".sockhop";
/// How many files are named that have set off a build.
const NAMED: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The folder with the sockhop.toml (default: this folder)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Where the node listens (default: a free port of 127.0.0.1)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Run it as the table [environment.NAME] of the sockhop.toml has it
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// A file with environment variables, NAME=VALUE a line, which is read at each deploy
    /// (repeatable)
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Show no logs
    #[arg(long)]
    no_logs: bool,
}

/// Runs until a signal comes, or the node ends.
pub(super) async fn run(dev: Dev) -> anyhow::Result<()> {
    let folder = dev.folder.clone().unwrap_or_else(|| ".".into());
    // Its watches are told by whole paths.
    let folder = folder.canonicalize().with_context(|| format!("{folder:?} cannot be read"))?;
    let as_wanted = AsWanted { environment: dev.environment.clone(), env_files: dev.env_files };
    let found = project::builds(&folder, as_wanted.project())?;
    let found = found.ok_or_else(|| {
        Misused(format!("{folder:?} has no sockhop.toml; `sockhop new` begins a project"))
    })?;
    let mut stop = Stop::watch()?;
    let data = folder.join(DATA);
    files::create_folder(&data).with_context(|| format!("{data:?} cannot be made"))?;
    // Whatever else the project ignores.
    files::write(&data.join(".gitignore"), b"*\n")?;
    let (mut node, ready) = PrivateNode::start(&data, &dev.listen, &[])?;
    let stopped = tokio::select! {
        _ = stop.asked() => Ok(()),
        failed = node.ended() => Err(failed),
        failed = work((&folder, &data), found, &as_wanted, ready, !dev.no_logs) => failed,
    };
    node.end().await;
    stopped
}

/// Builds and deploys, at once and then at each change.
async fn work(
    (folder, data): (&Path, &Path),
    found: Builds,
    as_wanted: &AsWanted,
    ready: Starting,
    shows_logs: bool,
) -> anyhow::Result<()> {
    let patterns = patterns(&found);
    let mut watch = Watch::new(folder, &patterns, found.sources)?;
    // While the node starts.
    let mut built = rebuild(folder, as_wanted).await;
    ready.wait().await?;
    let target = Target::own(data.to_owned());
    let working = async {
        let mut deployed = Deployed::default();
        let mut again = false;
        loop {
            if built {
                deployed.update(folder, as_wanted, &target).await;
            }
            let during = watch.changes()?;
            // What has changed while it was built sets off another build. What changes in that one,
            // too, is the build's own doing.
            again = !again && !during.is_empty();
            let changed = if again { during } else { watch.next().await? };
            say_why(&changed);
            built = rebuild(folder, as_wanted).await;
        }
    };
    let logging = async {
        match shows_logs {
            true => logs::follow(&Node::new(&target)?).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        failed = working => failed,
        failed = logging => failed.context("the logs cannot be shown"),
    }
}

/// What is watched, by the builds that say so. One that does not say has all watched.
fn patterns(found: &Builds) -> Vec<String> {
    match found.builds.iter().any(|build| build.watch.is_empty()) {
        true => Vec::new(),
        false => {
            let own = std::iter::once("/sockhop.toml".to_owned());
            found.builds.iter().flat_map(|build| build.watch.clone()).chain(own).collect()
        }
    }
}

/// Runs the builds that the file has now. Returns whether all went well; why not is told.
async fn rebuild(folder: &Path, as_wanted: &AsWanted) -> bool {
    let built = async {
        match project::builds(folder, as_wanted.project())? {
            Some(found) => build::all(&found).await,
            None => Err(build::BuildError::Nothing(folder.to_owned())),
        }
    };
    match built.await {
        Ok(()) => true,
        Err(error) => {
            eprintln!("error: {error}\nwhat was deployed before stays");
            false
        }
    }
}

/// What the command line says of the project.
struct AsWanted {
    environment: Option<String>,
    env_files: Vec<PathBuf>,
}

impl AsWanted {
    fn project(&self) -> Wanted<'_> {
        Wanted { name: None, environment: self.environment.as_deref() }
    }

    fn deploy(&self, folder: &Path, target: &Target) -> Deploy {
        let options = Options { env_files: self.env_files.clone(), ..Options::default() };
        Deploy::of_built(folder, self.environment.as_deref(), options, target.clone())
    }
}

/// What is deployed.
#[derive(Default)]
struct Deployed {
    /// The digest of each file. With that of `sockhop.toml` it is why nothing needs to be deployed.
    files: HashMap<PathBuf, Digest>,
}

impl Deployed {
    /// Deploys what was built, unless it is the same as before. What fails is told.
    async fn update(&mut self, folder: &Path, as_wanted: &AsWanted, target: &Target) {
        let began = Instant::now();
        let files = digests(folder, as_wanted);
        if !files.is_empty() && files == self.files {
            eprintln!("nothing is different from what is deployed");
            return;
        }
        match deploy::run(as_wanted.deploy(folder, target)).await {
            Ok(()) => {
                self.files = files;
                eprintln!("served {} ms after it was built", began.elapsed().as_millis());
            }
            Err(error) => eprintln!("error: {error:#}\nwhat was deployed before stays"),
        }
    }
}

/// The digests of what is deployed from `folder`. Of a folder there is none: that is always
/// deployed.
fn digests(folder: &Path, as_wanted: &AsWanted) -> HashMap<PathBuf, Digest> {
    let Ok(Some(found)) = project::builds(folder, as_wanted.project()) else {
        return HashMap::new();
    };
    let given = as_wanted.env_files.iter().cloned().chain([folder.join("sockhop.toml")]);
    let paths = found.sources.into_iter().chain(found.env_files).chain(given);
    let digests = paths.map(|path| files::digest_of(&path).map(|(digest, _)| (path, digest)));
    digests.collect::<Result<_, _>>().unwrap_or_default()
}

/// Says which files have set off a build.
fn say_why(changed: &[PathBuf]) {
    eprintln!("{}", why(changed));
}

fn why(changed: &[PathBuf]) -> String {
    let named: Vec<String> =
        changed.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let have = if changed.len() == 1 { "has" } else { "have" };
    match changed.len().saturating_sub(NAMED) {
        0 => format!("{} {have} changed", named.join(", ")),
        more => format!("{} and {more} more {have} changed", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_set_off_a_build_are_named_if_they_are_few() {
        let told =
            |count: usize| why(&(0..count).map(|at| at.to_string().into()).collect::<Vec<_>>());
        assert_eq!(told(1), "0 has changed");
        assert_eq!(told(3), "0, 1, 2 have changed");
        assert_eq!(told(5), "0, 1, 2 and 2 more have changed");
    }
}
