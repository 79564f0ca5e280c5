//! When schedules are due, and nothing else: no clock is read here, and nothing is rung.
//!
//! | module | what is in it |
//! |---|---|
//! | [`expression`] | what a schedule says: five or six fields of cron, `@daily`, `@every 90s` |
//! | [`zone`] | time zones by their names, and those that were probably meant |
//! | [`policy`] | what to do with runs that overlap, and with ticks that were missed |
//! | [`timing`] | which tick is due, by what is settled and by the clock |
//! | [`runs`] | which runs of a schedule are under way, and which wait for them |
//!
//! A *tick* is a moment at which a schedule is due, in milliseconds since 1970. All of it is pure, but
//! that tables of time zones are read from the system where it has some. Owns no fds between calls.

#![forbid(unsafe_code)]

pub mod expression;
pub mod policy;
pub mod runs;
pub mod timing;
pub mod zone;

pub use self::expression::{Schedule, ScheduleError};
pub use self::policy::{Missed, Overlap};
pub use self::runs::Runs;
pub use self::timing::{Timing, Verdict};
