//! `sockhop versions`, `rollback` and `alias`: which versions a function has, and what its names mean. Owns no fds.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use abi::choice::ACTIVE;
use abi::reference::{check_alias, split};
use anyhow::Context as _;
use bytes::Bytes;
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::client::Node;
use super::show::{number, print_json, table, text};
use super::{Misused, Show, Target};
use crate::store::options::pair;

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The function
    name: String,
    /// Number (v12), id or its beginning (default: what was active before)
    version: Option<String>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Have a name mean a version, or several by weight; with an environment of its own
    Set(Set),
    /// Remove an alias; the versions that it means stay
    Remove {
        /// NAME@ALIAS
        alias: String,
        #[command(flatten)]
        target: Target,
    },
    /// List what the aliases of a function mean
    List {
        /// The function
        name: String,
        #[command(flatten)]
        show: Show,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// NAME@ALIAS, or NAME for what the function's bare name means
    alias: String,
    /// Number (v12), id or its beginning; what is not said stays as it is
    #[arg(conflicts_with = "weights")]
    version: Option<String>,
    /// Versions with their shares of the requests, for example v12=90,v13=10
    #[arg(long, value_name = "VERSION=WEIGHT,...", value_delimiter = ',', value_parser = weight)]
    weights: Vec<(String, u32)>,
    /// An environment variable laid over the version's own, instead of all that were there (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A value that the function reads through wasi:config/store, in the same way (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// Lay nothing over the version's own environment and config any more
    #[arg(long, conflicts_with_all = ["env", "config"])]
    clear: bool,
    #[command(flatten)]
    show: Show,
}

fn weight(text: &str) -> Result<(String, u32), String> {
    let (version, weight) = text.split_once('=').ok_or("expected VERSION=WEIGHT, for example v12=90")?;
    let weight =
        weight.parse().map_err(|_| format!("the weight {weight:?} is no number; expected for example v12=90"))?;
    Ok((version.to_owned(), weight))
}

/// A function's name and an alias of it.
fn named(text: &str) -> anyhow::Result<(&str, &str)> {
    let (name, alias) = split(text);
    abi::name::check(name)?;
    let alias = alias.unwrap_or(ACTIVE);
    check_alias(alias)?;
    Ok((name, alias))
}

pub(super) async fn alias(alias: Alias) -> anyhow::Result<()> {
    match alias {
        Alias::Set(given) => set(given).await,
        Alias::Remove { alias, target } => {
            let (name, of) = named(&alias)?;
            if split(&alias).1.is_none() {
                return Err(
                    Misused(format!("expected NAME@ALIAS; `sockhop remove {name}` removes the function")).into()
                );
            }
            let path = format!("/v1/functions/{name}/aliases/{of}");
            Node::new(&target).json(Method::DELETE, &path, &[], Bytes::new()).await?;
            say!("removed {alias}");
            Ok(())
        }
        Alias::List { name, show } => list(&name, &show).await,
    }
}

async fn set(given: Set) -> anyhow::Result<()> {
    let (name, alias) = named(&given.alias)?;
    let one = given.version.map(|version| (version, 1));
    let targets: Vec<Value> = given
        .weights
        .into_iter()
        .chain(one)
        .map(|(version, weight)| json!({ "version": version, "weight": weight }))
        .collect();
    let mut said = serde_json::Map::new();
    if !targets.is_empty() {
        said.insert("targets".to_owned(), targets.into());
    }
    for (key, pairs) in [("env", given.env), ("config", given.config)] {
        if given.clear || !pairs.is_empty() {
            said.insert(key.to_owned(), serde_json::to_value(pairs.into_iter().collect::<BTreeMap<_, _>>())?);
        }
    }
    if said.is_empty() {
        let expected = "expected a version, --weights, --env, --config or --clear";
        return Err(Misused(format!("nothing is said of {}; {expected}", given.alias)).into());
    }
    let path = format!("/v1/functions/{name}/aliases/{alias}");
    let body = serde_json::to_vec(&said)?;
    let told = Node::new(&given.show.target).json(Method::PUT, &path, &[], body.into()).await?;
    say(&given.show, &told, |targets| format!("{name}@{alias} means {targets}"));
    Ok(())
}

/// Prints what an alias means by now.
fn say(show: &Show, told: &Value, line: impl FnOnce(String) -> String) {
    match show.json {
        true => print_json(told),
        false => say!("{}", line(targets(told, "targets"))),
    }
}

