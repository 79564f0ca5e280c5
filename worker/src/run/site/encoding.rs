//! In which coding a file is sent (RFC 9110 12.5.3). Pure; owns no fds.

use abi::site::{ArchivedContents, ArchivedSiteFile, Coding};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Returns the contents to send of a file, and their coding, if it is another than as it is.
pub(super) fn chosen<'f>(
    file: &'f ArchivedSiteFile,
    headers: &HeaderMap,
) -> (&'f ArchivedContents, Option<Coding>) {
    let accepted = |coding: Coding| weight(headers, coding.name());
    let mut best = (&file.contents, None, 0);
    if !file.variants.is_empty() && headers.contains_key(ACCEPT_ENCODING) {
        // The first of several with the same weight is the preferred one.
        for variant in file.variants.iter() {
            let coding = Coding::from(&variant.coding);
            let weight = accepted(coding);
            if weight > best.2 {
                best = (&variant.contents, Some(coding), weight);
            }
        }
        // As it is, a file is acceptable unless that is excluded; it is sent so only if it is
        // preferred, and if nothing else will do.
        let identity = named_weight(headers, "identity").unwrap_or(0);
        if identity > best.2 {
            best = (&file.contents, None, identity);
        }
    }
    (best.0, best.1)
}

/// Returns how much a coding is wanted, in thousandths; 0 if it is not acceptable.
fn weight(headers: &HeaderMap, coding: &str) -> u16 {
    named_weight(headers, coding).or_else(|| named_weight(headers, "*")).unwrap_or(0)
}

/// Returns the weight that the list gives to what is called `name`. Returns `None` if it names it
/// nowhere.
fn named_weight(headers: &HeaderMap, name: &str) -> Option<u16> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut items = values.flat_map(|value| value.split(','));
    items.find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next()?;
        let is_it = coding.eq_ignore_ascii_case(name)
            || (name == "gzip" && coding.eq_ignore_ascii_case("x-gzip"));
        is_it.then(|| parts.next().map_or(1000, thousandths))
    })
}

/// Reads a weight, `q=0.5`. What is none counts as 0.
fn thousandths(parameter: &str) -> u16 {
    let value = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let Some((_, value)) = value else { return 0 };
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let is_number = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = format!("{part:0<3}").parse::<u16>().ok().filter(|_| is_number);
    match (whole, part) {
        ("0", Some(part)) => part,
        ("1", Some(0)) => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::answer::samples;
    use super::*;

    fn of(accepted: &[&str]) -> &'static str {
        let view = samples::site();
        let file = view.get().find("app.js").unwrap();
        let mut headers = HeaderMap::new();
        accepted.iter().for_each(|value| {
            headers.append(ACCEPT_ENCODING, value.parse().unwrap());
        });
        chosen(file, &headers).1.map_or("identity", Coding::name)
    }

    #[test]
    fn the_preferred_coding_of_those_that_are_accepted() {
        for (accepted, expected) in [
            (&[][..], "identity"),
            (&[""], "identity"),
            (&["gzip"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["gzip, deflate, br, zstd"], "br"),
            (&["gzip, deflate"], "gzip"),
            (&["gzip", "br"], "br"),
            (&["GZIP;Q=1, BR;q=0.9"], "gzip"),
            (&["br;q=0, gzip;q=0.001"], "gzip"),
            (&["*"], "br"),
            (&["*;q=0.5, gzip"], "gzip"),
            (&["identity, *;q=0"], "identity"),
            (&["identity;q=1, *;q=0"], "identity"),
            (&["identity;q=0.5, gzip;q=0.4"], "identity"),
            (&["identity;q=0"], "identity"),
            (&["br;q=2, gzip;q=x"], "identity"),
            (&["deflate"], "identity"),
        ] {
            assert_eq!(of(accepted), expected, "{accepted:?}");
        }
    }

    proptest! {
        #[test]
        fn weights_are_thousandths(weight in 0_u16..=1000) {
            let text = format!("q={}.{:03}", weight / 1000, weight % 1000);
            prop_assert_eq!(thousandths(&text), weight);
        }

        #[test]
        fn any_text_is_read(value in "[ -~]{0,40}") {
            let _ = of(&[&value]);
        }
    }
}
