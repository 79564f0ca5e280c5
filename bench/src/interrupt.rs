//! Ctrl-C and its kin, turned into a flag that long loops look at. Holds no file descriptor.
//!
//! The default action would end this process without running a single `Drop`, and leave the servers
//! it started behind. With the flag, an interrupted run unwinds as an error and every guard does
//! its work. Handlers, not a blocked mask: a child would inherit the mask and be deaf to our own
//! SIGTERM, while handlers end at its exec.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// What a shell expects of a program that ended for Ctrl-C.
const EXIT_STATUS: i32 = 130;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user, or a script, asked us to stop.
    #[error("interrupted by a signal; what was started has been ended, and nothing is reported")]
    Interrupted,
    /// The kernel refused a handler; only a broken sandbox does that.
    #[error("cannot handle SIGINT, SIGTERM or SIGHUP ({0}); is a seccomp filter in the way?")]
    Handler(#[from] std::io::Error),
}

/// Sets the handlers. The second signal ends the process at once: someone's patience is at its end.
pub fn install() -> Result<(), Error> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order, or the first signal would already find the flag set.
        flag::register_conditional_shutdown(signal, EXIT_STATUS, Arc::clone(&INTERRUPTED))?;
        flag::register(signal, Arc::clone(&INTERRUPTED))?;
    }
    Ok(())
}

/// An error once a signal came in.
pub fn check() -> Result<(), Error> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_child_is_not_deaf_to_signals() {
        install().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGTERM));
        assert!(check().is_ok());
    }
}
