//! The command line. [`serve`] runs a node. The other commands talk to the control API of one
//! through [`mod@client`]; [`mod@choice`] says which one, [`address`] where it is, [`tls`] how it is
//! reached from afar. [`login`] keeps those that the user works with in [`contexts`].
//!
//! [`new`] begins a project, [`build`] builds one, and [`dev`] runs one while it is worked on, with
//! [`watch`], which sees what changes. [`run`](mod@run) runs one without a node;
//! [`private_node`] is the node that both start. [`deploy`] sends a function that is [`ready`]: [`project`] reads its
//! `sockhop.toml`, [`progress`] shows how far it is, [`native`] makes a zip of a folder, [`urls`]
//! where it can be called; [`environment`] and [`env_file`] are parts of that, and [`push`] takes
//! one to a registry. [`mod@set`] changes options of a function that is there, [`diff`] says what
//! differs, as [`changed`] prints it. [`show`] prints what there is, [`mod@invoke`] calls a function,
//! [`remove`] removes one and restores it, [`versions`] is for versions and aliases, [`secret`] for
//! secrets, [`kv`] for state, [`domain`] for hosts, [`cron`] for schedules, [`jobs`] for
//! asynchronous invocations, [`mod@bundle`] for other platforms, [`logs`] prints what was logged,
//! [`mod@top`] shows it as it changes,
//! [`mod@dashboard`] has a browser do so, and [`guide`] shows the manual. [`shell`] is for
//! packagers, [`mod@complete`] what shells offer, [`examples`] stand in each help, and
//! [`mod@print`] is what commands print with, [`hidden`] what they ask with.
//!
//! Names and defaults are part of what users rely on (see the guide). Owns no fds.

/// Prints a line to stdout, as `println!`, which would panic where this ends the command.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print_line(format_args!($($text)*)) };
}

mod address;
mod build;
mod bundle;
mod changed;
mod choice;
mod client;
mod complete;
mod contexts;
mod cron;
mod dashboard;
mod deploy;
mod dev;
mod diff;
mod domain;
mod env_file;
mod environment;
mod examples;
mod guide;
mod hidden;
mod invoke;
mod jobs;
mod kv;
mod login;
mod logs;
mod native;
mod new;
mod print;
mod private_node;
mod progress;
mod project;
mod push;
mod ready;
mod remove;
mod run;
mod secret;
mod serve;
mod set;
mod shell;
mod show;
mod tls;
mod top;
mod urls;
mod versions;
mod watch;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;

use abi::function::Kind;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::address::Target;
pub(crate) use self::complete::complete;
use compile::child::{self, Files, Processor};
use host::{log, printable, userinfo};

/// What `--version` prints behind the name.
const VERSION: &str = match abi::OPTIMISED {
    true => env!("CARGO_PKG_VERSION"),
    false => concat!(env!("CARGO_PKG_VERSION"), " (quick build: not optimised, not for measuring)"),
};

/// Help is as wide as the terminal, and no wider than this.
const HELP_COLUMNS_MAX: usize = 100;

#[derive(Debug, Parser)]
#[command(name = "sockhop", version = VERSION, about = "A self-hosted serverless node", propagate_version = true)]
#[command(max_term_width = HELP_COLUMNS_MAX)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line, with examples and with what shells complete it by.
fn command() -> clap::Command {
    complete::with_completions(examples::with_examples(Cli::command()))
}

/// Reads the command line of this process. What is wrong with it, and help, ends the process.
pub(crate) fn parse() -> Command {
    let parsed = command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .unwrap_or_else(|error| without_credentials(error).exit());
    parsed.command
}

/// A mistake in the arguments, which it quotes, without what opens doors.
fn without_credentials(mut error: clap::Error) -> clap::Error {
    let hidden = |(kind, value): (ContextKind, &ContextValue)| match value {
        ContextValue::String(text) => match userinfo::hide_in_value(text) {
            Cow::Owned(hidden) => Some((kind, hidden)),
            Cow::Borrowed(_) => None,
        },
        _ => None,
    };
    for (kind, text) in error.context().filter_map(hidden).collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    error
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(serve::Serve),
    /// Check the settings that `serve` would run with, and print them
    CheckConfig(serve::CheckConfig),
    /// Deploy a WebAssembly file or a native program as a function
    Deploy(Box<deploy::Deploy>),
    /// Push a WebAssembly file to an OCI registry
    Push(push::Push),
    /// Change options of a function that is there
    Set(Box<set::Set>),
    /// Show what differs between versions, or between a project and what is deployed
    Diff(diff::Diff),
    /// Begin a function: a folder with a program, its sockhop.toml, and how to go on
    New(new::New),
    /// Build a project, as its sockhop.toml says
    Build(build::Build),
    /// Run a project while it is worked on, built and deployed anew at each change
    Dev(dev::Dev),
    /// Run what would be deployed without a node: serve it, or run a command once
    Run(Box<run::Run>),
    /// List the functions of the node
    #[command(visible_alias = "ls")]
    List(show::List),
    /// Show one function
    Inspect {
        /// The function
        name: String,
        #[command(flatten)]
        show: Show,
    },
    /// Remove a function with all its versions and secrets
    #[command(visible_alias = "rm")]
    Remove(remove::Remove),
    /// Bring a removed function back, within a day
    Restore(remove::Restore),
    /// List the versions of a function
    Versions {
        /// The function
        name: String,
        #[command(flatten)]
        show: Show,
    },
    /// Have a function's bare name mean the version that was active before, or another one
    Rollback(versions::Rollback),
    /// Set, remove and list names for versions of a function
    #[command(subcommand)]
    Alias(versions::Alias),
    /// Set, list and remove the secrets of a function
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Read, set and remove what functions keep: the keys and values of their buckets
    #[command(subcommand)]
    Kv(kv::Kv),
    /// Add, list and remove the hosts that functions are found by
    #[command(subcommand)]
    Domain(domain::Command),
    /// Add, list, remove and run the schedules that ring functions
    #[command(subcommand)]
    Cron(cron::Command),
    /// List asynchronous invocations, show one, remove it, try it again
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Pack a function into what another platform runs
    Bundle(bundle::Bundle),
    /// Call a function
    Invoke(invoke::Invoke),
    /// Show what the node and its workers do
    #[command(visible_alias = "ps")]
    Status(Show),
    /// Keep a node that is elsewhere, and its token, so that commands ask it
    Login(login::Login),
    /// Forget a node and its token
    Logout(login::Logout),
    /// List the nodes that `login` has kept, and choose the one that commands ask
    Context(login::ContextCommand),
    /// Show what an invocation or a function has logged
    Logs(logs::Logs),
    /// Watch what functions and workers do
    Top(top::Top),
    /// Open the node's dashboard in the browser of this machine
    Dashboard(dashboard::Dashboard),
    /// Show the manual, or a page of it
    Guide(guide::Guide),
    /// Print a script that completes the command line
    Completions(shell::Completions),
    /// Print the man page
    Man(shell::Man),
    /// Compile a component, or unpack a native function (the node runs this in a process of its own)
    #[command(hide = true)]
    Compile {
        #[arg(long)]
        kind: Kind,
        /// Not only for this machine's processor
        #[arg(long)]
        portable: bool,
        /// A file with functions that were compiled before
        #[arg(long = "pack", value_name = "FILE")]
        packs: Vec<PathBuf>,
        /// Where the others go
        #[arg(long, value_name = "FILE")]
        new_pack: Option<PathBuf>,
        input: PathBuf,
        output: PathBuf,
    },
}

