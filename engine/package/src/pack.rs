//! From a folder and Lambda layers to the one zip that a deploy uploads.
//!
//! The same contents make the same bytes, so that a deploy of nothing new is known by its digest:
//! names are sorted, times are those of 1980, modes 0644 or 0755. Owns the fds of what it reads.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Seek as _, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use host::fault::Fault;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use crate::archive::{self, ArchiveError, Entry, Ranges};
use crate::entry_name::{NameError, normalise};
use crate::file_type::{FileType, describe, first_bytes, sniff};
use crate::layout::{LAYOUT_NAME, LAYOUT_TEXT, Layout};
use crate::limits::{Budget, SizeError, quoted};
use crate::tree::{Node, Tree, TreeError};
use crate::unpack::{CopyError, copy};

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Sentences for the deployer: what was left out.
    pub notes: Vec<String>,
    /// How many files there are, links included; 1 for a file that is taken as it is.
    pub files: u64,
    /// How many bytes these have, unpacked.
    pub bytes: u64,
}

/// Why a folder and its layers cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something cannot be read.
    #[error("cannot read {path:?}: {error}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
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
    /// The names do not fit together.
    #[error("{path:?} cannot be packed: {error}")]
    Tree {
        /// The folder or zip that does not fit with itself, or with those before it.
        path: PathBuf,
        /// Why not.
        #[source]
        error: TreeError,
    },
    /// A zip cannot be read.
    #[error("{path:?} cannot be packed: {error}")]
    Archive {
        /// The zip.
        path: PathBuf,
        /// Why not.
        #[source]
        error: ArchiveError,
    },
    /// A layer is no zip.
    #[error("the layer {0:?} is no zip; a layer is a zip whose contents are to be in /opt")]
    LayerNotZip(PathBuf),
    /// A zip that was made with layers is given layers, or is one.
    #[error(
        "{0:?} was packed with layers already; pack the folder that it was made of, with all layers at once"
    )]
    HasLayers(PathBuf),
    /// A file has the name that tells the layout.
    #[error("{0:?} has a name that sockhop keeps for zips with layers; rename it or leave it out")]
    Reserved(PathBuf),
    /// The source is neither a folder nor a program nor a zip.
    #[error("{path:?} is {what}")]
    NotPackable {
        /// The source.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// It is all too large.
    #[error("{path:?} is too large to deploy: {error}")]
    Size {
        /// The source.
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

impl PackError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { error, .. } | Self::Write(error) => Fault::of_file(error),
            Self::Archive { error, .. } => error.fault(),
            Self::NotUtf8(_)
            | Self::Name { .. }
            | Self::Tree { .. }
            | Self::LayerNotZip(_)
            | Self::HasLayers(_)
            | Self::Reserved(_)
            | Self::NotPackable { .. }
            | Self::Size { .. } => Fault::UNFIT,
        }
    }
}

/// Writes the artefact that is made of `source`, a folder, an executable, a script or a zip, and of
/// the zips `layers`, to `output`, which must be empty.
///
/// A file without layers is copied as it is. With layers, all that is in these goes to `/opt`,
/// where files of later layers replace those of earlier ones as AWS merges them; a lone executable
/// becomes `/var/task/bootstrap`, as layers are Lambda's. Files that may be executed by somebody
/// may be by everybody afterwards. `entry` is the path of a server's program in the folder, which
/// gets the name `server` besides.
///
/// # Errors
/// [`PackError`] when something cannot be packed, read or written.
pub fn pack(
    source: &Path,
    layers: &[PathBuf],
    entry: Option<&Path>,
    output: &mut File,
) -> Result<Packed, PackError> {
    let of_read = |error| PackError::Read { path: source.to_owned(), error };
    let is_folder = std::fs::metadata(source).map_err(of_read)?.is_dir();
    if !is_folder && layers.is_empty() && entry.is_none() {
        return copy_file(source, output);
    }
    let mut packing = Packing::default();
    if is_folder {
        packing.add_folder(source)?;
    } else {
        packing.add_file(source)?;
    }
    if let Some(entry) = entry {
        packing.add_entry(source, entry)?;
    }
    for layer in layers {
        packing.add_layer(layer)?;
    }
    let layout = if layers.is_empty() { Layout::Task } else { Layout::TaskAndOpt };
    packing.write(source, layout, output)
}

fn copy_file(source: &Path, output: &mut File) -> Result<Packed, PackError> {
    let of_read = |error| PackError::Read { path: source.to_owned(), error };
    let mut file = File::open(source).map_err(of_read)?;
    check_type(source, &file)?;
    let mut budget = Budget::new(u64::MAX);
    copy(&mut file, output, &mut budget).map_err(|error| of_copy(source, error))?;
    Ok(Packed { notes: Vec::new(), files: 1, bytes: budget.written() })
}

