//! What tests of sandboxes have in common: a spawner as root or as an ordinary user, a folder of
//! code with `probe`, and what a program printed. Everything is ended and removed when a [`Host`]
//! is dropped.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use abi::sandbox::{Begin, ExitStatus, FromSandbox, Level, NetworkAccess, Sandbox};
use nix::poll::{PollFd, PollFlags, poll};
use sandbox::client::{Client, Process};

/// Who runs the spawner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Who runs the tests: root where root does.
    Tester,
    /// An ordinary user, where root runs the tests.
    User,
}

/// Makes a test for each of [`Who`] of functions that take it.
#[macro_export]
macro_rules! for_root_and_for_a_user {
    ($($name:ident),* $(,)?) => {
        mod as_tester { $(#[test] fn $name() { super::$name($crate::common::Who::Tester); })* }
        mod as_user { $(#[test] fn $name() { super::$name($crate::common::Who::User); })* }
    };
}

/// A spawner with code.
pub struct Host {
    pub client: Client,
    folder: tempfile::TempDir,
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub memory_bytes_peak: u64,
    pub cpu_us: u64,
    pub out_of_memory: bool,
}

/// A program that was started.
pub struct Program {
    pub process: Process,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub listeners: Vec<(u16, OwnedFd)>,
}

impl Host {
    pub fn new(who: Who) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let task = folder.path().join("code/task");
        fs::create_dir_all(&task).unwrap();
        fs::create_dir(folder.path().join("code/opt")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/probe.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-o"]).arg(task.join("probe")).arg(source);
        let built = compiler.status();
        assert!(built.is_ok_and(|status| status.success()), "a C compiler, `cc`, is needed");
        let spawner = PathBuf::from(env!("CARGO_BIN_EXE_sandbox-spawner"));
        let program = match who {
            Who::Tester => spawner,
            Who::User => {
                let link = folder.path().join("as-user");
                symlink(spawner, &link).unwrap();
                link
            }
        };
        let client = Client::start(&program).unwrap();
        client.add_code(1, &folder.path().join("code")).unwrap();
        Self { client, folder }
    }

    /// Returns the folder of the code.
    pub fn task(&self) -> PathBuf {
        self.folder.path().join("code/task")
    }

    /// Writes an executable file into the code.
    pub fn add(&self, name: &str, text: &str) {
        let path = self.task().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Starts a program and waits until it is executed.
    pub fn start(&mut self, sandbox: &Sandbox) -> Program {
        let process = self.client.spawn(sandbox).unwrap();
        Program::of(process)
    }

    /// Runs a program to its end.
    pub fn run(&mut self, sandbox: &Sandbox) -> Ended {
        let program = self.start(sandbox);
        let number = program.process.number;
        let ended = program.wait();
        self.client.wait_ended(number).unwrap();
        ended
    }

    /// Runs `probe` to its end.
    pub fn probe(&mut self, args: &[&str]) -> Ended {
        self.run(&probe(args))
    }
}

/// Returns the sandbox of a `probe`.
pub fn probe(args: &[&str]) -> Sandbox {
    Sandbox {
        code: 1,
        program: "/var/task/probe".into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        beside: Vec::new(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        working_directory: "/var/task".into(),
        hostname: "inside".into(),
        listen: Vec::new(),
        memory_bytes_max: 64 << 20,
        processes_max: 32,
        open_files_max: 256,
        tmp_bytes_max: 8 << 20,
        file_bytes_max: u64::MAX,
        level: Level::Full,
        network: NetworkAccess::Isolated,
        begin: Begin::AtOnce,
    }
}

impl Program {
    /// Receives the messages until the program is executed.
    pub fn of(mut process: Process) -> Self {
        let (mut stdout, mut stderr, mut listeners) = (None, None, Vec::new());
        loop {
            match process.receive().unwrap() {
                (FromSandbox::Stdout, fd) => stdout = fd,
                (FromSandbox::Stderr, fd) => stderr = fd,
                (FromSandbox::Listener { port, .. }, Some(fd)) => listeners.push((port, fd)),
                (FromSandbox::Started, _) => break,
                (other, _) => panic!("instead of being started: {other:?}"),
            }
        }
        Self { process, stdout: stdout.unwrap(), stderr: stderr.unwrap(), listeners }
    }

    /// Reads a line of its stdout.
    pub fn line(&self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            match nix::unistd::read(&self.stdout, &mut byte) {
                Ok(0) => panic!("it ended after {:?}", String::from_utf8_lossy(&line)),
                Ok(_) => line.extend(byte),
                Err(nix::errno::Errno::EAGAIN) => readable(&self.stdout),
                Err(errno) => panic!("{errno}"),
            }
        }
        String::from_utf8(line).unwrap().trim().to_owned()
    }

    /// Waits until it has ended, and every process that has its stdout and stderr too.
    pub fn wait(mut self) -> Ended {
        let (message, _) = self.process.receive().unwrap();
        let FromSandbox::Exited {
            status,
            memory_bytes_peak,
            cpu_user_us,
            cpu_system_us,
            out_of_memory,
        } = message
        else {
            panic!("instead of its end: {message:?}");
        };
        Ended {
            status,
            stdout: text(self.stdout).unwrap(),
            stderr: text(self.stderr).unwrap(),
            memory_bytes_peak,
            cpu_us: cpu_user_us + cpu_system_us,
            out_of_memory,
        }
    }
}

/// Waits until an fd can be read.
pub fn readable(fd: &OwnedFd) {
    let ready = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], 20_000_u16).unwrap();
    assert_eq!(ready, 1, "nothing to read within 20 seconds");
}

/// Reads to the end, which is when nobody can write any more.
pub fn text(fd: OwnedFd) -> io::Result<String> {
    let (mut file, mut bytes) = (fs::File::from(fd.try_clone()?), Vec::new());
    loop {
        match file.read_to_end(&mut bytes) {
            Ok(_) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable(&fd),
            Err(error) => return Err(error),
        }
    }
}

/// Returns the cgroups that a spawner has made and that are still there.
pub fn cgroups_of(spawner: u32) -> Vec<PathBuf> {
    let prefix = format!("sockhop-native-{spawner}-");
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Returns whether the process of a pidfd ends within 20 seconds.
pub fn ends(pidfd: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], 20_000_u16) == Ok(1)
}
