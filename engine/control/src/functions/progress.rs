//! How far a deploy is, and since when. Owns no fds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use api::deploys::{DeployPhase, DeployProgress};

use compile::queue::Step;

/// What a deploy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It receives its file.
    Receiving,
    /// It waits for a compiler, see [`Step::Waiting`].
    WaitingForCompiler {
        number: u64,
    },
    Compiling,
    /// It waits until the version before it has been tried.
    WaitingForTrial,
    Trying,
    Storing,
    /// It waits until this many shared workers serve it.
    Publishing {
        workers: usize,
    },
}

impl From<Step> for Phase {
    fn from(step: Step) -> Self {
        match step {
            Step::Waiting { number } => Self::WaitingForCompiler { number },
            Step::Compiling => Self::Compiling,
        }
    }
}

/// How far one deploy is.
#[derive(Debug)]
pub struct Progress(Mutex<(Phase, Instant)>);

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new((Phase::Receiving, Instant::now())))
    }
}

impl Progress {
    /// Begins a phase.
    pub fn enter(&self, phase: Phase) {
        *self.lock() = (phase, Instant::now());
    }

    /// Returns the phase with its age at `now`, as the API answers it. `ahead` says how many are
    /// before a number in the line for a compiler.
    pub(crate) fn describe(&self, ahead: impl Fn(u64) -> usize, now: Instant) -> DeployProgress {
        let (phase, since) = *self.lock();
        let phase = match phase {
            Phase::Receiving => DeployPhase::Receiving,
            Phase::WaitingForCompiler { number } => {
                DeployPhase::WaitingForCompiler { ahead: ahead(number) as u64 }
            }
            Phase::Compiling => DeployPhase::Compiling,
            Phase::WaitingForTrial => DeployPhase::WaitingForTrial,
            Phase::Trying => DeployPhase::Trying,
            Phase::Storing => DeployPhase::Storing,
            Phase::Publishing { workers } => DeployPhase::Publishing { workers: workers as u64 },
        };
        DeployProgress { phase, seconds: now.saturating_duration_since(since).as_secs_f64() }
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_phase_has_an_age_and_says_how_many_are_before_it() {
        let progress = Progress::default();
        let described = || {
            progress.describe(
                |number| usize::from(number == 7) * 2,
                Instant::now() + Duration::from_secs(5),
            )
        };
        assert_eq!(described().phase, DeployPhase::Receiving);
        progress.enter(Step::Waiting { number: 7 }.into());
        assert_eq!(described().phase, DeployPhase::WaitingForCompiler { ahead: 2 });
        assert!((5.0..6.0).contains(&described().seconds));
        progress.enter(Phase::Publishing { workers: 3 });
        assert_eq!(described().phase, DeployPhase::Publishing { workers: 3 });
    }
}
