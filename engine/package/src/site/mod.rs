//! A static site: packed where it is deployed, and made of its zip where it is served.
//!
//! [`pack_site`] makes a zip of a folder. [`make_site`] makes of a zip the one file that workers
//! read ([`abi::site`]), and so decides all that can be decided before a request comes: which files
//! are served, by which media types and in which codings, and what `_headers` and `_redirects` say.
//! Owns the fds of what it reads and writes.

mod assets;
mod compress;
mod headers;
mod media_type;
mod pack;
mod redirects;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};

use abi::site::{self, Coding, Contents, Site, SiteError as IndexError, SiteFile, Variant};
use host::fault::Fault;
use sha2::{Digest as _, Sha256};

pub use self::assets::function_in;
use self::compress::Compressor;
pub use self::pack::{SitePackError, pack_site, pack_with_assets};
use crate::archive::{self, ArchiveError, Ranges};
use crate::layout::Layout;
use crate::limits::{Budget, quoted};
use crate::tree::{Node, Tree, TreeError};

/// The files that say how others are served, and are not served.
const HEADERS_FILE: &str = "_headers";
const REDIRECTS_FILE: &str = "_redirects";
const PROJECT_FILE: &str = "sockhop.toml";
/// What the paths of a function's assets begin with.
const ASSETS_TOP: &str = "assets/";
/// The largest of these files.
const RULES_BYTES_MAX: u64 = 1024 * 1024;
/// The one folder with a dot that is served (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// Why a file is no static site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The zip cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The zip's names do not fit together.
    #[error("the zip cannot be a static site: {0}")]
    Tree(#[from] TreeError),
    /// It is a native function with layers.
    #[error("the zip was packed for a native function, with layers; deploy the site's folder")]
    HasLayers,
    /// An entry is a link.
    #[error(
        "the site has the symbolic link {0:?}, and links are not served; replace it by what it leads to"
    )]
    Link(String),
    /// Nothing is left to serve.
    #[error("the site has no file that is served; files whose names begin with a dot are not")]
    Empty,
    /// `_headers` or `_redirects` is not understood.
    #[error("the site's {file}, line {line}: {why}")]
    Rule {
        /// Which of them.
        file: &'static str,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what is expected.
        why: String,
    },
    /// One of them is no text, or too large.
    #[error("the site's {0} is larger than 1 MiB, or not UTF-8")]
    RulesFile(&'static str),
    /// The index is too large.
    #[error("the site cannot be served: {0}")]
    Index(#[from] IndexError),
    /// The site cannot be written.
    #[error("the site cannot be written: {0}; look at the disk of the node's data folder")]
    Write(#[source] io::Error),
}

impl SiteError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Archive(error) => error.fault(),
            Self::Write(error) => Fault::of_file(error),
            Self::Tree(_)
            | Self::HasLayers
            | Self::Link(_)
            | Self::Empty
            | Self::Rule { .. }
            | Self::RulesFile(_)
            | Self::Index(_) => Fault::UNFIT,
        }
    }
}

/// Returns whether a file at `path` is not to be served: its name or a folder's begins with a dot.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|name| name.starts_with('.') && name != WELL_KNOWN)
}

/// Returns whether a file says how others are served, or is none of the site's.
fn is_control(path: &str) -> bool {
    matches!(path, HEADERS_FILE | REDIRECTS_FILE | PROJECT_FILE)
}

/// Makes of the zip `artefact` the file that workers serve it from, into `output`, which is empty.
///
/// It blocks, and reads what a stranger wrote: call it in a process with limits.
///
/// # Errors
/// [`SiteError`] when it is no static site, or cannot be written.
pub fn make_site(artefact: &File, output: &mut File) -> Result<(), SiteError> {
    let (layout, entries) = archive::read(artefact)?;
    let top = match layout {
        Layout::Task => "task/",
        // The function is compiled by itself.
        Layout::FunctionAndAssets => ASSETS_TOP,
        Layout::TaskAndOpt => return Err(SiteError::HasLayers),
    };
    let mut tree = Tree::default();
    for entry in &entries {
        tree.add(&entry.path, entry.node.clone())?;
    }
    let bytes = artefact.metadata().map_err(ArchiveError::Read)?.len();
    let mut making = Making::begin(output, Budget::new(bytes))?;
    let (mut artefact, mut ranges) = (artefact, Ranges::default());
    for entry in &entries {
        // Folders are looked at, too: their headers may lie within another entry.
        let mut contents = archive::contents(entry, &mut artefact, &mut ranges)?;
        let Some(path) = entry.path.strip_prefix(top) else { continue };
        match entry.node {
            Node::Folder => {}
            Node::Link { .. } => return Err(SiteError::Link(quoted(path))),
            Node::File { .. } if is_control(path) => making.rules(path, &mut contents)?,
            Node::File { .. } if is_hidden(path) => {}
            Node::File { .. } => making.file(path, &mut contents)?,
        }
    }
    making.end()
}

