//! The command line: names, defaults and help texts. Holds no file descriptor.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::{Protocol, Rate};
use crate::native::Measure as NativeMeasure;
use crate::peers::Measure;
use crate::server::LOAD_CORE;
use crate::state_server::Synchronous;

/// The smallest function there is.
const HELLO: &str = "tests/guests/target/guests/hello.wasm";
/// One that keeps keys and values.
const KEYVALUE: &str = "tests/guests/target/guests/keyvalue.wasm";
const NATIVE_GUESTS: &str = "tests/guests/target/native";

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
    /// Measure sockhop and every peer that is found, in interleaved rounds, with the same guests,
    /// load and cores.
    Peers(PeersArguments),
    /// Say what differs between two results beyond noise.
    Compare(CompareArguments),
    /// Measure what the load generator itself can do, beside wrk on the same core.
    Client(ClientArguments),
    /// Answer every request with the same bytes, at once or after a set time.
    NullServer(NullServerArguments),
    /// Answer every GET with the same bytes and every POST with its own, by hyper and rustls.
    HyperServer(HyperServerArguments),
    /// Keep keys and values for clients as the guest `keyvalue` does, with Redis or SQLite.
    StateServer(StateServerArguments),
    /// Time the first request to functions that a fresh node has not loaded yet, beside the second.
    Cold(ColdArguments),
    /// Measure what deployed functions that nobody calls add to a worker's memory.
    Memory(MemoryArguments),
    /// Measure what a new connection's way into a worker takes, by the node's own account.
    Hop(HopArguments),
    /// Measure how many requests sockhop serves in a second of CPU time, over the number of
    /// connections.
    Cpu(CpuArguments),
    /// Measure how a healthy client fares beside thousands of idle, slow, deaf and resetting ones.
    Pressure(PressureArguments),
    /// Measure what native programs take to start from nothing and what memory they take, in each
    /// kind of sandbox and without a node.
    Native(NativeArguments),
    /// Measure what keys and values cost a function, beside a native program with Redis or SQLite.
    State(StateArguments),
    /// Measure a node that keeps millions of keys: its start, its memory, its file, its latency.
    Keys(KeysArguments),
    /// Measure how soon asynchronous invocations run, and how many a second.
    Jobs(JobsArguments),
}

