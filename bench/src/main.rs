//! `sockhop-bench`: drives load at an HTTP server, and compares sockhop with its peers on one
//! machine.
//!
//! The harness is a bystander: it links nothing of the product and knows the servers only by their
//! command lines and their sockets, so a number it prints is one that any user could have seen.
//!
//! Code map: `client` is the load generator (threads, each non-blocking), with `reply` as its
//! parser without I/O; `load` is the command around it and `report` its result. `server` starts and
//! ends what is measured, `null_server` is one of those. `peers` runs the rounds over all of them;
//! `compare` says what differs between two `series` of rounds, with what `stats` knows; `own_cost`
//! measures the client itself. `cold`, `memory`, `hop`, `cpu_cost` and `pressure` look at sockhop
//! `alone`: the first two with many functions of `copies`, once it is `quiet`, `hop` at the node's
//! own `metrics`, too. File descriptors belong to `client::connection`, `target::session`,
//! `null_server::peer` and `pressure::crowd` (sockets), `client::timer` (the timer) and `server`
//! (child processes and their log files); all of them close on drop.
#![forbid(unsafe_code)]

mod alone;
mod cli;
mod client;
mod cold;
mod compare;
mod copies;
mod cpu;
mod cpu_cost;
mod environment;
mod hop;
mod interrupt;
mod load;
mod memory;
mod metrics;
mod null_server;
mod output;
mod own_cost;
mod peers;
mod pressure;
mod process_tree;
mod quiet;
mod reply;
mod report;
mod report_text;
mod series;
mod server;
mod smaps;
mod stats;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

/// A script can tell a slower build from a comparison that did not work: 1 is that, 2 a wrong
/// command line.
const REGRESSION: u8 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Messages carry their causes; a chain or a backtrace would say it all twice.
            eprintln!("error: {error}");
            if matches!(error.downcast_ref(), Some(compare::Error::Regression { .. })) {
                return ExitCode::from(REGRESSION);
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let cli = cli::Cli::parse();
    // Before any child exists, so that none can be left behind.
    interrupt::install()?;
    match cli.command {
        cli::Command::Load(arguments) => load::command(&arguments)?,
        cli::Command::Peers(arguments) => peers::command(&arguments)?,
        cli::Command::Compare(arguments) => compare::command(&arguments)?,
        cli::Command::Client(arguments) => own_cost::command(&arguments)?,
        cli::Command::NullServer(arguments) => null_server::command(&arguments)?,
        cli::Command::Cold(arguments) => cold::command(&arguments)?,
        cli::Command::Memory(arguments) => memory::command(&arguments)?,
        cli::Command::Hop(arguments) => hop::command(&arguments)?,
        cli::Command::Cpu(arguments) => cpu_cost::command(&arguments)?,
        cli::Command::Pressure(arguments) => pressure::command(&arguments)?,
    }
    Ok(())
}
