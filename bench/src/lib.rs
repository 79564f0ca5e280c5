//! `sockhop-bench`: drives load at an HTTP server, and compares sockhop with its peers on one
//! machine. `main` only has the exit codes.
//!
//! The harness is a bystander: it links nothing of the product and knows the servers only by their
//! command lines and their sockets, so a number it prints is one that any user could have seen.
//!
//! Code map:
//!
//! * `client` is the load generator: threads with non-blocking sockets, and `reply`, a parser
//!   without I/O. `load` is the command that runs it, and `report` is its result.
//! * `server` starts and ends the servers that are measured; `null_server` and `hyper_server` are
//!   two of them. `tls` is the client's side of TLS.
//! * `peers` runs the rounds over all servers. `compare` finds differences between two `series` of
//!   rounds by the statistics in `stats`. `own_cost` measures the client itself.
//! * `cold`, `memory`, `hop`, `cpu_cost` and `pressure` measure sockhop `alone`. The first two
//!   deploy many `copies` of a component and wait until the node is `quiet`; `hop` reads the node's
//!   own `metrics`. `keys` and `jobs` measure what it keeps, and `state` the same beside
//!   `state_server`, a native program with Redis or SQLite. `native` measures native programs beside the same programs without a node.
//!
//! File descriptors belong to `client::connection`, `client::http2`, `target::session`,
//! `null_server::peer`, `hyper_server` and `pressure::crowd` (sockets), `native` (a listener and a
//! socket for a program's Runtime API),
//! `state_server` (a listener, SQLite's files, a connection to Redis), `client::timer` (the timer) and `server` (child processes and their log files). All of them are
//! closed on drop.
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
mod hyper_server;
mod interrupt;
mod jobs;
mod keys;
mod load;
mod memory;
mod metrics;
mod native;
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
mod state;
mod state_server;
mod stats;
mod target;
mod tls;

pub use crate::cli::Cli;
pub use crate::compare::Error as CompareError;

/// Runs a command.
///
/// # Errors
/// The command's own error. Its text includes the causes. A comparison that found a slower build
/// fails with [`CompareError::Regression`].
pub fn run(cli: Cli) -> anyhow::Result<()> {
    // Before any child exists, so that a signal cannot leave one behind.
    interrupt::install()?;
    match cli.command {
        cli::Command::Load(arguments) => load::command(&arguments)?,
        cli::Command::Peers(arguments) => peers::command(&arguments)?,
        cli::Command::Compare(arguments) => compare::command(&arguments)?,
        cli::Command::Client(arguments) => own_cost::command(&arguments)?,
        cli::Command::NullServer(arguments) => null_server::command(&arguments)?,
        cli::Command::HyperServer(arguments) => hyper_server::command(&arguments)?,
        cli::Command::StateServer(arguments) => state_server::command(&arguments)?,
        cli::Command::Cold(arguments) => cold::command(&arguments)?,
        cli::Command::Memory(arguments) => memory::command(&arguments)?,
        cli::Command::Hop(arguments) => hop::command(&arguments)?,
        cli::Command::Cpu(arguments) => cpu_cost::command(&arguments)?,
        cli::Command::Pressure(arguments) => pressure::command(&arguments)?,
        cli::Command::Native(arguments) => native::command(&arguments)?,
        cli::Command::State(arguments) => state::command(&arguments)?,
        cli::Command::Keys(arguments) => keys::command(&arguments)?,
        cli::Command::Jobs(arguments) => jobs::command(&arguments)?,
    }
    Ok(())
}
