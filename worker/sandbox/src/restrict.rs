//! The file system and the network of a program without namespaces, by landlock (landlock(7)).
//! What an older kernel cannot restrict stays open; one without landlock is refused. Owns fds only
//! while a rule is made.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use abi::sandbox::{NetworkAccess, Sandbox};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use crate::layout::{DEVICES, Entry};

/// The newest version whose rights are handled. Rights that are handled and not granted are denied,
/// so a newer one is not taken without a look at what it adds.
const NEWEST: ABI = ABI::V6;

/// Returns where the folder `code` is on the host.
///
/// # Errors
/// Where `/proc` is not mounted.
pub(crate) fn path_of(code: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", code.as_raw_fd()))
}

/// Restricts this process to its code, the system's programs and libraries, `scratch`, its own
/// `/proc/self`, and signals and abstract sockets of its own. With an isolated network it can
/// connect to nothing by TCP.
///
/// # Errors
/// When the kernel has no landlock, or a folder is missing.
pub(crate) fn restrict(
    code: BorrowedFd<'_>,
    scratch: Option<&Path>,
    layout: &[Entry],
    sandbox: &Sandbox,
) -> io::Result<()> {
    apply(code, scratch, layout, sandbox).map_err(|error| match error {
        Refused::Absent => io::Error::from_raw_os_error(libc::ENOSYS),
        Refused::Rules(error) => io::Error::other(error),
    })
}

/// Keeps a process that has the host's network, with or without a root of its own, from the host's
/// abstract sockets (unix(7)), which are in the network's namespace. They are not the network that
/// was granted. Does nothing before Linux 6.12.
///
/// # Errors
/// When no landlock ruleset can be made for another reason.
pub(crate) fn restrict_abstract_sockets() -> io::Result<()> {
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket)
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    restricted.map(drop).map_err(io::Error::other)
}

/// Why a process is not restricted.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the kernel has no landlock")]
    Absent,
    #[error(transparent)]
    Rules(#[from] landlock::RulesetError),
}

fn apply(
    code: BorrowedFd<'_>,
    scratch: Option<&Path>,
    layout: &[Entry],
    sandbox: &Sandbox,
) -> Result<(), Refused> {
    let read = AccessFs::from_read(NEWEST);
    let write = AccessFs::from_all(NEWEST);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut grants: Vec<(PathBuf, BitFlags<AccessFs>)> = vec![
        ("/proc/self".into(), AccessFs::ReadFile | AccessFs::ReadDir),
        ("/etc/passwd".into(), AccessFs::ReadFile.into()),
        ("/etc/group".into(), AccessFs::ReadFile.into()),
        ("/etc/hosts".into(), AccessFs::ReadFile.into()),
    ];
    if sandbox.network == NetworkAccess::Host {
        grants.push(("/etc/resolv.conf".into(), AccessFs::ReadFile.into()));
    }
    grants.extend(scratch.map(|folder| (folder.to_owned(), write)));
    grants.extend(DEVICES.map(|path| (path.into(), device)));
    grants.extend(layout.iter().map(|entry| (entry.path.into(), read)));

    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(write)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?;
    if sandbox.network == NetworkAccess::Isolated {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    // By its fd: the folders above it may be closed to the program's user.
    let mut created = ruleset.create()?.add_rule(PathBeneath::new(code, read))?;
    for (path, access) in grants {
        // One that this host does not have needs no grant.
        let Ok(opened) = PathFd::new(&path) else { continue };
        // Of a file, only what files have can be granted.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        created = created.add_rule(PathBeneath::new(opened, access))?;
    }
    match created.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(Refused::Absent),
        _ => Ok(()),
    }
}
