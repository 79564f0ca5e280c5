//! Whether a sandbox is kept ready for the next process, in which no program is executed yet. Pure:
//! a part of the pool, with its clock and its numbers. Owns no fds.
//!
//! A sandbox takes most of the time of a start, and needs nothing of the request. So one is made
//! before it is needed, and another one in its place once it is used. It is let go when the version
//! has not been called for long. One that ends by itself says nothing of the program, which was not
//! executed: it is replaced, after a pause that grows with each that ends so.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::ProcessId;

/// How long after a version's last request a sandbox is kept ready for it.
pub(super) const KEPT: Duration = Duration::from_secs(10 * 60);
/// The pause after a first one that has ended by itself; it doubles with each in a row,
pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The sandbox that is kept ready for a version.
#[derive(Debug)]
pub(super) struct Spare {
    /// The process that it is to become, if there is one.
    process: Option<ProcessId>,
    /// The process that was started in the last one, until it is ready.
    starting: Option<ProcessId>,
    called: Instant,
    lost_in_a_row: u32,
    not_before: Instant,
    /// Whether the version is not to be called any more.
    retired: bool,
}

impl Spare {
    /// Returns that of a version which is about to be called.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            process: None,
            starting: None,
            called: now,
            lost_in_a_row: 0,
            not_before: now,
            retired: false,
        }
    }

    /// The version is called.
    pub(super) fn called(&mut self, now: Instant) {
        self.called = now;
    }

    /// Returns whether one is to be made.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.process.is_none() && self.is_wanted(now) && now >= self.not_before
    }

    /// One is made, which is to become this process.
    pub(super) fn made(&mut self, process: ProcessId) {
        self.process = Some(process);
    }

    /// Takes it, for a process that is started.
    pub(super) fn take(&mut self) -> Option<ProcessId> {
        self.starting = self.process.take();
        self.starting
    }

    /// Takes it, if it is not wanted any more.
    pub(super) fn take_unwanted(&mut self, now: Instant) -> Option<ProcessId> {
        if self.is_wanted(now) { None } else { self.process.take() }
    }

    /// A process has become ready: if it was started in one, these can be relied on.
    pub(super) fn ready(&mut self, process: ProcessId) {
        if self.starting.take_if(|own| *own == process).is_some() {
            self.lost_in_a_row = 0;
        }
    }

    /// It has ended, or was never there, and its program was not executed.
    pub(super) fn lost(&mut self, process: ProcessId, now: Instant) {
        self.process.take_if(|own| *own == process);
        self.starting.take_if(|own| *own == process);
        let pause = PAUSE_FIRST.saturating_mul(1 << self.lost_in_a_row.min(16)).min(PAUSE_MAX);
        self.lost_in_a_row = self.lost_in_a_row.saturating_add(1);
        self.not_before = now + pause;
    }

    /// The version is not to be called any more.
    pub(super) fn retire(&mut self) {
        self.retired = true;
    }

    fn is_wanted(&self, now: Instant) -> bool {
        !self.retired && now < self.called + KEPT
    }
}
