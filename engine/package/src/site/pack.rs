//! From a folder to the zip of a static site, or of a WebAssembly function with assets.
//!
//! The same contents make the same bytes, so that a deploy of nothing new is known by its digest.
//! Links are refused, as what they lead to need not be meant for the world. Owns the fds of what it
//! reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use host::fault::Fault;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::media_type::{self, is_compressible};
use super::{ASSETS_TOP, REDIRECTS_FILE, is_control, is_hidden};
use crate::entry_name::{NameError, normalise};
use crate::layout::{ASSETS_TEXT, FUNCTION_FILE, LAYOUT_NAME};
use crate::limits::{Budget, ENTRIES_MAX, SizeError};
use crate::unpack::{CopyError, copy};

/// What a single-page application has as its last redirect.
const FALLBACK: &str = "/* /index.html 200\n";

/// Why a folder cannot be packed as a static site.
#[derive(Debug, thiserror::Error)]
pub enum SitePackError {
    /// Something cannot be read.
    #[error("cannot read {path:?}: {error}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It is no folder.
    #[error("{0:?} is no folder; a static site is a folder of files, or a zip of one")]
    NoFolder(PathBuf),
    /// A name is no text.
    #[error("{0:?} has a name that is not UTF-8; rename it")]
    NotUtf8(PathBuf),
    /// A name cannot be in a zip.
    #[error("{path:?} cannot be packed under its name; rename it ({error})")]
    Name {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        error: NameError,
    },
    /// Something is a link, a socket or a device.
    #[error(
        "{0:?} is no file and no folder; what a link leads to is not served: replace it by a copy, or leave it out"
    )]
    NoFile(PathBuf),
    /// There are too many files.
    #[error("{0:?} has more than {ENTRIES_MAX} files; split it into several sites")]
    TooMany(PathBuf),
    /// There is nothing to serve.
    #[error("{0:?} has no file that is served; files whose names begin with a dot are not")]
    Empty(PathBuf),
    /// It is all too large.
    #[error("{path:?} is too large to deploy: {error}")]
    Size {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: SizeError,
    },
    /// The zip cannot be written.
    #[error(
        "cannot write the zip to deploy: {0}; look at the disk of the folder for temporary files"
    )]
    Write(#[source] io::Error),
}

impl SitePackError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { error, .. } | Self::Write(error) => Fault::of_file(error),
            _ => Fault::UNFIT,
        }
    }
}

/// Writes the zip of all files in `folder` to `output`, which must be empty. Leaves out what is not
/// served. If it `is_single_page`, paths without a file get `index.html`. Returns how many files
/// there are.
///
/// # Errors
/// [`SitePackError`] when something cannot be packed, read or written.
pub fn pack_site(
    folder: &Path,
    is_single_page: bool,
    output: &mut File,
) -> Result<usize, SitePackError> {
    write(folder, &[], "", is_single_page, output)
}

/// Writes the zip of the function `wasm` and of its assets, all files in `folder`, to `output`, which
/// must be empty. Returns how many files there are.
///
/// # Errors
/// As [`pack_site`].
pub fn pack_with_assets(
    wasm: &[u8],
    folder: &Path,
    output: &mut File,
) -> Result<usize, SitePackError> {
    let before = [(LAYOUT_NAME, ASSETS_TEXT.as_bytes()), (FUNCTION_FILE, wasm)];
    write(folder, &before, ASSETS_TOP, false, output)
}

/// Writes a zip of what comes `before`, and of all files in `folder`, which go to `top` in it.
fn write(
    folder: &Path,
    before: &[(&str, &[u8])],
    top: &str,
    is_single_page: bool,
    output: &mut File,
) -> Result<usize, SitePackError> {
    let files = find(folder)?;
    let served = files.keys().filter(|path| !is_control(path)).count();
    match served {
        0 => return Err(SitePackError::Empty(folder.to_owned())),
        count if count > ENTRIES_MAX => return Err(SitePackError::TooMany(folder.to_owned())),
        _ => {}
    }
    let mut budget = Budget::new(u64::MAX);
    let mut zip = ZipWriter::new(BufWriter::new(output));
    for (name, contents) in before {
        zip.start_file(*name, options(name)).map_err(of_zip)?;
        zip.write_all(contents).map_err(SitePackError::Write)?;
    }
    for (name, path) in &files {
        zip.start_file(format!("{top}{name}"), options(name)).map_err(of_zip)?;
        let of_read = |error| SitePackError::Read { path: path.clone(), error };
        let mut file = File::open(path).map_err(of_read)?;
        copy(&mut file, &mut zip, &mut budget).map_err(|error| match error {
            CopyError::Read(error) => of_read(error),
            CopyError::Write(error) => SitePackError::Write(error),
            CopyError::Size(error) => SitePackError::Size { path: folder.to_owned(), error },
        })?;
        if is_single_page && name == REDIRECTS_FILE {
            zip.write_all(format!("\n{FALLBACK}").as_bytes()).map_err(SitePackError::Write)?;
        }
    }
    if is_single_page && !files.contains_key(REDIRECTS_FILE) {
        zip.start_file(REDIRECTS_FILE, options(REDIRECTS_FILE)).map_err(of_zip)?;
        zip.write_all(FALLBACK.as_bytes()).map_err(SitePackError::Write)?;
    }
    let mut output = zip.finish().map_err(of_zip)?;
    output.flush().map_err(SitePackError::Write)?;
    let length = output.get_mut().stream_position().map_err(SitePackError::Write)?;
    // The node would refuse it; it is better known before it is uploaded.
    Budget::new(length)
        .take(budget.written())
        .map_err(|error| SitePackError::Size { path: folder.to_owned(), error })?;
    Ok(served)
}

/// Returns the files of a folder by their paths in it.
fn find(top: &Path) -> Result<BTreeMap<String, PathBuf>, SitePackError> {
    if !top.is_dir() {
        return Err(SitePackError::NoFolder(top.to_owned()));
    }
    let (mut files, mut folders) = (BTreeMap::new(), vec![(top.to_owned(), String::new())]);
    while let Some((folder, above)) = folders.pop() {
        let of_read = |error| SitePackError::Read { path: folder.clone(), error };
        for entry in std::fs::read_dir(&folder).map_err(of_read)? {
            let path = entry.map_err(of_read)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| SitePackError::NotUtf8(path.clone()))?;
            let relative = format!("{above}{name}");
            if is_hidden(&relative) {
                continue;
            }
            let of = std::fs::symlink_metadata(&path);
            let of = of.map_err(|error| SitePackError::Read { path: path.clone(), error })?;
            if of.is_dir() {
                folders.push((path, format!("{relative}/")));
            } else if !of.is_file() {
                return Err(SitePackError::NoFile(path));
            } else {
                let inside = normalise(&relative)
                    .map_err(|error| SitePackError::Name { path: path.clone(), error })?;
                files.insert(inside, path);
            }
        }
    }
    files.remove(super::PROJECT_FILE);
    Ok(files)
}

fn options(name: &str) -> SimpleFileOptions {
    let method = match is_compressible(&media_type::of(name)) {
        true => CompressionMethod::Deflated,
        false => CompressionMethod::Stored,
    };
    SimpleFileOptions::default()
        .compression_method(method)
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(0o644)
}

fn of_zip(error: zip::result::ZipError) -> SitePackError {
    SitePackError::Write(error.into())
}
