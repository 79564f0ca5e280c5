//! `sockhop`: a self-hosted serverless node, and the commands that talk to one.
//!
//! This file only reads the command line and chooses the exit code: 0 done, 1 failed, 2 used wrongly. Owns no fds.

mod cli;
mod compile;
mod control;
mod dispatch;
mod host;
mod node;
mod shard;
mod store;
mod takeover;
mod workers;

use std::process::ExitCode;

use clap::Parser as _;

/// Small allocations dominate here too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    let log = tracing_subscriber::EnvFilter::try_from_env("SOCKHOP_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).with_ansi(false).init();
    match cli::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", whole(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each said once: many messages already quote theirs.
fn whole(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        said if said.contains(&cause) => text,
        said => format!("{said}: {cause}"),
    })
}
