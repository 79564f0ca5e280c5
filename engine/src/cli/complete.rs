//! What shells offer when a command line is completed: options and commands by clap_complete, and
//! the names of functions, versions, aliases and contexts by asking the node that the command would
//! ask. Owns one connection a request.
//!
//! A shell calls the binary itself, with [`VARIABLE`] set. A node that does not answer soon is not
//! waited for: then nothing is offered, and nothing is said.

use std::ffi::OsStr;
use std::time::Duration;

use abi::reference::split;
use api::endpoints::{ListFunctions, ListRemoved, ListVersions};
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;

use super::client::{Node, block_on};
use super::contexts::{Contexts, LOCAL};
use super::{Target, command};

/// What has the binary complete a command line instead of running it.
pub(super) const VARIABLE: &str = "SOCKHOP_COMPLETE";
/// How long a node may take to answer, while somebody waits at a shell.
const PATIENCE: Duration = Duration::from_millis(700);

/// How a value is completed.
type Complete = fn(&OsStr) -> Vec<CompletionCandidate>;

/// Which arguments are completed how, by the command and the argument's id.
const ARGUMENTS: &[(&[&str], &str, Complete)] = &[
    (&["inspect"], "name", functions),
    (&["remove"], "name", functions),
    (&["restore"], "name", removed),
    (&["versions"], "name", functions),
    (&["rollback"], "name", functions),
    (&["rollback"], "version", versions),
    (&["set"], "function", functions),
    (&["diff"], "name", functions),
    (&["diff"], "from", versions),
    (&["diff"], "to", versions),
    (&["alias", "set"], "alias", references),
    (&["alias", "set"], "version", versions),
    (&["alias", "remove"], "alias", references),
    (&["alias", "list"], "name", functions),
    (&["secret", "set"], "name", functions),
    (&["secret", "import"], "name", functions),
    (&["secret", "list"], "name", functions),
    (&["secret", "remove"], "name", functions),
    (&["domain", "add"], "function", references),
    (&["bundle"], "name", references),
    (&["invoke"], "name", references),
    (&["logs"], "what", functions),
    (&["logout"], "context", contexts),
    (&["context", "use"], "name", contexts),
    (&["context", "remove"], "name", contexts),
];

/// Completes a command line if a shell has asked for that, and ends.
pub(crate) fn complete() {
    CompleteEnv::with_factory(command).var(VARIABLE).completer("sockhop").complete();
}

/// Returns the command line with what its arguments are completed by.
pub(super) fn with_completions(whole: Command) -> Command {
    let whole = ARGUMENTS.iter().fold(whole, |whole, (path, id, complete)| {
        below(whole, path, &|command| completed_by(command, *complete, |arg| arg.get_id() == id))
    });
    with_contexts(whole)
}

/// Has the arguments that `is_meant` chooses be completed so. They stay in their order.
fn completed_by(command: Command, complete: Complete, is_meant: impl Fn(&Arg) -> bool) -> Command {
    command.mut_args(|arg| match is_meant(&arg) {
        true => arg.add(ArgValueCompleter::new(complete)),
        false => arg,
    })
}

fn below(command: Command, path: &[&str], change: &dyn Fn(Command) -> Command) -> Command {
    match path.split_first() {
        None => change(command),
        Some((first, rest)) => {
            command.mut_subcommand(*first, |command| below(command, rest, change))
        }
    }
}

/// Has `--context` be completed wherever it is.
fn with_contexts(command: Command) -> Command {
    completed_by(command, contexts, |arg| arg.get_long() == Some("context"))
        .mut_subcommands(with_contexts)
}

fn starting_with(
    current: &OsStr,
    all: impl IntoIterator<Item = String>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let fitting = all.into_iter().filter(|one| one.starts_with(&*current));
    fitting.map(CompletionCandidate::new).collect()
}

fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let contexts = Contexts::read().unwrap_or_default();
    let names = contexts.all().map(|(name, _)| name.clone());
    starting_with(current, names.chain([LOCAL.to_owned()]))
}

