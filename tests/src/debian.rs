//! A bare Debian that boots with systemd, in namespaces of its own, to install packages in. It is
//! one of Debian's, which scripts/test has unpacked. Owns its processes; what they write is in
//! memory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::client::Connection;
use crate::packages::repository;
use crate::running::{Finished, Running};
use crate::{needs, process, wait};

const BOOT: Duration = Duration::from_secs(60);
const COMMAND: Duration = Duration::from_secs(60);

/// A Debian that has booted. When it is dropped, all that runs there is killed.
#[derive(Debug)]
pub struct Debian {
    running: Running,
    init: u32,
    _folder: TempDir,
}

impl Debian {
    /// Boots it, and waits until systemd says that it runs.
    #[must_use]
    pub fn boot() -> Self {
        needs::root("boot a Debian in namespaces");
        let debian = needs::cached("SOCKHOP_TEST_DEBIAN", "debian", "lib/systemd/systemd");
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = Command::new("unshare");
        command
            .args(["--fork", "--kill-child", "--pid", "--mount", "--cgroup", "--ipc", "--uts"])
            .args(["--net", "--mount-proc", "sh"])
            .arg(repository("tests/src/boot_debian.sh"))
            .arg(debian)
            .arg(folder.path());
        let mut running = Running::spawn(&mut command);
        let init = wait::until("systemd starts", BOOT, || {
            assert!(running.exited().is_none(), "it has ended: {}", running.stderr());
            let init = *process::children(running.pid()).first()?;
            let name = fs::read_to_string(format!("/proc/{init}/comm")).ok()?;
            (name.trim() == "systemd").then_some(init)
        });
        let debian = Self { running, init, _folder: folder };
        wait::until("it has booted", BOOT, || {
            let state = debian.run(["systemctl", "is-system-running", "--wait"]);
            (state.stdout.trim() == "running").then_some(())
        });
        debian
    }

    /// Runs a command there.
    pub fn run<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Finished {
        let mut entered = Command::new("nsenter");
        entered.args(["--all", "--target", &self.init.to_string(), "env", "-i"]);
        entered.arg("PATH=/usr/sbin:/usr/bin").args(command);
        Running::spawn(&mut entered).finish(COMMAND)
    }

    /// Returns the path by which this system knows a file there, whose path there is absolute.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Opens a connection to a port there.
    ///
    /// # Errors
    ///
    /// Returns an error if nothing listens there.
    pub fn connect(&self, port: u16) -> std::io::Result<Connection> {
        let network = File::open(format!("/proc/{}/ns/net", self.init))?;
        // A thread of its own is in that network, and its socket stays there.
        std::thread::scope(|scope| {
            let open = || {
                setns(network, CloneFlags::CLONE_NEWNET)?;
                Connection::try_open(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            };
            scope.spawn(open).join().expect("it does not panic")
        })
    }

    /// Returns what has been said about a unit.
    #[must_use]
    pub fn journal(&self, unit: &str) -> String {
        let said = self.run(["journalctl", "--no-pager", "--unit", unit]);
        format!("{}{}", said.stdout, self.running.stderr())
    }
}
