//! The `echo` command: sockhop and `wasmtime serve`, side by side, on a body that comes back as it was sent,
//! streamed both ways at once. Holds no file descriptor; `compare` runs the rounds.

use std::time::Duration;

use crate::cli::EchoArguments;
use crate::compare::{Contest, Error};
use crate::load::{self, Load};
use crate::output;
use crate::server::{Instances, LOAD_CORE};

/// The command.
pub fn command(arguments: &EchoArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let (kinds, missing) = arguments.peers.find(&[Instances::Fresh]);
    let body = load::payload(arguments.bytes as usize);
    let load = Load {
        connections: arguments.connections,
        rate: None,
        warmup: Duration::from_secs_f64(arguments.rounds.warmup_seconds),
        window: Duration::from_secs_f64(arguments.rounds.seconds),
        keep_alive: true,
        core: Some(LOAD_CORE),
        post: Some(body.clone()),
        expected_body: Some(body),
    };
    let rounds = arguments.rounds.rounds;
    Contest { kinds, missing, component, load, measure: "echo", rounds }.run(arguments.json.as_deref())
}
