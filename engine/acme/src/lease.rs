//! Who orders a certificate just now: one node of those that share a store. Owns no fds.
//!
//! Stores have no conditional writes, so a node writes that it wants to, and then looks who wrote
//! first, by the store's clock. That is a moment before a write is seen, and a bucket's clock shows
//! whole seconds; so it looks a little later. Two may still find that they were first; what
//! they then do at once does no harm, and what they write in the attempts' record keeps them apart
//! from then on. A node that dies leaves its lease behind, which ends by time.

use std::sync::Arc;
use std::time::Duration;

use store::error::StoreError;
use store::objects::{Listed, Objects};

use crate::place::{FOLDER, Place};

/// How long a lease holds, longer than any order takes.
pub(crate) const LEASE: Duration = Duration::from_secs(15 * 60);

/// What a listing of leases says.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// Whether this node's lease is the one that holds.
    ours: bool,
    /// Those that have ended by time.
    ended: Vec<String>,
}

/// Returns who has the lease. `own` is the key of this node's, which has just been written.
fn judge(listed: &[Listed], own: &str) -> Verdict {
    let Some(mine) = listed.iter().find(|listed| listed.key == own) else {
        return Verdict { ours: false, ended: Vec::new() };
    };
    let has_ended = |listed: &&Listed| {
        let age = mine.modified.duration_since(listed.modified);
        age.is_ok_and(|age| age >= LEASE)
    };
    let leases = listed.iter().filter(|listed| Place::of(&listed.key).is_some());
    let (ended, held): (Vec<&Listed>, Vec<&Listed>) = leases.partition(has_ended);
    let first = held.iter().map(|listed| (listed.modified, &*listed.key)).min();
    let ours = first == Some((mine.modified, own));
    Verdict { ours, ended: ended.into_iter().map(|listed| listed.key.clone()).collect() }
}

/// A lease on the orders of one name.
#[derive(Debug)]
pub(crate) struct Lease {
    objects: Arc<dyn Objects>,
    key: String,
}

impl Lease {
    /// Takes the lease on a name. Returns `None` if another node has it. `settle` is how long it
    /// takes until a write with an earlier time is certainly seen.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) async fn take(
        objects: &Arc<dyn Objects>,
        (ca, name, node): (&str, &str, &str),
        settle: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let key = Place::Lease { ca, name, node }.key();
        objects.put(&key, Vec::new()).await?;
        let lease = Self { objects: Arc::clone(objects), key };
        tokio::time::sleep(settle).await;
        let listed = objects.list(&format!("{FOLDER}{ca}/leases/{name}/"), "").await?;
        let verdict = judge(&listed, &lease.key);
        for key in &verdict.ended {
            objects.delete(key).await?;
        }
        if verdict.ours {
            return Ok(Some(lease));
        }
        lease.end().await;
        Ok(None)
    }

    /// Gives the lease back. If that fails, it ends by time.
    pub(crate) async fn end(self) {
        if let Err(error) = self.objects.delete(&self.key).await {
            tracing::warn!("the lease {:?} stays for {LEASE:?}: {error}", self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::objects::directory::Directory;

    use std::time::SystemTime;

    const CA: &str = "ca-a-01234567";
    const NAME: &str = "a.example";

    fn node(number: u128) -> String {
        uuid::Uuid::from_u128(number).to_string()
    }

    fn listed(number: u128, second: u64) -> Listed {
        let key = Place::Lease { ca: CA, name: NAME, node: &node(number) }.key();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
        Listed { key, bytes: 0, tag: String::new(), modified }
    }

    #[test]
    fn the_first_by_the_stores_clock_has_it_and_ties_have_one_winner() {
        let ours = |all: &[Listed], own: &Listed| judge(all, &own.key).ours;
        let (one, two) = (listed(1, 5), listed(2, 4));
        let all = [one.clone(), two.clone()];
        assert!(!ours(&all, &one) && ours(&all, &two));
        let (one, two) = (listed(1, 5), listed(2, 5));
        let all = [one.clone(), two.clone()];
        assert!(ours(&all, &one) && !ours(&all, &two));
        assert!(!ours(&[two], &one));
        // A node that has died.
        let (dead, late) = (listed(1, 0), listed(2, LEASE.as_secs()));
        let verdict = judge(&[dead.clone(), late.clone()], &late.key);
        assert_eq!(verdict, Verdict { ours: true, ended: vec![dead.key.clone()] });
        let soon = listed(2, LEASE.as_secs() - 1);
        assert!(!judge(&[dead, soon.clone()], &soon.key).ours);
    }

    #[tokio::test]
    async fn a_lease_is_taken_by_one_until_it_is_given_back_and_again_by_the_same_node() {
        let folder = tempfile::tempdir().unwrap();
        let objects: Arc<dyn Objects> = Arc::new(Directory::new(folder.path().to_owned()));
        let (one, two) = (node(1), node(2));
        let take = async |node: &str| {
            Lease::take(&objects, (CA, NAME, node), Duration::ZERO).await.unwrap()
        };
        let lease = take(&one).await.unwrap();
        assert!(take(&two).await.is_none());
        // The node dies, and starts again.
        drop(lease);
        let lease = take(&one).await.unwrap();
        assert!(take(&two).await.is_none());
        lease.end().await;
        assert!(take(&two).await.is_some());
    }
}
