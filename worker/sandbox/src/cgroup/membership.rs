//! Which cgroups a process is in, and where their folders are: `/proc/self/cgroup` (cgroups(7))
//! beside `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Pure.

use std::path::{Path, PathBuf};

/// Which interface a hierarchy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy for some controllers.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The cgroup of a process in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) version: Version,
    /// For v1; a v2 cgroup tells its own.
    pub(crate) controllers: Vec<String>,
    pub(crate) folder: PathBuf,
}

/// A cgroup file system that is mounted.
#[derive(Debug)]
struct Mount {
    version: Version,
    options: Vec<String>,
    /// Which cgroup stands at the mount point.
    root: PathBuf,
    point: PathBuf,
}

/// Returns the cgroups that have a folder in a mounted file system.
pub(crate) fn memberships(cgroup: &str, mountinfo: &str) -> Vec<Membership> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
    cgroup.lines().filter_map(|line| membership(line, &mounts)).collect()
}

/// Reads `ID:CONTROLLERS:PATH`.
fn membership(line: &str, mounts: &[Mount]) -> Option<Membership> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = if id == "0" && controllers.is_empty() { Version::V2 } else { Version::V1 };
    let controllers: Vec<String> =
        controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut fitting = mounts.iter().filter(|mount| {
        mount.version == version
            && controllers.iter().all(|controller| mount.options.contains(controller))
    });
    let folder = fitting.find_map(|mount| {
        // In a container, the path may be the host's, and the mount's root too.
        let below = Path::new(path).strip_prefix(&mount.root).ok()?;
        let escapes = below.components().any(|part| part == std::path::Component::ParentDir);
        // Joining nothing would add a slash.
        let is_root = below.as_os_str().is_empty();
        (!escapes).then(|| if is_root { mount.point.clone() } else { mount.point.join(below) })
    })?;
    Some(Membership { version, controllers, folder })
}

/// Reads `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS... - TYPE SOURCE OPTIONS`.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let version = match after.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = after.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(Mount { version, options, root: unescaped(root), point: unescaped(point) })
}

/// Replaces `\040` and the like.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) if code.is_ascii() => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            _ => plain.push_str(part),
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOUNTS: &str = "25 21 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 25 0:30 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
33 25 0:31 /docker/a1 /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 25 0:32 / /sys/fs/cgroup/my\\040unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_has_a_folder_for_each_hierarchy() {
        let text = "8:pids:/docker/a1\n4:memory:/node/one\n1:name=systemd:/\n0::/x\n";
        let found = memberships(text, MOUNTS);
        let folders: Vec<&Path> = found.iter().map(|m| m.folder.as_path()).collect();
        let expected = [
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/memory/node/one",
            "/sys/fs/cgroup/my unified/x",
        ];
        assert_eq!(folders, expected.map(Path::new));
        assert_eq!(found.last().map(|m| m.version), Some(Version::V2));
    }

    #[test]
    fn a_path_outside_the_namespace_has_no_folder() {
        assert!(memberships("0::/../other\n", MOUNTS).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read(cgroup in "\\PC*", mountinfo in "\\PC*") {
            let _ = memberships(&cgroup, &mountinfo);
            let _ = unescaped(&mountinfo);
        }

        #[test]
        fn mounts_with_junk_in_them_are_read(at in 0..MOUNTS.len(), junk in "\\PC{1,4}") {
            let mut text = MOUNTS.to_owned();
            text.insert_str(at, &junk);
            let _ = memberships("4:memory:/node\n0::/x\n", &text);
        }
    }
}
