//! `sockhop secret`: sets, lists and removes a function's secrets. A value comes on stdin and is
//! never printed.
//!
//! One line end at the end of what stdin gives is not part of the value, unless `--exact`; at a
//! terminal, the value is one line, which is not shown. Owns no fds.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use abi::limits::SECRET_BYTES_MAX;
use anyhow::Context as _;
use api::endpoints::{ListSecrets, RemoveSecret, SetSecret};
use api::secrets::ListedSecret;
use bytes::Bytes;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::client::Node;
use super::env_file;
use super::hidden;
use super::print::{counted, print_json, table};
use super::{Show, Target};
use secrets::{check_key, check_value};

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Set a secret of a function, over the one that has this key; its value is read from stdin
    Set {
        #[command(flatten)]
        place: Place,
        /// Keep a line end at the end of the value
        #[arg(long)]
        exact: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Set the secrets that a file has, NAME=VALUE a line as in a .env file
    Import {
        /// The function, which need not be there yet
        name: String,
        /// The file; - for stdin
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// List the keys of a function's secrets, and when each was set
    #[command(visible_alias = "ls")]
    List {
        /// The function
        name: String,
        #[command(flatten)]
        show: Show,
    },
    /// Remove a secret of a function
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        target: Target,
    },
}

/// Which secret.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The function, which need not be there yet
    name: String,
    /// What the function finds it by: the name of a variable
    key: String,
}

impl Place {
    /// Checks that its names can be ones.
    fn check(&self) -> anyhow::Result<()> {
        abi::name::check(&self.name)?;
        Ok(check_key(&self.key)?)
    }
}

pub(super) async fn run(secret: Secret) -> anyhow::Result<()> {
    match secret {
        Secret::Set { place, exact, target } => set(place, exact, &target).await,
        Secret::Import { name, file, target } => import(&name, &file, &target).await,
        Secret::List { name, show } => list(&name, show).await,
        Secret::Remove { place, target } => {
            place.check()?;
            Node::new(&target)?.call(RemoveSecret::at(&place.name, &place.key)).await?;
            say!("removed the secret {} of {}", place.key, place.name);
            Ok(())
        }
    }
}

async fn set(place: Place, exact: bool, target: &Target) -> anyhow::Result<()> {
    place.check()?;
    let value = if io::stdin().is_terminal() { typed(&place).await? } else { piped(exact)? };
    // The node looks again; here it costs nothing, and the value stays here.
    check_value(&value)?;
    let call = SetSecret::at(&place.name, &place.key);
    Node::new(target)?.send_bytes(call, Bytes::copy_from_slice(&value)).await?;
    say!("set the secret {} of {}", place.key, place.name);
    Ok(())
}

/// Sets what a file has. All of it is looked at before the first is set.
async fn import(name: &str, file: &Path, target: &Target) -> anyhow::Result<()> {
    abi::name::check(name)?;
    let pairs = match file.as_os_str() == "-" {
        true => env_file::parse(io::stdin(), "stdin".to_owned())?,
        false => env_file::read(file)?,
    };
    let secrets: BTreeMap<String, Zeroizing<String>> =
        pairs.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect();
    anyhow::ensure!(!secrets.is_empty(), "{file:?} has no line NAME=VALUE; nothing is set");
    for (key, value) in &secrets {
        check_key(key)
            .and_then(|()| check_value(value.as_bytes()))
            .with_context(|| format!("the secret {key} in {file:?} cannot be set, and none is"))?;
    }
    let node = Node::new(target)?;
    let mut set: Vec<&str> = Vec::new();
    for (key, value) in &secrets {
        let call = SetSecret::at(name, key);
        let sent = node.send_bytes(call, Bytes::copy_from_slice(value.as_bytes())).await;
        sent.with_context(|| {
            format!("{key} is not set, after {}", counted(set.len() as u64, "secret"))
        })?;
        set.push(key);
    }
    say!("set {} of {name}: {}", counted(set.len() as u64, "secret"), set.join(", "));
    Ok(())
}

/// All that stdin gives, without the line end that `echo` and editors add.
fn piped(exact: bool) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    // One more than there may be, and a line end.
    let limit = SECRET_BYTES_MAX + 3;
    let mut value = Zeroizing::new(Vec::with_capacity(limit));
    io::stdin().take(limit as u64).read_to_end(&mut value).context("stdin cannot be read")?;
    if !exact {
        let length = without_line_end(&value).len();
        value.truncate(length);
    }
    Ok(value)
}

fn without_line_end(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// A line that is typed and not shown.
async fn typed(place: &Place) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let question = format!("value of {} for {}", place.key, place.name);
    let line = hidden::line(&question, SECRET_BYTES_MAX).await?;
    Ok(Zeroizing::new(without_line_end(line.as_bytes()).to_vec()))
}

async fn list(name: &str, show: Show) -> anyhow::Result<()> {
    abi::name::check(name)?;
    let answer = Node::new(&show.target)?.call(ListSecrets::at(name)).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let secrets = answer.read()?;
    if secrets.is_empty() {
        say!("{name} has no secrets; set one with: sockhop secret set {name} KEY");
        return Ok(());
    }
    let row = |secret: &ListedSecret| vec![secret.key.clone(), time(secret.set_ms)];
    let rows: Vec<_> = secrets.iter().map(row).collect();
    table(&["KEY", "SET"], &rows);
    for error in secrets.iter().filter_map(|secret| secret.error.as_ref()) {
        say!("{error}");
    }
    Ok(())
}

/// A time in milliseconds since 1970, as people read it.
fn time(set_ms: Option<u64>) -> String {
    let set = set_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    // Later years than 9999 have no form (RFC 3339 1).
    let set = set.filter(|set| {
        set.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < 253_402_300_800)
    });
    set.map_or_else(|| "-".to_owned(), |set| humantime::format_rfc3339_seconds(set).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_a_value() {
        for (given, value) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("\n", ""),
            ("a\rb", "a\rb"),
        ] {
            assert_eq!(without_line_end(given.as_bytes()), value.as_bytes(), "{given:?}");
        }
    }

    #[test]
    fn any_time_a_node_tells_can_be_shown() {
        assert_eq!(time(Some(0)), "1970-01-01T00:00:00Z");
        assert_eq!((time(Some(u64::MAX)).as_str(), time(None).as_str()), ("-", "-"));
    }
}
