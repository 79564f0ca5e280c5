//! Starts workerd with a script of its own for each function. The process belongs to `child`.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::child::{self, Child};
use super::{Error, SERVER_CORE, Server, free_addresses};
use crate::target::Target;

/// Any that the binary knows; all that the scripts use is older.
const COMPATIBILITY_DATE: &str = "2024-09-01";

pub fn start(binary: &Path, script: &str, functions: u32) -> Result<Server, Error> {
    let scratch = child::scratch("workerd")?;
    let addresses = free_addresses(functions as usize)?;
    let mut services = String::new();
    let mut sockets = String::new();
    for (number, address) in addresses.iter().enumerate() {
        // Each a file of its own, like the functions of the others.
        let path = scratch.path().join(format!("f-{number}.js"));
        fs::write(&path, format!("{script}\n// {number}\n"))
            .map_err(|source| Error::Write { path, source })?;
        let _ = writeln!(
            services,
            "    (name = \"f-{number}\", worker = (modules = [(name = \"f-{number}.js\", esModule = embed \"f-{number}.js\")], compatibilityDate = \"{COMPATIBILITY_DATE}\", globalOutbound = \"network\")),"
        );
        let _ = writeln!(
            sockets,
            "    (name = \"s-{number}\", address = \"{address}\", http = (), service = \"f-{number}\"),"
        );
    }
    let config = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n  services = [\n{services}    (name = \"network\", network = (allow = [\"public\", \"private\"], tlsOptions = (trustBrowserCas = true))),\n  ],\n  sockets = [\n{sockets}  ],\n);\n"
    );
    let path = scratch.path().join("config.capnp");
    fs::write(&path, config).map_err(|source| Error::Write { path: path.clone(), source })?;
    let mut command = Command::new(binary);
    command.arg("serve").arg(&path);
    let mut child = Child::start("workerd", SERVER_CORE, command, scratch)?;
    for address in &addresses {
        child.wait_until(|_| TcpStream::connect(address).ok())?;
    }
    let targets: Result<Vec<_>, _> =
        addresses.iter().map(|address| Target::parse(&format!("http://{address}/"))).collect();
    Ok(Server::one(child, targets?))
}
