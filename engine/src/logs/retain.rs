//! How long logs are kept: which shipped segments are to be deleted. Any node may delete them. Pure; owns no fds.

use super::name::SegmentName;
use crate::store::objects::Listed;

/// How long, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) age_ms: u64,
    pub(crate) bytes: u64,
}

/// The keys of what is to go at `now_ms`: what is older than it may be, and then the oldest until the rest is small enough. What is no segment
/// is not ours to delete.
pub(crate) fn beyond(listed: Vec<Listed>, kept: Kept, now_ms: u64) -> Vec<String> {
    let named = |listed: Listed| Some((SegmentName::parse(&listed.key)?.last_ms, listed));
    let mut segments: Vec<_> = listed.into_iter().filter_map(named).collect();
    segments.sort_by_key(|(last_ms, _)| *last_ms);
    let mut bytes: u64 = segments.iter().map(|(_, listed)| listed.bytes).sum();
    let oldest_ms = now_ms.saturating_sub(kept.age_ms);
    let goes = |(last_ms, listed): (u64, Listed)| {
        let over = last_ms < oldest_ms || bytes > kept.bytes;
        bytes -= listed.bytes;
        over.then_some(listed.key)
    };
    segments.into_iter().map_while(goes).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use uuid::Uuid;

    use super::*;

    fn listed(last_ms: u64, bytes: u64) -> Listed {
        let name = SegmentName { first_ms: 0, last_ms, node: "n".into(), id: Uuid::nil() };
        Listed { key: name.key(), bytes, tag: String::new(), modified: UNIX_EPOCH }
    }

    fn gone(kept: Kept, now_ms: u64) -> Vec<u64> {
        let other = Listed { key: "logs/readme.txt".into(), ..listed(0, 1 << 40) };
        let all = vec![listed(300, 30), other, listed(100, 10), listed(200, 20)];
        let keys = beyond(all, kept, now_ms);
        keys.iter().map(|key| SegmentName::parse(key).unwrap().last_ms).collect()
    }

    #[test]
    fn what_is_too_old_goes_and_then_the_oldest_of_too_much() {
        let (age_ms, bytes) = (1000, 1000);
        assert!(gone(Kept { age_ms, bytes }, 1100).is_empty());
        assert_eq!(gone(Kept { age_ms, bytes }, 1201), [100, 200]);
        assert_eq!(gone(Kept { age_ms, bytes: 50 }, 0), [100]);
        assert_eq!(gone(Kept { age_ms, bytes: 49 }, 0), [100, 200]);
        assert_eq!(gone(Kept { age_ms, bytes: 0 }, 0), [100, 200, 300]);
    }
}
