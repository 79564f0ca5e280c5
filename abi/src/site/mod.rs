//! A static site as workers read it: one file, with the contents of all files one behind the other
//! and an index behind them.
//!
//! ```text
//! 0   where the index begins, and how many bytes it has: two numbers of 64 bits, little-endian
//! 16  the files' contents
//!     the index, an archive
//! ```
//!
//! The compile child makes it of a zip, and workers get it as an open file. They read the index
//! once, into memory of their own; contents are read when they are asked for. The file is never
//! mapped: a page of it that the disk cannot give is an error then, and no signal. A [`SiteView`]
//! owns its copy of the index and no fd.

pub mod pattern;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use http::{HeaderName, HeaderValue};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use self::pattern::Pattern;
use crate::envelope::{self, EnvelopeError};
use crate::limits::{SITE_FILES_MAX, SITE_INDEX_BYTES_MAX, SITE_RULES_MAX};

/// Where the contents begin.
pub const CONTENTS_START: u64 = 16;

/// Identifies sites that this build can read, as archives of other builds cannot be.
pub const MADE_AS: &[u8] = concat!("site 1 ", env!("SOCKHOP_SCHEMA_HASH")).as_bytes();

/// The index of a site.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// Sorted by path; paths are unique.
    pub files: Vec<SiteFile>,
    /// What is said of replies' headers, in the order in which it is said.
    pub headers: Vec<HeaderRule>,
    /// Where requests are sent instead. The first that matches counts.
    pub redirects: Vec<Redirect>,
}

/// A file that is served.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// Where it is, without a slash in front.
    pub path: String,
    /// The value of Content-Type.
    pub media_type: String,
    /// The file as it is.
    pub contents: Contents,
    /// The same, compressed. At most one of each coding, the preferred first.
    pub variants: Vec<Variant>,
}

/// Bytes of a site.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub struct Contents {
    /// Where they begin in the site's file.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
    /// The beginning of their SHA-256.
    pub digest: [u8; 16],
}

/// A file's contents in a coding.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub struct Variant {
    /// What they are compressed by.
    pub coding: Coding,
    /// The compressed bytes.
    pub contents: Contents,
}

/// What a reply's body may be compressed by, in order of preference.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Every coding, in order of preference.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstandard, Self::Gzip];

    /// Returns its name in Accept-Encoding and Content-Encoding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Returns what the names of files end with that are compressed by it.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstandard => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

impl From<&ArchivedCoding> for Coding {
    fn from(coding: &ArchivedCoding) -> Self {
        match coding {
            ArchivedCoding::Brotli => Self::Brotli,
            ArchivedCoding::Zstandard => Self::Zstandard,
            ArchivedCoding::Gzip => Self::Gzip,
        }
    }
}

/// Headers of the replies to some paths.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    /// Which paths, as a [`Pattern`].
    pub path: String,
    /// Headers that are not sent, even if the node or an earlier rule would.
    pub removed: Vec<String>,
    /// Headers that are sent, in the order given.
    pub set: Vec<(String, String)>,
}

/// A redirect, or with status 200 or 404 another file in a path's place.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Which paths, as a [`Pattern`].
    pub from: String,
    /// Where to: a path or a URL, perhaps with the names that `from` has.
    pub to: String,
    /// The reply's status: 200, 301, 302, 303, 307, 308 or 404.
    pub status: u16,
    /// Whether it counts even if there is a file at the path.
    pub forced: bool,
}

/// Statuses that a [`Redirect`] may have.
pub const REDIRECT_STATUSES: [u16; 7] = [200, 301, 302, 303, 307, 308, 404];

/// Why a file is no site that can be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It cannot be read.
    #[error("the site cannot be read: {0}; look at the disk of the node's data folder")]
    Read(#[from] io::Error),
    /// The index is not in the file, or too large.
    #[error(
        "the site's file is cut off, or is none: its index would be at {offset}, with {bytes} bytes"
    )]
    NoIndex {
        /// Where it should begin.
        offset: u64,
        /// How long it should be.
        bytes: u64,
    },
    /// The index is not what it should be.
    #[error("the site's index is unreadable: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The index breaks a rule that look-ups rely on.
    #[error("the site's index breaks a rule: {0}")]
    Rule(String),
}

impl Site {
    /// Returns the index as it is written behind the contents.
    ///
    /// # Errors
    /// [`SiteError`] when it is too large.
    pub fn pack(&self) -> Result<AlignedVec, SiteError> {
        let packed = envelope::pack(self)?;
        match packed.len() > SITE_INDEX_BYTES_MAX {
            true => Err(SiteError::NoIndex { offset: 0, bytes: packed.len() as u64 }),
            false => Ok(packed),
        }
    }
}

