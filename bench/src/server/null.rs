//! Starts the harness's own server, which does nothing. The process belongs to `child`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Child, url_after};
use super::{Error, LOAD_CORE, SERVER_CORE, Server};
use crate::target::Target;

const NAME: &str = "null-server";

/// Where its reply's body is.
pub fn body(folder: &Path) -> PathBuf {
    folder.join("body")
}

pub fn start(folder: &Path) -> Result<Server, Error> {
    let mut serve = own(NAME)?;
    serve.arg("--body-file").arg(body(folder));
    let (child, target) = spawn(NAME, serve, SERVER_CORE)?;
    Ok(Server::one(child, vec![target]))
}

/// A slow server that functions call out to; it runs where the client does, for it is no part of
/// what is measured.
pub fn upstream(delay: Duration) -> Result<(Child, Target), Error> {
    let mut serve = own(NAME)?;
    serve.arg("--delay-ms").arg(delay.as_millis().to_string());
    spawn(NAME, serve, LOAD_CORE)
}

/// Returns a command of this program.
pub fn own(name: &str) -> Result<Command, Error> {
    let mut command = Command::new(std::env::current_exe().map_err(Error::Own)?);
    command.arg(name);
    Ok(command)
}

/// Starts one that says where it is ready.
pub fn spawn(name: &'static str, serve: Command, core: usize) -> Result<(Child, Target), Error> {
    let mut child = Child::start(name, core, serve, child::scratch(name)?)?;
    let url = child.wait_until(|log| url_after(log, "ready "))?;
    let target = Target::parse(&url)?;
    Ok((child, target))
}
