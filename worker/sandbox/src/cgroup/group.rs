//! The cgroup of one program: limits, what it has used, and its end.
//!
//! [`Group`] owns `cgroup.procs` of each of its folders, opened for writing, by which the program
//! puts itself into it; [`Readings`] owns the files that tell what was used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{Controller, Parent, Version};

/// What a group is not to go beyond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory_bytes_max: u64,
    pub(crate) processes_max: u32,
}

/// The cgroup of one program, a folder in each of the hierarchies that limit it. It is not removed
/// when dropped, since inits have a copy of it.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<(Version, PathBuf)>,
    procs: Vec<File>,
    readings: Readings,
}

/// What a group has used.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    peak: Option<File>,
    events: Option<File>,
}

impl Group {
    /// Makes it, called `name`, and sets its limits.
    ///
    /// # Errors
    /// What could not be written. Nothing is left of it then.
    pub(crate) fn create(parents: &[Parent], name: &str, limits: Limits) -> Result<Self, String> {
        let mut group =
            Self { folders: Vec::new(), procs: Vec::new(), readings: Readings::default() };
        for parent in parents {
            let folder = parent.folder.join(name);
            if let Err(error) = group.add(parent, &folder, limits) {
                group.remove();
                return Err(format!(
                    "the cgroup {} cannot be set up: {error}; was it removed by another program?",
                    folder.display()
                ));
            }
        }
        Ok(group)
    }

    fn add(&mut self, parent: &Parent, folder: &Path, limits: Limits) -> io::Result<()> {
        fs::create_dir(folder)?;
        self.folders.push((parent.version, folder.to_owned()));
        let set = |file: &str, value: &str| {
            let mut opened = OpenOptions::new().write(true).open(folder.join(file))?;
            opened.write_all(value.as_bytes())
        };
        for controller in &parent.controllers {
            match (controller, parent.version) {
                (Controller::Pids, _) => set("pids.max", &limits.processes_max.to_string())?,
                (Controller::Memory, Version::V1) => {
                    let bytes = limits.memory_bytes_max.to_string();
                    set("memory.limit_in_bytes", &bytes)?;
                    // Only with accounting of swap (swapaccount=1), and there it counts both.
                    optional(set("memory.memsw.limit_in_bytes", &bytes))?;
                    self.readings = Readings {
                        peak: File::open(folder.join("memory.max_usage_in_bytes")).ok(),
                        events: File::open(folder.join("memory.oom_control")).ok(),
                    };
                }
                (Controller::Memory, Version::V2) => {
                    set("memory.max", &limits.memory_bytes_max.to_string())?;
                    optional(set("memory.swap.max", "0"))?;
                    // All its processes or none: half a program answers nobody.
                    set("memory.oom.group", "1")?;
                    self.readings = Readings {
                        // Since Linux 5.19.
                        peak: File::open(folder.join("memory.peak")).ok(),
                        events: File::open(folder.join("memory.events")).ok(),
                    };
                }
            }
        }
        let procs = OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?;
        self.procs.push(procs);
        Ok(())
    }

    /// Returns the fds that an init needs.
    pub(crate) fn fds(&self) -> Vec<RawFd> {
        let readings = [&self.readings.peak, &self.readings.events];
        self.procs
            .iter()
            .chain(readings.into_iter().flatten())
            .map(|file| file.as_raw_fd())
            .collect()
    }

    /// Puts the process that calls it into the group.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn join(&self) -> io::Result<()> {
        // 0 means the writer, whatever number it has in which pid namespace (cgroups(7)).
        self.procs.iter().try_for_each(|file| (&*file).write_all(b"0"))
    }

    /// Returns what has been used.
    pub(crate) fn readings(&self) -> &Readings {
        &self.readings
    }

    /// Closes what only an init needs.
    pub(crate) fn close(&mut self) {
        self.procs.clear();
        self.readings = Readings::default();
    }

    /// Kills every process in it. For sandboxes without a pid namespace.
    pub(crate) fn kill(&self) {
        for (version, folder) in &self.folders {
            kill_all(*version, folder);
        }
    }

    /// Removes it. Returns whether nothing is left: a process that has only just ended holds it for
    /// a moment.
    pub(crate) fn remove(&mut self) -> bool {
        self.folders.retain(|(_, folder)| match fs::remove_dir(folder) {
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(()) => false,
        });
        self.folders.is_empty()
    }
}

/// Kills every process of the cgroup in `folder`.
pub(super) fn kill_all(version: Version, folder: &Path) {
    // Since Linux 5.14, and without a race against fork.
    if version == Version::V2 && fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
        let pid = nix::unistd::Pid::from_raw(pid);
        // One that has ended meanwhile is what is wanted.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

/// Takes the absence of a file for success.
fn optional(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

impl Readings {
    /// Returns the most memory that was in use, or `None` where nothing counts it.
    pub(crate) fn memory_bytes_peak(&self) -> Option<u64> {
        read(self.peak.as_ref()?)?.trim().parse().ok()
    }

    /// Returns whether a process was killed for the group's memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.events.as_ref().and_then(read).is_some_and(|text| kills(&text) > 0)
    }
}

/// Reads a short file from its start.
fn read(file: &File) -> Option<String> {
    let mut buffer = [0; 1024];
    let length = file.read_at(&mut buffer, 0).ok()?;
    String::from_utf8(buffer.get(..length)?.to_vec()).ok()
}

/// Returns how many processes were killed, by `memory.events` (v2) or `memory.oom_control` (v1,
/// since Linux 4.13), which have the same line.
fn kills(text: &str) -> u64 {
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 1\n"), 3);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
        assert_eq!(kills("oom_kill_disable 1\n"), 0);
        assert_eq!(kills(""), 0);
    }

    #[test]
    fn what_cannot_be_set_up_leaves_nothing() {
        // A folder of an ordinary file system has no cgroup.procs.
        let folder = tempfile::tempdir().unwrap();
        let parent = Parent {
            version: Version::V2,
            folder: folder.path().to_owned(),
            controllers: vec![Controller::Pids],
        };
        let limits = Limits { memory_bytes_max: 1, processes_max: 1 };
        let error = Group::create(&[parent], "sockhop-native-1-1", limits).unwrap_err();
        assert!(error.contains("sockhop-native-1-1"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
