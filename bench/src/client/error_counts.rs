//! Requests that did not end as they should, counted by kind. Holds no file descriptor.

use serde::Serialize;

use super::connection::{Ended, Failure};

/// Requests that did not end as they should, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ErrorCounts {
    /// No connection.
    pub connect: u64,
    /// The connection broke, or closed without a reply.
    pub reset: u64,
    /// No whole reply in time.
    pub timeout: u64,
    /// Not HTTP, or an end in the middle of a reply.
    pub malformed: u64,
    /// Status 400 to 499.
    pub status_4xx: u64,
    /// Status 500 to 599.
    pub status_5xx: u64,
    /// Any other status outside 200 to 399.
    pub status_other: u64,
    /// The right status, another body.
    pub bad_body: u64,
}

impl ErrorCounts {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    /// Adds what another count found.
    pub fn add(&mut self, other: &Self) {
        self.connect += other.connect;
        self.reset += other.reset;
        self.timeout += other.timeout;
        self.malformed += other.malformed;
        self.status_4xx += other.status_4xx;
        self.status_5xx += other.status_5xx;
        self.status_other += other.status_other;
        self.bad_body += other.bad_body;
    }

    /// Every kind with its name.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("connect", self.connect),
            ("reset", self.reset),
            ("timeout", self.timeout),
            ("malformed", self.malformed),
            ("4xx", self.status_4xx),
            ("5xx", self.status_5xx),
            ("other status", self.status_other),
            ("bad body", self.bad_body),
        ]
    }

    /// Counts a request that did not end well; a good reply changes nothing.
    pub fn count(&mut self, ended: &Ended) {
        let counter = match ended {
            Ended::Failed(Failure::Connect) => &mut self.connect,
            Ended::Failed(Failure::Reset) => &mut self.reset,
            Ended::Failed(Failure::Timeout) => &mut self.timeout,
            Ended::Failed(Failure::Malformed) => &mut self.malformed,
            Ended::Reply { status: 400..500, .. } => &mut self.status_4xx,
            Ended::Reply { status: 500..600, .. } => &mut self.status_5xx,
            Ended::Reply { status: 200..400, body_is_right: false } => &mut self.bad_body,
            Ended::Reply { status: 200..400, body_is_right: true } => return,
            Ended::Reply { .. } => &mut self.status_other,
        };
        *counter += 1;
    }
}
