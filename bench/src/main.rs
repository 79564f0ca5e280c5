//! `sockhop-bench`: drives load at an HTTP server, and compares sockhop with its peers on one machine.
//!
//! The harness is a bystander: it links nothing of the product and knows the servers only by their
//! command lines and their sockets, so a number it prints is one that any user could have seen.
//!
//! Code map: `client` is the load generator (one thread, non-blocking), with `reply` as its parser
//! without I/O; `load` is the command around it and `report` its result. `server` starts and ends what is
//! measured. `compare` runs the rounds of `hello` and `echo`. `cold`, `memory`, `hop`, `cpu_cost` and
//! `pressure` look at sockhop `alone`: the first two with many functions of `copies`, once it is `quiet`, `hop`
//! at the node's own `metrics`, too. File descriptors belong to `client::connection`, `target::session` and
//! `pressure::crowd` (sockets), `client::timer` (the timer) and `server` (child processes and their log
//! files); all of them close on drop.
#![forbid(unsafe_code)]

mod alone;
mod cli;
mod client;
mod cold;
mod compare;
mod copies;
mod cpu;
mod cpu_cost;
mod echo;
mod environment;
mod hello;
mod hop;
mod interrupt;
mod load;
mod memory;
mod metrics;
mod output;
mod pressure;
mod process_tree;
mod quiet;
mod reply;
mod report;
mod server;
mod smaps;
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
        cli::Command::Echo(arguments) => echo::command(&arguments)?,
        cli::Command::Cold(arguments) => cold::command(&arguments)?,
        cli::Command::Memory(arguments) => memory::command(&arguments)?,
        cli::Command::Hop(arguments) => hop::command(&arguments)?,
        cli::Command::Cpu(arguments) => cpu_cost::command(&arguments)?,
        cli::Command::Pressure(arguments) => pressure::command(&arguments)?,
    }
    Ok(())
}
