//! `sockhop remove`, which asks at a terminal, `restore`, and what `list --removed` shows. Owns no
//! fds.
//!
//! Without a terminal nobody is there to ask, and it goes on: scripts have always called it so.

use std::io::{self, IsTerminal as _, Write as _};

use abi::choice::ACTIVE;
use anyhow::{Context as _, bail};
use api::endpoints::{GetFunction, ListRemoved, ListStateKeys, RemoveFunction, RestoreFunction};
use api::removed::{RemoveQuery, RemovedFunction, RestoredFunction};
use clap::Args;

use super::client::Node;
use super::cron;
use super::deploy::print_urls;
use super::domain;
use super::print::{counted, print_json, table, targets, when};
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
    /// Remove what is in the function's own bucket, too, of which nothing can be restored
    #[arg(long)]
    with_state: bool,
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
    let Remove { name, yes, for_good, with_state, target } = remove;
    abi::name::check(&name)?;
    let node = Node::new(&target)?;
    if !yes && io::stdin().is_terminal() {
        let what = match node.call(GetFunction::at(&name)).await {
            Ok(function) => {
                let versions = function.read()?.versions.len();
                format!("{name} with its {} and its secrets", counted(versions, "version"))
            }
            // It may be removed already.
            Err(_) if for_good || with_state => format!("what is kept of {name}"),
            Err(error) => return Err(error),
        };
        let how = if for_good { " for good" } else { "" };
        let state = if with_state { ", and what is in its bucket" } else { "" };
        eprint!("remove {what}{how}{state}? [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            bail!("nothing is removed");
        }
    }
    let removed =
        node.call(RemoveFunction::at(&name).with(&RemoveQuery { for_good, with_state })).await?;
    say!("removed {name}");
    if !with_state {
        tell_of_state(&node, &name).await;
    }
    let domains = domain::of_function(&node, &name).await;
    if !domains.is_empty() {
        let domains: Vec<String> = domains.into_iter().map(|domain| domain.domain).collect();
        eprintln!(
            "domains that are for it stay, and are answered 404 until there is a {name} again: {}; \
             `sockhop domain remove` removes them",
            domains.join(", ")
        );
    }
    let schedules = cron::of_function(&node, &name).await;
    if !schedules.is_empty() {
        eprintln!(
            "schedules that ring it stay, and ring nothing until there is a {name} again: {}; \
             `sockhop cron remove` removes them",
            schedules.join(", ")
        );
    }
    if let Some(removed) = removed.read()? {
        let until = when(removed.restorable_until_ms);
        eprintln!("until {until}, this brings it back: sockhop restore {name}");
    }
    Ok(())
}

/// Says that what a removed function has kept is still there.
async fn tell_of_state(node: &Node, name: &str) {
    // A node of an earlier build has none.
    let Ok(answer) = node.call(ListStateKeys::at(name)).await else { return };
    if let Ok(page) = answer.read()
        && page.keys_in_all > 0
    {
        eprintln!(
            "its bucket stays, with {}, for a function of this name; this removes it: \
             sockhop remove {name} --with-state",
            counted(page.keys_in_all, "key")
        );
    }
}

pub(super) async fn restore(restore: Restore) -> anyhow::Result<()> {
    let Restore { name, id, show } = restore;
    abi::name::check(&name)?;
    let node = Node::new(&show.target)?;
    let answer = node.send(RestoreFunction::at(&name), &api::removed::Restore { id }).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let RestoredFunction { function, secrets } = answer.read()?;
    let secrets = secrets.len();
    let and_secrets =
        if secrets == 0 { String::new() } else { format!(", with {}", counted(secrets, "secret")) };
    match function.aliases.get(ACTIVE) {
        Some(active) => {
            say!("restored {name}, {}{and_secrets}", targets(&active.targets));
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
    let answer = Node::new(&show.target)?.call(ListRemoved::at()).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let removed = answer.read()?;
    if removed.is_empty() {
        say!("no removed function is kept");
        return Ok(());
    }
    let row = |removed: RemovedFunction| {
        let id = removed.id.get(..ID_SHOWN).unwrap_or("-").to_owned();
        let times = [removed.removed_ms, removed.restorable_until_ms].map(when);
        let mut row = vec![removed.name, removed.version, removed.secrets.len().to_string()];
        row.extend(times);
        row.push(id);
        row
    };
    let rows: Vec<_> = removed.into_iter().map(row).collect();
    table(&["NAME", "VERSION", "SECRETS", "REMOVED", "KEPT UNTIL", "ID"], &rows);
    Ok(())
}
