//! `sockhop-bench`: parses the command line, runs the command and chooses the exit code. Owns no
//! file descriptor.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use sockhop_bench::{Cli, CompareError, run};

/// The exit code of a comparison that found a slower build. A script can tell it from 1, a
/// comparison that did not work, and 2, a wrong command line.
const REGRESSION: u8 = 3;

fn main() -> ExitCode {
    let Err(error) = run(Cli::parse()) else { return ExitCode::SUCCESS };
    // The text has the causes already, so neither they nor a backtrace are printed.
    eprintln!("error: {error}");
    match error.downcast_ref() {
        Some(CompareError::Regression { .. }) => ExitCode::from(REGRESSION),
        _ => ExitCode::FAILURE,
    }
}
