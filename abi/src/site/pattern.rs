//! Paths that rules of a site are about, as Netlify and Cloudflare Pages write them: `/blog/*`,
//! `/users/:id`. Pure; owns no fds.

/// The longest pattern.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// The name of what `*` stands for.
pub const SPLAT: &str = "splat";

/// A pattern: a path with segments `:NAME`, each of which stands for one segment, and perhaps one
/// `*`, which stands for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern<'p> {
    /// What comes before the `*`, or all.
    before: &'p str,
    /// What comes behind it.
    behind: Option<&'p str>,
}

/// What the names of a pattern stand for.
pub type Names<'a> = Vec<(&'a str, &'a str)>;

impl<'p> Pattern<'p> {
    /// Returns the pattern that a text is. Returns `None` if it is none.
    #[must_use]
    pub fn new(text: &'p str) -> Option<Self> {
        let fits = text.starts_with('/') && text.len() <= PATTERN_BYTES_MAX;
        let (before, behind) = match text.split_once('*') {
            Some((before, behind)) => (before, Some(behind)),
            None => (text, None),
        };
        let named = |text: &str| text.split('/').any(|segment| segment.starts_with(':'));
        let is_name = |segment: &str| {
            segment.strip_prefix(':').is_none_or(|name| {
                let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                !name.is_empty() && name.bytes().all(is_word)
            })
        };
        // The name of a segment that the `*` is a part of would have no end.
        let ends_in_name = before.rsplit('/').next().is_some_and(|last| last.starts_with(':'));
        let is_clear =
            !behind.is_some_and(|behind| behind.contains('*') || named(behind) || ends_in_name);
        (fits && is_clear && before.split('/').all(is_name)).then_some(Self { before, behind })
    }

    /// Returns what the names stand for if `path` is one of these paths. A slash at the end of
    /// either makes no difference.
    #[must_use]
    pub fn matches<'a>(&self, path: &'a str) -> Option<Names<'a>>
    where
        'p: 'a,
    {
        let mut names = Vec::new();
        let Some(behind) = self.behind else {
            let trimmed = |path: &'a str| path.strip_suffix('/').unwrap_or(path);
            let rest = literal(trimmed(self.before), trimmed(path), &mut names)?;
            return rest.is_empty().then_some(names);
        };
        if let Some(rest) = literal(self.before, path, &mut names)
            && let Some(splat) = rest.strip_suffix(behind)
        {
            names.push((SPLAT, splat));
            return Some(names);
        }
        // `/blog/*` is about `/blog`, too.
        names.clear();
        let above = self.before.strip_suffix('/').filter(|_| behind.is_empty())?;
        let rest = literal(above, path, &mut names)?;
        names.push((SPLAT, ""));
        rest.is_empty().then_some(names)
    }
}

/// Takes what `pattern` says off the beginning of `path`, and returns the rest.
fn literal<'a>(mut pattern: &'a str, mut path: &'a str, names: &mut Names<'a>) -> Option<&'a str> {
    while let Some(at) = pattern.find("/:") {
        let (fixed, named) = pattern.split_at(at + 1);
        path = path.strip_prefix(fixed)?;
        let name_end = named.find('/').unwrap_or(named.len());
        let value_end = path.find('/').unwrap_or(path.len());
        if value_end == 0 {
            return None;
        }
        names.push((named.get(1..name_end)?, path.get(..value_end)?));
        (pattern, path) = (named.get(name_end..)?, path.get(value_end..)?);
    }
    path.strip_prefix(pattern)
}

/// Returns `to` with what its names stand for: `:splat`, and those of the pattern.
#[must_use]
pub fn filled(to: &str, names: &Names<'_>) -> String {
    let mut filled = String::with_capacity(to.len());
    let mut rest = to;
    while let Some(at) = rest.find(':') {
        let (fixed, named) = rest.split_at(at);
        filled.push_str(fixed);
        let word = named.get(1..).unwrap_or_default();
        let end = word
            .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .unwrap_or(word.len());
        let (word, behind) = word.split_at(end);
        match names.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => filled.push_str(value),
            None => {
                filled.push(':');
                filled.push_str(word);
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names<'a>(pattern: &'a str, path: &'a str) -> Option<Names<'a>> {
        Pattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn paths_match_by_segments_and_splats() {
        assert_eq!(names("/a", "/a"), Some(vec![]));
        assert_eq!(names("/a", "/a/"), Some(vec![]));
        assert_eq!(names("/a/", "/a"), Some(vec![]));
        assert_eq!(names("/", "/"), Some(vec![]));
        assert_eq!(names("/a", "/ab"), None);
        assert_eq!(names("/*", "/"), Some(vec![("splat", "")]));
        assert_eq!(names("/blog/*", "/blog"), Some(vec![("splat", "")]));
        assert_eq!(names("/blog/*", "/blog/a/b"), Some(vec![("splat", "a/b")]));
        assert_eq!(names("/blog/*", "/blogs"), None);
        assert_eq!(names("/*.jpg", "/a/b.jpg"), Some(vec![("splat", "a/b")]));
        let expected = vec![("year", "2026"), ("slug", "x")];
        assert_eq!(names("/:year/p/:slug", "/2026/p/x"), Some(expected));
        assert_eq!(names("/:year/p/:slug", "/2026/p/"), None);
        assert_eq!(names("/u/:id/*", "/u/7/a"), Some(vec![("id", "7"), ("splat", "a")]));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "a", "*", "/*/*", "/:", "/:a-b", "/*/:id", "/:id*"] {
            assert_eq!(Pattern::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_are_filled_in() {
        let names = vec![("splat", "a/b"), ("id", "7")];
        assert_eq!(filled("/new/:splat", &names), "/new/a/b");
        assert_eq!(
            filled("https://x.test:8080/:id-:other", &names),
            "https://x.test:8080/7-:other"
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in "/[a:*/_é]{0,12}", path in "/[a:/é]{0,12}", to in "[a:*/é]{0,12}") {
            if let Some(pattern) = Pattern::new(&pattern)
                && let Some(names) = pattern.matches(&path) {
                let _ = filled(&to, &names);
            }
        }

        #[test]
        fn a_path_matches_itself_and_what_is_below(path in "(/[a-c]{1,3}){1,4}", below in "[a-c/]{0,6}") {
            prop_assert_eq!(names(&path, &path), Some(vec![]));
            let (splat, whole) = (format!("{path}/*"), format!("{path}/{below}"));
            prop_assert_eq!(names(&splat, &whole), Some(vec![("splat", below.as_str())]));
        }
    }
}
