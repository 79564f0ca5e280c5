//! The keys of session tickets (RFC 8446 4.6.1), which change with time. Pure; owns no fds.
//!
//! They follow from the node's key of secrets and the time, so every process that ends TLS has the
//! same ones, on every node with that key, also after a restart: a client resumes its session
//! wherever its next connection arrives. Nobody keeps a key for longer than its tickets are good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abi::certificates::TicketKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How long one key seals new tickets. Each opens them for as long again.
const PERIOD: Duration = Duration::from_secs(12 * 60 * 60);

/// Returns the period that `now` is in.
pub fn period(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / PERIOD.as_secs()
}

/// Returns the keys of a period: its own, which seals, and those of the periods before and after
/// it, for tickets that are still good and for nodes whose clocks are ahead.
pub fn keys(secret: &[u8; 32], period: u64) -> Vec<TicketKey> {
    let periods = [Some(period), period.checked_sub(1), period.checked_add(1)];
    periods.into_iter().flatten().map(|period| key(secret, period)).collect()
}

fn key(secret: &[u8; 32], period: u64) -> TicketKey {
    let derive = |purpose: &[u8]| -> Zeroizing<[u8; 32]> {
        let digest = Sha256::new_with_prefix(purpose).chain_update(secret);
        Zeroizing::new(digest.chain_update(period.to_be_bytes()).finalize().into())
    };
    let mut name = [0; 16];
    name.copy_from_slice(&derive(b"sockhop ticket key name\0")[..16]);
    TicketKey { name, key: *derive(b"sockhop ticket key\0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_the_same_keys_and_a_ticket_opens_until_the_next_period_ends() {
        let (secret, other) = ([7; 32], [8; 32]);
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let of = |after: Duration| keys(&secret, period(now + after));
        assert_eq!(of(Duration::ZERO), keys(&[7; 32], period(now)));
        assert_eq!(of(Duration::ZERO).len(), 3);
        let sealed_by = &of(Duration::ZERO)[0];
        assert!(of(PERIOD).contains(sealed_by) && !of(2 * PERIOD).contains(sealed_by));
        assert_ne!(of(PERIOD)[0], *sealed_by, "the next period has its own");
        assert!(!keys(&other, period(now)).contains(sealed_by));
        assert_eq!(keys(&secret, 0).len(), 2);
    }
}
