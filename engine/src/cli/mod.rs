//! The command line. [`mod@client`] talks to the control API, [`deploy`] sends a function, [`show`] prints what there is.
//!
//! Names and defaults are part of what users rely on (see README). Owns no fds.

mod client;
mod deploy;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use abi::limits;
use clap::{Args, Parser, Subcommand};

use self::client::Node;
use crate::compile::child;
use crate::compile::inspect::Kind;
use crate::host::cores;
use crate::node;

#[derive(Debug, Parser)]
#[command(name = "sockhop", version, about = "A self-hosted serverless node", propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(Serve),
    /// Deploy a WebAssembly file as a function
    Deploy(deploy::Deploy),
    /// List the functions of the node
    List(Show),
    /// Show one function
    Inspect {
        /// The function
        name: String,
        #[command(flatten)]
        show: Show,
    },
    /// Remove a function with all its versions
    Remove {
        /// The function
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Call a function
    Invoke(show::Invoke),
    /// Show what the node and its workers do
    Status(Show),
    /// Compile a component (the node runs this in a process of its own)
    #[command(hide = true)]
    Compile {
        #[arg(long)]
        kind: Kind,
        input: PathBuf,
        output: PathBuf,
    },
}

/// Which node a command talks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The node's data folder
    #[arg(long, default_value = "./sockhop-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The node's control socket, instead of the one in its data folder
    #[arg(long, env = "SOCKHOP_NODE", value_name = "SOCKET")]
    pub(crate) node: Option<PathBuf>,
}

/// Options of every command that prints something.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen (repeatable; port 0 takes a free one)
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR", value_parser = address)]
    listen: Vec<String>,
    /// Folder of the node: control socket, module cache and, unless --store says otherwise, the store
    #[arg(long, default_value = "./sockhop-data", value_name = "DIR")]
    data: PathBuf,
    /// Folder of deployed functions
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Take over from the engine that runs on the same data folder: its listening sockets, instead of --listen, and its connections
    #[arg(long)]
    take_over: bool,
    /// Cores to run on, for example 0-3 or 0,2 (default: all that are allowed)
    #[arg(long, value_name = "LIST", value_parser = cores::parse)]
    cores: Option<cores::CoreList>,
    /// With example.com, a request for host NAME.example.com is for function NAME
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    domain: Option<String>,
    /// How long a request's head may take
    #[arg(long, default_value_t = limits::HEAD_TIMEOUT_DEFAULT.into(), value_name = "TIME")]
    head_timeout: humantime::Duration,
    /// How long a connection may be idle between requests
    #[arg(long, default_value_t = limits::IDLE_TIMEOUT_DEFAULT.into(), value_name = "TIME")]
    idle_timeout: humantime::Duration,
    /// How long a client may take none of its reply
    #[arg(long, default_value_t = limits::WRITE_TIMEOUT_DEFAULT.into(), value_name = "TIME")]
    write_timeout: humantime::Duration,
    /// How long requests in flight may take to end when the node stops
    #[arg(long, default_value_t = limits::DRAIN_TIMEOUT_DEFAULT.into(), value_name = "TIME")]
    drain_timeout: humantime::Duration,
}

impl From<Serve> for node::Config {
    fn from(serve: Serve) -> Self {
        let duration = |duration: humantime::Duration| -> Duration { duration.into() };
        Self {
            listen: serve.listen,
            data: serve.data,
            store: serve.store,
            start: if serve.take_over { node::Start::TakeOver } else { node::Start::Alone },
            cores: serve.cores,
            domain: serve.domain,
            head_timeout: duration(serve.head_timeout),
            idle_timeout: duration(serve.idle_timeout),
            write_timeout: duration(serve.write_timeout),
            drain_timeout: duration(serve.drain_timeout),
        }
    }
}

/// HOST:PORT in form; whether the host exists is seen when it is resolved.
fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT, for example 127.0.0.1:8080".into()),
    }
}

fn domain(text: &str) -> Result<String, String> {
    let text = text.trim_matches('.').to_ascii_lowercase();
    match text.split('.').find(|label| abi::name::check(label).is_err()) {
        Some(_) => Err("expected a host name, for example example.com".into()),
        None => Ok(text),
    }
}

/// Does what was asked.
///
/// # Errors
/// A sentence for the terminal.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => node::serve(&serve.into()),
        Command::Compile { kind, input, output } => {
            if let Err(reason) = child::run(kind, &input, &output) {
                // The parent reads it from here and says whose file it was.
                eprintln!("{reason}");
                std::process::exit(1);
            }
            Ok(())
        }
        Command::Deploy(deploy) => client::block_on(deploy::run(deploy)),
        Command::List(show) => client::block_on(show::list(show)),
        Command::Inspect { name, show } => client::block_on(show::inspect(name, show)),
        Command::Remove { name, target } => client::block_on(async move { Node::new(&target).remove(&name).await }),
        Command::Invoke(invoke) => client::block_on(show::invoke(invoke)),
        Command::Status(show) => client::block_on(show::status(show)),
    }
}