/// What `load` takes.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Where to send requests: `http://HOST:PORT/PATH` (port and path may be left out). Over
    /// `https://` TLS 1.3 is spoken, and certificates are not looked at.
    pub url: String,
    /// The method [default: GET, or POST with a body].
    #[arg(long)]
    pub method: Option<String>,
    /// A header, NAME:VALUE (repeatable).
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// A body.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["body_file", "post_bytes"])]
    pub body: Option<String>,
    /// A body from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "post_bytes")]
    pub body_file: Option<PathBuf>,
    /// A body of so many bytes (byte i is i % 251), for a server that sends it back: the reply must
    /// have the same body, unless told otherwise. It is read while the request is still being sent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_073_741_824))]
    pub post_bytes: Option<u32>,
    /// Ask so many functions instead of one; `{}` in the URL's path is their number, from 0.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub functions: u32,
    /// How unlike their shares are: number i, from 1, is asked in proportion to 1 / i^ZIPF, at
    /// random. 0 asks all alike.
    #[arg(long, default_value_t = 1.0, value_parser = exponent)]
    pub zipf: f64,
    /// Connections held open at a time, over all threads.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// Speak HTTP/2, with so many requests at a time on each connection.
    #[arg(
        long,
        value_name = "STREAMS",
        conflicts_with_all = ["keep_alive_percent", "no_keep_alive"],
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub http2: Option<u32>,
    /// Send nothing: what counts is a TLS handshake, each on a connection of its own.
    #[arg(long, conflicts_with = "http2")]
    pub handshakes: bool,
    /// Resume TLS sessions on new connections.
    #[arg(long)]
    pub resume: bool,
    /// Length of the measured window.
    #[arg(long, default_value_t = 10.0, value_parser = window_seconds)]
    pub seconds: f64,
    /// Requests per second, sent at intended times whether or not replies come back (open loop):
    /// steady (5000), in steps of equal length (1000,2000,4000), as a ramp (1000..5000) or both
    /// (1000..5000,5000). Without it, each connection sends as soon as it has its reply (closed
    /// loop).
    #[arg(long)]
    pub rate: Option<Rate>,
    /// Load before the measured window, not reported.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warmup_seconds: f64,
    /// A request without a whole reply by then has failed.
    #[arg(long, default_value_t = 5.0, value_parser = window_seconds)]
    pub timeout_seconds: f64,
    /// Of 100 requests, so many leave their connection open for the next, chosen at random; the
    /// others say so and close it. Below 100, latency includes the connects.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    keep_alive_percent: u8,
    /// One connection per request: --keep-alive-percent 0.
    #[arg(long, conflicts_with = "keep_alive_percent")]
    no_keep_alive: bool,
    /// One client thread for each of these cores, pinned to it; without it, one thread that is not
    /// pinned.
    #[arg(long, alias = "core", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Never sleep. A server on this machine is then spared the work of waking the client, as if it
    /// were on another.
    #[arg(long)]
    pub spin: bool,
    /// Count every other reply body as bad. Without it the first reply, fetched before the load,
    /// says what the body is.
    #[arg(long)]
    pub expect_body: Option<String>,
    /// Do not check reply bodies at all, for a server whose replies differ.
    #[arg(long, conflicts_with = "expect_body")]
    pub any_body: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl LoadArguments {
    /// What is spoken on connections.
    pub fn protocol(&self) -> Protocol {
        match self.http2 {
            Some(streams) => Protocol::Http2 { streams },
            None if self.handshakes => Protocol::Handshakes,
            None => Protocol::Http1,
        }
    }

    /// Either option says it.
    pub fn keep_alive_percent(&self) -> u8 {
        if self.no_keep_alive { 0 } else { self.keep_alive_percent }
    }
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

/// What `peers` takes.
#[derive(Debug, Args)]
pub struct PeersArguments {
    /// What is asked of the servers [default: all there is]: hello, connections, json, page, echo,
    /// upstream, upstream-1000, cpu, beside-cpu, zipf, c, go, native, lambda, invoke, tls-hello,
    /// tls-echo, tls-connections, tls-resumed, handshakes, h2-1, h2-100.
    #[arg(long, value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// Who takes part, by the names in the tables (sockhop, wasmtime+tuned, nginx, null, …)
    /// [default: all that are found].
    #[arg(long, value_delimiter = ',')]
    pub servers: Vec<String>,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_values = ["rate", "latency", "start", "memory"])]
    pub measures: Vec<Measure>,
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    /// Repeatable, with names: `old=DIR` and `new=DIR` run as sockhop:old and sockhop:new in the
    /// same rounds.
    #[arg(long, value_name = "[NAME=]DIR")]
    pub sockhop_bin: Vec<String>,
    /// Folder with peers' binaries, looked into before PATH; scripts/install-peers fills it.
    #[arg(long, default_value = "target/peers/bin")]
    pub peers_dir: PathBuf,
    /// The `spin` binary; without it Spin takes no part.
    #[arg(long, value_name = "FILE")]
    pub spin_bin: Option<PathBuf>,
    /// Folder with the guests.
    #[arg(long, default_value = "tests/guests/target/guests")]
    pub guests: PathBuf,
    /// Folder with the native guests, a folder each.
    #[arg(long, default_value = NATIVE_GUESTS)]
    pub native_guests: PathBuf,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Rounds, of all, in which memory is measured.
    #[arg(long, default_value_t = 2)]
    pub memory_rounds: u32,
    /// Functions while their memory is measured; a process each for servers of one function.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub functions: u32,
    /// Functions of the scenario zipf.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub zipf_functions: u32,
    /// Idle connections while their memory is measured.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub idle_connections: u32,
    /// Cores of the client, a thread on each; servers have core 0.
    #[arg(long, value_delimiter = ',', default_values_t = [LOAD_CORE])]
    pub client_cores: Vec<usize>,
    /// The client never sleeps, so that servers are spared the work of waking it, as if it were on
    /// another machine.
    #[arg(long)]
    pub spin: bool,
    /// Write everything, every round included, to this file as JSON: what `compare` reads.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write a chart for each measure (SVG) into this folder.
    #[arg(long, value_name = "DIR")]
    pub charts: Option<PathBuf>,
}