/// Returns what a source is. Refuses what no native function can be made of.
fn check_type(source: &Path, file: &File) -> Result<FileType, PackError> {
    let first_bytes =
        first_bytes(file).map_err(|error| PackError::Read { path: source.to_owned(), error })?;
    match sniff(&first_bytes) {
        FileType::Wasm | FileType::Other => {
            Err(PackError::NotPackable { path: source.to_owned(), what: describe(&first_bytes) })
        }
        known => Ok(known),
    }
}

fn of_copy(path: &Path, error: CopyError) -> PackError {
    let path = path.to_owned();
    match error {
        CopyError::Read(error) => PackError::Read { path, error },
        CopyError::Write(error) => PackError::Write(error),
        CopyError::Size(error) => PackError::Size { path, error },
    }
}

/// Where a file's contents are.
enum Contents {
    Disk(PathBuf),
    Zip { archive: usize, entry: Entry },
}

/// The name of a server's program.
const SERVER: &str = "server";

/// What has been found to pack.
#[derive(Default)]
struct Packing {
    tree: Tree,
    files: BTreeMap<String, Contents>,
    archives: Vec<(PathBuf, File)>,
    notes: Vec<String>,
}

impl Packing {
    /// Adds all of a folder as `task`, without following links.
    fn add_folder(&mut self, source: &Path) -> Result<(), PackError> {
        self.add("task", Node::Folder, source)?;
        let mut folders = vec![(source.to_owned(), String::new())];
        while let Some((folder, relative)) = folders.pop() {
            let of_read = |error| PackError::Read { path: folder.clone(), error };
            for entry in std::fs::read_dir(&folder).map_err(of_read)? {
                let path = entry.map_err(of_read)?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| PackError::NotUtf8(path.clone()))?;
                let relative = match relative.as_str() {
                    "" => name.to_owned(),
                    above => format!("{above}/{name}"),
                };
                let metadata = std::fs::symlink_metadata(&path);
                let metadata =
                    metadata.map_err(|error| PackError::Read { path: path.clone(), error })?;
                if self.leaves_out(&relative, name, &metadata) {
                    continue;
                }
                let inside = normalise(&relative)
                    .map_err(|error| PackError::Name { path: path.clone(), error })?;
                if inside == LAYOUT_NAME {
                    return Err(PackError::Reserved(path));
                }
                let inside = format!("task/{inside}");
                let node = node(&path, &metadata)?;
                match &node {
                    Node::Folder => folders.push((path.clone(), relative)),
                    Node::File { .. } => {
                        self.files.insert(inside.clone(), Contents::Disk(path.clone()));
                    }
                    Node::Link { .. } => {}
                }
                self.add(&inside, node, source)?;
            }
        }
        Ok(())
    }

    /// Returns whether something of a folder is left out, and makes a note of it.
    fn leaves_out(&mut self, relative: &str, name: &str, metadata: &Metadata) -> bool {
        let of = metadata.file_type();
        let what = if name == ".git" {
            "it is git's, and no part of the function"
        } else if of.is_socket() {
            "it is a socket"
        } else if of.is_fifo() {
            "it is a FIFO"
        } else if of.is_block_device() || of.is_char_device() {
            "it is a device"
        } else {
            return false;
        };
        self.notes.push(format!("{:?} was left out: {what}", quoted(relative)));
        true
    }

    /// Adds a lone executable or script as the bootstrap, or what is in a zip as `task`.
    fn add_file(&mut self, source: &Path) -> Result<(), PackError> {
        let of_read = |error| PackError::Read { path: source.to_owned(), error };
        let file = File::open(source).map_err(of_read)?;
        if check_type(source, &file)? == FileType::Zip {
            return self.add_zip(source, file, "task");
        }
        self.files.insert("task/bootstrap".to_owned(), Contents::Disk(source.to_owned()));
        self.add("task/bootstrap", Node::File { executable: true }, source)
    }

    /// Adds a link to the program `entry` under the name that a server's program has, unless the
    /// program has that name.
    fn add_entry(&mut self, source: &Path, entry: &Path) -> Result<(), PackError> {
        let of_name = |error| PackError::Name { path: entry.to_owned(), error };
        let text = entry.to_str().ok_or_else(|| PackError::NotUtf8(entry.to_owned()))?;
        let target = normalise(text).map_err(of_name)?;
        if target == SERVER {
            return Ok(());
        }
        self.tree.remove_file(&format!("task/{SERVER}"));
        self.files.remove(&format!("task/{SERVER}"));
        self.add(&format!("task/{SERVER}"), Node::Link { target }, source)
    }

    fn add_layer(&mut self, layer: &Path) -> Result<(), PackError> {
        let of_read = |error| PackError::Read { path: layer.to_owned(), error };
        let file = File::open(layer).map_err(of_read)?;
        if sniff(&first_bytes(&file).map_err(of_read)?) != FileType::Zip {
            return Err(PackError::LayerNotZip(layer.to_owned()));
        }
        self.add_zip(layer, file, "opt")
    }

    /// Adds what is in a zip below `top`. Files replace those that are there.
    fn add_zip(&mut self, path: &Path, file: File, top: &str) -> Result<(), PackError> {
        let of_archive = |error| PackError::Archive { path: path.to_owned(), error };
        let (layout, entries) = archive::read(&file).map_err(of_archive)?;
        if layout != Layout::Task {
            return Err(PackError::HasLayers(path.to_owned()));
        }
        let archive = self.archives.len();
        self.archives.push((path.to_owned(), file));
        self.add(top, Node::Folder, path)?;
        // A name that is twice in one zip is refused, though others are replaced.
        let mut own = Tree::default();
        for entry in entries {
            let relative = entry.path.strip_prefix("task/").unwrap_or(&entry.path);
            let inside = format!("{top}/{relative}");
            let of_tree = |error| PackError::Tree { path: path.to_owned(), error };
            own.add(&inside, entry.node.clone()).map_err(of_tree)?;
            if entry.node != Node::Folder {
                self.tree.remove_file(&inside);
                self.files.remove(&inside);
            }
            self.add(&inside, entry.node.clone(), path)?;
            if let Node::File { .. } = entry.node {
                self.files.insert(inside, Contents::Zip { archive, entry });
            }
        }
        Ok(())
    }

    fn add(&mut self, inside: &str, node: Node, source: &Path) -> Result<(), PackError> {
        self.tree
            .add(inside, node)
            .map_err(|error| PackError::Tree { path: source.to_owned(), error })
    }

    /// Writes the zip.
    fn write(self, source: &Path, layout: Layout, output: &mut File) -> Result<Packed, PackError> {
        let mut budget = Budget::new(u64::MAX);
        let mut zip = ZipWriter::new(BufWriter::new(&mut *output));
        if layout == Layout::TaskAndOpt {
            zip.start_file(LAYOUT_NAME, options(0o644)).map_err(of_zip)?;
            zip.write_all(LAYOUT_TEXT.as_bytes()).map_err(PackError::Write)?;
        }
        let mut ranges: Vec<Ranges> = self.archives.iter().map(|_| Ranges::default()).collect();
        let mut files = 0;
        for (inside, node) in self.tree.iter() {
            let name = match layout {
                Layout::TaskAndOpt | Layout::FunctionAndAssets => inside,
                Layout::Task => match inside.strip_prefix("task/") {
                    Some(name) => name,
                    None => continue,
                },
            };
            match node {
                Node::Folder => zip.add_directory(name, options(0o755)).map_err(of_zip)?,
                Node::Link { target } => {
                    files += 1;
                    zip.add_symlink(name, target, options(0o777)).map_err(of_zip)?;
                }
                Node::File { executable } => {
                    files += 1;
                    let mode = if *executable { 0o755 } else { 0o644 };
                    zip.start_file(name, options(mode)).map_err(of_zip)?;
                    if let Some(contents) = self.files.get(inside) {
                        self.copy(contents, &mut zip, &mut budget, &mut ranges)?;
                    }
                }
            }
        }
        zip.finish().map_err(of_zip)?.flush().map_err(PackError::Write)?;
        let length = output.stream_position().map_err(PackError::Write)?;
        // The node would refuse it; it is better known before it is uploaded.
        Budget::new(length)
            .take(budget.written())
            .map_err(|error| PackError::Size { path: source.to_owned(), error })?;
        Ok(Packed { notes: self.notes, files, bytes: budget.written() })
    }

    fn copy(
        &self,
        contents: &Contents,
        zip: &mut impl Write,
        budget: &mut Budget,
        ranges: &mut [Ranges],
    ) -> Result<(), PackError> {
        match contents {
            Contents::Disk(path) => {
                let of_read = |error| PackError::Read { path: path.clone(), error };
                let mut file = File::open(path).map_err(of_read)?;
                copy(&mut file, zip, budget).map_err(|error| of_copy(path, error))
            }
            Contents::Zip { archive, entry } => {
                let (Some((path, file)), Some(ranges)) =
                    (self.archives.get(*archive), ranges.get_mut(*archive))
                else {
                    return Ok(());
                };
                let of_archive = |error| PackError::Archive { path: path.clone(), error };
                let mut file = file;
                let contents = archive::contents(entry, &mut file, ranges);
                let mut contents = contents.map_err(of_archive)?;
                copy(&mut contents, zip, budget).map_err(|error| match error {
                    CopyError::Read(error) => of_archive(ArchiveError::of_read(error)),
                    other => of_copy(path, other),
                })
            }
        }
    }
}

fn node(path: &Path, metadata: &Metadata) -> Result<Node, PackError> {
    if metadata.is_dir() {
        return Ok(Node::Folder);
    }
    if !metadata.is_symlink() {
        return Ok(Node::File { executable: metadata.permissions().mode() & 0o111 != 0 });
    }
    let target = std::fs::read_link(path)
        .map_err(|error| PackError::Read { path: path.to_owned(), error })?;
    let target = target.into_os_string().into_string();
    let target = target.map_err(|_| PackError::NotUtf8(path.to_owned()))?;
    Ok(Node::Link { target })
}

fn options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(mode)
}

fn of_zip(error: zip::result::ZipError) -> PackError {
    PackError::Write(error.into())
}
