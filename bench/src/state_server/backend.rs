//! Where the keys and values are. Owns the connection to Redis, or SQLite's files.

use std::path::Path;
use std::rc::Rc;

use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use rusqlite::{Connection, OptionalExtension as _};

/// How SQLite waits for the disk, with its journal in a file of its own (WAL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Synchronous {
    /// With each transaction: what was answered survives a crash of the machine.
    Full,
    /// Now and then: what was answered last may be lost in one.
    Normal,
}

/// Keys and values cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Redis, or the way there.
    #[error("Redis fails ({0}); does it still run?")]
    Redis(#[from] redis::RedisError),
    /// SQLite.
    #[error("SQLite fails ({0}); is the disk full?")]
    Sqlite(#[from] rusqlite::Error),
}

/// Keys and values.
#[derive(Clone)]
pub enum Backend {
    /// In a server, by one connection, on which requests follow each other without waiting.
    Redis(MultiplexedConnection),
    /// In this process. Every operation is a transaction, and blocks the thread, as in Spin.
    Sqlite(Rc<Connection>),
}

/// As Spin has it, but for the revision: without one, setting what is there already is no write.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS kv (store TEXT NOT NULL, key TEXT NOT NULL, \
    value BLOB NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (store, key))";
const GET: &str = "SELECT value FROM kv WHERE store = 'default' AND key = ?1";
const SET: &str = "INSERT INTO kv VALUES ('default', ?1, ?2, 1) \
    ON CONFLICT (store, key) DO UPDATE SET value = excluded.value, revision = revision + 1";
const INCREMENT: &str = "INSERT INTO kv VALUES ('default', ?1, CAST(?2 AS TEXT), 1) \
    ON CONFLICT (store, key) DO UPDATE SET revision = revision + 1, \
    value = CAST(CAST(value AS INTEGER) + CAST(excluded.value AS INTEGER) AS TEXT) \
    RETURNING CAST(value AS INTEGER)";

impl Backend {
    /// Connects to the socket of a Redis.
    pub async fn redis(socket: &Path) -> Result<Self, BackendError> {
        let client = redis::Client::open(format!("redis+unix://{}", socket.display()))?;
        Ok(Self::Redis(client.get_multiplexed_async_connection().await?))
    }

    /// Opens or makes a database.
    pub fn sqlite(file: &Path, synchronous: Synchronous) -> Result<Self, BackendError> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let level = match synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", level)?;
        connection.execute(TABLE, ())?;
        Ok(Self::Sqlite(Rc::new(connection)))
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        match self {
            Self::Redis(connection) => Ok(connection.clone().get(key).await?),
            Self::Sqlite(connection) => {
                let value = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_bytes()?.to_vec());
                Ok(connection.prepare_cached(GET)?.query_row([key], value).optional()?)
            }
        }
    }

    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), BackendError> {
        match self {
            Self::Redis(connection) => connection.clone().set::<_, _, ()>(key, value).await?,
            Self::Sqlite(connection) => {
                connection.prepare_cached(SET)?.execute((key, value))?;
            }
        }
        Ok(())
    }

    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, BackendError> {
        match self {
            Self::Redis(connection) => Ok(connection.clone().incr(key, delta).await?),
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(INCREMENT)?;
                Ok(statement.query_row((key, delta), |row| row.get(0))?)
            }
        }
    }
}
