//! Which worker gets a connection: the one on the shard's own core, unless another is much less
//! busy. Pure; owns no fds.
//!
//! SO_REUSEPORT hashes connections over shards and does not balance them, so the hop does. Staying
//! on a core keeps a connection's packets and its worker's cache together, so the own core wins
//! while the difference is small.

/// A worker that could get a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The connections that it has.
    pub load: u64,
    /// Whether it runs on the core of the shard that asks.
    pub own_core: bool,
    /// Whether its queue was found full, or it has as many connections as it has file descriptors
    /// for.
    pub refused: bool,
}

/// Returns by how many connections the own core's worker may be busier than the least busy one and
/// still be preferred: one, or a sixteenth. The loads of workers then stay within a tenth of each
/// other, however the kernel hashed their clients.
fn margin(least: u64) -> u64 {
    (least / 16).max(1)
}

/// Returns the position of the worker to try next. Returns `None` if all have refused.
pub fn choose(candidates: &[Candidate]) -> Option<usize> {
    let open = || candidates.iter().enumerate().filter(|(_, candidate)| !candidate.refused);
    let (least_at, least) = open().min_by_key(|(_, candidate)| candidate.load)?;
    let own = open()
        .filter(|(_, candidate)| candidate.own_core)
        .min_by_key(|(_, candidate)| candidate.load);
    match own {
        Some((own_at, own)) if own.load <= least.load.saturating_add(margin(least.load)) => {
            Some(own_at)
        }
        _ => Some(least_at),
    }
}

/// Offers the connection to one worker after another, the best first, until `send` returns that one
/// took it. Returns the position of that worker. Returns `None` if all have refused.
pub fn place(candidates: &mut [Candidate], mut send: impl FnMut(usize) -> bool) -> Option<usize> {
    while let Some(at) = choose(candidates) {
        if send(at) {
            return Some(at);
        }
        candidates[at].refused = true;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(loads: &[u64], own: usize) -> Vec<Candidate> {
        let candidate = |(at, load): (usize, &u64)| Candidate {
            load: *load,
            own_core: at == own,
            refused: false,
        };
        loads.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn the_own_core_wins_ties_and_small_differences() {
        assert_eq!(choose(&candidates(&[5, 5], 1)), Some(1));
        assert_eq!(choose(&candidates(&[5, 6], 1)), Some(1));
        assert_eq!(choose(&candidates(&[800, 850], 1)), Some(1));
    }

    #[test]
    fn a_much_busier_own_core_is_left() {
        assert_eq!(choose(&candidates(&[5, 7], 1)), Some(0));
        assert_eq!(choose(&candidates(&[800, 851], 1)), Some(0));
    }

    #[test]
    fn those_that_refused_are_not_asked_again() {
        let mut order = Vec::new();
        let mut refuse = |at| {
            order.push(at);
            false
        };
        assert_eq!(place(&mut candidates(&[1, 2, 3], 0), &mut refuse), None);
        assert_eq!(place(&mut [], refuse), None);
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(place(&mut candidates(&[2, 1], 0), |at| at == 1), Some(1));
    }

    proptest! {
        /// Clients hashed onto shards in any proportion end on the workers within a tenth of each
        /// other.
        #[test]
        fn connections_end_evenly(seed in any::<u64>(), connections in 128u64..2048) {
            let mut random = seed | 1;
            let mut loads = [0u64; 4];
            for _ in 0..connections {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Three of four arrive at shard 0.
                let own = if random >> 62 < 3 { 0 } else { (random >> 32) as usize % 4 };
                loads[choose(&candidates(&loads, own)).unwrap()] += 1;
            }
            let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            prop_assert!((most - least) * 10 <= *most, "{:?}", loads);
        }
    }
}
