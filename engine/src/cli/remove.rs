//! `sockhop remove`, which asks at a terminal, `restore`, and what `list --removed` shows. Owns no fds.
//!
//! Without a terminal nobody is there to ask, and it goes on: scripts have always called it so.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::Node;
use super::deploy::print_urls;
use super::show::{counted, number, print_json, table, text};
use super::versions::when;
use super::{Show, Target};

/// So much of an id tells removals of one function apart: its time, to the millisecond.
const ID_SHOWN: usize = "01a22762-a249".len();

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The function
    name: String,
    /// Do not ask at a terminal
    #[arg(long, short)]
    yes: bool,
    /// Keep nothing to restore, nor what earlier removals of this name have left
    #[arg(long)]
    for_good: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The function
    name: String,
    /// Which removal to undo: an id, as `sockhop list --removed` shows them (default: the last one)
    id: Option<String>,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn run(remove: Remove) -> anyhow::Result<()> {
    let Remove { name, yes, for_good, target } = remove;
    abi::name::check(&name)?;
    let (node, path) = (Node::new(&target), format!("/v1/functions/{name}"));
    if !yes && io::stdin().is_terminal() {
        let what = match node.get(&path).await {
            Ok(function) => {
                let versions = function.get("versions").and_then(Value::as_array).map_or(0, Vec::len);
                format!("{name} with its {} and its secrets", counted(versions, "version"))
            }
            // It may be removed already.
            Err(_) if for_good => format!("what is kept of {name}"),
            Err(error) => return Err(error),
        };
        let how = if for_good { " for good" } else { "" };
        eprint!("remove {what}{how}? [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            bail!("nothing is removed");
        }
    }
    let query = if for_good { "?for-good=true" } else { "" };
    let removed = node.json(Method::DELETE, &format!("{path}{query}"), &[], Bytes::new()).await?;
    say!("removed {name}");
    if removed.is_object() {
        let until = when(number(&removed, "restorable_until_ms"));
        eprintln!("until {until}, this brings it back: sockhop restore {name}");
    }
    Ok(())
}

pub(super) async fn restore(restore: Restore) -> anyhow::Result<()> {
    let Restore { name, id, show } = restore;
    abi::name::check(&name)?;
    let node = Node::new(&show.target);
    let wanted = id.map_or(json!({}), |id| json!({ "id": id }));
    let path = format!("/v1/functions/{name}/restore");
    let restored = node.json(Method::POST, &path, &[], wanted.to_string().into()).await?;
    if show.json {
        print_json(&restored);
        return Ok(());
    }
    let secrets = restored.get("secrets").and_then(Value::as_array).map_or(0, Vec::len);
    let and_secrets = if secrets == 0 { String::new() } else { format!(", with {}", counted(secrets, "secret")) };
    match restored.pointer("/aliases/active") {
        Some(active) => {
            say!("restored {name}, {}{and_secrets}", super::versions::targets(active, "targets"));
            print_urls(&node, &name).await
        }
        None => {
            say!("restored {name}{and_secrets}; no version of it is active, as before");
            Ok(())
        }
    }
}

/// Shows what can be restored.
pub(super) async fn list(show: &Show) -> anyhow::Result<()> {
    let removed = Node::new(&show.target).get("/v1/removed").await?;
    if show.json {
        print_json(&removed);
        return Ok(());
    }
    let removed = removed.as_array().map_or(&[][..], Vec::as_slice);
    if removed.is_empty() {
        say!("no removed function is kept");
        return Ok(());
    }
    let row = |removed: &Value| {
        let secrets = removed.get("secrets").and_then(Value::as_array).map_or(0, Vec::len);
        let times = ["removed_ms", "restorable_until_ms"].map(|key| when(number(removed, key)));
        let mut row = ["name", "version"].map(|key| text(removed, key).to_owned()).to_vec();
        row.push(secrets.to_string());
        row.extend(times);
        row.push(text(removed, "id").get(..ID_SHOWN).unwrap_or("-").to_owned());
        row
    };
    let rows: Vec<_> = removed.iter().map(row).collect();
    table(&["NAME", "VERSION", "SECRETS", "REMOVED", "KEPT UNTIL", "ID"], &rows);
    Ok(())
}
