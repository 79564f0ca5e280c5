//! `sockhop set`: other options for a function that is there, whose file stays. Owns no fds.

use std::path::Path;

use anyhow::Context as _;
use api::deploys::OptionsQuery;
use api::endpoints::SetOptions;
use api::options::Options;
use clap::Args;

use super::changed::lines;
use super::client::Node;
use super::print::print_json;
use super::{Misused, Show, env_file};

/// Options that are of the file, which stays, or of what it is called.
const OF_THE_FILE: [&str; 3] = ["name", "layers", "entry"];

#[derive(Debug, Args)]
#[command(mut_args(|arg| match OF_THE_FILE.contains(&arg.get_id().as_str()) {
    true => arg.hide(true),
    false => arg,
}))]
pub(crate) struct Set {
    /// The function
    #[arg(value_name = "NAME")]
    function: String,
    #[command(flatten)]
    options: Options,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the version without making it active: it can be called as NAME@VERSION
    #[arg(long)]
    no_activate: bool,
    /// Set them though the function may not answer with them
    #[arg(long)]
    no_trial: bool,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn run(set: Set) -> anyhow::Result<()> {
    let Set { function: name, options, dry_run, no_activate, no_trial, show } = set;
    abi::name::check(&name)?;
    if options.name.is_some() || !options.layers.is_empty() || options.entry.is_some() {
        let why = "--name, --layer and --entry are of the file, which `sockhop deploy` sends";
        return Err(Misused(why.to_owned()).into());
    }
    let options = env_file::load(options, Path::to_owned)?;
    if options == Options::default() {
        let example = "expected options of a deploy, for example --memory 128MiB or --unset memory";
        return Err(Misused(format!("nothing is said of {name}; {example}")).into());
    }
    let query = OptionsQuery { activate: !no_activate, trial: !no_trial, dry_run };
    let call = SetOptions::at(&name).with(&query);
    let answer = Node::new(&show.target)?.send(call, &options).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let set = answer.read()?;
    let before = set.before.context("the node does not say what it had before")?;
    let (number, is) = (set.version.number, before.number);
    if set.version.version == before.version {
        say!("nothing changes: v{is} of {name} has these options already");
    } else if dry_run {
        say!("v{number} of {name} would have otherwise than v{is}:");
        lines(&set.changed).iter().for_each(|line| say!("{line}"));
    } else {
        lines(&set.changed).iter().for_each(|line| eprintln!("{line}"));
        let active = if no_activate { ", not active" } else { "" };
        say!("set {name}, version v{number} {}{active}", set.version.version);
    }
    Ok(())
}