/// What `compare` takes.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Results of `peers --json` or `cpu --json`: before.
    pub before: PathBuf,
    /// After. Without it, two --servers of one file are compared, round by round.
    pub after: Option<PathBuf>,
    /// Of these servers only. Of one file: the one before and the one after.
    #[arg(long, value_delimiter = ',', required_unless_present = "after")]
    pub servers: Vec<String>,
    /// First turn each value into one in parts of this server's of the same round, which takes a
    /// slower day of the machine out of it.
    #[arg(long, value_name = "SERVER", requires = "after")]
    pub relative_to: Option<String>,
    /// How sure an interval must be.
    #[arg(long, default_value_t = 0.99, value_parser = confidence)]
    pub confidence: f64,
    /// A difference that may be as small as this does not count.
    #[arg(long, default_value_t = 0.5, value_parser = percent)]
    pub tolerance_percent: f64,
    /// End with exit code 3 if a figure is worse beyond noise.
    #[arg(long)]
    pub fail_on_regression: bool,
    /// Write everything to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `client` takes.
#[derive(Debug, Args)]
pub struct ClientArguments {
    #[command(flatten)]
    pub rounds: Rounds,
    /// Connections held open at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: u32,
    /// Write everything, every round included, to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `null-server` takes.
#[derive(Debug, Args)]
pub struct NullServerArguments {
    /// What every reply says.
    #[arg(long, default_value = "Hello, world!", conflicts_with = "body_file")]
    pub body: String,
    /// The same from a file.
    #[arg(long, value_name = "FILE")]
    pub body_file: Option<PathBuf>,
    /// How long every reply takes.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub delay_ms: u64,
}

/// What `hyper-server` takes.
#[derive(Debug, Args)]
pub struct HyperServerArguments {
    /// What every GET is answered with.
    #[arg(long, value_name = "FILE")]
    pub body_file: PathBuf,
    /// A certificate in PEM; with it HTTP/1.1 and HTTP/2 are served inside of TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// What `state-server` takes.
#[derive(Debug, Args)]
pub struct StateServerArguments {
    /// The Unix socket of a Redis.
    #[arg(
        long,
        value_name = "SOCKET",
        conflicts_with = "sqlite",
        required_unless_present = "sqlite"
    )]
    pub redis: Option<PathBuf>,
    /// The file of a database, which is made if it is not there.
    #[arg(long, value_name = "FILE")]
    pub sqlite: Option<PathBuf>,
    /// How SQLite waits for the disk.
    #[arg(long, value_enum, default_value_t = Synchronous::Full)]
    pub synchronous: Synchronous,
}

/// What `cold` takes.
#[derive(Debug, Args)]
pub struct ColdArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The component, or with --kind the program, whose copies are deployed; it must reply 200 to
    /// GET, and always the same.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// What kind of native program that is: lambda or server. Then each function has a worker of
    /// its own, which is started too.
    #[arg(long)]
    pub kind: Option<String>,
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
    /// The hello component (a wasi:http 0.2 handler).
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// Connections per second of the low rate, one request on each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
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
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [1, 8, 64, 512],
        value_parser = clap::value_parser!(u32).range(1..=65_536),
    )]
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
    /// Connections that stay open after one request each, over TLS.
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub idle_secure: u32,
    /// Clients that stop in the middle of a handshake of TLS.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub stopped: u32,
    /// Clients that send a byte of a ClientHello every second.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub slow_hello: u32,
    /// Requests per second of the healthy client (open loop).
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
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

