//! Mounts by the calls of fsopen(2) and its kin: attributes are set before anything is attached.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};

/// Attributes of a mount (mount_setattr(2)).
pub(super) const NOTHING_SPECIAL: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
/// Those of what a program may not change.
pub(super) const READ_ONLY: u64 = NOTHING_SPECIAL | libc::MOUNT_ATTR_RDONLY;
/// Those of a device: it may be opened, and nothing else.
pub(super) const DEVICE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

/// Attaches a copy of what is mounted at `path`, and below it, at `target`.
///
/// # Errors
/// What the kernel said.
pub(super) fn bind(path: &Path, target: &Path, attributes: u64) -> io::Result<()> {
    let tree = open_tree(CWD, path, clone_flags())?;
    attach(tree, target, attributes)
}

/// As [`bind`], of an open folder.
///
/// # Errors
/// What the kernel said.
pub(super) fn bind_fd(folder: BorrowedFd<'_>, target: &Path, attributes: u64) -> io::Result<()> {
    let tree = open_tree(folder, "", clone_flags() | OpenTreeFlags::AT_EMPTY_PATH)?;
    attach(tree, target, attributes)
}

/// Mounts below the path must come along: they are locked, so that a namespace cannot uncover what
/// they cover (mount_namespaces(7)).
fn clone_flags() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE
}

fn attach(tree: OwnedFd, target: &Path, attributes: u64) -> io::Result<()> {
    set_attributes(tree.as_fd(), libc::AT_RECURSIVE, attributes)?;
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Sets attributes of the mount at `folder`.
///
/// # Errors
/// What the kernel said.
pub(super) fn set_attributes(
    folder: BorrowedFd<'_>,
    flags: libc::c_int,
    attributes: u64,
) -> io::Result<()> {
    let wanted =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string and the kernel reads as many bytes of `wanted` as it is
    // told it has; both live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder.as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Mounts a new tmpfs.
///
/// # Errors
/// What the kernel said.
pub(super) fn tmpfs(target: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("tmpfs", target, "tmpfs", flags, Some(options.as_c_str()))?)
}
