//! A timer the event loop can wait for, finer than poll's milliseconds.
//! Owns one timerfd; closed on drop.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

#[derive(Debug)]
pub struct Timer {
    fd: TimerFd,
}

impl Timer {
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let fd = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        registry.register(&mut SourceFd(&fd.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { fd })
    }

    /// Fires once after `ns`, in place of whatever it was set to; that also forgets an expiry
    /// nobody read.
    pub fn arm(&self, ns: u64) -> io::Result<()> {
        // Zero would mean never.
        let after = TimeSpec::from(Duration::from_nanos(ns.max(1)));
        Ok(self.fd.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?)
    }
}
