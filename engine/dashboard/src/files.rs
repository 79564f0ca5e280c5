//! The files of the dashboard, which are compiled into the binary. Owns no fds.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// The content type of the page.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// As many hexadecimal digits of the digest name a version of the files.
const VERSION_DIGITS: usize = 16;

/// A file: its path below `files/`, and what is in it.
#[derive(Debug)]
pub(crate) struct File {
    path: &'static str,
    pub(crate) text: &'static str,
}

/// Declares files by their paths.
macro_rules! files {
    ($($path:literal)*) => {
        &[$(File { path: $path, text: include_str!(concat!("../files/", $path)) }),*]
    };
}

/// The page, in which `{version}` and `{preload}` are to be filled in.
const PAGE: &str = include_str!("../files/index.html");

/// What the page consists of: first what it always needs.
const FILES: &[File] = files! {
    "app.js"
    "api.js"
    "dialog.js"
    "dom.js"
    "endpoints.js"
    "figures.js"
    "samples.js"
    "session.js"
    "text.js"
    "plot.js"
    "table.js"
    "pages/functions.js"
    "cron_table.js"
    "deploy.js"
    "domain_table.js"
    "events.js"
    "function/aliases.js"
    "function/jobs.js"
    "function/keys.js"
    "function/live.js"
    "function/logs.js"
    "function/options.js"
    "function/secrets.js"
    "function/versions.js"
    "function/ways.js"
    "icon.svg"
    "jobs_table.js"
    "log_entry.js"
    "log_view.js"
    "pages/cron.js"
    "pages/domains.js"
    "pages/function.js"
    "pages/invocation.js"
    "pages/jobs.js"
    "pages/logs.js"
    "pages/missing.js"
    "pages/node.js"
    "pages/sign_in.js"
    "style.css"
};

/// What the page always needs: browsers ask for all of it at once, instead of for one file after
/// another has named it.
const PRELOADED: usize = 12;

impl File {
    pub(crate) fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }
}

/// The digest of all files, and what is made with it.
struct Build {
    version: String,
    tag: String,
    page: String,
}

static BUILD: LazyLock<Build> = LazyLock::new(|| {
    let mut digest = Sha256::new_with_prefix(PAGE);
    for file in FILES {
        digest.update(file.path);
        digest.update(file.text);
    }
    let mut version = hex::encode(digest.finalize());
    version.truncate(VERSION_DIGITS);
    let preload = FILES.iter().take(PRELOADED).map(|file| {
        format!("<link rel=\"modulepreload\" href=\"dashboard/{version}/{}\">\n", file.path)
    });
    let page = PAGE.replace("{preload}\n", &preload.collect::<String>());
    Build { tag: format!("\"{version}\""), page: page.replace("{version}", &version), version }
});

/// Names these files: the same as long as they are.
pub(crate) fn version() -> &'static str {
    &BUILD.version
}

/// The page's entity tag.
pub(crate) fn tag() -> &'static str {
    &BUILD.tag
}

pub(crate) fn page() -> &'static str {
    &BUILD.page
}

/// Returns the file at `path` below `files/`.
pub(crate) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
