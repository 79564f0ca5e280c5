//! Starts `spin up` with a manifest of its own. The processes belong to `child`.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{self, Child};
use super::{Error, SERVER_CORE, Server, free_addresses};
use crate::target::Target;

pub fn start(binary: &Path, components: &[PathBuf]) -> Result<Server, Error> {
    let scratch = child::scratch("spin")?;
    let path = scratch.path().join("spin.toml");
    fs::write(&path, manifest(components))
        .map_err(|source| Error::Write { path: path.clone(), source })?;
    let addresses = free_addresses(1)?;
    let [address] = addresses[..] else { unreachable!("one was asked for") };
    let mut command = Command::new(binary);
    command
        .arg("up")
        .arg("--from")
        .arg(&path)
        .arg("--listen")
        .arg(address.to_string())
        .arg("--quiet");
    command.arg("--state-dir").arg(scratch.path().join("state"));
    let mut child = Child::start("spin", SERVER_CORE, command, scratch)?;
    child.wait_until(|_| TcpStream::connect(address).ok())?;
    let targets: Result<Vec<_>, _> = (0..components.len())
        .map(|number| Target::parse(&format!("http://{address}/f-{number}/")))
        .collect();
    Ok(Server::one(child, targets?))
}

/// Its version 2: a trigger for each component.
fn manifest(components: &[PathBuf]) -> String {
    let mut text =
        "spin_manifest_version = 2\n[application]\nname = \"bench\"\nversion = \"0.1.0\"\n"
            .to_owned();
    for (number, component) in components.iter().enumerate() {
        let _ = write!(
            text,
            "[[trigger.http]]\nroute = \"/f-{number}/...\"\ncomponent = \"f-{number}\"\n[component.f-{number}]\nsource = {:?}\nallowed_outbound_hosts = [\"http://127.0.0.1:*\"]\n",
            component.display().to_string()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_a_route() {
        let text = manifest(&[PathBuf::from("/a.wasm"), PathBuf::from("/b \"c\".wasm")]);
        assert_eq!(text.matches("[[trigger.http]]").count(), 2);
        assert!(
            text.contains("route = \"/f-1/...\"")
                && text.contains("source = \"/b \\\"c\\\".wasm\""),
            "{text}"
        );
    }
}
