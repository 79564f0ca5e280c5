//! Starts `cargo lambda watch`, which has a Runtime API and the Invoke API, and a `bootstrap` that
//! asks it for events. The processes belong to `child`.
//!
//! It would build and start the `bootstrap` itself, by cargo. With `--only-lambda-apis` it leaves
//! that to others, so that what runs is the file that the other servers run. It wants a project
//! with a binary of the function's name all the same, which is never built.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::child::{self, Child};
use super::program::bootstrap_command;
use super::sockhop::invocations;
use super::{Error, SERVER_CORE, Server, free_addresses};
use crate::target::Target;

const FUNCTION: &str = "hello";
const MANIFEST: &str = r#"[package]
name = "hello"
version = "0.1.0"
edition = "2024"

[workspace]
"#;
/// Where it has the Runtime API of a function.
const RUNTIME_API: &str = "/.rt/";

pub fn start(binary: &Path, bootstrap: &Path) -> Result<Server, Error> {
    let scratch = child::scratch("cargo-lambda")?;
    let folder = scratch.path();
    let source = folder.join("src");
    fs::create_dir(&source)
        .map_err(|error| Error::Write { path: source.clone(), source: error })?;
    for (path, text) in
        [(folder.join("Cargo.toml"), MANIFEST), (source.join("main.rs"), "fn main() {}\n")]
    {
        fs::write(&path, text).map_err(|source| Error::Write { path, source })?;
    }
    let addresses = free_addresses(1)?;
    let [address] = addresses[..] else { unreachable!("one was asked for") };
    let mut watch = Command::new(binary);
    watch.args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes"]);
    watch.args(["--invoke-address", &address.ip().to_string()]);
    watch.args(["--invoke-port", &address.port().to_string()]);
    watch.current_dir(folder);
    let mut watch = Child::start("cargo-lambda", SERVER_CORE, watch, scratch)?;
    watch.wait_until(|_| TcpStream::connect(address).ok())?;
    let function =
        bootstrap_command(bootstrap, FUNCTION, &format!("http://{address}{RUNTIME_API}{FUNCTION}"));
    let function = Child::start("bootstrap", SERVER_CORE, function, child::scratch("bootstrap")?)?;
    let target = Target::parse(&format!("http://{address}{}", invocations(FUNCTION)))?;
    let mut server = Server::one(watch, vec![target]);
    server.commands.push(function.command().to_owned());
    server.children.push(function);
    Ok(server)
}
