//! Starts the product, as its user would: `serve`, then `deploy`. The processes belong to `child`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{self, Child, url_after};
use super::{Error, Instances, REUSE, SERVER_CORE, Server};
use crate::target::Target;

/// A node with one worker, on one core. Ends with this value.
#[derive(Debug)]
pub struct Node {
    /// The engine; the worker is its child.
    pub child: Child,
    binary: PathBuf,
    data: PathBuf,
    base: String,
}

impl Node {
    /// Starts it, with an empty data folder.
    pub fn start(binary: &Path) -> Result<Self, Error> {
        Self::start_with(binary, &[])
    }

    /// The same with more options.
    pub fn start_with(binary: &Path, options: &[&str]) -> Result<Self, Error> {
        let scratch = child::scratch("sockhop")?;
        let data = scratch.path().join("data");
        let mut serve = Command::new(binary);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--cores"]).arg(SERVER_CORE.to_string());
        serve.arg("--data").arg(&data).args(options);
        let mut child = Child::start("sockhop", SERVER_CORE, serve, scratch)?;
        let base = child.wait_until(|log| url_after(log, "ready "))?;
        Ok(Self { child, binary: binary.to_owned(), data, base: base.trim_end_matches('/').to_owned() })
    }

    /// Deploys a function; returns the command as typed.
    pub fn deploy(&self, component: &Path, name: &str, instances: Instances) -> Result<String, Error> {
        match instances {
            Instances::Fresh => self.deploy_with(component, name, &[]),
            Instances::Reuse => self.deploy_with(component, name, &["--instances", &format!("reuse={REUSE}")]),
        }
    }

    /// The same with options of its own.
    pub fn deploy_with(&self, component: &Path, name: &str, options: &[&str]) -> Result<String, Error> {
        let mut deploy = Command::new(&self.binary);
        deploy.arg("deploy").arg(component).args(["--name", name]).args(options);
        Ok(self.tell(deploy)?.0)
    }

    /// Where the control API answers over TCP, on a node that was started with `--admin`.
    pub fn admin(&self) -> Result<String, Error> {
        let mut status = Command::new(&self.binary);
        status.args(["status", "--json"]);
        let (_, output) = self.tell(status)?;
        let status: serde_json::Value = serde_json::from_str(&output).unwrap_or_default();
        status.pointer("/node/admin").and_then(|url| url.as_str()).map(str::to_owned).ok_or(Error::NoAdmin { output })
    }

    /// Runs a command of the node's; returns it as typed, and what it printed.
    fn tell(&self, mut command: Command) -> Result<(String, String), Error> {
        command.arg("--data").arg(&self.data);
        let typed = child::typed(&command);
        let (status, output) = child::run("sockhop", SERVER_CORE, command)?;
        if status.success() { Ok((typed, output)) } else { Err(Error::Told { command: typed, status, output }) }
    }

    /// Where a function answers.
    pub fn target(&self, name: &str) -> Result<Target, Error> {
        Ok(Target::parse(&format!("{}/{name}/", self.base))?)
    }
}

pub fn start(binary: &Path, component: &Path, name: &str, instances: Instances) -> Result<Server, Error> {
    let node = Node::start(binary)?;
    let commands = vec![node.child.command().to_owned(), node.deploy(component, name, instances)?];
    Ok(Server { target: node.target(name)?, child: node.child, commands })
}
