//! `sockhop kv`: the keys and values of functions' buckets. A value is printed and read as it is;
//! what is exported is a line of JSON for each key. Owns no fds.

use std::io::{self, BufRead as _, Read as _};

use abi::limits::{STATE_BATCH_KEYS_MAX, STATE_CALL_BYTES_MAX, STATE_VALUE_BYTES_MAX};
use abi::state::{check_key, check_value};
use anyhow::{Context as _, anyhow, bail};
use api::endpoints::{
    GetStateValue, ListStateEntries, ListStateKeys, RemoveStateKey, SetStateEntries, SetStateValue,
};
use api::kv::{BucketQuery, KeptEntry, KeyQuery, NewEntries, PageQuery};
use bytes::Bytes;
use clap::{Args, Subcommand};
use host::printable;

use super::client::Node;
use super::print::{Bytes as Printed, counted, print_json};
use super::{Show, Target};

#[derive(Debug, Subcommand)]
pub(crate) enum Kv {
    /// List the keys of a function's bucket
    Ls {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        show: Show,
    },
    /// Print a value, as it is
    Get {
        #[command(flatten)]
        of: Of,
        /// The key
        key: String,
        #[command(flatten)]
        target: Target,
    },
    /// Set a value
    Set {
        #[command(flatten)]
        of: Of,
        /// The key
        key: String,
        /// The value; - for what stdin gives
        #[arg(allow_hyphen_values = true)]
        value: String,
        #[command(flatten)]
        target: Target,
    },
    /// Remove a key
    Rm {
        #[command(flatten)]
        of: Of,
        /// The key
        key: String,
        #[command(flatten)]
        target: Target,
    },
    /// Print all keys and values, a line of JSON for each
    Export {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        target: Target,
    },
    /// Set what stdin has of an export, over what is there
    Import {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        target: Target,
    },
}

/// Which bucket.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// The function, which need not be there any more
    function: String,
    /// The name by which the function opens a bucket that it shares (default: its own bucket)
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
}

impl Of {
    fn key(&self, key: &str) -> anyhow::Result<KeyQuery> {
        abi::name::check(&self.function)?;
        check_key(key).map_err(|why| anyhow!("{why}"))?;
        Ok(KeyQuery { key: key.to_owned(), bucket: self.bucket.clone() })
    }

    fn page(&self, after: Option<String>) -> PageQuery {
        PageQuery { bucket: self.bucket.clone(), after }
    }
}

pub(super) async fn run(kv: Kv) -> anyhow::Result<()> {
    match kv {
        Kv::Ls { of, show } => list(&of, &show).await,
        Kv::Get { of, key, target } => {
            let call = GetStateValue::at(&of.function).with(&of.key(&key)?);
            Printed::new().print(&Node::new(&target)?.file(call).await?);
            Ok(())
        }
        Kv::Set { of, key, value, target } => {
            let query = of.key(&key)?;
            let value = if value == "-" { piped()? } else { value.into_bytes() };
            check_value(&value).map_err(|why| anyhow!("{why}"))?;
            let call = SetStateValue::at(&of.function).with(&query);
            Node::new(&target)?.send_bytes(call, value.into()).await?;
            say!("set {key} of {}", of.function);
            Ok(())
        }
        Kv::Rm { of, key, target } => {
            let call = RemoveStateKey::at(&of.function).with(&of.key(&key)?);
            Node::new(&target)?.send_bytes(call, Bytes::new()).await?;
            say!("removed {key} of {}", of.function);
            Ok(())
        }
        Kv::Export { of, target } => export(&of, &target).await,
        Kv::Import { of, target } => import(&of, &target).await,
    }
}

/// All that stdin gives, and not much more than a value may have.
fn piped() -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    let limit = STATE_VALUE_BYTES_MAX as u64 + 1;
    io::stdin().take(limit).read_to_end(&mut value).context("stdin cannot be read")?;
    Ok(value)
}

async fn list(of: &Of, show: &Show) -> anyhow::Result<()> {
    abi::name::check(&of.function)?;
    let node = Node::new(&show.target)?;
    let mut after = None;
    loop {
        let call = ListStateKeys::at(&of.function).with(&of.page(after));
        let page = node.call(call).await?.read()?;
        for key in &page.keys {
            if show.json {
                print_json(&serde_json::json!({ "key": key }));
            } else {
                say!("{}", printable::line(key));
            }
        }
        if page.keys_in_all == 0 && !show.json {
            eprintln!("{} has no keys", of.function);
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn export(of: &Of, target: &Target) -> anyhow::Result<()> {
    abi::name::check(&of.function)?;
    let node = Node::new(target)?;
    let mut after = None;
    loop {
        let call = ListStateEntries::at(&of.function).with(&of.page(after));
        let page = node.call(call).await?.read()?;
        for entry in &page.entries {
            say!("{}", printable::json(&serde_json::to_string(entry)?));
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn import(of: &Of, target: &Target) -> anyhow::Result<()> {
    abi::name::check(&of.function)?;
    let node = Node::new(target)?;
    let (mut batch, mut bytes, mut count) = (Vec::new(), 0, 0_usize);
    for (at, line) in io::stdin().lock().lines().enumerate() {
        let line = line.context("stdin cannot be read")?;
        if line.trim().is_empty() {
            continue;
        }
        let entry: KeptEntry = serde_json::from_str(&line).with_context(|| {
            format!("line {} is no line of an export ({count} keys were set)", at + 1)
        })?;
        // Base64 has more bytes than the value.
        let length = entry.key.len() + entry.value.len() / 4 * 3;
        if batch.len() == STATE_BATCH_KEYS_MAX || bytes + length > STATE_CALL_BYTES_MAX {
            count += send(&node, of, std::mem::take(&mut batch), count).await?;
            bytes = 0;
        }
        bytes += length;
        batch.push(entry);
    }
    count += send(&node, of, batch, count).await?;
    say!("set {} of {}", counted(count, "key"), of.function);
    Ok(())
}

/// Sets entries. Returns how many.
async fn send(
    node: &Node,
    of: &Of,
    entries: Vec<KeptEntry>,
    before: usize,
) -> anyhow::Result<usize> {
    let count = entries.len();
    if count == 0 {
        return Ok(0);
    }
    let call = SetStateEntries::at(&of.function).with(&BucketQuery { bucket: of.bucket.clone() });
    match node.send(call, &NewEntries { entries }).await {
        Ok(_) => Ok(count),
        Err(error) if before > 0 => bail!("after {before} keys that were set: {error}"),
        Err(error) => Err(error),
    }
}
