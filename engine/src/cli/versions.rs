//! `sockhop versions`, `rollback` and `alias`: which versions a function has, and what its names
//! mean. Owns no fds.

use std::collections::BTreeMap;

use abi::choice::ACTIVE;
use abi::reference::{check_alias, split};
use api::endpoints::{ListAliases, ListVersions, RemoveAlias, RollBack, SetAlias};
use api::options::pair;
use api::versions::{AliasChange, AliasShare, ListedVersion, TargetChange};
use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::client::{Answer, Node};
use super::print::{print_json, table, targets, when};
use super::{Misused, Show, Target};

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
    #[command(visible_alias = "rm")]
    Remove {
        /// NAME@ALIAS
        alias: String,
        #[command(flatten)]
        target: Target,
    },
    /// List what the aliases of a function mean
    #[command(visible_alias = "ls")]
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
    /// An environment variable laid over the version's own, instead of all that were there
    /// (repeatable)
    #[arg(long, short = 'e', value_name = "NAME=VALUE", value_parser = pair)]
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
    let (version, weight) =
        text.split_once('=').ok_or("expected VERSION=WEIGHT, for example v12=90")?;
    let weight = weight
        .parse()
        .map_err(|_| format!("the weight {weight:?} is no number; expected for example v12=90"))?;
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
                return Err(Misused(format!(
                    "expected NAME@ALIAS; `sockhop remove {name}` removes the function"
                ))
                .into());
            }
            Node::new(&target)?.call(RemoveAlias::at(name, of)).await?;
            say!("removed {alias}");
            Ok(())
        }
        Alias::List { name, show } => list(&name, &show).await,
    }
}

async fn set(given: Set) -> anyhow::Result<()> {
    let (name, alias) = named(&given.alias)?;
    let one = given.version.map(|version| (version, 1));
    let targets = given.weights.into_iter().chain(one);
    let targets: Vec<TargetChange> =
        targets.map(|(version, weight)| TargetChange { version, weight }).collect();
    let laid_over = |pairs: Vec<(String, String)>| {
        (given.clear || !pairs.is_empty()).then(|| pairs.into_iter().collect::<BTreeMap<_, _>>())
    };
    let change = AliasChange {
        targets: (!targets.is_empty()).then_some(targets),
        env: laid_over(given.env),
        config: laid_over(given.config),
    };
    if change == AliasChange::default() {
        let expected = "expected a version, --weights, --env, --config or --clear";
        return Err(Misused(format!("nothing is said of {}; {expected}", given.alias)).into());
    }
    let answer = Node::new(&given.show.target)?.send(SetAlias::at(name, alias), &change).await?;
    print(&given.show, &answer, |targets| format!("{name}@{alias} means {targets}"))
}

/// Prints what an alias means by now.
fn print(
    show: &Show,
    answer: &Answer<api::versions::Alias>,
    line: impl FnOnce(String) -> String,
) -> anyhow::Result<()> {
    match show.json {
        true => print_json(&answer.json),
        false => say!("{}", line(targets(&answer.read()?.targets))),
    }
    Ok(())
}

pub(super) async fn roll_back(given: Rollback) -> anyhow::Result<()> {
    let Rollback { name, version, show } = given;
    abi::name::check(&name)?;
    let wanted = api::versions::Rollback { version };
    let answer = Node::new(&show.target)?.send(RollBack::at(&name), &wanted).await?;
    print(&show, &answer, |targets| format!("{name} means {targets}"))
}

pub(super) async fn versions(name: &str, show: &Show) -> anyhow::Result<()> {
    abi::name::check(name)?;
    let answer = Node::new(&show.target)?.call(ListVersions::at(name)).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let share = |AliasShare { alias, weight, of }: AliasShare| match weight == of {
        true => alias,
        false => format!("{alias} {weight}/{of}"),
    };
    let row = |version: ListedVersion| {
        let aliases: Vec<String> = version.aliases.into_iter().map(share).collect();
        vec![
            format!("v{}", version.number),
            version.version,
            when(version.created_ms),
            version.kind.name().to_owned(),
            ByteSize(version.artefact_bytes).display().iec().to_string(),
            aliases.join(", "),
            version.origin.unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = answer.read()?.into_iter().map(row).collect();
    table(&["NUMBER", "ID", "DEPLOYED", "KIND", "SIZE", "ALIASES", "ORIGIN"], &rows);
    Ok(())
}

async fn list(name: &str, show: &Show) -> anyhow::Result<()> {
    abi::name::check(name)?;
    let answer = Node::new(&show.target)?.call(ListAliases::at(name)).await?;
    if show.json {
        let aliases = answer.json.as_object().into_iter().flatten();
        aliases.for_each(|(_, alias)| print_json(alias));
        return Ok(());
    }
    let row = |(name, alias): (String, api::versions::Alias)| {
        vec![
            name,
            targets(&alias.targets),
            targets(&alias.previous),
            alias.env.len().to_string(),
            alias.config.len().to_string(),
            when(alias.changed_ms),
        ]
    };
    let rows: Vec<_> = answer.read()?.into_iter().map(row).collect();
    table(&["ALIAS", "MEANS", "BEFORE", "ENV", "CONFIG", "CHANGED"], &rows);
    Ok(())
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
}
