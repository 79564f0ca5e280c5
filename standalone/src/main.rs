//! `sockhop-standalone`: the program that `sockhop bundle` puts in front of a function.
//!
//! It is linked statically, so that it runs wherever Linux does: see `scripts/lib.sh`, which builds
//! it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sockhop_worker::standalone_main()
}
