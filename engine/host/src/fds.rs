//! How many file descriptors a process may have, and how many of them connections get. Owns no fds.

use nix::sys::resource::{Resource, getrlimit};

/// The least number of descriptors that a worker keeps for itself, its modules and its guests'
/// outgoing connections. It keeps an eighth of all if that is more.
const OTHER_FDS_MIN: u64 = 64;

/// Returns how many connections one worker can have under this process's own limit, which workers
/// inherit.
pub fn connections_max() -> u64 {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    beyond_others(soft)
}

fn beyond_others(fds: u64) -> u64 {
    fds.saturating_sub((fds / 8).max(OTHER_FDS_MIN)).max(1)
}

#[cfg(test)]
mod tests {
    use super::beyond_others;

    #[test]
    fn something_is_left_for_others_and_something_for_connections() {
        assert_eq!([10, 65, 256, 1024, 1 << 20].map(beyond_others), [1, 1, 192, 896, 917_504]);
    }
}
