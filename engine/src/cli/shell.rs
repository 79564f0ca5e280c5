//! What a packager wants of the command line: completions for shells, and man pages. Owns no fds.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::env::Shells;

use super::command;
use super::complete::VARIABLE;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell: its script belongs in what it starts with, as `source <(sockhop completions bash)`
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for sockhop and one for each of its commands into this folder, instead of
    /// sockhop's own to stdout
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The command line as users have it: without what the node runs for itself.
fn public() -> Command {
    let whole = command();
    Command::new("sockhop")
        .about(whole.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

pub(super) fn completions(wanted: &Completions) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell =
        shells.completer(&wanted.shell).context("clap_complete does not know this shell")?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "sockhop", "sockhop", "sockhop", &mut script)?;
    if wanted.shell == "bash" {
        // As it is, bash ends a word there, and NAME@VERSION is one.
        writeln!(script, "COMP_WORDBREAKS=${{COMP_WORDBREAKS//@}}")?;
    }
    io::stdout().write_all(&script).context("stdout cannot be written to")
}

pub(super) fn man(wanted: &Man) -> anyhow::Result<()> {
    match &wanted.out {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("the folder {folder:?} cannot be made"))?;
            clap_mangen::generate_to(public(), folder)
                .with_context(|| format!("{folder:?} cannot be written to"))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(public()).render(&mut page)?;
            io::stdout().write_all(&page).context("stdout cannot be written to")
        }
    }
}
