//! Keeping up with the store that other nodes write too.
//!
//! Every so often the node reads one small object, the hint that something has changed. It reads
//! the whole store when the hint is another one than before or is missing where there are
//! functions, when the last look is long ago, and when the last look failed. [`Watch`] decides, and
//! is pure; [`keep_up`] does it. While the store is away the node serves what it has. Owns no fds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::limits::SYNC_LOOK_INTERVAL;

use crate::functions::{ChangeError, Follower, Functions, Memory};

/// When to look at the store.
#[derive(Debug, Default)]
pub struct Watch {
    /// The hint at the last look that went well.
    seen: Option<Option<Vec<u8>>>,
    looked: Option<Instant>,
}

impl Watch {
    /// Returns whether to look now, when this is the hint. A store that `has_functions` has a hint
    /// too, since every deploy leaves one: without it the store has gone away, however lately it
    /// was looked at.
    fn is_due(&self, hint: Option<&[u8]>, has_functions: bool, now: Instant) -> bool {
        if has_functions && hint.is_none() {
            return true;
        }
        let same = self.seen.as_ref().is_some_and(|seen| seen.as_deref() == hint);
        let lately =
            self.looked.is_some_and(|looked| now.duration_since(looked) < SYNC_LOOK_INTERVAL);
        !(same && lately)
    }

    /// Notes that a look that began with this hint has gone well.
    fn looked(&mut self, hint: Option<Vec<u8>>, now: Instant) {
        *self = Self { seen: Some(hint), looked: Some(now) };
    }
}

/// How often the node clears away what no function has any more.
const TIDY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Keeps up with the store, until the process ends.
pub async fn keep_up(functions: Arc<Functions>, mut memory: Memory, interval: Duration) {
    let follower = &functions.follower;
    let (mut watch, state) = (Watch::default(), follower.store());
    let mut tidied = Instant::now();
    loop {
        tokio::time::sleep(interval).await;
        if tidied.elapsed() >= TIDY_INTERVAL {
            follower.clear_unused().await;
            tidied = Instant::now();
        }
        match step(follower, &mut watch, &mut memory).await {
            Ok(()) => state.answered(),
            // Another engine does it from now on.
            Err(ChangeError::TakenOver | ChangeError::Stopping) => {}
            Err(ChangeError::Store(error)) => state.failed(&error.to_string()),
            // The store has it, and some of this node has not: another look may help.
            Err(error) => tracing::error!(
                "what other nodes have deployed is not served everywhere yet: {error}"
            ),
        }
    }
}

async fn step(
    follower: &Follower,
    watch: &mut Watch,
    memory: &mut Memory,
) -> Result<(), ChangeError> {
    // The hint first: what changes after it is there at the next.
    let hint = follower.hint().await?;
    if watch.is_due(hint.as_deref(), follower.has_any(), Instant::now()) {
        follower.catch_up().await?;
        watch.looked(hint, Instant::now());
    }
    follower.remember(memory).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_taken_at_first_at_each_new_hint_and_every_so_often() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        assert!(watch.is_due(None, false, now));
        watch.looked(None, now);
        assert!(!watch.is_due(None, false, now));
        // Something was deployed and taken away with the whole store, all since the last look.
        assert!(watch.is_due(None, true, now));
        assert!(watch.is_due(Some(b"1"), true, now));
        // A look that fails is not noted.
        assert!(watch.is_due(Some(b"1"), true, now));
        watch.looked(Some(b"1".to_vec()), now);
        assert!(!watch.is_due(Some(b"1"), true, now + SYNC_LOOK_INTERVAL / 2));
        assert!(watch.is_due(Some(b"1"), true, now + SYNC_LOOK_INTERVAL));
        assert!(watch.is_due(None, false, now));
    }
}
