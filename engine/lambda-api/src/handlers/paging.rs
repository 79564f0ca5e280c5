//! Pages of a list: what comes behind the marker, no more than was asked for. Pure; owns no fds.

use super::{Parameters, invalid};
use crate::failure::Failure;

/// How many items a page has unless it is said.
const ITEMS_DEFAULT: usize = 50;
/// The most that may be asked for.
const ITEMS_MAX: usize = 10_000;

/// Some of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T, K> {
    pub(super) items: Vec<T>,
    /// Behind which item the next page begins, if there is one.
    pub(super) next: Option<K>,
}

/// Returns the page of `items`, sorted by their keys, that begins behind `marker`.
pub(super) fn page<T, K: Ord>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> K,
    marker: Option<&K>,
    items_max: usize,
) -> Page<T, K> {
    items.sort_by_cached_key(&key);
    if let Some(marker) = marker {
        items.retain(|item| key(item) > *marker);
    }
    let more = items.len() > items_max;
    items.truncate(items_max);
    let next = items.last().filter(|_| more).map(key);
    Page { items, next }
}

/// Returns how many items a page is to have, by the parameter `MaxItems`.
pub(super) fn items_max(parameters: &Parameters) -> Result<usize, Failure> {
    let Some(text) = parameters.get("MaxItems") else { return Ok(ITEMS_DEFAULT) };
    let parsed = text.parse().ok().filter(|count| (1..=ITEMS_MAX).contains(count));
    parsed.ok_or_else(|| invalid(format!("MaxItems must be a number from 1 to {ITEMS_MAX}")))
}

/// Returns the failure of a marker that no answer had.
pub(super) fn bad_marker() -> Failure {
    invalid("Marker is none; expected the NextMarker of an earlier answer")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pages_of_a_list_are_the_list(
            items in proptest::collection::btree_set(0_u16..500, 0..80),
            items_max in 1_usize..20,
        ) {
            let (mut read, mut marker) = (Vec::new(), None);
            loop {
                let unsorted = items.iter().copied().rev().collect();
                let page = page(unsorted, |item| *item, marker.as_ref(), items_max);
                prop_assert!(page.items.len() <= items_max);
                prop_assert!(page.next.is_none() || page.items.len() == items_max);
                read.extend(page.items);
                marker = page.next;
                if marker.is_none() {
                    break;
                }
            }
            prop_assert_eq!(read, items.into_iter().collect::<Vec<_>>());
        }
    }
}
