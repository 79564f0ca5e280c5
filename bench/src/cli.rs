//! The command line: names, defaults and help texts. Holds no file descriptor.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The smallest function there is.
const HELLO: &str = "tests/guests/target/guests/hello.wasm";

/// Load and comparison harness for sockhop and its peers.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Drive load at one URL and report rate, latency and errors.
    Load(LoadArguments),
    /// Compare sockhop with its peers on a hello function, in interleaved rounds.
    Hello(HelloArguments),
    /// Compare sockhop with `wasmtime serve` on bodies that are echoed and streamed, in interleaved rounds.
    Echo(EchoArguments),
    /// Time the first request to functions that a fresh node has not loaded yet, beside the second.
    Cold(ColdArguments),
    /// Measure what deployed functions that nobody calls add to a worker's memory.
    Memory(MemoryArguments),
    /// Measure what a new connection's way into a worker takes, by the node's own account, and compare the rate
    /// of connections with nginx's.
    Hop(HopArguments),
    /// Measure how many requests sockhop serves in a second of CPU time, over the number of connections.
    Cpu(CpuArguments),
    /// Measure how a healthy client fares beside thousands of idle, slow, deaf and resetting ones.
    Pressure(PressureArguments),
}

/// What `load` takes.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Where to send requests: http://HOST:PORT/PATH (port and path may be left out).
    pub url: String,
    /// Send POST with a body of so many bytes (byte i is i % 251) instead of GET. The reply must have the same
    /// body, unless told otherwise; it is read while the request is still being sent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_073_741_824))]
    pub post_bytes: Option<u32>,
    /// Connections held open at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// Length of the measured window.
    #[arg(long, default_value_t = 10.0, value_parser = window_seconds)]
    pub seconds: f64,
    /// Requests per second, sent at intended times whether or not replies come back (open loop).
    /// Without it, each connection sends as soon as it has its reply (closed loop).
    #[arg(long)]
    pub rate: Option<NonZeroU64>,
    /// Load before the measured window, not reported.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warmup_seconds: f64,
    /// One connection per request; latency then includes the connect.
    #[arg(long)]
    pub no_keep_alive: bool,
    /// Pin the client's thread to this core.
    #[arg(long)]
    pub core: Option<usize>,
    /// Count every other reply body as bad. Without it the first reply, fetched before the load, says
    /// what the body is.
    #[arg(long)]
    pub expect_body: Option<String>,
    /// Do not check reply bodies at all, for a server whose replies differ.
    #[arg(long, conflicts_with = "expect_body")]
    pub any_body: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Where the servers are.
#[derive(Debug, Args)]
pub struct Peers {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The `wasmtime` binary [default: on PATH].
    #[arg(long)]
    pub wasmtime: Option<PathBuf>,
}

/// How often and how long.
#[derive(Debug, Args)]
pub struct Rounds {
    /// Rounds; in each, every server is started, warmed, measured and ended once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Measured window of one server in one round.
    #[arg(long, default_value_t = 5.0, value_parser = window_seconds)]
    pub seconds: f64,
    /// Load before each measured window, not reported.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warmup_seconds: f64,
}

/// What `hello` takes.
#[derive(Debug, Args)]
pub struct HelloArguments {
    #[command(flatten)]
    pub peers: Peers,
    /// The `nginx` binary [default: on PATH].
    #[arg(long)]
    pub nginx: Option<PathBuf>,
    /// The hello component (a wasi:http 0.2 handler) that sockhop and wasmtime serve.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Connections held open at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// Write everything, every round included, to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `echo` takes.
#[derive(Debug, Args)]
pub struct EchoArguments {
    #[command(flatten)]
    pub peers: Peers,
    /// The echo component (a wasi:http 0.2 handler that streams its request's body back).
    #[arg(long, default_value = "tests/guests/target/guests/echo.wasm")]
    pub component: PathBuf,
    /// Bytes of each body; at most what sockhop lets a function take by default.
    #[arg(long, default_value_t = 1_048_576, value_parser = clap::value_parser!(u32).range(1..=10_485_760))]
    pub bytes: u32,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Connections held open at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// Write everything, every round included, to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `cold` takes.
#[derive(Debug, Args)]
pub struct ColdArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The component whose copies are deployed; it must reply 200 to GET, and always the same.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// Distinct functions, each asked twice, one after another.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub functions: u32,
    /// Write everything, every request included, to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `memory` takes.
#[derive(Debug, Args)]
pub struct MemoryArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The component that is deployed, as it is and in copies; it must reply 200 to GET.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// Functions of one file, never called.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=90_000))]
    pub functions: u32,
    /// Functions of distinct files, each called once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub distinct: u32,
    /// How long CPU time and memory must stand still before each look.
    #[arg(long, default_value_t = 2.0, value_parser = window_seconds)]
    pub quiet_seconds: f64,
    /// Write everything to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `hop` takes.
#[derive(Debug, Args)]
pub struct HopArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The `nginx` binary [default: on PATH].
    #[arg(long)]
    pub nginx: Option<PathBuf>,
    /// The hello component (a wasi:http 0.2 handler).
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// Connections per second of the low rate, one request on each.
    #[arg(long, default_value = "200")]
    pub rate: NonZeroU64,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Connections at a time; at saturation each is followed by the next at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// Write everything, every round included, to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `cpu` takes.
#[derive(Debug, Args)]
pub struct CpuArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The component; it must reply 200 to GET, and always the same.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// Numbers of connections, each kept alive and busy all the time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64, 512], value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: Vec<u32>,
    /// Let an instance serve many requests, instead of one.
    #[arg(long)]
    pub reuse: bool,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Write everything, every round included, to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `pressure` takes.
#[derive(Debug, Args)]
pub struct PressureArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// What the healthy client asks for; it must reply 200 to GET, and always the same.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// A component whose reply is as long as `?bytes=N` says.
    #[arg(long, default_value = "tests/guests/target/guests/flood.wasm")]
    pub flood: PathBuf,
    /// Connections that stay open after one request each; 0 leaves this and each of the others out.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub idle: u32,
    /// Clients that send a byte of their request's head every second.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub slow: u32,
    /// Clients that ask for a large reply and read none of it.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub deaf: u32,
    /// Connections per second that are reset by the client half-way.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub resets: u32,
    /// Requests per second of the healthy client (open loop).
    #[arg(long, default_value = "500")]
    pub rate: NonZeroU64,
    /// Connections of the healthy client, kept alive.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub connections: u32,
    /// Each measured window: the healthy client alone, and beside the others.
    #[arg(long, default_value_t = 10.0, value_parser = window_seconds)]
    pub seconds: f64,
    /// Load before each measured window, not reported.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warmup_seconds: f64,
    /// Write everything to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// A length of time a person may ask for: `Duration::from_secs_f64` would panic on what this refuses.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err("want a number of seconds between 0 and 86400".to_owned()),
    }
}

/// A window: long enough to hold something.
fn window_seconds(text: &str) -> Result<f64, String> {
    match seconds(text) {
        Ok(value) if value < 0.1 => Err("want at least 0.1 seconds; less measures nothing".to_owned()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_refuses_what_no_clock_can_hold() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["-1", "NaN", "inf", "1e9", "x", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
