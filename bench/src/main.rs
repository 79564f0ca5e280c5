//! `sockhop-bench`: drives load at an HTTP server, and compares sockhop with its peers on one machine.
//!
//! The harness is a bystander: it links nothing of the product and knows the servers only by their
//! command lines and their sockets, so a number it prints is one that any user could have seen.
//!
//! Code map: `client` is the load generator (one thread, non-blocking), with `reply` as its parser
//! without I/O; `load` is the command around it and `report` its result; `server` starts and ends what is measured, and `hello`
//! runs the rounds. File descriptors belong to `client::connection` (sockets), `client::timer` (the
//! timer) and `server` (child processes and their log files); all of them close on drop.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod cpu;
mod environment;
mod hello;
mod interrupt;
mod load;
mod process_tree;
mod reply;
mod report;
mod server;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Messages carry their causes; a chain or a backtrace would say it all twice.
            eprintln!("error: {error}");
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
        cli::Command::Hello(arguments) => hello::command(&arguments)?,
    }
    Ok(())
}
