//! What is served beside components, and native programs without any node. Processes belong to
//! `child`.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::child::{self, Child};
use super::{Error, SERVER_CORE, Server, free_addresses};
use crate::target::Target;

/// How the code of a function is run, and how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A component that handles `wasi:http`.
    Component,
    /// A program of WASI preview 1.
    Command,
    /// An executable that serves HTTP on `$PORT`.
    Server,
    /// A `bootstrap`, called by a URL.
    Lambda,
    /// A `bootstrap`, called by the Invoke API of AWS Lambda.
    Invoked,
    /// A file of so many bytes, which is served as it is.
    Static { bytes: usize },
}

impl Program {
    /// What `sockhop deploy --kind` has to be told. `None` for what it finds out.
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::Component | Self::Command => None,
            Self::Server => Some("server"),
            Self::Lambda | Self::Invoked => Some("lambda"),
            Self::Static { .. } => Some("static"),
        }
    }

    /// Whether it is a program for this machine.
    pub fn is_native(self) -> bool {
        self.file_name().is_some()
    }

    /// The name that its executable has in the folder of a guest.
    pub fn file_name(self) -> Option<&'static str> {
        match self {
            Self::Component | Self::Command | Self::Static { .. } => None,
            Self::Server => Some("server"),
            Self::Lambda | Self::Invoked => Some("bootstrap"),
        }
    }
}

/// Runs a server as it is, on a free port, until it accepts connections.
pub fn start(program: &Path) -> Result<Server, Error> {
    let addresses = free_addresses(1)?;
    let [address] = addresses[..] else { unreachable!("one was asked for") };
    let command = server_command(program, address);
    let mut child = Child::start("program", SERVER_CORE, command, child::scratch("program")?)?;
    child.wait_until(|_| TcpStream::connect(address).ok())?;
    Ok(Server::one(child, vec![Target::parse(&format!("http://{address}/"))?]))
}

/// Returns the command that runs a server on that port.
pub fn server_command(program: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.env("PORT", address.port().to_string());
    command
}

/// Returns the command that runs a `bootstrap` with a Runtime API at `api`, and all that runtimes
/// look for.
pub fn bootstrap_command(program: &Path, function: &str, api: &str) -> Command {
    let mut command = Command::new(program);
    command.env("AWS_LAMBDA_RUNTIME_API", api).envs([
        ("AWS_LAMBDA_FUNCTION_NAME", function),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "none"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "none"),
        ("AWS_REGION", "us-east-1"),
    ]);
    command
}