fn functions(current: &OsStr) -> Vec<CompletionCandidate> {
    starting_with(
        current,
        ask(async |node| {
            let functions = node.call(ListFunctions::at()).await?.read()?;
            Ok(functions.into_iter().map(|function| function.version.name).collect())
        }),
    )
}

fn removed(current: &OsStr) -> Vec<CompletionCandidate> {
    starting_with(
        current,
        ask(async |node| {
            let removed = node.call(ListRemoved::at()).await?.read()?;
            Ok(removed.into_iter().map(|function| function.name).collect())
        }),
    )
}

/// A function, or one of its versions or aliases as NAME@VERSION or NAME@ALIAS.
fn references(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = current.to_string_lossy().into_owned();
    let (name, Some(_)) = split(&text) else { return functions(current) };
    if abi::name::check(name).is_err() {
        return Vec::new();
    }
    starting_with(current, of_function(name).into_iter().map(|of| format!("{name}@{of}")))
}

/// A version of the function that stands before it on the command line.
fn versions(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed();
    let before = typed.iter().rev().skip(1).filter_map(|word| {
        let (name, _) = split(word);
        (abi::name::check(name).is_ok() && !is_version(name)).then(|| name.to_owned())
    });
    let Some(name) = before.into_iter().next() else { return Vec::new() };
    starting_with(current, of_function(&name).into_iter().filter(|name| is_version(name)))
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The numbers of a function's versions, and its aliases.
fn of_function(name: &str) -> Vec<String> {
    ask(async |node| {
        let versions = node.call(ListVersions::at(name)).await?.read()?;
        let aliases = versions.iter().flat_map(|version| &version.aliases);
        let aliases = aliases.map(|share| share.alias.clone());
        let numbers = versions.iter().map(|version| format!("v{}", version.number));
        Ok(numbers.chain(aliases).collect())
    })
}

/// What the node answers that the command line means.
fn ask(question: impl AsyncFn(&Node) -> anyhow::Result<Vec<String>>) -> Vec<String> {
    let asked = block_on(async {
        let node = Node::new(&target(&typed()))?;
        tokio::time::timeout(PATIENCE, question(&node)).await?
    });
    asked.unwrap_or_default()
}

/// The words of the line that is completed.
fn typed() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.skip_while(|word| word != "--").skip(1).collect()
}

/// The node that the words mean, as far as they can be read.
fn target(words: &[String]) -> Target {
    let mut target = Target::default();
    let value = |at: usize, option: &str| {
        let word = words[at].strip_prefix(option)?;
        match word.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if word.is_empty() => words.get(at + 1).filter(|next| *next != "=").cloned(),
            None => None,
        }
    };
    for at in 0..words.len() {
        if let Some(name) = value(at, "--context") {
            target.context = Some(name);
        } else if let Some(folder) = value(at, "--data") {
            target.data = Some(folder.into());
        } else if let Some(node) = value(at, "--node") {
            target.node = node.parse().ok();
        } else if let Some(ca) = value(at, "--ca") {
            target.ca = Some(ca.into());
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_that_is_completed_is_there() {
        let whole = command();
        for (path, id, _) in ARGUMENTS {
            let found = path.iter().try_fold(&whole, |command, name| command.find_subcommand(name));
            let arg = found.and_then(|found| found.get_arguments().find(|arg| arg.get_id() == id));
            let arg = arg.unwrap_or_else(|| panic!("no {path:?} {id}"));
            assert!(arg.get::<ArgValueCompleter>().is_some(), "{path:?} {id}");
        }
    }

    #[test]
    fn the_node_is_the_one_that_is_typed() {
        let of = |line: &str| target(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("sockhop invoke --context far ").context.as_deref(), Some("far"));
        assert_eq!(of("sockhop invoke --context=far ").context.as_deref(), Some("far"));
        assert_eq!(of("sockhop inspect --data /d a").data, Some("/d".into()));
        assert!(of("sockhop inspect --node").node.is_none());
    }
}