pub(super) async fn roll_back(given: Rollback) -> anyhow::Result<()> {
    let name = &given.name;
    abi::name::check(name)?;
    let body = given.version.map_or(json!({}), |version| json!({ "version": version }));
    let path = format!("/v1/functions/{name}/rollback");
    let told = Node::new(&given.show.target).json(Method::POST, &path, &[], body.to_string().into()).await?;
    say(&given.show, &told, |targets| format!("{name} means {targets}"));
    Ok(())
}

pub(super) async fn versions(name: &str, show: &Show) -> anyhow::Result<()> {
    abi::name::check(name)?;
    let versions = Node::new(&show.target).get(&format!("/v1/functions/{name}/versions")).await?;
    if show.json {
        print_json(&versions);
        return Ok(());
    }
    let row = |version: &Value| {
        let aliases = version.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let named = |alias: &Value| match (number(alias, "weight"), number(alias, "of")) {
            (weight, of) if weight == of => text(alias, "alias").to_owned(),
            (weight, of) => format!("{} {weight}/{of}", text(alias, "alias")),
        };
        vec![
            format!("v{}", number(version, "number")),
            text(version, "version").to_owned(),
            when(number(version, "created_ms")),
            text(version, "kind").to_owned(),
            ByteSize(number(version, "artefact_bytes")).display().iec().to_string(),
            aliases.map(named).collect::<Vec<_>>().join(", "),
        ]
    };
    let rows: Vec<_> = versions.as_array().into_iter().flatten().map(row).collect();
    table(&["NUMBER", "ID", "DEPLOYED", "KIND", "SIZE", "ALIASES"], &rows);
    Ok(())
}

async fn list(name: &str, show: &Show) -> anyhow::Result<()> {
    abi::name::check(name)?;
    let aliases = Node::new(&show.target).get(&format!("/v1/functions/{name}/aliases")).await?;
    if show.json {
        print_json(&aliases.as_object().into_iter().flat_map(|aliases| aliases.values().cloned()).collect());
        return Ok(());
    }
    let count =
        |alias: &Value, key| alias.get(key).and_then(Value::as_object).map_or(0, serde_json::Map::len).to_string();
    let row = |(name, alias): (&String, &Value)| {
        let changed = when(number(alias, "changed_ms"));
        vec![
            name.clone(),
            targets(alias, "targets"),
            targets(alias, "previous"),
            count(alias, "env"),
            count(alias, "config"),
            changed,
        ]
    };
    let rows: Vec<_> = aliases.as_object().context("the node's answer is no object")?.iter().map(row).collect();
    table(&["ALIAS", "MEANS", "BEFORE", "ENV", "CONFIG", "CHANGED"], &rows);
    Ok(())
}

/// `v12 90, v13 10`; without the weight where there is one version.
pub(super) fn targets(alias: &Value, key: &str) -> String {
    let targets = alias.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let name = |target: &Value| match target.get("number").and_then(Value::as_u64) {
        Some(number) => format!("v{number}"),
        None => text(target, "version").to_owned(),
    };
    match targets {
        [] => "-".to_owned(),
        [only] => name(only),
        several => {
            let several = several.iter().map(|target| format!("{} {}", name(target), number(target, "weight")));
            several.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A time in milliseconds since 1970, as people read it.
pub(super) fn when(millis: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_names_are_read() {
        assert_eq!(weight("v12=90"), Ok(("v12".to_owned(), 90)));
        for text in ["v12", "v12=", "v12=-1", "v12=x"] {
            assert!(weight(text).is_err_and(|error| error.contains("expected")), "{text}");
        }
        assert_eq!(named("a@staging").unwrap(), ("a", "staging"));
        assert_eq!(named("a").unwrap(), ("a", "active"));
        for text in ["a@v1", "a@", "@staging", "A@staging", "a@b@c"] {
            assert!(named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_an_alias_means_is_said_shortly() {
        let told = json!({ "targets": [{ "version": "x", "number": 12, "weight": 1 }] });
        assert_eq!((targets(&told, "targets"), targets(&told, "previous")), ("v12".to_owned(), "-".to_owned()));
        let told =
            json!({ "targets": [{ "version": "x", "number": 1, "weight": 90 }, { "version": "gone", "weight": 10 }] });
        assert_eq!(targets(&told, "targets"), "v1 90, gone 10");
    }
}