/// Returns the first bytes of a site's file.
#[must_use]
pub fn start(index_offset: u64, index_bytes: u64) -> [u8; 16] {
    let mut start = [0; 16];
    start[..8].copy_from_slice(&index_offset.to_le_bytes());
    start[8..].copy_from_slice(&index_bytes.to_le_bytes());
    start
}

/// A validated index.
#[derive(Debug)]
pub struct SiteView(AlignedVec);

impl SiteView {
    /// Reads the index of the site in `file`.
    ///
    /// # Errors
    /// [`SiteError`] when it cannot be read, is of another build, or breaks a rule.
    pub fn read(file: &File) -> Result<Self, SiteError> {
        let mut start = [0; 16];
        file.read_exact_at(&mut start, 0)?;
        let number = |at: usize| {
            start.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
        };
        let (offset, bytes) = (number(0).unwrap_or(0), number(8).unwrap_or(0));
        let ends = offset.checked_add(bytes);
        let length = usize::try_from(bytes).ok().filter(|length| *length <= SITE_INDEX_BYTES_MAX);
        let fits = offset >= CONTENTS_START && ends == Some(file.metadata()?.len());
        let Some(length) = length.filter(|_| fits) else {
            return Err(SiteError::NoIndex { offset, bytes });
        };
        let mut index = AlignedVec::new();
        index.resize(length, 0);
        file.read_exact_at(&mut index, offset)?;
        Self::new(index, offset)
    }

    /// Validates an index whose contents end at `contents_end`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn new(index: AlignedVec, contents_end: u64) -> Result<Self, SiteError> {
        check(envelope::open::<ArchivedSite>(&index)?, contents_end)?;
        Ok(Self(index))
    }

    /// Returns the index, in place.
    #[must_use]
    pub fn get(&self) -> &ArchivedSite {
        let archive = &self.0[envelope::HEADER_BYTES..];
        // SAFETY: `new` validated exactly these bytes as an `ArchivedSite`, and nobody has changed
        // them since: they are this value's own, and never lent for writing.
        unsafe { rkyv::access_unchecked::<ArchivedSite>(archive) }
    }
}

impl ArchivedSite {
    /// Returns the file at `path`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&ArchivedSiteFile> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(found)
    }
}

impl ArchivedContents {
    /// Returns where they begin, and how many bytes they are.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        (self.offset.to_native(), self.bytes.to_native())
    }
}

fn check(site: &ArchivedSite, contents_end: u64) -> Result<(), SiteError> {
    let breaks = |what: String| Err(SiteError::Rule(what));
    if site.files.len() > SITE_FILES_MAX {
        return breaks(format!("{} files, at most {SITE_FILES_MAX}", site.files.len()));
    }
    if site.headers.len() > SITE_RULES_MAX || site.redirects.len() > SITE_RULES_MAX {
        return breaks(format!("more than {SITE_RULES_MAX} headers or redirects"));
    }
    for pair in site.files.windows(2) {
        let [one, other] = [&pair[0], &pair[1]].map(|file| file.path.as_str());
        if one >= other {
            return breaks(format!("the files {one:?} and {other:?} are out of order"));
        }
    }
    for file in site.files.iter() {
        let lies_inside = |contents: &ArchivedContents| {
            let (offset, bytes) = contents.range();
            let end = offset.checked_add(bytes);
            offset >= CONTENTS_START && end.is_some_and(|end| end <= contents_end)
        };
        let codings = file.variants.iter().map(|variant| Coding::from(&variant.coding));
        let fits = lies_inside(&file.contents)
            && file.variants.iter().all(|variant| lies_inside(&variant.contents))
            && codings.is_sorted_by(|one, other| one < other)
            && HeaderValue::from_str(&file.media_type).is_ok();
        if !fits {
            return breaks(format!("the file {:?} cannot be served", file.path.as_str()));
        }
    }
    for rule in site.headers.iter() {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
        let set =
            rule.set.iter().all(|pair| name(&pair.0) && HeaderValue::from_str(&pair.1).is_ok());
        let fits = set && rule.removed.iter().all(|removed| name(removed));
        if !fits || Pattern::new(&rule.path).is_none() {
            return breaks(format!("headers of {:?} that are none", rule.path.as_str()));
        }
    }
    let is_redirect = |redirect: &ArchivedRedirect| {
        REDIRECT_STATUSES.contains(&redirect.status.to_native())
            && Pattern::new(&redirect.from).is_some()
            && HeaderValue::from_str(&redirect.to).is_ok()
    };
    match site.redirects.iter().find(|redirect| !is_redirect(redirect)) {
        Some(redirect) => breaks(format!("a redirect from {:?}", redirect.from.as_str())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
