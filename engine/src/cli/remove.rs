//! `sockhop remove`: asks at a terminal, and removes a function. Owns no fds.
//!
//! Without a terminal nobody is there to ask, and it goes on: scripts have always called it so.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::Target;
use super::client::Node;
use super::show::counted;

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The function
    name: String,
    /// Do not ask at a terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(remove: Remove) -> anyhow::Result<()> {
    let Remove { name, yes, target } = remove;
    abi::name::check(&name)?;
    let (node, path) = (Node::new(&target), format!("/v1/functions/{name}"));
    if !yes && io::stdin().is_terminal() {
        let function = node.get(&path).await?;
        let versions = function.get("versions").and_then(Value::as_array).map_or(0, Vec::len);
        let versions = counted(versions, "version");
        eprint!("remove {name} with its {versions} and its secrets? [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            bail!("nothing is removed");
        }
    }
    node.json(Method::DELETE, &path, &[], Bytes::new()).await?;
    say!("removed {name}");
    Ok(())
}
