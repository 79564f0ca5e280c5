//! How much more memory the processes of this node can have: what the host has available
//! (proc_meminfo(5)), and what the limits of the enclosing cgroups leave of it (cgroups(7), v1 and
//! v2). Owns no fds.

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;

/// Where memory is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Host,
    Cgroup,
}

/// The memory that is available in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub place: Place,
    /// All memory of the host, or the limit of the cgroup.
    pub whole_bytes: u64,
    /// The memory that is available without swapping.
    pub memory_bytes: u64,
    /// The free swap beside it.
    pub swap_bytes: u64,
}

impl Room {
    /// Returns the available memory and swap together.
    pub fn with_swap_bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(self.swap_bytes)
    }
}

impl fmt::Display for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: u64| ByteSize(bytes).display().iec();
        let (whole, free) = (text(self.whole_bytes), text(self.memory_bytes));
        let whose = match self.place {
            Place::Host => "on the host",
            Place::Cgroup => "for the node's cgroup",
        };
        write!(formatter, "{whole} of memory {whose}, {free} of it free")?;
        match self.swap_bytes {
            0 => write!(formatter, ", and no swap"),
            swap => write!(formatter, ", and {} of free swap", text(swap)),
        }
    }
}

/// The memory that is available now: the least of all places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// The place that has least without swap.
    pub memory: Room,
    /// The place that has least with swap.
    pub with_swap: Room,
}

/// Reads how much memory is available. Returns `None` if the kernel does not say.
pub fn available() -> Option<Available> {
    of(Path::new("/"))
}

/// Reads how much is available on a system whose files are below `root`.
fn of(root: &Path) -> Option<Available> {
    let host = host(&read(&root.join("proc/meminfo"))?)?;
    let cgroups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mut available = Available { memory: host, with_swap: host };
    for room in cgroups.lines().flat_map(|line| rooms_of(root, line, host.swap_bytes)) {
        if room.memory_bytes < available.memory.memory_bytes {
            available.memory = room;
        }
        if room.with_swap_bytes() < available.with_swap.with_swap_bytes() {
            available.with_swap = room;
        }
    }
    Some(available)
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Returns the number after `key` in a file of lines.
fn field(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == key).then(|| words.next()?.parse().ok()).flatten())
}

fn host(meminfo: &str) -> Option<Room> {
    let bytes = |key| field(meminfo, key)?.checked_mul(1024);
    Some(Room {
        place: Place::Host,
        whole_bytes: bytes("MemTotal:")?,
        memory_bytes: bytes("MemAvailable:")?,
        swap_bytes: bytes("SwapFree:").unwrap_or(0),
    })
}

/// Returns the memory of the cgroup on this line of proc_self_cgroup(5) and of its ancestors, each
/// of which limits everything below it.
fn rooms_of(root: &Path, line: &str, swap_bytes: u64) -> Vec<Room> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, room): (_, fn(&Path, u64) -> Option<Room>) = match controllers {
        "" => ("sys/fs/cgroup", second),
        list if list.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", first)
        }
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    let folder = mount.join(path.trim_start_matches('/'));
    let around = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
    // In a container, the path may be the host's. What is mounted is then the container's own
    // cgroup.
    around.filter_map(|folder| room(folder, swap_bytes)).collect()
}

/// Reads a number that is a file of its own. Returns `None` for "max".
fn number(folder: &Path, name: &str) -> Option<u64> {
    read(&folder.join(name))?.trim().parse().ok()
}

/// Returns the bytes of file pages that the kernel can drop at any time.
fn droppable(folder: &Path, keys: [&str; 2]) -> u64 {
    let stat = read(&folder.join("memory.stat")).unwrap_or_default();
    keys.iter().filter_map(|key| field(&stat, key)).sum()
}

/// Returns the memory of a cgroup v2. Returns `None` if it has no limit.
fn second(folder: &Path, swap_bytes: u64) -> Option<Room> {
    let (limit, used) = (number(folder, "memory.max")?, number(folder, "memory.current")?);
    let used = used.saturating_sub(droppable(folder, ["inactive_file", "active_file"]));
    let swap_used = number(folder, "memory.swap.current").unwrap_or(0);
    let swap = number(folder, "memory.swap.max")
        .map_or(swap_bytes, |limit| limit.saturating_sub(swap_used));
    let (memory_bytes, swap_bytes) = (limit.saturating_sub(used), swap.min(swap_bytes));
    Some(Room { place: Place::Cgroup, whole_bytes: limit, memory_bytes, swap_bytes })
}

