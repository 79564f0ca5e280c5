//! Lists of keys, which come in pages. Owns no fds.
//!
//! NATS knows of no order, so all keys of a bucket are read for a page of it. The last list is kept
//! for the pages that follow, and holds as long as the bucket's usage was not written again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use abi::limits::{STATE_PAGE_BYTES_MAX, STATE_PAGE_KEYS_MAX};
use abi::state::{Answer, Position};
use nats::Failure;

use super::{keys, read_usage};
use crate::Bucket;

/// The longest list that is kept.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a list that is older than the bucket is asked for again,
const ATTEMPTS: u32 = 20;
/// and after how long.
const PAUSE: Duration = Duration::from_millis(50);

/// All keys of a bucket, in their order.
#[derive(Debug)]
struct List {
    bucket: Bucket,
    /// That of the bucket's usage.
    revision: u64,
    keys: Vec<String>,
}

/// The last list.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Option<Arc<List>>>);

impl Pages {
    /// Returns a page.
    ///
    /// # Errors
    /// If NATS is away.
    pub(super) async fn read(
        &self,
        nats: &nats::Bucket,
        bucket: &Bucket,
        from: &Position,
    ) -> Result<Answer, Failure> {
        let Some((revision, _)) = read_usage(nats, bucket).await? else {
            return Ok(page(&[], from));
        };
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fits = |list: &Arc<List>| list.bucket == *bucket && list.revision == revision;
        if let Some(list) = kept.filter(fits) {
            return Ok(page(&list.keys, from));
        }
        let list = Arc::new(list(nats, bucket, revision).await?);
        let bytes: usize = list.keys.iter().map(|key| key.len() + size_of::<String>()).sum();
        if bytes <= KEPT_BYTES_MAX {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&list));
        }
        Ok(page(&list.keys, from))
    }
}

/// Returns a bucket's list, which is no older than `revision` of its usage.
async fn list(nats: &nats::Bucket, bucket: &Bucket, revision: u64) -> Result<List, Failure> {
    let (root, usage) = (keys::root(bucket), keys::usage(bucket));
    for _ in 0..ATTEMPTS {
        let found = nats.keys(&root).await?;
        let seen = found.iter().find(|(name, _)| *name == usage).map_or(0, |(_, seen)| *seen);
        if seen >= revision {
            let mut keys: Vec<String> =
                found.iter().filter_map(|(name, _)| keys::key(&root, name)).collect();
            keys.sort_unstable();
            return Ok(List { bucket: bucket.clone(), revision: seen, keys });
        }
        // The bucket was removed, or a replica answers that has not got it yet.
        if read_usage(nats, bucket).await?.is_none() {
            return Ok(List { bucket: bucket.clone(), revision: 0, keys: Vec::new() });
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::Away("the server that lists keys lags behind".to_owned()))
}

/// Returns the page of `keys`, which are sorted.
fn page(keys: &[String], from: &Position) -> Answer {
    let start = match from {
        Position::After(after) => keys.partition_point(|key| key <= after),
        Position::Skip(count) => usize::try_from(*count).unwrap_or(usize::MAX).min(keys.len()),
    };
    let (mut page, mut bytes) = (Vec::new(), 0);
    for key in &keys[start..] {
        bytes += key.len();
        if page.len() == STATE_PAGE_KEYS_MAX || bytes > STATE_PAGE_BYTES_MAX {
            return Answer::Keys { keys: page, more: true };
        }
        page.push(key.clone());
    }
    Answer::Keys { keys: page, more: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_at_either_limit_and_go_on_behind_the_last_key() {
        let keys: Vec<String> = (0..2100).map(|number| format!("{number:05}")).collect();
        let (mut found, mut from) = (Vec::new(), Position::After(String::new()));
        while let Answer::Keys { keys, more: true } = page(&keys, &from) {
            assert_eq!(keys.len(), STATE_PAGE_KEYS_MAX);
            found.extend(keys);
            from = Position::After(found[found.len() - 1].clone());
        }
        assert_eq!(found, keys[..2000]);
        let last = Answer::Keys { keys: keys[2000..].to_vec(), more: false };
        assert_eq!(page(&keys, &from), last);
        assert_eq!(page(&keys, &Position::Skip(2000)), last);
        let none = Answer::Keys { keys: Vec::new(), more: false };
        assert_eq!(page(&keys, &Position::Skip(u64::MAX)), none);
        assert_eq!(page(&[], &Position::After("x".to_owned())), none);
        let long: Vec<String> = (0..100).map(|number| format!("{number:01024}")).collect();
        let Answer::Keys { keys, more } = page(&long, &Position::Skip(0)) else { panic!() };
        assert_eq!((keys.len(), more), (64, true));
    }
}
