//! Starts the product, as its user would: `serve`, then `deploy`. The processes belong to `child`.

use std::path::Path;
use std::process::Command;

use super::child::{self, Child, url_after};
use super::{Error, SERVER_CORE, Server};
use crate::target::Target;

pub fn start(binary: &Path, component: &Path) -> Result<Server, Error> {
    let scratch = child::scratch("sockhop")?;
    let data = scratch.path().join("data");
    let mut serve = Command::new(binary);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--cores"]).arg(SERVER_CORE.to_string()).arg("--data").arg(&data);
    let mut child = Child::start("sockhop", SERVER_CORE, serve, scratch)?;
    let base = child.wait_until(|log| url_after(log, "ready "))?;

    let mut deploy = Command::new(binary);
    deploy.arg("deploy").arg(component).args(["--name", "hello", "--data"]).arg(&data);
    let typed = child::typed(&deploy);
    let (status, output) = child::run("sockhop deploy", SERVER_CORE, deploy)?;
    if !status.success() {
        return Err(Error::Deploy { command: typed, status, output });
    }
    let target = Target::parse(&format!("{}/hello/", base.trim_end_matches('/')))?;
    let commands = vec![child.command().to_owned(), typed];
    Ok(Server { child, target, commands })
}