/// Returns the memory of a cgroup v1. Returns `None` if it has no limit, which it says by a number
/// that no machine has.
fn first(folder: &Path, swap_bytes: u64) -> Option<Room> {
    let limited = |limit: &u64| *limit < 1 << 62;
    let limit = number(folder, "memory.limit_in_bytes").filter(limited)?;
    let files = droppable(folder, ["total_inactive_file", "total_active_file"]);
    let left = |limit: u64, used: u64| limit.saturating_sub(used.saturating_sub(files));
    let memory_bytes = left(limit, number(folder, "memory.usage_in_bytes")?);
    // Memory and swap have one limit together.
    let both = number(folder, "memory.memsw.limit_in_bytes").filter(limited);
    let both = both.zip(number(folder, "memory.memsw.usage_in_bytes"));
    let swap =
        both.map_or(swap_bytes, |(limit, used)| left(limit, used).saturating_sub(memory_bytes));
    Some(Room {
        place: Place::Cgroup,
        whole_bytes: limit,
        memory_bytes,
        swap_bytes: swap.min(swap_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MEMINFO: &str = "MemTotal: 1048576 kB\nMemAvailable: 786432 kB\nSwapFree: 262144 kB\n";
    const HOST: Room = Room {
        place: Place::Host,
        whole_bytes: 1024 * MIB,
        memory_bytes: 768 * MIB,
        swap_bytes: 256 * MIB,
    };

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> Option<Available> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        of(root.path())
    }

    #[test]
    fn without_a_limit_it_is_what_the_host_has() {
        let v2 = ("sys/fs/cgroup/a/memory.max", "max\n");
        let v1 = ("sys/fs/cgroup/memory/b/memory.limit_in_bytes", "9223372036854771712\n");
        let cgroup = ("proc/self/cgroup", "4:cpu,memory:/b\n3:cpuset:/\n0::/a\nnonsense\n");
        let host = Some(Available { memory: HOST, with_swap: HOST });
        assert_eq!(system(&[("proc/meminfo", MEMINFO)]), host);
        assert_eq!(system(&[("proc/meminfo", MEMINFO), v2, v1, cgroup]), host);
        assert_eq!(system(&[("proc/meminfo", "MemTotal: 1 kB\n")]), None);
        assert!(available().is_some_and(|here| here.memory.memory_bytes > MIB));
    }

    #[test]
    fn a_cgroup_of_the_second_version_counts_with_those_around_it() {
        let found = system(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/slice/unit\n"),
            ("sys/fs/cgroup/slice/unit/memory.max", "max\n"),
            ("sys/fs/cgroup/slice/memory.max", "314572800\n"),
            ("sys/fs/cgroup/slice/memory.current", "157286400\n"),
            (
                "sys/fs/cgroup/slice/memory.stat",
                "anon 1\ninactive_file 41943040\nactive_file 10485760\n",
            ),
            ("sys/fs/cgroup/slice/memory.swap.max", "0\n"),
        ]);
        let (whole_bytes, memory_bytes) = (300 * MIB, 200 * MIB);
        let room = Room { place: Place::Cgroup, whole_bytes, memory_bytes, swap_bytes: 0 };
        assert_eq!(found, Some(Available { memory: room, with_swap: room }));
        let said = "300.0 MiB of memory for the node's cgroup, 200.0 MiB of it free, and no swap";
        assert_eq!(room.to_string(), said);
    }

    #[test]
    fn a_cgroup_of_the_first_version_counts_too() {
        let here = |memsw: &[(&'static str, &'static str)]| {
            let files = [
                ("proc/meminfo", MEMINFO),
                // The path is the host's, and what is mounted is the cgroup itself.
                ("proc/self/cgroup", "4:memory:/docker/1234\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "209715200\n"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 104857600\n",
                ),
            ];
            system(&[&files[..], memsw].concat()).unwrap().with_swap
        };
        let room = |swap_bytes| Room {
            place: Place::Cgroup,
            whole_bytes: 512 * MIB,
            memory_bytes: 412 * MIB,
            swap_bytes: swap_bytes * MIB,
        };
        assert_eq!(here(&[]), room(256));
        let limit = ("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "641728512\n");
        let used = ("sys/fs/cgroup/memory/memory.memsw.usage_in_bytes", "209715200\n");
        assert_eq!(here(&[limit, used]), room(100));
    }
}
