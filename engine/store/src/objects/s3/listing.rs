//! A page of a bucket's listing (Amazon S3 API, ListObjectsV2), as XML. Pure; owns no fds.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::objects::Listed;

/// The year 9999, as a time since 1970.
const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);

/// A page: its objects, and the token of the next page, if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    pub(super) next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "ListBucketResult")]
struct Body {
    #[serde(rename = "IsTruncated", default)]
    is_truncated: bool,
    #[serde(rename = "NextContinuationToken")]
    next: Option<String>,
    #[serde(rename = "Contents", default)]
    contents: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Size")]
    bytes: u64,
    #[serde(rename = "ETag", default)]
    etag: String,
    #[serde(rename = "LastModified", default)]
    modified: String,
}

/// Parses a page of keys that begin with `prefix`, and removes that from them. Keys that no `put`
/// of this backend writes are left out.
pub(super) fn read(text: &str, prefix: &str) -> Result<Page, String> {
    // Any XML would parse without this check, as every part of a listing may be missing.
    if !text.contains("<ListBucketResult") {
        return Err("it is no listing".into());
    }
    let body: Body = quick_xml::de::from_str(text).map_err(|error| error.to_string())?;
    let listed = |object: Object| {
        let key = object.key.strip_prefix(prefix)?;
        let unfinished =
            key.is_empty() || key.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        let tag = format!("{} {}", object.etag, object.modified);
        // An object without a time counts as newer than any other, so that it is not deleted for
        // its age.
        let modified = humantime::parse_rfc3339(&object.modified)
            .unwrap_or(SystemTime::UNIX_EPOCH + YEAR_9999);
        (!unfinished).then(|| Listed { key: key.to_owned(), bytes: object.bytes, tag, modified })
    };
    let next = body.next.filter(|token| body.is_truncated && !token.is_empty());
    if body.is_truncated && next.is_none() {
        return Err("it is cut and does not say how it goes on".into());
    }
    Ok(Page { objects: body.contents.into_iter().filter_map(listed).collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix><KeyCount>4</KeyCount>
<MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>
<Contents><Key>p/a/1</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;0f&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>
<Contents><Key>p/</Key><Size>0</Size></Contents><Contents><Key>p/.x</Key><Size>0</Size></Contents>
<Contents><Key>p/b</Key><LastModified>2026-01-02T03:04:06.000Z</LastModified><ETag>"1f"</ETag><Size>0</Size></Contents>
</ListBucketResult>"#;

    #[test]
    fn a_page_is_read_without_its_prefix_and_what_is_not_ours() {
        let page = read(PAGE, "p/").unwrap();
        let listed = |key: &str, bytes, tag: &str| {
            let modified = humantime::parse_rfc3339(&tag[5..]).unwrap();
            Listed { key: key.into(), bytes, tag: tag.into(), modified }
        };
        let objects = vec![
            listed("a/1", 7, "\"0f\" 2026-01-02T03:04:05.678Z"),
            listed("b", 0, "\"1f\" 2026-01-02T03:04:06.000Z"),
        ];
        assert_eq!(page, Page { objects, next: Some("t&1".into()) });
        let last = PAGE.replace("<IsTruncated>true", "<IsTruncated>false");
        assert_eq!(read(&last, "p/").unwrap().next, None);
        let empty = read("<ListBucketResult><Name>b</Name></ListBucketResult>", "").unwrap();
        assert_eq!(empty, Page { objects: Vec::new(), next: None });
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for text in [
            "",
            "<html></html>",
            "<Error/>",
            "<ListBucketResult>",
            &PAGE.replace("<NextC", "<Next").replace("</NextC", "</Next"),
        ] {
            assert!(read(text, "p/").is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0..PAGE.len(), to in "[a-z<>/&\"0-9]", cut in 0..PAGE.len()) {
            let mut damaged = PAGE.to_owned();
            damaged.replace_range(at..=at, &to);
            let _ = read(&damaged, "p/");
            let _ = read(&PAGE[..cut], "p/");
        }
    }
}
