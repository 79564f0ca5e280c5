//! A file while it is received, and then: hashed as it comes, and read once to find out what it is.
//! Owns the file, which is removed unless somebody keeps it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use abi::function::{FileKind, Kind};
use abi::message::Digest;
use api::options::Options;
use compile::inspect::{InspectError, inspect};
use compile::{Size, function_in};
use host::files::Temporary;
use sha2::{Digest as _, Sha256};
use store::manifest::Manifest;

use super::error::ChangeError;

/// How much is gathered before it is written. Each write goes to another thread and back.
const WRITE_BYTES: usize = 1024 * 1024;

/// A file that is being received.
///
/// Writing and hashing are done off the calling thread, which also answers `/healthz`. No thread
/// waits for a client that is slow.
#[derive(Debug)]
pub(crate) struct Receiving {
    temporary: Temporary,
    /// `None` while another thread has it, and once that has failed.
    writer: Option<Writer>,
    gathered: Vec<u8>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// A received file, synced, with its SHA-256.
#[derive(Debug)]
pub struct Received {
    pub(super) file: Temporary,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// What a received file is.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) kind: Kind,
    /// What says how much memory its compiler takes.
    pub(super) size: Size,
    /// Whether it has assets besides.
    pub(super) has_assets: bool,
}

impl Receiving {
    /// Begins to receive into a new file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn begin(temporary: Temporary) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(temporary.path())?;
        let writer = Some(Writer { file, hash: Sha256::new(), bytes: 0 });
        Ok(Self { temporary, writer, gathered: Vec::new() })
    }

    /// Takes the next part of the file.
    ///
    /// # Errors
    /// When what came before cannot be written.
    pub(crate) async fn take(&mut self, part: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(part);
        if self.gathered.len() >= WRITE_BYTES {
            let gathered = std::mem::take(&mut self.gathered);
            let (writer, mut gathered) = off_this_thread(self.writer.take(), move |writer| {
                writer.write(&gathered)?;
                Ok(gathered)
            })
            .await?;
            gathered.clear();
            (self.writer, self.gathered) = (Some(writer), gathered);
        }
        Ok(())
    }

    /// Ends the file, and syncs it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn end(mut self) -> io::Result<Received> {
        let gathered = std::mem::take(&mut self.gathered);
        let (writer, ()) = off_this_thread(self.writer.take(), move |writer| {
            writer.write(&gathered)?;
            writer.file.sync_all()
        })
        .await?;
        let digest = writer.hash.finalize().into();
        Ok(Received { file: self.temporary, digest, bytes: writer.bytes })
    }
}

/// Does something with the writer on a thread that may wait for a disk.
async fn off_this_thread<T: Send + 'static>(
    writer: Option<Writer>,
    step: impl FnOnce(&mut Writer) -> io::Result<T> + Send + 'static,
) -> io::Result<(Writer, T)> {
    let mut writer = writer.ok_or(io::ErrorKind::BrokenPipe)?;
    let stepped = tokio::task::spawn_blocking(move || step(&mut writer).map(|done| (writer, done)));
    // The node stops.
    stepped.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}

impl Received {
    /// Reads the file and returns what it is. A file that can be both stays what the version `before` it is, unless the options have it
    /// otherwise.
    ///
    /// # Errors
    /// [`ChangeError::Inspect`] when it is nothing that can run here.
    pub(super) async fn inspect(
        &self,
        options: &Options,
        before: Option<&Manifest>,
    ) -> Result<Inspected, ChangeError> {
        let before = before.map(|before| before.kind).filter(|_| !options.fresh_options);
        let chosen = options.kind;
        let path = self.file.path().to_owned();
        let inspected = tokio::task::spawn_blocking(move || {
            let file = File::open(&path).map_err(ChangeError::Received)?;
            let function = function_in(&file).map_err(InspectError::from)?;
            let has_assets = function.is_some();
            let bytes = match function {
                Some(function) => function,
                None => std::fs::read(path).map_err(ChangeError::Received)?,
            };
            let kind = kind_of(&bytes, chosen, before)?;
            Ok(Inspected { kind, size: Size::of(&bytes), has_assets })
        });
        inspected.await.unwrap_or(Err(ChangeError::Stopping))
    }
}

/// Returns the kind of a file, which is `chosen`, or else as that of the version `before` where the
/// file can be both.
fn kind_of(
    bytes: &[u8],
    chosen: Option<FileKind>,
    before: Option<Kind>,
) -> Result<Kind, InspectError> {
    let stays = match before {
        _ if chosen.is_some() => None,
        Some(Kind::Command) => Some(FileKind::Command),
        Some(Kind::Lambda) => Some(FileKind::Lambda),
        Some(Kind::Server) => Some(FileKind::Server),
        Some(Kind::Azure) => Some(FileKind::Azure),
        Some(Kind::Static) => Some(FileKind::Static),
        Some(Kind::Http02 | Kind::Http03) | None => None,
    };
    match stays {
        Some(stays) => inspect(bytes, Some(stays)).or_else(|_| inspect(bytes, None)),
        None => inspect(bytes, chosen),
    }
}

#[cfg(test)]
mod tests {
    use host::files;

    use super::*;

    #[test]
    fn a_file_has_the_digest_of_all_its_parts() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Several writes, none of them at a part's end.
        let part: Vec<u8> = (0..=250).cycle().take(100_003).collect();
        let received = runtime.block_on(async {
            let mut receiving = Receiving::begin(Temporary::new(folder.path()).unwrap()).unwrap();
            for _ in 0..33 {
                receiving.take(&part).await.unwrap();
            }
            receiving.end().await.unwrap()
        });
        assert_eq!(std::fs::read(received.file.path()).unwrap(), part.repeat(33));
        let found = files::digest_of(received.file.path()).unwrap();
        assert_eq!(found, (received.digest, received.bytes));
        drop(received);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
