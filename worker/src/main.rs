//! `sockhop-worker`: one process, one core, one thread that runs guests.
//!
//! Started by `sockhop serve` with its end of the channel at a known fd; it is of no use alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    sockhop_worker::worker_main()
}
