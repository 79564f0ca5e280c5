//! A request's path, divided into segments. Pure; owns no fds.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A path in segments, which borrows the path.
#[derive(Debug)]
pub(super) struct Path<'a> {
    segments: Vec<&'a str>,
}

impl<'a> Path<'a> {
    /// Divides `path`, which is percent-encoded. A slash at its beginning is no segment, and one
    /// at its end makes none.
    pub(super) fn new(path: &'a str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut segments: Vec<&str> = path.split('/').collect();
        if segments.last().is_some_and(|last| last.is_empty()) {
            segments.pop();
        }
        Self { segments }
    }

    /// Returns how many segments there are.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Returns a segment, decoded.
    pub(super) fn segment(&self, position: usize) -> Option<Cow<'a, str>> {
        self.segments.get(position).map(|segment| decode(segment))
    }

    /// Returns everything from a segment on, decoded. Returns `None` if there is nothing.
    pub(super) fn rest(&self, position: usize) -> Option<String> {
        let rest = self.segments.get(position..)?;
        let rest: Vec<_> = rest.iter().map(|segment| decode(segment)).collect();
        Some(rest.join("/")).filter(|rest| !rest.is_empty())
    }
}

/// Decodes a segment as ASP.NET Core does it: an encoded slash stays encoded, so that it is not
/// taken for one that separates. Bytes that are no UTF-8 become replacement characters.
fn decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let kept = segment.replace("%2F", "%252F").replace("%2f", "%252f");
    Cow::Owned(percent_decode_str(&kept).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        let path = Path::new(path);
        (0..path.len()).map(|position| path.segment(position).unwrap().into_owned()).collect()
    }

    #[test]
    fn paths_are_divided_and_then_decoded() {
        assert_eq!(segments("/api/items/7"), ["api", "items", "7"]);
        assert_eq!(segments("/api/items/"), ["api", "items"]);
        assert_eq!(segments("/api//7"), ["api", "", "7"]);
        assert_eq!(segments("/a%20b/c%2Fd/%c3%a9/%ff"), ["a b", "c%2Fd", "é", "\u{fffd}"]);
        assert_eq!(segments("/"), [""; 0]);
        assert_eq!(segments(""), [""; 0]);
        assert_eq!(segments("//"), [""]);
    }

    #[test]
    fn the_rest_keeps_its_slashes() {
        assert_eq!(Path::new("/a/b/c%20d").rest(1).unwrap(), "b/c d");
        assert_eq!(Path::new("/a/b//c").rest(1).unwrap(), "b//c");
        assert_eq!(Path::new("/a").rest(1), None);
        assert_eq!(Path::new("/a").rest(5), None);
    }
}
