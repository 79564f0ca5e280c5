//! Cgroups of spawners that were killed before they could remove them. Owns no fds.

use std::fs;
use std::path::Path;

use super::group::kill_all;
use super::{PREFIX, Parent};
use crate::start::SPAWNER_ARGUMENT;

/// Ends and removes what spawners that are gone have left in `parents`.
pub(crate) fn remove_leftovers(parents: &[Parent]) {
    for parent in parents {
        for entry in fs::read_dir(&parent.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(spawner_of) else { continue };
            if !is_spawner(pid) {
                kill_all(parent.version, &entry.path());
                // What is not gone yet is for the next spawner.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Returns the pid in a group's name, `sockhop-native-PID-NUMBER`.
fn spawner_of(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u64>().ok()?;
    pid.parse().ok()
}

/// Returns whether the process `pid` is a spawner. The number of one that is gone may be used again
/// by any program.
fn is_spawner(pid: u32) -> bool {
    let process = format!("/proc/{pid}");
    match fs::read(Path::new(&process).join("cmdline")) {
        Ok(line) => line.split(|byte| *byte == 0).nth(1) == Some(SPAWNER_ARGUMENT.as_bytes()),
        // Of one that this process may not look at, nothing is known.
        Err(_) => Path::new(&process).exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Controller, Version};
    use super::*;

    #[test]
    fn only_names_of_groups_have_a_spawner() {
        assert_eq!(spawner_of("sockhop-native-17-4"), Some(17));
        for name in
            ["sockhop-native-17", "sockhop-native-x-4", "sockhop-native-1-2-3", "user.slice"]
        {
            assert_eq!(spawner_of(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_gone_spawner_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // This process is alive, but no spawner; pids end below 2^22.
        for name in ["sockhop-native-4999999-1", "sockhop-native-x-1", "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let own = format!("sockhop-native-{}-1", std::process::id());
        fs::create_dir(folder.path().join(own)).unwrap();
        let parent = Parent {
            version: Version::V1,
            folder: folder.path().to_owned(),
            controllers: vec![Controller::Pids],
        };
        remove_leftovers(&[parent]);
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other", "sockhop-native-x-1"]);
    }
}
