//! What a program finds inside its sandbox: the package, and the folders of the host that are
//! mounted there.
//!
//! Links are followed on both sides. Those of a package stay inside ([`crate::tree`]); one of the
//! host counts only if what it leads to is mounted as well. Owns no fds.

use std::path::{Path, PathBuf};

use crate::NativeKind;
use crate::machine::Machine;

/// Returns the `PATH` that a program of this kind is taken to have. For Lambda it is AWS's own.
#[must_use]
pub fn search_path(kind: NativeKind) -> &'static str {
    match kind {
        NativeKind::Lambda => "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        NativeKind::Server | NativeKind::Azure => {
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        }
    }
}

/// Returns the `LD_LIBRARY_PATH` that a program of this kind is taken to have. For Lambda it is
/// AWS's own.
#[must_use]
pub fn library_path(kind: NativeKind) -> &'static str {
    match kind {
        NativeKind::Lambda => {
            "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
        }
        NativeKind::Server | NativeKind::Azure => "/var/task:/var/task/lib:/opt/lib",
    }
}

/// Returns whether a folder of the host's root is mounted in a sandbox.
fn is_mounted(name: &str) -> bool {
    matches!(name, "usr" | "bin" | "sbin") || name.starts_with("lib")
}

/// The host: its processor, and the files of it that a sandbox shows.
#[derive(Debug)]
pub(crate) struct System {
    root: PathBuf,
    pub(crate) machine: Machine,
    /// Where the loader looks for libraries by itself.
    pub(crate) library_folders: Vec<String>,
}

impl System {
    /// Returns the host that this program runs on.
    pub(crate) fn here() -> Self {
        Self::at(Path::new("/"), Machine::here())
    }

    /// Returns a host whose files are below `root`.
    pub(crate) fn at(root: &Path, machine: Machine) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let library_folders = library_folders(&root);
        Self { root, machine, library_folders }
    }

    /// Returns where a file or folder is on the host. Returns `None` if a sandbox does not show it.
    fn find(&self, path: &str) -> Option<PathBuf> {
        let relative = path.strip_prefix('/')?;
        if !is_mounted(relative.split('/').next()?) {
            return None;
        }
        let found = self.root.join(relative).canonicalize().ok()?;
        let first = found.strip_prefix(&self.root).ok()?.components().next()?;
        is_mounted(first.as_os_str().to_str()?).then_some(found)
    }
}

/// Returns the folders of `/etc/ld.so.conf` and the files that it includes on the usual systems,
/// and then those that the loader has built in (ld.so(8)).
fn library_folders(root: &Path) -> Vec<String> {
    let etc = root.join("etc");
    let mut files: Vec<PathBuf> = std::fs::read_dir(etc.join("ld.so.conf.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    files.push(etc.join("ld.so.conf"));
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let mut folders: Vec<String> = texts
        .flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>())
        .filter(|line| line.starts_with('/'))
        .collect();
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(str::to_owned));
    folders
}

/// What a program of a package finds.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    /// The folder that has `task`, and perhaps `opt`.
    pub(crate) package: &'a Path,
    pub(crate) system: &'a System,
    pub(crate) kind: NativeKind,
}

/// A file or folder that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it is outside of the sandbox, without links.
    pub(crate) path: PathBuf,
    pub(crate) from: From,
}

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Package,
    Host,
}

impl Inside<'_> {
    /// Returns what is at `path`, an absolute path inside. Returns `None` if nothing is.
    pub(crate) fn find(&self, path: &str) -> Option<Found> {
        let path = without_dots(path);
        for (mounted, folder) in [("/var/task", "task"), ("/opt", "opt")] {
            if let Some(rest) = path.strip_prefix(mounted)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                let folder = self.package.join(folder);
                let path = folder.join(rest.trim_start_matches('/')).canonicalize().ok()?;
                let is_inside = path.starts_with(folder.canonicalize().ok()?);
                return is_inside.then_some(Found { path, from: From::Package });
            }
        }
        Some(Found { path: self.system.find(&path)?, from: From::Host })
    }

    /// Returns the path inside of the program `name`, as execvp(3) looks for it.
    pub(crate) fn find_in_search_path(&self, name: &str) -> Option<String> {
        let folders = search_path(self.kind).split(':').map(|folder| folder.trim_end_matches('/'));
        let mut paths = folders.map(|folder| format!("{folder}/{name}"));
        paths.find(|path| self.find(path).is_some_and(|found| found.path.is_file()))
    }
}

/// Returns an absolute path without `.`, `..` and empty components.
fn without_dots(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn package_and_host_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (root, package) = (folder.path().join("root"), folder.path().join("package"));
        for file in ["usr/bin/env", "etc/secret", "etc/ld.so.conf.d/a.conf", "home/me/tool"] {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), "/usr/lib/own\n# no\n").unwrap();
        }
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("../../home/me/tool", root.join("usr/bin/tool")).unwrap();
        std::fs::create_dir_all(package.join("task/bin")).unwrap();
        std::fs::create_dir_all(package.join("opt/bin")).unwrap();
        std::fs::write(package.join("opt/bin/own"), "").unwrap();
        let system = System::at(&root, Machine::X86_64);
        let inside = Inside { package: &package, system: &system, kind: NativeKind::Lambda };
        let from = |path: &str| inside.find(path).map(|found| found.from);
        assert_eq!(from("/var/task/bin"), Some(From::Package));
        assert_eq!(from("/var/task/../../opt/bin/own"), Some(From::Package));
        assert_eq!(from("/bin/env"), Some(From::Host));
        for absent in ["/etc/secret", "/usr/bin/tool", "/var/taskbin", "/home/me/tool", "x"] {
            assert_eq!(from(absent), None, "{absent}");
        }
        assert_eq!(inside.find_in_search_path("env").as_deref(), Some("/usr/bin/env"));
        assert_eq!(inside.find_in_search_path("own").as_deref(), Some("/opt/bin/own"));
        assert_eq!(inside.find_in_search_path("tool"), None);
        assert_eq!(system.library_folders[0], "/usr/lib/own");
        assert_eq!(system.library_folders.len(), 5);
    }
}
