//! Whether the store is there, for those who ask. Owns no fds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::status::StoreAway;
use store::error::StoreError;

/// Whether the store answers, and since when it does not.
#[derive(Debug)]
pub struct StoreState {
    name: String,
    /// Set while the store is away. Held for an assignment only.
    away: Mutex<Option<StoreAway>>,
}

/// Returns `the store s3://bucket is away since 2026-01-02T03:04:05Z: ...`.
pub fn away_text(away: &StoreAway) -> String {
    let since = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(away.since_s));
    format!("the store {} is away since {since}: {}", away.store, away.reason)
}

impl StoreState {
    /// Returns the state of the store called `name`, which is away from now on if there is an
    /// `error`.
    pub(super) fn new(name: String, error: Option<&StoreError>) -> Self {
        let state = Self { name, away: Mutex::default() };
        if let Some(error) = error {
            state.failed(&error.to_string());
        }
        state
    }

    /// Returns since when the store is away and why. Returns `None` if it is there.
    pub fn away(&self) -> Option<StoreAway> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the store did not answer.
    pub(crate) fn failed(&self, reason: &str) {
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

    /// Notes that the store has answered.
    pub(crate) fn answered(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_away_since_its_first_failure_with_its_last_reason() {
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
