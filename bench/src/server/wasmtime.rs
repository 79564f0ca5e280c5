//! Starts `wasmtime serve`, as it comes or tuned. The process belongs to `child`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{self, Child, url_after};
use super::{Error, Instances, REUSE, SERVER_CORE, Server};
use crate::target::Target;

/// Lets a component import wasi:cli, as every Rust guest does; it adds host functions, and costs no
/// time.
const NEEDED: &str = "-Scli=y";
/// The set that was fastest among those tried with a hello component. `-Wconcurrency-support=n`,
/// which helps our own worker, is not in it: 48.0 then answers with 500.
const TUNED: [&str; 1] = [
    "-Opooling-allocator=y,pooling-pagemap-scan=y,pooling-memory-keep-resident=1048576,pooling-table-keep-resident=1048576",
];

/// It serves one component; for several there are several of it.
pub fn start(
    binary: &Path,
    tuned: bool,
    instances: Instances,
    components: &[PathBuf],
) -> Result<Server, Error> {
    let (mut children, mut targets, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    for component in components {
        let mut serve = Command::new(binary);
        serve.args(["serve", NEEDED, "--addr", "127.0.0.1:0"]);
        if tuned {
            serve.args(TUNED);
        }
        if instances == Instances::Reuse {
            serve.arg("--max-instance-reuse-count").arg(REUSE.to_string());
        }
        serve.arg(component);
        let mut child = Child::start("wasmtime", SERVER_CORE, serve, child::scratch("wasmtime")?)?;
        let url = child.wait_until(|log| url_after(log, "Serving HTTP on "))?;
        if commands.is_empty() {
            commands.push(child.command().to_owned());
        }
        targets.push(Target::parse(&url)?);
        children.push(child);
    }
    Ok(Server { children, targets, commands, signer: None })
}
