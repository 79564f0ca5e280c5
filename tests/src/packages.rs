//! Packages of the tested build, made by `scripts/package` as it makes those of a release. Owns the
//! folder that they are in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::node::{binaries, sockhop};
use crate::running::{Finished, Running};

/// How long making a package may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The programs of a build.
pub const PROGRAMS: [&str; 3] = ["sockhop", "sockhop-worker", "sockhop-standalone"];

/// A file of this repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs a command that belongs to making or installing a package.
pub fn run(command: &mut Command) -> Finished {
    Running::spawn(command).finish(LIMIT)
}

/// A build as `scripts/build-release` lays it out, and what is made of it.
#[derive(Debug)]
pub struct Build {
    folder: TempDir,
    name: String,
}

impl Build {
    /// The tested binaries, stripped as a release's, as if they were of this version.
    #[must_use]
    pub fn of_version(version: &str) -> Self {
        let build = Self::empty(version);
        for program in PROGRAMS {
            let mut strip = Command::new("strip");
            strip.arg(binaries().join(program)).arg("-o").arg(build.folder().join(program));
            run(&mut strip).expect_code(0);
        }
        run(sockhop().args(["man", "--out"]).arg(build.folder().join("man"))).expect_code(0);
        let completions = build.folder().join("completions");
        fs::create_dir(&completions).expect("it is not there yet");
        for (shell, file) in
            [("bash", "sockhop.bash"), ("zsh", "_sockhop"), ("fish", "sockhop.fish")]
        {
            let script = run(sockhop().args(["completions", shell])).expect_code(0).stdout;
            fs::write(completions.join(file), script).expect("room for a file");
        }
        build
    }

    /// A build whose programs are all this one.
    #[must_use]
    pub fn of_program(program: &Path) -> Self {
        let build = Self::empty("0.0.1");
        for name in PROGRAMS {
            fs::copy(program, build.folder().join(name)).expect("room for a file");
        }
        build
    }

    fn empty(version: &str) -> Self {
        let processor = match std::env::consts::ARCH {
            "x86_64" => "x86-64-v3",
            other => other,
        };
        let name = format!("sockhop-{version}-linux-{processor}");
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir(folder.path().join(&name)).expect("it is not there yet");
        Self { folder, name }
    }

    /// Returns the folder that packages are made of.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Makes packages of one kind, or of all. Returns the folder that they are in.
    pub fn packages(&self, kind: Option<&str>) -> PathBuf {
        let out = self.folder.path().join("out");
        let mut package = Command::new(repository("scripts/package"));
        package.arg("--fast").args(kind.map(|kind| format!("--only={kind}")));
        // The checkout of a test may have no history.
        package.env("SOURCE_DATE_EPOCH", "1700000000").arg(self.folder()).arg(&out);
        run(&mut package).expect_code(0);
        out
    }

    /// Makes packages of one kind. Returns the file whose name ends so.
    #[must_use]
    #[track_caller]
    pub fn package(&self, kind: &str, end: &str) -> PathBuf {
        let out = self.packages(Some(kind));
        let files = fs::read_dir(&out).expect("it was made").flatten().map(|file| file.path());
        let found = files.filter(|path| path.to_string_lossy().ends_with(end)).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{found:?} end with {end}");
        found.into_iter().next().expect("one")
    }
}
