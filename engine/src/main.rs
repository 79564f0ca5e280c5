//! `sockhop`: a self-hosted serverless node, and the commands that talk to one.
//!
//! This file only reads the command line and chooses the exit code: 0 done, 1 failed, 2 used
//! wrongly. Owns no fds.

mod acme;
mod cli;
mod kept_state;
mod node;
mod reconfigure;
mod tls;

use std::process::ExitCode;

use abi::huge_pages::{self, Pages};
use host::{log, userinfo};

/// Small allocations dominate here too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Tokens and secrets are in the memory of every command, and in the engine's for good.
    if let Err(error) = abi::dumps::forbid() {
        log::say_failure(&format!(
            "core dumps of this process cannot be forbidden: {error}; does a seccomp filter refuse prctl?"
        ));
        return ExitCode::FAILURE;
    }
    // Where that is refused, memory is only larger than it need be.
    let _ = huge_pages::set(Pages::Small);
    cli::complete();
    let command = cli::parse();
    let code = match cli::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // It may quote what was given.
            log::say_failure(&userinfo::hide(&whole(&error)));
            // As clap has it.
            if error.is::<cli::Misused>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    };
    log::end();
    code
}

/// An error with its causes, each said once: many messages already quote theirs.
fn whole(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        said if said.contains(&cause) => text,
        said => format!("{said}: {cause}"),
    })
}
