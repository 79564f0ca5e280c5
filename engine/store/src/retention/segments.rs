//! How long logs are kept: which shipped segments are to be deleted. Any node may delete them.
//! Pure; owns no fds.

use super::{Policy, Verdict};
use crate::objects::Listed;
use crate::segment::SegmentName;

/// Returns the keys of the segments to delete: those that are too old, and then the oldest until
/// the rest is small enough. Other objects are left alone. The times in keys do not count, as they
/// are by the clocks of the nodes that wrote them.
pub fn to_remove(listed: Vec<Listed>, verdict: &Verdict) -> Vec<String> {
    let Policy { logs_kept_for_ms, logs_kept_bytes, .. } = verdict.policy;
    let named = |listed: Listed| Some((SegmentName::parse(&listed.key)?.last_ms, listed));
    let mut segments: Vec<_> = listed.into_iter().filter_map(named).collect();
    // A store's clock may have whole seconds only: keys order the segments of one second.
    segments.sort_by_key(|(last_ms, listed)| (listed.modified, *last_ms));
    let mut bytes: u64 = segments.iter().map(|(_, listed)| listed.bytes).sum();
    let goes = |(_, listed): (u64, Listed)| {
        let over = verdict.is_older(listed.modified, logs_kept_for_ms) || bytes > logs_kept_bytes;
        bytes -= listed.bytes;
        over.then_some(listed.key)
    };
    segments.into_iter().map_while(goes).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use uuid::Uuid;

    use super::*;

    fn listed(last_ms: u64, modified_ms: u64, bytes: u64) -> Listed {
        let name = SegmentName { first_ms: 0, last_ms, node: "n".into(), id: Uuid::nil() };
        Listed { key: name.key(), bytes, tag: String::new(), modified: at(modified_ms) }
    }

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    /// What goes of three segments, by their last times, which are by clocks that are wrong.
    fn gone(kept: (u64, u64), now: Option<SystemTime>) -> Vec<u64> {
        let other = Listed { key: "logs/readme.txt".into(), ..listed(0, 0, 1 << 40) };
        let all = vec![listed(1, 300, 30), other, listed(900, 100, 10), listed(2, 200, 20)];
        let (logs_kept_for_ms, logs_kept_bytes) = kept;
        let (versions_kept, versions_kept_for_ms) = (0, 0);
        let policy =
            Policy { logs_kept_for_ms, logs_kept_bytes, versions_kept, versions_kept_for_ms };
        let keys = to_remove(all, &Verdict { policy, now });
        keys.iter().map(|key| SegmentName::parse(key).unwrap().last_ms).collect()
    }

    #[test]
    fn what_is_too_old_by_the_store_goes_and_then_the_oldest_of_too_much() {
        assert!(gone((1000, 1000), Some(at(1100))).is_empty());
        assert_eq!(gone((1000, 1000), Some(at(1201))), [900, 2]);
        assert_eq!(gone((1000, 50), Some(at(0))), [900]);
        assert_eq!(gone((1000, 49), Some(at(0))), [900, 2]);
        assert_eq!(gone((1000, 0), Some(at(0))), [900, 2, 1]);
    }

    #[test]
    fn without_a_clock_that_is_believed_only_what_is_too_much_goes() {
        assert!(gone((1000, 1000), None).is_empty());
        assert_eq!(gone((1000, 50), None), [900]);
        assert_eq!(gone((0, 1000), None), [900, 2, 1]);
    }
}
