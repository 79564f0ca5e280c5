//! The limit on open files, raised in time: run out of it in mid-load and our own limit would be
//! counted as the server's errors. Holds no file descriptor.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are not connections: the standard ones, epoll, timer, pipes.
const OTHERS: u64 = 64;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too low, and not ours to raise.
    #[error(
        "{connections} connections need {needed} open files, and the hard limit is {limit}; raise it (ulimit -Hn) or use fewer"
    )]
    TooFew {
        /// What was asked for.
        connections: u32,
        /// What that takes.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// The kernel said no.
    #[error("cannot read or raise the limit on open files ({0}); is a seccomp filter in the way?")]
    Limit(#[from] nix::Error),
}

/// How many connections there is room for at most.
pub fn most() -> Result<u32, Error> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(u32::try_from(hard.saturating_sub(OTHERS)).unwrap_or(u32::MAX))
}

/// Makes room for so many connections.
pub fn allow(connections: u32) -> Result<(), Error> {
    let needed = u64::from(connections) + OTHERS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if needed > hard {
        return Err(Error::TooFew { connections, needed, limit: hard });
    }
    if needed > soft {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_said_before_the_load() {
        allow(1).unwrap();
        // Where the hard limit is infinite there would be nothing to refuse.
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let lowered = hard.min(1 << 20);
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(lowered), lowered).unwrap();
        let refused = allow(u32::MAX).unwrap_err();
        assert!(matches!(refused, Error::TooFew { limit, .. } if limit == lowered), "{refused}");
    }
}
