//! Which servers will do. Pure; owns no fds.

/// The oldest that does: what nodes need came with it.
pub(crate) const FLOOR: (u64, u64) = (2, 14);

/// Returns whether a server that says it is `version` will do. One that says something else than a
/// version does not.
pub(crate) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']);
    let mut next = || numbers.next().and_then(|number| number.parse::<u64>().ok());
    let (Some(major), Some(minor)) = (next(), next()) else { return false };
    (major, minor) >= FLOOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_new_enough_from_the_floor_on() {
        for version in ["2.14.0", "2.14.0-preview.1", "v2.15.1", "2.100.0", "3.0.0", "2.14"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["2.13.9", "2.9.10", "1.99.0", "", "x", "2", "2.x", "-1.-1"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
