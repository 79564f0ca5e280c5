//! The `hello` command: sockhop and its peers, side by side, on the smallest function there is.
//! Holds no file descriptor; `compare` runs the rounds.

use std::time::Duration;

use crate::cli::HelloArguments;
use crate::compare::{Contest, Error, Missing};
use crate::load::Load;
use crate::output;
use crate::server::{self, Instances, Kind, LOAD_CORE};

/// What every server must answer; nginx is configured with it, and the guest has it built in.
const BODY: &[u8] = b"Hello, world!";

/// The command.
pub fn command(arguments: &HelloArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let (mut kinds, mut missing) = arguments.peers.find(&[Instances::Fresh, Instances::Reuse]);
    match server::find(arguments.nginx.as_deref(), "nginx") {
        Some(binary) => kinds.push(Kind::Nginx { binary }),
        None => missing.push(Missing { name: "nginx", option: "--nginx" }),
    }
    let load = Load {
        connections: arguments.connections,
        rate: None,
        warmup: Duration::from_secs_f64(arguments.rounds.warmup_seconds),
        window: Duration::from_secs_f64(arguments.rounds.seconds),
        keep_alive: true,
        core: Some(LOAD_CORE),
        post: None,
        expected_body: Some(BODY.to_vec()),
    };
    let rounds = arguments.rounds.rounds;
    Contest { kinds, missing, component, load, measure: "hello", rounds }.run(arguments.json.as_deref())
}
