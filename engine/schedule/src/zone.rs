//! Time zones by their names in the IANA database: the system's tables where it has some, which it
//! keeps up to date, and otherwise those of this build. Owns no fds between calls.

use jiff::tz::{self, TimeZone};

/// How many names are shown to somebody who gave one that there is not.
const SHOWN_MAX: usize = 3;
/// How alike a name has to be to be shown, from 0 to 1.
const LIKENESS_MIN: f64 = 0.8;

/// Why there is no such time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?}; {hint}")]
pub struct UnknownZone {
    name: String,
    hint: String,
}

/// Returns the time zone called `name`, whatever its case.
///
/// # Errors
/// [`UnknownZone`], with the names that were probably meant.
pub fn find(name: &str) -> Result<TimeZone, UnknownZone> {
    TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some()).ok_or_else(|| {
        let near = near(name);
        let hint = match near.is_empty() {
            false => format!("did you mean {}?", near.join(" or ")),
            true => "expected a name of the IANA database, as Europe/Berlin or UTC".to_owned(),
        };
        UnknownZone { name: name.to_owned(), hint }
    })
}

/// Returns the names that are most like `name`, as a whole or in what stands behind the last `/`.
fn near(name: &str) -> Vec<String> {
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let (whole, last) = (name.to_ascii_lowercase(), city(name));
    let likeness = |known: &str| {
        let of_whole = strsim::jaro_winkler(&whole, &known.to_ascii_lowercase());
        of_whole.max(strsim::jaro_winkler(&last, &city(known)))
    };
    let known = tz::db().available().map(|known| known.as_str().to_owned());
    let mut known: Vec<(f64, String)> = known.map(|known| (likeness(&known), known)).collect();
    known.retain(|(likeness, _)| *likeness >= LIKENESS_MIN);
    known.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    known.into_iter().take(SHOWN_MAX).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_and_those_that_do_not_exist_are_answered_with_ones_that_do() {
        for name in ["UTC", "Europe/Berlin", "europe/berlin", "Asia/Kathmandu"] {
            assert!(find(name).is_ok(), "{name}");
        }
        for (name, meant) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("America/NewYork", "America/New_York"),
            ("europe/londn", "Europe/London"),
        ] {
            let error = find(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(meant), "{error}");
        }
        for name in ["", "/", "xyzzy-no-such", "../../etc/passwd", "Europe/Berlin\0", "+02:00"] {
            assert!(find(name).is_err(), "{name:?}");
        }
    }
}
