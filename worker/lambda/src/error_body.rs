//! The JSON of errors, as the Runtime API and callers of a function have it. Owns no fds.

use bytes::Bytes;
use serde::Serialize;

/// Returns `{"errorMessage":…,"errorType":…}`, the shape of every error of the Runtime API.
#[must_use]
pub fn message_and_type(message: &str, error_type: &str) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        error_message: &'a str,
        error_type: &'a str,
    }
    json(&Body { error_message: message, error_type })
}

/// Returns `{"errorType":…,"errorMessage":…}`, the order in which callers see errors that the
/// platform itself reports.
#[must_use]
pub fn type_and_message(error_type: &str, message: &str) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        error_type: &'a str,
        error_message: &'a str,
    }
    json(&Body { error_type, error_message: message })
}

/// Returns `value` as JSON. What this crate serialises cannot fail: its maps have text for keys.
pub(crate) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Returns the type of an error that a runtime reports in `Lambda-Runtime-Function-Error-Type`, as
/// Lambda accepts it: text that contains `Runtime.` or `Function.` and a capitalised name is taken
/// as it is, other text that begins with `Function.` is `Function.Unknown`, and all else, also no
/// header at all, is `Runtime.Unknown`.
#[must_use]
pub fn accepted_type(reported: Option<&str>) -> &str {
    let Some(reported) = reported else { return "Runtime.Unknown" };
    if ["Runtime.", "Function."].iter().any(|prefix| has_name_after(reported, prefix)) {
        return reported;
    }
    if reported.starts_with("Function.") { "Function.Unknown" } else { "Runtime.Unknown" }
}

/// Returns whether `prefix`, an upper-case letter and a letter follow one another in `text`.
fn has_name_after(text: &str, prefix: &str) -> bool {
    text.match_indices(prefix).any(|(at, _)| {
        let name = text.as_bytes().get(at + prefix.len()..).unwrap_or_default();
        matches!(name, [first, second, ..]
            if first.is_ascii_uppercase() && second.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_accepted_by_an_unanchored_pattern() {
        for (reported, accepted) in [
            (None, "Runtime.Unknown"),
            (Some("unhandled"), "Runtime.Unknown"),
            (Some("Function.MyError"), "Function.MyError"),
            (Some("x Runtime.Exit y"), "x Runtime.Exit y"),
            (Some("Function.lower"), "Function.Unknown"),
            (Some("Function.X"), "Function.Unknown"),
            (Some("Runtime."), "Runtime.Unknown"),
            (Some("Runtime.x Runtime.Xy"), "Runtime.x Runtime.Xy"),
        ] {
            assert_eq!(accepted_type(reported), accepted, "{reported:?}");
        }
    }

    #[test]
    fn bodies_keep_their_order() {
        assert_eq!(
            message_and_type("a \"b\"", "T"),
            r#"{"errorMessage":"a \"b\"","errorType":"T"}"#
        );
        assert_eq!(type_and_message("T", "m"), r#"{"errorType":"T","errorMessage":"m"}"#);
    }
}
