//! What is in a zip, by its central directory, before anything of it is written.
//!
//! Reads one entry after another, so that their number is known to be within [`ENTRIES_MAX`]
//! before there is memory for them. Local headers are looked at for where an entry's data begins
//! and for nothing else. Owns no fds: the zip's is its caller's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use host::fault::Fault;
use zip::CompressionMethod;
use zip::ZipReadOptions;
use zip::read::{Config, OwnedZipFileEntry, ZipFile};
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;

use crate::entry_name::{NameError, normalise};
use crate::layout::{LAYOUT_NAME, LAYOUT_TEXT, Layout, LayoutError, inside};
use crate::limits::{ENTRIES_MAX, PATH_BYTES_MAX, SizeError, UNPACKED_BYTES_MAX, quoted};
use crate::tree::Node;

/// Largest central directory, all of which is in memory at a time. Each of the most entries there
/// may be has 670 bytes of it, of which 46 are fixed and the rest is its name and what tools add.
const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a zip cannot be unpacked. The names are as they stand in the zip.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read as a zip.
    #[error(
        "the zip is damaged or cut off: {0}; zip the folder again, and see that it is uploaded whole"
    )]
    Damaged(String),
    /// It has no entries.
    #[error("the zip is empty; zip the contents of the function's folder")]
    Empty,
    /// It has too many entries.
    #[error(
        "the zip has {0} entries; up to {ENTRIES_MAX} are taken: leave out what the function does not need, or put it into one file"
    )]
    TooManyEntries(usize),
    /// Its directory is too large.
    #[error(
        "the zip's directory has more than {} MiB, because of its entries' comments and extra fields; zip the folder again without them, with `zip -rX`",
        DIRECTORY_BYTES_MAX / 1024 / 1024
    )]
    DirectoryTooLarge,
    /// An entry is encrypted.
    #[error("the zip's entry {0:?} is encrypted; zip the folder without a password")]
    Encrypted(String),
    /// An entry is compressed by something else than deflate.
    #[error(
        "the zip's entry {name:?} is compressed by {method}; only \"deflate\" and \"stored\" are read here, which `zip -r` and others use by default"
    )]
    Method {
        /// The entry.
        name: String,
        /// What it is compressed by.
        method: String,
    },
    /// An entry is a device, a FIFO or a socket.
    #[error(
        "the zip's entry {name:?} is a {what}; a package may have files, folders and links: leave it out"
    )]
    Special {
        /// The entry.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A folder has contents.
    #[error(
        "the zip's entry {0:?} is a folder and has contents as a file has; it is damaged, zip the folder again"
    )]
    FolderWithContents(String),
    /// Two entries share bytes.
    #[error(
        "the zip's entry {0:?} shares its bytes with another one, as in a zip bomb; zip the folder again"
    )]
    Overlap(String),
    /// A name leads out, or is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The layout is not understood.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is too large.
    #[error("the zip is too large: {0}")]
    Size(#[from] SizeError),
    /// The file cannot be read.
    #[error("cannot read the zip: {0}; look at the disk that it is on")]
    Read(#[source] io::Error),
}

impl ArchiveError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Damaged(_)
            | Self::Empty
            | Self::TooManyEntries(_)
            | Self::DirectoryTooLarge
            | Self::Encrypted(_)
            | Self::Method { .. }
            | Self::Special { .. }
            | Self::FolderWithContents(_)
            | Self::Overlap(_)
            | Self::Name(_)
            | Self::Layout(_)
            | Self::Size(_) => Fault::UNFIT,
            Self::Read(error) => Fault::of_file(error),
        }
    }

    /// Returns the error of a read from an entry: the disk's if the system has said so, else the
    /// zip's.
    pub(crate) fn of_read(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(_) => Self::Read(error),
            None => Self::Damaged(error.to_string()),
        }
    }

    fn of_zip(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => Self::of_read(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// An entry of a zip.
pub(crate) struct Entry {
    /// Where it belongs, beginning with `task` or `opt`.
    pub(crate) path: String,
    /// What it is.
    pub(crate) node: Node,
    zip: OwnedZipFileEntry,
}

/// Reads a zip's directory, and the targets of its links.
///
/// # Errors
/// [`ArchiveError`] when something in it is not unpacked here.
pub(crate) fn read(file: &File) -> Result<(Layout, Vec<Entry>), ArchiveError> {
    let mut zip = ZipIterable::try_new(file, Config::default()).map_err(ArchiveError::of_zip)?;
    match zip.len() {
        0 => return Err(ArchiveError::Empty),
        count if count > ENTRIES_MAX => return Err(ArchiveError::TooManyEntries(count)),
        _ => {}
    }
    let (mut layout, mut entries, mut declared) = (None, Vec::new(), 0_u64);
    let mut directory_start = None;
    for entry in zip.files().map_err(ArchiveError::of_zip)? {
        let zip = OwnedZipFileEntry::from(entry.map_err(ArchiveError::of_zip)?);
        let start = *directory_start.get_or_insert(zip.central_header_start());
        if zip.central_header_start().saturating_sub(start) > DIRECTORY_BYTES_MAX {
            return Err(ArchiveError::DirectoryTooLarge);
        }
        let name = zip.name().map_err(ArchiveError::of_zip)?.into_owned();
        let normalised = normalise(&name)?;
        let node = node(&name, &zip, file)?;
        declared = declared.saturating_add(zip.size());
        if declared > UNPACKED_BYTES_MAX {
            return Err(SizeError::TooLarge.into());
        }
        if normalised.is_empty() && node != Node::Folder {
            return Err(ArchiveError::Damaged(format!(
                "the entry {:?} has no name",
                quoted(&name)
            )));
        }
        let layout = match layout {
            Some(layout) => layout,
            None if normalised == LAYOUT_NAME && matches!(node, Node::File { .. }) => {
                layout = Some(Layout::of_text(&read_start(&zip, file, LAYOUT_TEXT.len() + 64)?)?);
                continue;
            }
            None => *layout.insert(Layout::Task),
        };
        // The top folder itself, in some zips.
        if !normalised.is_empty() {
            entries.push(Entry { path: layout.place(&normalised)?, node, zip });
        }
    }
    Ok((layout.unwrap_or(Layout::Task), entries))
}

/// Returns what an entry is, by its attributes and the slash at its name's end.
fn node(name: &str, zip: &OwnedZipFileEntry, file: &File) -> Result<Node, ArchiveError> {
    if zip.encrypted() {
        return Err(ArchiveError::Encrypted(quoted(name)));
    }
    if !matches!(zip.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        let method = zip.compression().to_string();
        return Err(ArchiveError::Method { name: quoted(name), method });
    }
    // The mode of Unix, or 0 where a zip has none; in the low half are those of DOS.
    let attributes = zip.external_attributes();
    let mode = attributes >> 16;
    let is_folder = name.ends_with('/') || (mode == 0 && attributes & 0x10 != 0);
    let special = |what| Err(ArchiveError::Special { name: quoted(name), what });
    match mode & 0o170_000 {
        0o040_000 => folder(name, zip),
        0 | 0o100_000 if is_folder => folder(name, zip),
        0 | 0o100_000 => Ok(Node::File { executable: mode & 0o111 != 0 }),
        0o120_000 => {
            let target = read_start(zip, file, PATH_BYTES_MAX + 1)?;
            Ok(Node::Link { target: String::from_utf8_lossy(&target).into_owned() })
        }
        0o010_000 => special("FIFO"),
        0o020_000 | 0o060_000 => special("device"),
        0o140_000 => special("socket"),
        _ => special("file of an unknown type"),
    }
}

fn folder(name: &str, zip: &OwnedZipFileEntry) -> Result<Node, ArchiveError> {
    if zip.size() > 0 {
        return Err(ArchiveError::FolderWithContents(quoted(name)));
    }
    Ok(Node::Folder)
}

/// Reads up to `bytes_max` of an entry.
fn read_start(
    zip: &OwnedZipFileEntry,
    mut file: &File,
    bytes_max: usize,
) -> Result<Vec<u8>, ArchiveError> {
    let contents = open(zip, &mut file)?;
    let mut start = Vec::new();
    contents.take(bytes_max as u64).read_to_end(&mut start).map_err(ArchiveError::of_read)?;
    Ok(start)
}

fn open<'a, 'f>(
    zip: &'a OwnedZipFileEntry,
    file: &'a mut &'f File,
) -> Result<ZipFile<'a, &'f File>, ArchiveError> {
    zip.as_ref().with_reader(file, ZipReadOptions::new()).map_err(ArchiveError::of_zip)
}

/// Which bytes of a zip its entries take: each one its own.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range. Returns whether it was free.
    fn add(&mut self, start: u64, end: u64) -> bool {
        let before = self.0.range(..=start).next_back();
        let after = self.0.range(start..).next();
        let is_free = before.is_none_or(|(_, before_end)| *before_end <= start)
            && after.is_none_or(|(after_start, _)| end <= *after_start);
        self.0.insert(start, end);
        is_free
    }
}

/// Opens an entry's contents for reading.
///
/// # Errors
/// [`ArchiveError`] when they are not where the directory says, or share bytes with others.
pub(crate) fn contents<'a, 'f>(
    entry: &'a Entry,
    file: &'a mut &'f File,
    ranges: &mut Ranges,
) -> Result<ZipFile<'a, &'f File>, ArchiveError> {
    let (start, length) = (entry.zip.header_start(), entry.zip.compressed_size());
    let contents = open(&entry.zip, file)?;
    let data_start = contents.data_start().unwrap_or(start);
    if !ranges.add(start, data_start.saturating_add(length)) {
        return Err(ArchiveError::Overlap(inside(&entry.path)));
    }
    Ok(contents)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
