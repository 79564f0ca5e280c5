//! Keeping up with the store that other nodes write too.
//!
//! Every so often the node reads one small object, the hint that something has changed, and looks
//! at what the store has when the hint is another one than before, or is missing where there are
//! functions, when it has not looked for a while, or when the last look failed. [`Watch`] decides,
//! and is pure; [`keep_up`] does it. While the store is away the node serves what it has;
//! [`StoreState`] tells for how long that has been so. Owns no fds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use abi::limits::SYNC_LOOK_INTERVAL;
use api::status::StoreAway;

use super::functions::{ChangeError, Functions};
use store::error::StoreError;

/// When to look at the store.
#[derive(Debug, Default)]
pub struct Watch {
    /// The hint at the last look that went well.
    seen: Option<Option<Vec<u8>>>,
    looked: Option<Instant>,
}

impl Watch {
    /// Whether to look now, with this for a hint. A store that `has_functions` has a hint too,
    /// since every deploy leaves one: without it the store has gone away, however lately that was
    /// looked at.
    fn wants_look(&self, hint: Option<&[u8]>, has_functions: bool, now: Instant) -> bool {
        if has_functions && hint.is_none() {
            return true;
        }
        let same = self.seen.as_ref().is_some_and(|seen| seen.as_deref() == hint);
        let lately =
            self.looked.is_some_and(|looked| now.duration_since(looked) < SYNC_LOOK_INTERVAL);
        !(same && lately)
    }

    /// A look that was begun with this hint has gone well.
    fn looked(&mut self, hint: Option<Vec<u8>>, now: Instant) {
        *self = Self { seen: Some(hint), looked: Some(now) };
    }
}

/// Whether the store is there, for those who ask.
#[derive(Debug)]
pub struct StoreState {
    name: String,
    away: Mutex<Option<StoreAway>>,
}

/// Returns `the store s3://bucket is away since 2026-01-02T03:04:05Z: ...`.
pub fn away_text(away: &StoreAway) -> String {
    let since = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(away.since_s));
    format!("the store {} is away since {since}: {}", away.store, away.reason)
}

impl StoreState {
    /// Of the store of this name; it has been away since now if `error` says so.
    pub fn new(name: String, error: Option<&StoreError>) -> Self {
        let state = Self { name, away: Mutex::default() };
        if let Some(error) = error {
            state.failed(&error.to_string());
        }
        state
    }

    /// What is told of a store that is not there.
    pub fn away(&self) -> Option<StoreAway> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, reason: &str) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match away.as_mut() {
            Some(away) => reason.clone_into(&mut away.reason),
            None => {
                tracing::error!("{reason}; the node goes on with what it has");
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let (store, reason) = (self.name.clone(), reason.to_owned());
                *away = Some(StoreAway { store, since_s: since.as_secs(), reason });
            }
        }
    }

    fn answered(&self) {
        if let Some(away) = self.away.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            tracing::info!(
                "the store {} is there again, after {} s",
                self.name,
                now.saturating_sub(away.since_s)
            );
        }
    }
}

/// How often what no function has any more is cleared away.
const TIDY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Keeps up with the store, until the process ends.
pub async fn keep_up(functions: Arc<Functions>, interval: Duration) {
    let (mut watch, state) = (Watch::default(), functions.store());
    let mut tidied = Instant::now();
    loop {
        tokio::time::sleep(interval).await;
        if tidied.elapsed() >= TIDY_INTERVAL {
            functions.clear_unused().await;
            tidied = Instant::now();
        }
        match step(&functions, &mut watch).await {
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

async fn step(functions: &Functions, watch: &mut Watch) -> Result<(), ChangeError> {
    // The hint first: what changes after it is there at the next.
    let hint = functions.hint().await?;
    if watch.wants_look(hint.as_deref(), functions.has_any().await, Instant::now()) {
        functions.catch_up().await?;
        watch.looked(hint, Instant::now());
    }
    functions.remember().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_taken_at_first_at_each_new_hint_and_every_so_often() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        assert!(watch.wants_look(None, false, now));
        watch.looked(None, now);
        assert!(!watch.wants_look(None, false, now));
        // Something was deployed and taken away with the whole store, all since the last look.
        assert!(watch.wants_look(None, true, now));
        assert!(watch.wants_look(Some(b"1"), true, now));
        // A look that fails is not noted.
        assert!(watch.wants_look(Some(b"1"), true, now));
        watch.looked(Some(b"1".to_vec()), now);
        assert!(!watch.wants_look(Some(b"1"), true, now + SYNC_LOOK_INTERVAL / 2));
        assert!(watch.wants_look(Some(b"1"), true, now + SYNC_LOOK_INTERVAL));
        assert!(watch.wants_look(None, false, now));
    }

    #[test]
    fn away_is_told_since_its_first_failure_with_its_last_reason() {
        let state = StoreState::new("s3://b".into(), None);
        assert_eq!(state.away(), None);
        state.failed("one");
        let first = state.away().unwrap();
        state.failed("two");
        let second = state.away().unwrap();
        assert_eq!(
            (second.since_s, second.reason.as_str(), second.store.as_str()),
            (first.since_s, "two", "s3://b")
        );
        state.answered();
        assert_eq!(state.away(), None);
    }
}
