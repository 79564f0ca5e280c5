//! Which of the known names a misspelt one was most likely meant to be. Owns no fds.

/// How alike two names must be: one slip in a short name, some in a long one.
const ALIKE_MIN: f64 = 0.8;
/// The longest text that is compared, which takes time by its length. No name is nearly as long.
const GIVEN_BYTES_MAX: usize = 64;

/// Returns the name of `known` that is most like `given`. Returns `None` if none is much like it.
///
/// Upper case and hyphens count as lower case and underscores.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > GIVEN_BYTES_MAX {
        return None;
    }
    // Hyphens are how flags are written.
    let given = given.replace('-', "_").to_ascii_lowercase();
    let likeness = |name: &str| {
        strsim::normalized_damerau_levenshtein(&given, name).max(strsim::jaro_winkler(&given, name))
    };
    known
        .into_iter()
        .map(|name| (name, likeness(name)))
        .filter(|(_, likeness)| *likeness >= ALIKE_MIN)
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["memory", "timeout", "cpu_time", "queue", "queue_timeout"];
        for (given, meant) in [
            ("memroy", "memory"),
            ("Memory", "memory"),
            ("cpu-time", "cpu_time"),
            ("queue_timout", "queue_timeout"),
            ("memory_bytes_max", "memory"),
        ] {
            assert_eq!(nearest(given, known), Some(meant), "{given}");
        }
        assert_eq!(nearest("source", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"memory".repeat(20), known), None);
    }
}
