//! What of the host's files a sandbox has: the system's programs and libraries, and the files in
//! `/etc` that libraries look for. Looked at once, when the spawner starts. Owns no fds.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with programs and libraries. Where a distribution has merged them into `/usr`, they are
/// symbolic links, and stay so.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What libraries read in `/etc`: certificates, the time zone, the loader's paths, the alternatives
/// that programs in `/usr/bin` may be links to, and how names are looked up.
const ETC: [&str; 10] = [
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/nsswitch.conf",
    "/etc/mime.types",
];

/// Devices of `/dev`.
pub(crate) const DEVICES: [&str; 5] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder, with everything in it.
    Folder,
    /// A file.
    File,
    /// A symbolic link, and what it says.
    Link(PathBuf),
}

/// One path that a sandbox has from its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The same on both sides.
    pub(crate) path: &'static str,
    /// What it is.
    pub(crate) kind: Kind,
}

/// Returns what this host has of [`SYSTEM`] and [`ETC`].
pub(crate) fn scan() -> Vec<Entry> {
    let entry = |path: &'static str| {
        let metadata = fs::symlink_metadata(path).ok()?;
        let kind = if metadata.is_symlink() {
            Kind::Link(fs::read_link(path).ok()?)
        } else if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_file() {
            Kind::File
        } else {
            return None;
        };
        Some(Entry { path, kind })
    };
    SYSTEM.into_iter().chain(ETC).filter_map(entry).collect()
}

/// Returns where in the folder of the code a path in a sandbox is, for one without a root to make
/// it true ([`abi::sandbox::Level::Basic`]). Returns `None` for a path of the host.
pub(crate) fn in_code(path: &Path) -> Option<PathBuf> {
    let place = |inside, folder: &str| {
        let rest = path.strip_prefix(inside).ok()?;
        Some(Path::new(folder).components().chain(rest.components()).collect())
    };
    place("/var/task", "task").or_else(|| place("/opt", "opt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_programs_and_links_stay_links() {
        let entries = scan();
        assert!(entries.contains(&Entry { path: "/usr", kind: Kind::Folder }));
        for entry in entries {
            let link = fs::symlink_metadata(entry.path).unwrap().is_symlink();
            assert_eq!(link, matches!(entry.kind, Kind::Link(_)), "{entry:?}");
        }
    }

    #[test]
    fn paths_of_the_code_are_found_in_its_folder() {
        for (path, place) in [
            ("/var/task", Some("task")),
            ("/var/task/a/b", Some("task/a/b")),
            ("/opt/bin", Some("opt/bin")),
            ("/usr/bin/env", None),
            ("/optical", None),
        ] {
            assert_eq!(in_code(Path::new(path)), place.map(PathBuf::from), "{path}");
        }
    }
}