/// A site that is being made.
struct Making<'o> {
    output: BufWriter<&'o mut File>,
    /// How much was written.
    at: u64,
    budget: Budget,
    compressor: Compressor,
    files: BTreeMap<String, SiteFile>,
    site: Site,
}

impl<'o> Making<'o> {
    fn begin(output: &'o mut File, budget: Budget) -> Result<Self, SiteError> {
        let mut output = BufWriter::new(output);
        output.write_all(&site::start(0, 0)).map_err(SiteError::Write)?;
        let (files, site, compressor) = Default::default();
        Ok(Self { output, at: site::CONTENTS_START, budget, compressor, files, site })
    }

    /// Takes what `_headers` or `_redirects` says.
    fn rules(&mut self, path: &str, contents: &mut impl Read) -> Result<(), SiteError> {
        let file = match path {
            HEADERS_FILE => HEADERS_FILE,
            REDIRECTS_FILE => REDIRECTS_FILE,
            _ => return Ok(()),
        };
        let mut text = Vec::new();
        let read = contents.take(RULES_BYTES_MAX + 1).read_to_end(&mut text);
        read.map_err(ArchiveError::of_read)?;
        self.budget.take(text.len() as u64).map_err(ArchiveError::Size)?;
        let text = String::from_utf8(text).ok().filter(|text| text.len() as u64 <= RULES_BYTES_MAX);
        let text = text.ok_or(SiteError::RulesFile(file))?;
        if file == HEADERS_FILE {
            self.site.headers = headers::parse(&text)?;
        } else {
            self.site.redirects = redirects::parse(&text)?;
        }
        Ok(())
    }

    /// Takes a file, and compresses it if that makes it smaller.
    fn file(&mut self, path: &str, contents: &mut impl Read) -> Result<(), SiteError> {
        let media_type = media_type::of(path);
        let offset = self.at;
        let mut compressible = self.compressor.begin(&media_type);
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
        loop {
            let read = match contents.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::of_read(error).into()),
            };
            let piece = buffer.get(..read).unwrap_or_default();
            self.budget.take(read as u64).map_err(ArchiveError::Size)?;
            hash.update(piece);
            compressible = compressible.and_then(|found| found.with(piece));
            self.write(piece)?;
        }
        let contents = contents_at(offset, self.at, hash);
        let mut variants = Vec::new();
        if let Some(whole) = compressible {
            for (coding, compressed) in self.compressor.compress(&whole) {
                let (offset, hash) = (self.at, Sha256::new().chain_update(&compressed));
                self.write(&compressed)?;
                let contents = contents_at(offset, self.at, hash);
                variants.push(Variant { coding, contents });
            }
        }
        let file = SiteFile { path: path.to_owned(), media_type, contents, variants };
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SiteError> {
        self.output.write_all(bytes).map_err(SiteError::Write)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes the index, and where it is.
    fn end(mut self) -> Result<(), SiteError> {
        if self.files.is_empty() {
            return Err(SiteError::Empty);
        }
        self.site.files = with_siblings(&self.files);
        let (index, at) = (self.site.pack()?, self.at);
        self.write(&index)?;
        let end = || -> io::Result<()> {
            let output = self.output.into_inner().map_err(io::IntoInnerError::into_error)?;
            output.seek(SeekFrom::Start(0))?;
            output.write_all(&site::start(at, index.len() as u64))?;
            output.sync_all()
        };
        end().map_err(SiteError::Write)
    }
}

fn contents_at(offset: u64, end: u64, hash: Sha256) -> Contents {
    let digest: [u8; 32] = hash.finalize().into();
    let digest = digest.first_chunk().copied().unwrap_or_default();
    Contents { offset, bytes: end - offset, digest }
}

/// Returns the files, each with those that its user has compressed: `app.js.br` is `app.js` in
/// Brotli. They replace what was compressed here.
fn with_siblings(files: &BTreeMap<String, SiteFile>) -> Vec<SiteFile> {
    let with_variants = |file: &SiteFile| {
        let variant = |coding: Coding| {
            let sibling = files.get(&format!("{}{}", file.path, coding.extension()));
            let own = file.variants.iter().find(|variant| variant.coding == coding).copied();
            sibling.map(|sibling| Variant { coding, contents: sibling.contents }).or(own)
        };
        let variants = Coding::ALL.into_iter().filter_map(variant).collect();
        SiteFile { variants, ..file.clone() }
    };
    files.values().map(with_variants).collect()
}

/// Returns the error of a line of `_headers` or `_redirects`.
fn of_line(file: &'static str, line: usize, why: String) -> SiteError {
    SiteError::Rule { file, line: line + 1, why }
}

#[cfg(test)]
mod tests;
