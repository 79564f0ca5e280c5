//! The root of a sandbox: a small read-only tmpfs with the code, the system's programs and
//! libraries, a few files of `/etc`, devices, `/proc`, and a `/tmp` of its own.
//!
//! Owns the fds of the code's folders until they are mounted.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use abi::sandbox::{Sandbox, Step};
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::failure::{Failure, OrFail as _};
use super::{Start, mounts, shares_network};
use crate::identity::{PROGRAM_GID, PROGRAM_UID};
use crate::layout::{DEVICES, Kind};

/// Where the new root is put together. One of these is on every host; what it covers stays out of
/// the sandbox, and the cover out of the host.
const WORKSHOPS: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];
/// For the folders, links and texts of the root itself.
const ROOT_OPTIONS: &str = "mode=755,size=1m,nr_inodes=512";
/// The size of `/dev/shm`.
const SHARED_MEMORY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The largest file of the host's that is copied.
const COPIED_BYTES_MAX: usize = 64 * 1024;
/// `/tmp` has an inode for so many bytes, and a few more.
const TMP_BYTES_PER_INODE: u64 = 4096;

/// The folders of the code.
#[derive(Debug)]
pub(super) struct Code {
    task: OwnedFd,
    opt: Option<OwnedFd>,
}

impl Code {
    /// Opens them in the working directory, which the kernel has moved into the new mount
    /// namespace. An fd that was opened outside could not be mounted.
    pub(super) fn open() -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = |name: &str| open(name, flags, Mode::empty());
        let task =
            folder("task").or_fail(Step::Mount, || "opening the code's folder task".into())?;
        let opt = match folder("opt") {
            Err(rustix::io::Errno::NOENT) => None,
            opened => Some(opened.or_fail(Step::Mount, || "opening the code's folder opt".into())?),
        };
        Ok(Self { task, opt })
    }
}

/// Makes the root and moves into it; nothing of the host's is reachable afterwards.
pub(super) fn build(code: &Code, start: &Start<'_>) -> Result<(), Failure> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)
        .or_fail(Step::Mount, || "taking the mounts out of the host's".into())?;
    // Read before anything is covered: where there is a local resolver, it is a link into /run.
    let texts = texts(start.sandbox);
    let workshop = WORKSHOPS.into_iter().map(Path::new).find(|path| path.is_dir());
    let workshop = workshop.unwrap_or(Path::new("/tmp"));
    mounts::tmpfs(workshop, ROOT_OPTIONS)
        .and_then(|()| std::env::set_current_dir(workshop))
        .or_fail(Step::Mount, || "mounting a tmpfs for the root".into())?;

    for folder in ["dev", "dev/shm", "etc", "opt", "proc", "tmp", "var", "var/task"] {
        fs::create_dir(folder).or_fail(Step::Mount, || format!("making the folder /{folder}"))?;
    }
    mounts::bind_fd(code.task.as_fd(), Path::new("var/task"), mounts::READ_ONLY)
        .or_fail(Step::Mount, || "mounting /var/task".into())?;
    if let Some(opt) = &code.opt {
        mounts::bind_fd(opt.as_fd(), Path::new("opt"), mounts::READ_ONLY)
            .or_fail(Step::Mount, || "mounting /opt".into())?;
    }
    for entry in start.layout {
        add(entry.path, &entry.kind).or_fail(Step::Mount, || format!("mounting {}", entry.path))?;
    }
    for (path, text) in texts {
        fs::write(path, text).or_fail(Step::Mount, || format!("writing /{path}"))?;
    }
    devices().or_fail(Step::Mount, || "making /dev".into())?;
    let shared = format!("mode=1777,size={SHARED_MEMORY_BYTES_MAX},nr_inodes=1024");
    mounts::tmpfs(Path::new("dev/shm"), &shared)
        .or_fail(Step::Mount, || "mounting /dev/shm".into())?;
    let bytes = start.sandbox.tmp_bytes_max;
    let inodes = (bytes / TMP_BYTES_PER_INODE).saturating_add(1024);
    mounts::tmpfs(Path::new("tmp"), &format!("mode=1777,size={bytes},nr_inodes={inodes}"))
        .or_fail(Step::Mount, || "mounting /tmp".into())?;
    proc().or_fail(Step::Mount, || "mounting /proc".into())?;
    enter().or_fail(Step::Mount, || "moving into the root".into())
}

/// Adds a path of the host's.
fn add(path: &str, kind: &Kind) -> io::Result<()> {
    let target = Path::new(path.trim_start_matches('/'));
    let added = match kind {
        Kind::Link(to) => return symlink(to, target),
        Kind::Folder => fs::create_dir(target),
        Kind::File => File::create(target).map(drop),
    };
    added?;
    match mounts::bind(Path::new(path), target, mounts::READ_ONLY) {
        // Removed since the spawner looked: the sandbox has an empty one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        bound => bound,
    }
}

/// Makes `/dev`.
fn devices() -> io::Result<()> {
    for path in DEVICES {
        let target = Path::new(path.trim_start_matches('/'));
        File::create(target)?;
        mounts::bind(Path::new(path), target, mounts::DEVICE)?;
    }
    let fds = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, number) in fds {
        symlink(format!("/proc/self/fd{number}"), Path::new("dev").join(name))?;
    }
    Ok(())
}

/// Mounts `/proc` of the pid namespace. A program sees its own processes, and not the init.
fn proc() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount = |options| rustix::mount::mount("proc", "proc", "proc", flags, Some(options));
    // By number, which Linux before 5.8 knows too.
    match mount(c"hidepid=2") {
        Err(rustix::io::Errno::INVAL) => Ok(mount(c"")?),
        mounted => Ok(mounted?),
    }
}

/// Makes the working directory the root, and lets go of the old one.
fn enter() -> io::Result<()> {
    // The old root comes to lie upon the new one, where it can be taken off (pivot_root(2)).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open("/", flags, Mode::empty())?;
    mounts::set_attributes(root.as_fd(), 0, mounts::READ_ONLY | libc::MOUNT_ATTR_NOEXEC)
}

/// Returns the files that a sandbox has of its own, with paths below its root.
fn texts(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let host = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.len() > COPIED_BYTES_MAX { String::new() } else { text }
    };
    let name = if sandbox.hostname.is_empty() { "localhost" } else { &sandbox.hostname };
    let mut hosts = format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost\n");
    let mut resolver = String::new();
    if shares_network(sandbox) {
        hosts.push_str(&host("/etc/hosts"));
        resolver = host("/etc/resolv.conf");
    }
    let passwd = format!(
        "root:x:0:0:root:/:/sbin/nologin\nsbx_user1051:x:{PROGRAM_UID}:{PROGRAM_GID}::/tmp:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nsbx_group:x:{PROGRAM_GID}:\nnogroup:x:65534:\n");
    vec![
        ("etc/passwd", passwd),
        ("etc/group", group),
        ("etc/hosts", hosts),
        ("etc/resolv.conf", resolver),
    ]
}
