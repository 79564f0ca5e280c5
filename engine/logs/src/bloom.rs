//! A Bloom filter over the ids of the invocations in a block. Its "no" is certain, and one "yes" in
//! a hundred is wrong.
//!
//! An id is random but for its time. A node makes it and nobody outside chooses one, so its own
//! bits serve as the hash. Pure; owns no fds.

use abi::invocation_id::InvocationId;

/// Bits for each id, and how many of them are set: 10 and 7 make 0.8 % of wrong answers.
const BITS_PER_ID: usize = 10;
const PROBES: u64 = 7;

/// Returns the filter over these ids.
pub fn of<'a>(ids: impl ExactSizeIterator<Item = &'a InvocationId>) -> Vec<u8> {
    let mut filter = vec![0; (ids.len() * BITS_PER_ID).div_ceil(8)];
    for id in ids {
        probes(*id, filter.len()).for_each(|(byte, bit)| filter[byte] |= bit);
    }
    filter
}

/// Returns whether the id may be among those of the filter.
pub fn may_have(filter: &[u8], id: InvocationId) -> bool {
    !filter.is_empty() && probes(id, filter.len()).all(|(byte, bit)| filter[byte] & bit != 0)
}

/// Returns the places of an id in a filter of so many bytes, each as a byte and a bit of it.
/// `bytes` is not 0.
fn probes(id: InvocationId, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let [_, _, _, _, _, _, _, a, b, c, d, e, f, g, h, i] = id.bytes();
    let (first, step) =
        (u32::from_le_bytes([f, g, h, i]), u32::from_le_bytes([b, c, d, e]) ^ (u32::from(a) << 24));
    let bits = bytes as u64 * 8;
    (0..PROBES).map(move |probe| {
        let at = (u64::from(first) + probe * (u64::from(step) | 1)) % bits;
        (usize::try_from(at / 8).unwrap_or_default(), 1 << (at % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_found_and_hardly_another() {
        for count in [1, 10, 1000] {
            let ids: Vec<_> = (0..count).map(|_| InvocationId::new()).collect();
            let filter = of(ids.iter());
            assert!(ids.iter().all(|id| may_have(&filter, *id)));
            let wrong = (0..10_000).filter(|_| may_have(&filter, InvocationId::new())).count();
            assert!(count < 100 || wrong < 300, "{wrong} of 10,000 with {count} ids");
        }
        assert!(!may_have(&of([].iter()), InvocationId::new()));
    }
}
