//! Where a store is: a folder, or a bucket with a prefix. Parses the value of `--store`, and
//! suggests what a typo most likely stands for. Pure; owns no fds.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use host::userinfo;

/// The lengths that the name of a bucket may have (Amazon S3, "General purpose bucket naming
/// rules").
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
/// The longest prefix: a key has at most 1024 bytes, and those of a store are shorter than the
/// rest.
const PREFIX_BYTES_MAX: usize = 512;

/// The place of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    Folder(PathBuf),
    Bucket(BucketLocation),
}

/// A bucket, and the prefix of the keys in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLocation {
    pub bucket: String,
    /// Empty, or parts separated by `/`, without a `/` at either end.
    pub prefix: String,
}

impl FromStr for StoreLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return BucketLocation::read(rest).map(Self::Bucket);
        }
        let scheme = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match text.split_once("://") {
            _ if text.is_empty() => Err("expected a folder or s3://BUCKET/PREFIX".into()),
            None if scheme == "s3" && text.contains(':') => {
                let rest = text[scheme.len() + 1..].trim_start_matches('/');
                Err(format!(
                    "a bucket is written s3://BUCKET/PREFIX; did you mean s3://{rest}? (A folder of that name is ./{text})"
                ))
            }
            None => Ok(Self::Folder(text.into())),
            Some((_, rest)) if scheme == "s3" => Err(format!("the scheme is written in small letters: s3://{rest}")),
            Some(_) if scheme == "http" || scheme == "https" => {
                Err("the address of a server is no store; write s3://BUCKET/PREFIX, and the address as --s3-endpoint"
                    .into())
            }
            Some((scheme, _)) => {
                Err(format!("a store is a folder or s3://BUCKET/PREFIX; {scheme:?} is no scheme that is known here"))
            }
        }
    }
}

impl BucketLocation {
    /// Parses the text after `s3://`.
    fn read(text: &str) -> Result<Self, String> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let of_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let at_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = bucket.as_bytes();
        let named = BUCKET_BYTES.contains(&bytes.len()) && bytes.iter().copied().all(of_name);
        if !named || !at_end(bytes.first()) || !at_end(bytes.last()) || bucket.contains("..") {
            let shown = userinfo::hide_in_value(bucket);
            return Err(format!(
                "{shown:?} is no name of a bucket: those have 3 to 63 small letters, digits, dots and hyphens, and begin and end with a letter or digit"
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let of_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let part =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(of_part);
        if !prefix.is_empty() && (prefix.len() > PREFIX_BYTES_MAX || !prefix.split('/').all(part)) {
            return Err(format!(
                "{prefix:?} is no prefix: it has parts of letters, digits, dots, hyphens and underscores between single slashes, none of which begins with a dot, and at most {PREFIX_BYTES_MAX} bytes"
            ));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for BucketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

/// Parses an endpoint: a scheme and an authority, with nothing behind them.
///
/// # Errors
/// A sentence that says what is expected.
pub fn endpoint(text: &str) -> Result<String, String> {
    let expected = "expected http://HOST:PORT or https://HOST:PORT";
    let (scheme, authority) =
        text.split_once("://").ok_or_else(|| format!("{expected}; the scheme is missing"))?;
    if !["http", "https"].contains(&scheme) {
        return Err(expected.into());
    }
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains('@') {
        return Err(format!(
            "{expected}; credentials belong into --s3-credentials or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "{expected} and no path; the bucket is named by --store s3://BUCKET/PREFIX"
        ));
    }
    match authority.parse::<http::uri::Authority>() {
        Ok(read)
            if !read.host().is_empty()
                && (read.port_u16().is_some() || authority == read.host()) =>
        {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(expected.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_store_is_a_folder_or_a_bucket() {
        for folder in ["store", "./s3:x", "/srv/a b", "a:b", "s3", "s3/x"] {
            assert_eq!(folder.parse(), Ok(StoreLocation::Folder(folder.into())));
        }
        for (text, bucket, prefix) in [
            ("s3://my-bucket", "my-bucket", ""),
            ("s3://my-bucket/", "my-bucket", ""),
            ("s3://b.1.c/a/B_c/d.e/", "b.1.c", "a/B_c/d.e"),
        ] {
            let place: StoreLocation = text.parse().unwrap();
            assert_eq!(
                place,
                StoreLocation::Bucket(BucketLocation {
                    bucket: bucket.into(),
                    prefix: prefix.into()
                })
            );
            assert_eq!(place.to_string(), text.strip_suffix('/').unwrap_or(text));
        }
    }

    #[test]
    fn a_slip_is_told_with_what_was_meant() {
        for (text, part) in [
            ("s3:/bucket/x", "did you mean s3://bucket/x?"),
            ("s3:bucket", "did you mean s3://bucket?"),
            ("S3://bucket", "small letters: s3://bucket"),
            ("S3:/bucket", "did you mean s3://bucket?"),
            ("http://127.0.0.1:9000/bucket", "--s3-endpoint"),
            ("https://x", "--s3-endpoint"),
            ("gs://bucket", "\"gs\" is no scheme"),
            ("", "expected a folder"),
            ("s3://", "no name of a bucket"),
            ("s3:///x", "no name of a bucket"),
            ("s3://Bucket", "no name of a bucket"),
            ("s3://my_bucket", "no name of a bucket"),
            ("s3://ab", "no name of a bucket"),
            ("s3://-bucket", "no name of a bucket"),
            ("s3://a..b", "no name of a bucket"),
            ("s3://bucket//x", "no prefix"),
            ("s3://bucket/../x", "no prefix"),
            ("s3://bucket/a b", "no prefix"),
            ("s3://bucket/x?y", "no prefix"),
        ] {
            let said = text.parse::<StoreLocation>().unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, endpoint_) in [
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
            (
                "https://account.r2.cloudflarestorage.com",
                "https://account.r2.cloudflarestorage.com",
            ),
            ("http://[::1]:3900", "http://[::1]:3900"),
        ] {
            assert_eq!(endpoint(text), Ok(endpoint_.to_owned()));
        }
        for (text, part) in [
            ("127.0.0.1:9000", "scheme is missing"),
            ("s3://bucket", "http://HOST"),
            ("https://", "http://HOST"),
            ("https://x:y", "http://HOST"),
            ("https://x:", "http://HOST"),
            ("https://x.com/bucket", "--store s3://"),
            ("https://key:secret@x.com", "--s3-credentials"),
        ] {
            let said = endpoint(text).unwrap_err();
            assert!(said.contains(part) && !said.contains("secret@"), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(s3|S3|http|)(:|://|/|){0,2}[a-zA-Z0-9./_ é?-]{0,20}") {
            if let Ok(place) = text.parse::<StoreLocation>() {
                prop_assert_eq!(place.to_string().parse::<StoreLocation>(), Ok(place));
            }
            let _ = endpoint(&text);
        }
    }
}
