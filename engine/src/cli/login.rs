//! `sockhop login` and `logout`, which keep the nodes that the user works with and their tokens, and
//! `sockhop context`, which says which of them is in use. Owns no fds.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::Context as _;
use api::endpoints::GetStatus;
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::address::Address;
use super::client::Node;
use super::contexts::{Context, Contexts, LOCAL, Token};
use super::print::{print_json, table};
use super::tls::{Trust, read_authority};
use super::urls::is_on_this_machine;
use super::{Misused, hidden};

/// The most bytes that are read of a token.
const TOKEN_BYTES_MAX: usize = 4096;

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The node's admin listener, http://HOST:PORT, or what speaks TLS in front of it, https://HOST or
    /// https://HOST:PORT
    #[arg(value_name = "URL", value_parser = url)]
    url: Address,
    /// What to call it (default: its host, with the port if there is one)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A file with the token, as admin.token in the node's data folder; - for stdin (default: ask
    /// at a terminal, else stdin)
    #[arg(long, value_name = "FILE|-")]
    token_file: Option<PathBuf>,
    /// A PEM file with the certificates to trust for it, which are kept with it (default: those
    /// that the system trusts)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The context to forget (default: the one in use)
    context: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ContextCommand {
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the nodes that the user has logged in to
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON, a line for each record
        #[arg(long)]
        json: bool,
    },
    /// Have commands ask this node from now on
    Use {
        /// The context, or local for the node on this machine
        name: String,
    },
    /// Forget a node and its token
    #[command(visible_alias = "rm")]
    Remove {
        /// The context
        name: String,
    },
}

/// Reads the address of a node elsewhere.
fn url(text: &str) -> Result<Address, String> {
    match text.parse()? {
        Address::Socket(_) => Err("expected http://HOST:PORT or https://HOST[:PORT]".into()),
        address => Ok(address),
    }
}

pub(super) async fn login(login: Login) -> anyhow::Result<()> {
    let Login { url, name, token_file, ca } = login;
    let mut contexts = Contexts::read()?;
    if let Address::Http(authority) = &url
        && !is_on_this_machine(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
    {
        eprintln!(
            "note: {url} is not encrypted, and whoever can listen on the way sees the token; put a proxy that speaks TLS in \
             front of it (sockhop guide remote)"
        );
    }
    let certificates = ca.as_deref().map(read_authority).transpose()?;
    let token = match token_file {
        Some(path) if path.as_os_str() != "-" => {
            let text = std::fs::read_to_string(&path);
            Zeroizing::new(text.with_context(|| format!("the token {path:?} cannot be read"))?)
        }
        None if io::stdin().is_terminal() => {
            let question = format!("token of {url} (admin.token in its data folder)");
            hidden::line(&question, TOKEN_BYTES_MAX).await?
        }
        _ => piped()?,
    };
    let token = Token(token.trim().to_owned());
    anyhow::ensure!(
        !token.0.is_empty(),
        "the token is empty; it is in admin.token in the node's data folder"
    );
    let trust = certificates.clone().map_or(Trust::System, Trust::Pem);
    let node = Node::with_token(&url, token.clone(), trust);
    let status = node.call(GetStatus::at()).await?.read()?.node;
    let name = name.unwrap_or_else(|| name_of(&url));
    let replaced = contexts.get(&name).is_ok();
    contexts.put(&name, Context { url: url.clone(), token, certificates })?;
    let path = contexts.write()?;
    let count = super::print::counted(status.functions, "function");
    say!("logged in to {url}, which has {count}, as the context {name}");
    let kept = if replaced { "replaced" } else { "kept" };
    eprintln!(
        "it is in use from now on, and {kept} in {}; `sockhop context use {LOCAL}` goes back to the node on this machine",
        path.display()
    );
    Ok(())
}

fn piped() -> anyhow::Result<Zeroizing<String>> {
    let mut token = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
    let read = io::stdin().take(TOKEN_BYTES_MAX as u64).read_to_string(&mut token);
    read.context("the token cannot be read from stdin")?;
    Ok(token)
}

/// A node's host and port, as its URL has them.
fn name_of(url: &Address) -> String {
    let text = url.to_string();
    text.split_once("://").map_or(text.clone(), |(_, authority)| authority.to_owned())
}

pub(super) fn logout(Logout { context }: Logout) -> anyhow::Result<()> {
    let contexts = Contexts::read()?;
    let name = context.or_else(|| contexts.current.clone()).ok_or_else(|| {
        Misused(
            "no context is in use; say which to forget: `sockhop context list` shows them".into(),
        )
    })?;
    remove(contexts, &name)
}

fn remove(mut contexts: Contexts, name: &str) -> anyhow::Result<()> {
    let was_in_use = contexts.current.as_deref() == Some(name);
    let removed = contexts.remove(name)?;
    contexts.write()?;
    say!("logged out of {}", removed.url);
    if was_in_use {
        eprintln!("commands ask the node on this machine from now on; the token itself stays good");
    }
    Ok(())
}

pub(super) fn context(ContextCommand { command }: ContextCommand) -> anyhow::Result<()> {
    let mut contexts = Contexts::read()?;
    match command.unwrap_or(Action::List { json: false }) {
        Action::List { json } => {
            list(&contexts, json);
            Ok(())
        }
        Action::Use { name } => {
            contexts.choose(&name)?;
            contexts.write()?;
            match contexts.get(&name) {
                Ok(context) => say!("commands ask {} from now on", context.url),
                Err(_) => say!("commands ask the node on this machine from now on"),
            }
            Ok(())
        }
        Action::Remove { name } => remove(contexts, &name),
    }
}

fn list(contexts: &Contexts, as_json: bool) {
    let current = contexts.current.as_deref().unwrap_or(LOCAL);
    let kept = contexts.all().map(|(name, context)| {
        let trusts = if context.certificates.is_some() { "its own" } else { "the system's" };
        (name.as_str(), context.url.to_string(), trusts)
    });
    let here = (LOCAL, "the node on this machine".to_owned(), "-");
    let rows = [here].into_iter().chain(kept);
    if as_json {
        for (name, node, _) in rows {
            let node = Some(node).filter(|_| name != LOCAL);
            print_json(&json!({ "name": name, "node": node, "current": name == current }));
        }
        return;
    }
    let rows: Vec<Vec<String>> = rows
        .map(|(name, node, trusts)| {
            let mark = if name == current { "*" } else { "" };
            vec![mark.to_owned(), name.to_owned(), node, trusts.to_owned()]
        })
        .collect();
    table(&["", "CONTEXT", "NODE", "CERTIFICATES"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_named_by_its_host_and_port() {
        for (given, name) in [
            ("https://node.example", "node.example"),
            ("https://node.example:444/", "node.example:444"),
            ("http://[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(name_of(&url(given).unwrap()), name);
        }
        assert!(url("./control.sock").is_err_and(|error| error.contains("https://HOST")));
    }
}
