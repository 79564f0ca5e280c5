//! Where a program without a root of its own ([`abi::sandbox::Level::Basic`]) finds what others
//! have at `/var/task`, `/opt` and `/tmp`. Owns no fds.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Start;
use crate::identity::Identity;
use crate::layout::in_code;
use crate::restrict;

/// The working directory, by which a process reaches even what lies in folders that are closed to
/// its user.
const WORKING_DIRECTORY: &str = "/proc/self/cwd";

/// The places of one program.
#[derive(Debug)]
pub(super) struct Places {
    /// Where it starts, from the folder of the code, which is init's working directory.
    pub(super) directory: PathBuf,
    /// The folder of the code, as the program reaches it.
    code: PathBuf,
    scratch: Option<PathBuf>,
}

impl Places {
    /// Returns the places of a sandbox's program.
    ///
    /// # Errors
    /// Where `/proc` is not mounted.
    pub(super) fn new(start: &Start<'_>) -> io::Result<Self> {
        let inside = Path::new(&start.sandbox.working_directory);
        let (code, within) = (restrict::path_of(start.code)?, in_code(inside));
        let code = match &within {
            Some(within) if !is_reached(&code, start.identity) => {
                let up = within.components().map(|_| "..");
                Path::new(WORKING_DIRECTORY).join(up.collect::<PathBuf>())
            }
            _ => code,
        };
        Ok(Self {
            directory: within.unwrap_or_else(|| inside.to_owned()),
            code,
            scratch: start.scratch.map(Path::to_owned),
        })
    }

    fn place(&self, inside: &Path) -> Option<PathBuf> {
        let scratch = self.scratch.clone().filter(|_| inside == Path::new("/tmp"));
        in_code(inside).map(|within| self.code.join(within)).or(scratch)
    }

    /// Returns where the program is that the sandbox would have at `path`.
    pub(super) fn program(&self, path: &str) -> PathBuf {
        self.place(Path::new(path)).unwrap_or_else(|| path.into())
    }

    /// Returns the value of a variable, or list of paths in one, with places that are there.
    pub(super) fn told(&self, value: &str) -> String {
        let told = value.split(':').map(|piece| match self.place(Path::new(piece)) {
            Some(place) => place.to_string_lossy().into_owned(),
            None => piece.to_owned(),
        });
        told.collect::<Vec<_>>().join(":")
    }
}

/// Returns whether the program's user can go through every folder above the code.
fn is_reached(code: &Path, identity: Identity) -> bool {
    let is_open = |folder: &Path| fs::metadata(folder).is_ok_and(|it| it.mode() & 0o001 != 0);
    matches!(identity, Identity::Same { .. }) || code.ancestors().all(is_open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_variables_are_places_that_are_there() {
        let places = Places {
            directory: "task".into(),
            code: "/proc/self/cwd/..".into(),
            scratch: Some("/tmp/scratch".into()),
        };
        assert_eq!(
            places.program("/var/task/bin/bootstrap"),
            Path::new("/proc/self/cwd/../task/bin/bootstrap")
        );
        for (value, told) in [
            ("/var/task", "/proc/self/cwd/../task"),
            (
                "/usr/bin:/opt/bin:/var/task/lib",
                "/usr/bin:/proc/self/cwd/../opt/bin:/proc/self/cwd/../task/lib",
            ),
            ("/tmp", "/tmp/scratch"),
            ("http://127.0.0.1:80/opt", "http://127.0.0.1:80/opt"),
            ("", ""),
        ] {
            assert_eq!(places.told(value), told);
        }
    }
}
