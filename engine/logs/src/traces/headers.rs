//! The headers that an endpoint wants with each batch, mostly a token. They come from a file, or
//! from the variable that OpenTelemetry has for them.
//!
//! Both are a list of `name=value`, with commas or line ends between. Values are percent-encoded
//! where they must be (W3C Baggage). Values are never logged. Owns no fds beyond a call.

use std::path::{Path, PathBuf};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The variable's name by the standard.
const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Why headers cannot be read. No message quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    #[error("--otlp-headers-file {path:?} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "entry {number} of {place} is no header; expected NAME=VALUE, the value percent-encoded where it has to be"
    )]
    Entry { place: String, number: usize },
}

/// Returns the headers of the file, or of the variable if there is no file.
pub(super) fn read(file: Option<&Path>) -> Result<HeaderMap, HeadersError> {
    match file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|source| HeadersError::Read { path: path.to_owned(), source })?;
            parse(&text, || format!("--otlp-headers-file {path:?}"))
        }
        None => parse(&std::env::var(VARIABLE).unwrap_or_default(), || VARIABLE.to_owned()),
    }
}

/// Parses a list of headers. `place` is named in errors.
fn parse(text: &str, place: impl Fn() -> String) -> Result<HeaderMap, HeadersError> {
    let entries = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
    let header = |(at, entry): (usize, &str)| {
        let parsed = || {
            let (name, value) = entry.split_once('=')?;
            let mut value = HeaderValue::from_bytes(&decode(value.trim())?).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        };
        parsed().ok_or_else(|| HeadersError::Entry { place: place(), number: at + 1 })
    };
    entries.enumerate().map(header).collect()
}

/// Returns the bytes of percent-encoded text. Returns `None` if an escape is not whole.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    let digit = |byte: Option<u8>| {
        char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
    };
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            digit(rest.next())? << 4 | digit(rest.next())?
        } else {
            byte
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let headers = parse(text, || "here".to_owned()).map_err(|error| error.to_string())?;
        assert!(headers.values().all(HeaderValue::is_sensitive));
        Ok(headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect())
    }

    #[test]
    fn a_list_of_headers_is_read_from_one_line_or_several() {
        let both =
            vec![("api-key".to_owned(), b"a=b,c".to_vec()), ("x-two".to_owned(), b"2".to_vec())];
        assert_eq!(of("api-key=a=b%2Cc, X-Two = 2"), Ok(both.clone()));
        assert_eq!(of("# ours\napi-key=a=b%2cc\n\nx-two=2\n"), Ok(both));
        assert_eq!(of(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_header_is_told_by_its_place_and_not_by_its_value() {
        for bad in [
            "a=1,hush",
            "a=1,b=hush%2",
            "a=1,b=hush%zz",
            "a=1,b c=hush",
            "a=1,=hush",
            "a=1,b=hush%0a",
        ] {
            let error = of(bad).unwrap_err();
            assert!(error.contains("entry 2 of here") && !error.contains("hush"), "{bad}: {error}");
        }
    }
}
