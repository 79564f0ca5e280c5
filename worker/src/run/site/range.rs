//! The range of a file that a request asks for (RFC 9110 14). Pure; owns no fds.

/// What a request's Range means for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: there is no such header, it is not understood, or it has several ranges, which a
    /// server need not send (14.2).
    Whole,
    /// These bytes: the first one's position, and how many.
    Part { first: u64, bytes: u64 },
    /// None that the file has.
    Unsatisfiable,
}

/// Returns what the value of Range means for a file of `length` bytes.
pub(super) fn wanted(range: Option<&str>, length: u64) -> Wanted {
    range.and_then(|range| one(range, length)).unwrap_or(Wanted::Whole)
}

/// Reads a value with one range. Returns `None` if it is ignored.
fn one(range: &str, length: u64) -> Option<Wanted> {
    let (unit, set) = range.split_once('=')?;
    // Names of units are case-insensitive (14.1).
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    if first.is_empty() {
        // The last so many bytes. All, if the file has fewer (14.1.2).
        let bytes = number(last)?.min(length);
        return Some(match bytes {
            0 => Wanted::Unsatisfiable,
            _ => Wanted::Part { first: length - bytes, bytes },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= length {
        return Some(Wanted::Unsatisfiable);
    }
    Some(Wanted::Part { first, bytes: last.min(length - 1) - first + 1 })
}

/// Reads a number. One that is too large for any file is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_of_the_standard() {
        // The examples of RFC 9110 14.1.2, of a file of 10,000 bytes, and those around its ends.
        let part = |first, bytes| Wanted::Part { first, bytes };
        for (range, length, expected) in [
            ("bytes=0-499", 10_000, part(0, 500)),
            ("bytes=500-999", 10_000, part(500, 500)),
            ("bytes=-500", 10_000, part(9500, 500)),
            ("bytes=9500-", 10_000, part(9500, 500)),
            ("bytes=0-0", 10_000, part(0, 1)),
            ("BYTES=0-0", 10_000, part(0, 1)),
            ("bytes= 1-2 ", 10_000, part(1, 2)),
            ("bytes=-20000", 10_000, part(0, 10_000)),
            ("bytes=0-99999999999999999999999", 10_000, part(0, 10_000)),
            ("bytes=9999-", 10_000, part(9999, 1)),
            ("bytes=10000-", 10_000, Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10_000, Wanted::Unsatisfiable),
            ("bytes=-0", 10_000, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-1", 0, Wanted::Unsatisfiable),
            ("bytes=2-1", 10_000, Wanted::Whole),
            ("bytes=0-0,-1", 10_000, Wanted::Whole),
            ("bytes=", 10_000, Wanted::Whole),
            ("bytes=-", 10_000, Wanted::Whole),
            ("bytes=a-b", 10_000, Wanted::Whole),
            ("bytes=+1-2", 10_000, Wanted::Whole),
            ("bytes=1 -2", 10_000, Wanted::Whole),
            ("items=0-1", 10_000, Wanted::Whole),
            ("bytes", 10_000, Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(range), length), expected, "{range} of {length}");
        }
        assert_eq!(wanted(None, 10_000), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_in_the_file(range in "(bytes=)?[0-9]{0,3}-[0-9]{0,20}", length in 0_u64..1000) {
            if let Wanted::Part { first, bytes } = wanted(Some(&range), length) {
                prop_assert!(bytes > 0 && first + bytes <= length);
            }
        }

        #[test]
        fn any_text_is_read(range in ".{0,40}", length: u64) {
            if let Wanted::Part { first, bytes } = wanted(Some(&range), length) {
                prop_assert!(bytes > 0 && first.checked_add(bytes).is_some_and(|end| end <= length));
            }
        }
    }
}