/// What `native` takes.
#[derive(Debug, Args)]
pub struct NativeArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// Folder with the native guests, a folder each.
    #[arg(long, default_value = NATIVE_GUESTS)]
    pub guests: PathBuf,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_values = ["cold", "memory"])]
    pub measures: Vec<NativeMeasure>,
    /// Rounds of cold starts; in each, every program is started once in every way.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Rounds in which memory is measured.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub memory_rounds: u32,
    /// Processes of a program while their memory is measured; the figures are of one.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub processes: u32,
    /// Write everything, every round included, to this file as JSON: what `compare` reads.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `state` takes.
#[derive(Debug, Args)]
pub struct StateArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The `redis-server` binary [default: on PATH]; without it Redis takes no part.
    #[arg(long, value_name = "FILE")]
    pub redis_bin: Option<PathBuf>,
    /// The guest that keeps keys and values as it is told.
    #[arg(long, default_value = KEYVALUE)]
    pub component: PathBuf,
    /// Clients at once, where there are many.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub clients: u32,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Write everything, every round included, to this file as JSON: what `compare` reads.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `keys` takes.
#[derive(Debug, Args)]
pub struct KeysArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The guest that keeps keys and values as it is told.
    #[arg(long, default_value = KEYVALUE)]
    pub component: PathBuf,
    /// A component that uses no state, and must reply 200 to GET.
    #[arg(long, default_value = HELLO)]
    pub hello: PathBuf,
    /// Keys in one bucket.
    #[arg(
        long,
        default_value_t = 10_000_000,
        value_parser = clap::value_parser!(u32).range(1000..=10_000_000)
    )]
    pub keys: u32,
    /// Operations a second, half of them `get` and half `set`, while latency is measured.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// Each measured window but for those while keys are removed, which are as long as that takes.
    #[arg(long, default_value_t = 10.0, value_parser = window_seconds)]
    pub seconds: f64,
    /// Write everything to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What `jobs` takes.
#[derive(Debug, Args)]
pub struct JobsArguments {
    /// Folder with `sockhop` and `sockhop-worker` [default: beside this binary, else on PATH].
    #[arg(long)]
    pub sockhop_bin: Option<PathBuf>,
    /// The component; it must reply 200 to POST.
    #[arg(long, default_value = HELLO)]
    pub component: PathBuf,
    /// Jobs sent one after another, whose way until they run is timed.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub single: u32,
    /// Numbers of clients that submit as fast as they are answered.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [8, 64, 128],
        value_parser = clap::value_parser!(u32).range(1..=1000),
    )]
    pub clients: Vec<u32>,
    /// The node's cores; clients run on any.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    pub cores: Vec<usize>,
    #[command(flatten)]
    pub rounds: Rounds,
    /// Write everything, every round included, to this file as JSON: what `compare` reads.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// A length of time a person may ask for: `Duration::from_secs_f64` would panic on what this
/// refuses.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err("want a number of seconds between 0 and 86400".to_owned()),
    }
}

/// Beyond a few, only the first is ever asked.
fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=10.0).contains(&value) => Ok(value),
        _ => Err("want a number from 0 to 10".to_owned()),
    }
}

fn confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.5..=0.999).contains(&value) => Ok(value),
        _ => Err("want a number from 0.5 to 0.999".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("want a number from 0 to 100".to_owned()),
    }
}

/// A window: long enough to hold something.
fn window_seconds(text: &str) -> Result<f64, String> {
    match seconds(text) {
        Ok(value) if value < 0.1 => {
            Err("want at least 0.1 seconds; less measures nothing".to_owned())
        }
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
