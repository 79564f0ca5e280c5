//! The load generator: a few threads, each with connections of its own, and what they found put
//! together.
//!
//! `driver` is what a thread does, `connection` what a connection does, `http2` what one with many
//! streams does, and `transport` is either; `request_mix`, `rate` and `schedule` say what is asked
//! and when, `record` what counts. None of the threads knows of the others: their parts of the
//! rate, of the connections and of the figures only add up. Sockets and timers belong to the
//! drivers.

mod connection;
mod driver;
mod error_counts;
mod http2;
mod open_files;
mod progress;
mod rate;
mod record;
mod request_mix;
mod schedule;
mod timer;
mod transport;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::tls::{self, Tls};
use crate::{cpu, interrupt};
pub use connection::Handshakes;
use driver::Part;
pub use error_counts::ErrorCounts;
pub use open_files::{Error as OpenFilesError, allow as allow_open_files, most as open_files_max};
use progress::Progress;
pub use rate::{Rate, Stretch};
pub use record::{ClientThread, Record, Section};
pub use request_mix::{PreparedRequest, RequestMix};

/// A request without a whole reply by then has timed out, unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// What goes wrong here. What goes wrong with single requests is counted, not returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No epoll or timer.
    #[error("cannot set up the event loop ({0}); raise the limit on open files (ulimit -n)")]
    SetUp(io::Error),
    /// More connections than files.
    #[error(transparent)]
    OpenFiles(#[from] open_files::Error),
    /// The loop broke.
    #[error("the event loop failed ({0}); this is a bug in sockhop-bench or the kernel")]
    Poll(io::Error),
    /// Histogram bounds, which are constants.
    #[error("cannot make a histogram ({0}); this is a bug in sockhop-bench")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// No CPU clock, or no such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// Stopped by a signal.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
    /// No thread.
    #[error("cannot start a thread of the client ({0}); raise the limit on processes (ulimit -u)")]
    Thread(io::Error),
    /// A driver panicked.
    #[error(
        "a thread of the client panicked; this is a bug in sockhop-bench, its message is above"
    )]
    Panicked,
}

/// What is spoken on connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// One request after the other.
    #[default]
    Http1,
    /// So many requests at a time on each connection.
    Http2 {
        /// How many.
        streams: u32,
    },
    /// Nothing. What counts as a request is a connection whose TLS handshake is over on both sides.
    Handshakes,
}

impl Protocol {
    /// What TLS calls it.
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 | Self::Handshakes => tls::HTTP1,
            Self::Http2 { .. } => tls::HTTP2,
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to connect.
    pub address: SocketAddr,
    /// What to speak there, ...
    pub protocol: Protocol,
    /// ... and inside of what.
    pub tls: Option<Tls>,
    /// What to ask.
    pub mix: RequestMix,
    /// Of all requests, the share that leaves its connection open for the next: 1 for all, 0 for
    /// none.
    pub kept_share: f64,
    /// Connections at a time, of all threads together.
    pub connections: u32,
    /// For an open loop.
    pub rate: Option<Rate>,
    /// Load before the window.
    pub warmup: Duration,
    /// The measured window.
    pub window: Duration,
    /// How long a request may take.
    pub timeout: Duration,
    /// One thread for each core here, pinned to it; without any, one that is not pinned.
    pub cores: Vec<usize>,
    /// Never sleep: a server on this machine is then spared the work of waking us, as if we were on
    /// another.
    pub spin: bool,
}

impl Plan {
    /// In nanoseconds of the client's clock.
    pub fn window(&self) -> Range<u64> {
        let start = nanoseconds(self.warmup);
        start..start.saturating_add(nanoseconds(self.window))
    }
}

/// Runs a plan; with `live`, shows on a terminal how far it is.
pub fn run(plan: &Plan, live: bool) -> Result<Record, Error> {
    open_files::allow(plan.connections)?;
    // A thread without a connection would only leave its part of the rate undone.
    let threads = plan.connections as usize;
    let cores: Vec<Option<usize>> = if plan.cores.is_empty() {
        vec![None]
    } else {
        plan.cores.iter().copied().take(threads).map(Some).collect()
    };
    let (progress, started) = (Progress::default(), Instant::now());
    let (working, done) = mpsc::channel();
    thread::scope(|scope| {
        let progress = &progress;
        if live {
            scope.spawn(move || progress.show(plan.warmup, plan.window, &done));
        }
        let drivers: Result<Vec<_>, Error> = (cores.iter().enumerate())
            .map(|(number, &core)| {
                let of = cores.len();
                // The first ones take what does not divide.
                let all = plan.connections as usize;
                let connections = all / of + usize::from(number < all % of);
                let part = Part { number, of, connections, core, started };
                thread::Builder::new()
                    .name(format!("client-{number}"))
                    .spawn_scoped(scope, move || {
                        core.map_or(Ok(()), cpu::pin)?;
                        driver::run(plan, part, progress)
                    })
                    .map_err(Error::Thread)
            })
            .collect();
        let records: Result<Vec<Record>, Error> = drivers?
            .into_iter()
            .map(|driver| driver.join().map_err(|_| Error::Panicked)?)
            .collect();
        drop(working);
        let mut records = records?.into_iter();
        let mut whole = records.next().ok_or(Error::Panicked)?;
        records.for_each(|record| whole.merge(record));
        Ok(whole)
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
