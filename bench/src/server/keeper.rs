//! Starts a native program that keeps keys and values, with Redis behind it or SQLite inside: what
//! functions that keep state are measured beside. The processes belong to `child`.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::child::{self, Child, url_after};
use super::null::own;
use super::{Error, SERVER_CORE, Server};
use crate::target::Target;

const NAME: &str = "state-server";

/// What keeps them.
#[derive(Debug, Clone)]
pub enum SqliteOrRedis {
    /// A server beside the program, asked by a Unix socket.
    Redis {
        /// The `redis-server` binary.
        binary: PathBuf,
        /// When it waits for the disk: `always`, `everysec`.
        fsync: &'static str,
    },
    /// A library in the program, as `spin up` has it.
    Sqlite {
        /// How it waits for the disk: `full`, `normal`.
        synchronous: &'static str,
    },
}

impl SqliteOrRedis {
    /// What the report calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Redis { fsync: "always", .. } => "redis+always",
            Self::Redis { .. } => "redis+everysec",
            Self::Sqlite { synchronous: "full" } => "sqlite+full",
            Self::Sqlite { .. } => "sqlite+normal",
        }
    }

    /// What its binary says its version is, in one line.
    pub fn version(&self) -> String {
        let Self::Redis { binary, .. } = self else {
            return format!("SQLite {}", rusqlite::version());
        };
        let mut command = Command::new(binary);
        command.arg("--version");
        child::run("version", SERVER_CORE, command)
            .map_or_else(|_| "unknown".to_owned(), |(_, text)| text)
    }

    /// Starts it with nothing in it.
    pub fn start(&self) -> Result<Server, Error> {
        let mut serve = own(NAME)?;
        match self {
            Self::Redis { binary, fsync } => {
                let scratch = child::scratch("redis")?;
                let socket = scratch.path().join("socket");
                let mut redis = Command::new(binary);
                redis.args(["--port", "0", "--unixsocket"]).arg(&socket);
                redis.arg("--dir").arg(scratch.path()).args(["--save", ""]);
                redis.args(["--appendonly", "yes", "--appendfsync", fsync]);
                let mut redis = Child::start("redis", SERVER_CORE, redis, scratch)?;
                redis.wait_until(|log| log.contains("eady to accept connections").then_some(()))?;
                serve.arg("--redis").arg(&socket);
                let mut server = start(serve, child::scratch(NAME)?)?;
                server.commands.insert(0, redis.command().to_owned());
                server.children.push(redis);
                Ok(server)
            }
            Self::Sqlite { synchronous } => {
                let scratch = child::scratch("sqlite")?;
                serve.arg("--sqlite").arg(scratch.path().join("state.db"));
                serve.args(["--synchronous", synchronous]);
                start(serve, scratch)
            }
        }
    }
}

fn start(serve: Command, scratch: TempDir) -> Result<Server, Error> {
    let mut child = Child::start(NAME, SERVER_CORE, serve, scratch)?;
    let url = child.wait_until(|log| url_after(log, "ready "))?;
    Ok(Server::one(child, vec![Target::parse(&url)?]))
}
