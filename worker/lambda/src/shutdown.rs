//! How a process is asked to end, by the extensions that it has registered (AWS: "Lambda runtime
//! environment lifecycle", shutdown phase). Pure; the worker sends the signals. Owns no fds.

use std::time::Duration;

/// Which kinds of extensions a process has registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegisteredExtensions {
    /// Whether the runtime's own process has registered one.
    pub internal: bool,
    /// Whether a process of its own has registered one.
    pub external: bool,
}

/// What is sent when, from the beginning of the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownPlan {
    /// Whether the runtime gets SIGTERM, at once. If not, it gets SIGKILL at once.
    pub sends_sigterm: bool,
    /// When the runtime gets SIGKILL if it is still there. It has at least 300 ms from SIGTERM on,
    /// which is what Lambda promises. External extensions get their SHUTDOWN event after the
    /// runtime has gone.
    pub runtime_sigkill_after: Duration,
    /// When everything that is still there gets SIGKILL.
    pub sigkill_after: Duration,
}

impl ShutdownPlan {
    /// Returns the plan for a process with these extensions: none, no time at all; only internal
    /// ones, 500 ms; external ones, 2 seconds, of which the runtime has the first 300 ms.
    #[must_use]
    pub fn new(extensions: RegisteredExtensions) -> Self {
        let (runtime_ms, total_ms) = match extensions {
            RegisteredExtensions { internal: false, external: false } => (0, 0),
            RegisteredExtensions { internal: true, external: false } => (500, 500),
            RegisteredExtensions { external: true, .. } => (300, 2_000),
        };
        Self {
            sends_sigterm: total_ms > 0,
            runtime_sigkill_after: Duration::from_millis(runtime_ms),
            sigkill_after: Duration::from_millis(total_ms),
        }
    }
}

/// Why a process is asked to end, as extensions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It is not needed any more.
    Spindown,
    /// An invocation took too long.
    Timeout,
    /// The runtime or an extension failed.
    Failure,
}

impl ShutdownReason {
    /// Returns the reason as a SHUTDOWN event has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "SPINDOWN",
            Self::Timeout => "TIMEOUT",
            Self::Failure => "FAILURE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_as_long_as_its_extensions_give_it() {
        let plan = |internal, external| {
            let plan = ShutdownPlan::new(RegisteredExtensions { internal, external });
            let ms = |duration: Duration| duration.as_millis();
            (plan.sends_sigterm, ms(plan.runtime_sigkill_after), ms(plan.sigkill_after))
        };
        assert_eq!(plan(false, false), (false, 0, 0));
        assert_eq!(plan(true, false), (true, 500, 500));
        assert_eq!(plan(false, true), (true, 300, 2_000));
        assert_eq!(plan(true, true), (true, 300, 2_000));
    }
}
