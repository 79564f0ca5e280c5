//! `sockhop build`: runs the builds that a `sockhop.toml` names, one after another. Owns the process
//! of the build that runs, and ends it with all that it has started.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use clap::Args;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use super::project::{self, Builds, ProjectError, Wanted};

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The folder with the sockhop.toml that says how (default: this folder)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Of several functions in it, the only one to build
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Build as the table [environment.NAME] has it
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

/// Why something is not built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(
        "{0:?} has no sockhop.toml with a table [build]; write for example command = \"make\" and output = \"hello.wasm\" \
         in one, or begin with `sockhop new`"
    )]
    Nothing(PathBuf),
    #[error("the build in {folder:?} cannot be started: {source}")]
    Start { folder: PathBuf, source: io::Error },
    #[error(
        "the build failed: `{command}` in {folder:?} ended with {status}; what it said stands above"
    )]
    Failed { folder: PathBuf, command: String, status: ExitStatus },
}

/// A build's processes, which are ended when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        // The group is there as long as its first process is not waited for.
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Builds what the command line names.
pub(super) async fn run(build: Build) -> Result<(), BuildError> {
    let folder = build.folder.unwrap_or_else(|| ".".into());
    let (name, environment) = (build.name.as_deref(), build.environment.as_deref());
    match project::builds(&folder, Wanted { name, environment })? {
        Some(found) if !found.builds.is_empty() => all(&found).await,
        _ => Err(BuildError::Nothing(folder)),
    }
}

/// Runs all builds of a project. What they print goes to stderr.
pub(super) async fn all(found: &Builds) -> Result<(), BuildError> {
    for build in &found.builds {
        eprintln!("building: {}", build.command);
        one(&found.folder, &build.command).await?;
    }
    Ok(())
}

async fn one(folder: &Path, line: &str) -> Result<(), BuildError> {
    let start = |source| BuildError::Start { folder: folder.to_owned(), source };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(start)?;
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(stderr).kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    let mut group = Group(child.id());
    let status = child.wait().await.map_err(start)?;
    group.0 = None;
    match status.success() {
        true => Ok(()),
        false => {
            Err(BuildError::Failed { folder: folder.to_owned(), command: line.to_owned(), status })
        }
    }
}
