//! Which file a path means. Pure; owns no fds.
//!
//! A path is a key of the index and nothing else, so it cannot lead out of the site: what is not in
//! the index is not there.

use abi::site::{ArchivedSite, ArchivedSiteFile};
use percent_encoding::percent_decode_str;

/// The page of a folder, and the page for what is not there.
const INDEX: &str = "index.html";
const NOT_FOUND: &str = "404.html";

/// What a path means.
#[derive(Clone, Copy)]
pub(super) enum Found<'s> {
    File(&'s ArchivedSiteFile),
    /// A folder with a page, under a path without a slash at its end: the page's links would not
    /// lead where they are meant to.
    Folder,
    Nothing,
}

/// Returns a request's path as text. Returns `None` if it is none, or has a NUL byte.
pub(super) fn decoded(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    (path.starts_with('/') && !path.contains('\0')).then(|| path.into_owned())
}

/// Returns what a decoded path means.
pub(super) fn find<'s>(site: &'s ArchivedSite, path: &str) -> Found<'s> {
    let key = path.strip_prefix('/').unwrap_or(path);
    if key.is_empty() || key.ends_with('/') {
        let page = site.find(&format!("{key}{INDEX}"));
        return page.map_or(Found::Nothing, Found::File);
    }
    if let Some(file) = site.find(key).or_else(|| site.find(&format!("{key}.html"))) {
        return Found::File(file);
    }
    match site.find(&format!("{key}/{INDEX}")) {
        Some(_) => Found::Folder,
        None => Found::Nothing,
    }
}

/// Returns the page for a path with nothing: that of the folder it would be in, or of one above.
pub(super) fn not_found<'s>(site: &'s ArchivedSite, path: &str) -> Option<&'s ArchivedSiteFile> {
    let mut above = path;
    while let Some((folder, _)) = above.rsplit_once('/') {
        let key = format!("{folder}/{NOT_FOUND}");
        if let Some(page) = site.find(key.trim_start_matches('/')) {
            return Some(page);
        }
        above = folder;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::answer::samples;
    use super::*;

    fn of(path: &str) -> String {
        let view = samples::site();
        let Some(path) = decoded(path) else { return "none".to_owned() };
        match find(view.get(), &path) {
            Found::File(file) => file.path.as_str().to_owned(),
            Found::Folder => "folder".to_owned(),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_mean_files_and_folders_pages() {
        for (path, expected) in [
            ("/", "index.html"),
            ("/index.html", "index.html"),
            ("/app.js", "app.js"),
            ("/app%2Ejs", "app.js"),
            ("/app.js/", "nothing"),
            ("/about", "about.html"),
            ("/docs", "folder"),
            ("/docs/", "docs/index.html"),
            ("/a%20b.txt", "a b.txt"),
            ("/%C3%BC.txt", "ü.txt"),
            ("/%FC.txt", "none"),
            ("/a%00", "none"),
            ("//app.js", "nothing"),
            ("/./app.js", "nothing"),
            ("/docs/../app.js", "nothing"),
            ("/docs/%2e%2e/app.js", "nothing"),
            ("/..%2f..%2fetc%2fpasswd", "nothing"),
            ("/..\\app.js", "nothing"),
            ("*", "none"),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }

    #[test]
    fn the_nearest_page_says_that_nothing_is_there() {
        let view = samples::site();
        let page = |path| not_found(view.get(), path).map(|file| file.path.as_str().to_owned());
        assert_eq!(page("/x/y/z").as_deref(), Some("404.html"));
        assert_eq!(page("/docs/x").as_deref(), Some("docs/404.html"));
        assert_eq!(page("/docs/deep/x").as_deref(), Some("docs/404.html"));
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in "/[a-z./%0-9A-F\\\\]{0,24}") {
            let _ = of(&path);
            let _ = not_found(samples::site().get(), &path);
        }
    }
}
