//! The files of a native function, and of a static site: unpacked in the compile child, and what the
//! worker is told of them. Owns no fds beyond a call.
//!
//! The folder has `task/`, which becomes `/var/task`, perhaps `opt/`, which becomes `/opt`, and
//! `program`, a file with the path of the program as it is inside; `notes` is for whoever deploys.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use abi::function::Kind;
use abi::native::{NOTES_FILE, PROGRAM_FILE};
use host::fault::Fault;
use package::{NativeKind, Wanted};

use super::confine::confine;

/// The exit statuses of the child when it refuses the file, and when there is no room for what it
/// makes of it.
pub(super) const REFUSED: u8 = 1;
pub(super) const NO_ROOM: u8 = 3;
/// What is hashed into the key of a folder. It changes when artefacts are unpacked in another way.
pub(super) const UNPACKED_AS: &[u8] = b"task, opt, program: 2";

/// Returns the kind as the package has it. Returns `None` for what is no native function.
pub(super) fn kind(kind: Kind) -> Option<NativeKind> {
    match kind {
        Kind::Http02 | Kind::Http03 | Kind::Command | Kind::Static => None,
        Kind::Lambda => Some(NativeKind::Lambda),
        Kind::Server => Some(NativeKind::Server),
        Kind::Azure => Some(NativeKind::Azure),
    }
}

/// Unpacks the artefact `input` into the empty folder `output`, and checks its program.
///
/// # Errors
/// A sentence for the deployer of the file, and the exit status of the child.
pub(super) fn unpack(kind: NativeKind, input: &Path, output: &Path) -> Result<(), (String, u8)> {
    let unpacked = package::unpack(input, kind, output, &Wanted::default()).map_err(|error| {
        let status = if error.fault() == Fault::UNFIT { REFUSED } else { NO_ROOM };
        (error.to_string(), status)
    })?;
    let path = output.join(PROGRAM_FILE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(unpacked.program.as_bytes())?;
        std::fs::write(output.join(NOTES_FILE), unpacked.notes.join("\n"))?;
        // Without namespaces the program goes through it as another user than the node. The folder
        // that it is in stays closed to all but the node.
        std::fs::set_permissions(output, Permissions::from_mode(0o755))?;
        // All of what was unpacked, on the one file system that it is on.
        nix::unistd::syncfs(&file).map_err(Into::into)
    });
    written.map_err(|error| (format!("{path:?} cannot be written: {error}"), NO_ROOM))
}

/// Makes of the zip `input` the file `output`, from which workers serve a static site.
///
/// # Errors
/// A sentence for the deployer of the file, and the exit status of the child.
pub(super) fn make_site(input: &Path, output: &Path) -> Result<(), (String, u8)> {
    let unread = |error| (format!("{input:?} cannot be read: {error}"), NO_ROOM);
    let unwritten = |error| (format!("{output:?} cannot be written: {error}"), NO_ROOM);
    let input = File::open(input).map_err(unread)?;
    let mut output = File::create(output).map_err(unwritten)?;
    // All that is needed is open. What the file contains is looked at from here on.
    confine().map_err(|error| (format!("it cannot be confined: {error}"), NO_ROOM))?;
    package::make_site(&input, &mut output).map_err(|error| {
        let status = if error.fault() == Fault::UNFIT { REFUSED } else { NO_ROOM };
        (error.to_string(), status)
    })
}

/// Returns what there is to say to whoever deploys the function in `folder`.
pub(super) fn notes(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(NOTES_FILE)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
