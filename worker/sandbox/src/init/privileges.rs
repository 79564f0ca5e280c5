//! What a program is left with: no capabilities, no way to get any, and few resources. Owns no fds.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use abi::sandbox::Level;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::Start;

/// The highest number that a capability can have.
const CAPABILITIES: u32 = 64;

/// Sets the resource limits of a program. One that is lower already stays.
///
/// # Errors
/// What the kernel said.
pub(super) fn limit_resources(start: &Start<'_>) -> io::Result<()> {
    let sandbox = start.sandbox;
    let set = |resource, wanted: u64| {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, wanted.min(hard), wanted.min(hard))
    };
    set(Resource::RLIMIT_CORE, 0)?;
    set(Resource::RLIMIT_NOFILE, sandbox.open_files_max.into())?;
    set(Resource::RLIMIT_FSIZE, sandbox.file_bytes_max)?;
    // Counted for the user in this namespace since Linux 5.14; init may be the same user.
    let others = match sandbox.level {
        Level::Full => Some(1),
        Level::Basic if start.processes_by_cgroup => None,
        Level::Basic => Some(threads_of(start.identity.program_on_host().0)),
    };
    if let Some(others) = others {
        set(Resource::RLIMIT_NPROC, u64::from(sandbox.processes_max).saturating_add(others))?;
    }
    if !start.memory_by_cgroup {
        // Of each process, what it can write to. Address space would be the wrong measure: runtimes
        // reserve far more than they use.
        set(Resource::RLIMIT_DATA, sandbox.memory_bytes_max)?;
    }
    Ok(())
}

/// Returns how many threads a user has on the host: without a namespace, all of them count.
fn threads_of(uid: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process =
        |name: &OsString| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let own = processes.filter(|entry| {
        is_process(&entry.file_name()) && entry.metadata().is_ok_and(|it| it.uid() == uid)
    });
    own.map(|entry| fs::read_dir(entry.path().join("task")).map_or(0, |tasks| tasks.count() as u64))
        .sum()
}

/// Empties the bounding set, and has the kernel ignore user 0, file capabilities and ambient ones.
/// Needs CAP_SETPCAP.
///
/// # Errors
/// What the kernel said.
pub(super) fn lock_capabilities() -> io::Result<()> {
    for number in 0..CAPABILITIES {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Beyond the last that this kernel has.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
    set_capabilities_secure_bits(bits)?;
    Ok(())
}

/// Becomes this user and this group, in no other group.
///
/// # Errors
/// What the kernel said.
pub(super) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Keeps these capabilities and no others.
///
/// # Errors
/// What the kernel said.
pub(super) fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