/// Options of every command that prints something.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Print JSON, a line for each record
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// A command line that is in form and asks for nothing that can be done; the exit code says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misused(String);

/// Prints lines, with what a node, or a guest, may have said in them. A reader that has seen enough,
/// as `head` has, ends the command without a word.
fn print_line(lines: fmt::Arguments<'_>) {
    end_if_unwritten(writeln!(io::stdout(), "{}", printable::lines(&lines.to_string())));
}

/// Prints bytes as they are, in the same way.
fn print_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout();
    end_if_unwritten(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

fn end_if_unwritten(written: io::Result<()>) {
    let Err(error) = written else { return };
    let enough = error.kind() == io::ErrorKind::BrokenPipe;
    if !enough {
        eprintln!("error: stdout cannot be written to: {error}");
    }
    std::process::exit(i32::from(!enough));
}

/// Does what was asked.
///
/// # Errors
/// A sentence for the terminal.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    if !matches!(command, Command::Serve(_)) {
        log::start_command();
    }
    match command {
        Command::Serve(serve) => serve::serve(serve),
        Command::CheckConfig(check) => serve::check_config(check),
        Command::Guide(guide) => guide::run(&guide),
        Command::Completions(wanted) => shell::completions(&wanted),
        Command::Man(wanted) => shell::man(&wanted),
        Command::Compile { kind, portable, packs, new_pack, input, output } => {
            let processor = if portable { Processor::Portable } else { Processor::Host };
            let files = Files { input, output, packs, new_pack };
            match child::run(kind, processor, &files) {
                Ok(reused) => print_line(format_args!("{}", serde_json::to_string(&reused)?)),
                Err((reason, status)) => {
                    // The parent reads it from here and says whose file it was.
                    eprintln!("{reason}");
                    std::process::exit(status.into());
                }
            }
            Ok(())
        }
        Command::New(wanted) => new::run(&wanted),
        Command::Build(wanted) => client::block_on(async { Ok(build::run(wanted).await?) }),
        Command::Dev(wanted) => client::block_on(dev::run(wanted)),
        Command::Push(push) => client::block_on(push::run(push)),
        Command::Deploy(deploy) => client::block_on(deploy::run(*deploy)),
        Command::Run(wanted) => client::block_on(run::run(*wanted)),
        Command::Set(set) => client::block_on(set::run(*set)),
        Command::Diff(diff) => client::block_on(diff::run(diff)),
        Command::List(show) => client::block_on(show::list(show)),
        Command::Inspect { name, show } => client::block_on(show::inspect(name, show)),
        Command::Remove(remove) => client::block_on(remove::run(remove)),
        Command::Restore(restore) => client::block_on(remove::restore(restore)),
        Command::Versions { name, show } => {
            client::block_on(async move { versions::versions(&name, &show).await })
        }
        Command::Rollback(rollback) => client::block_on(versions::roll_back(rollback)),
        Command::Alias(alias) => client::block_on(versions::alias(alias)),
        Command::Secret(secret) => client::block_on(secret::run(secret)),
        Command::Kv(kv) => client::block_on(kv::run(kv)),
        Command::Domain(domain) => client::block_on(domain::run(domain)),
        Command::Cron(cron) => client::block_on(cron::run(cron)),
        Command::Jobs(jobs) => client::block_on(jobs::run(jobs)),
        Command::Bundle(bundle) => client::block_on(bundle::run(bundle)),
        Command::Invoke(invoke) => client::block_on(invoke::run(invoke)),
        Command::Login(wanted) => client::block_on(login::login(wanted)),
        Command::Logout(wanted) => login::logout(wanted),
        Command::Context(wanted) => login::context(wanted),
        Command::Status(show) => client::block_on(show::status(show)),
        Command::Logs(wanted) => client::block_on(logs::run(wanted)),
        Command::Top(top) => client::block_on(top::run(top)),
        Command::Dashboard(wanted) => client::block_on(dashboard::run(wanted)),
    }
}
