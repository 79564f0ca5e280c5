//! Bundles: how tests make them and run them, away from any node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Connection, Reply};
use crate::node::Node;
use crate::running::{Finished, Running};
use crate::{needs, wait};

/// How long a program may take to start and to end, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs `sockhop bundle` of a function, to `output`.
pub fn try_bundle(node: &Node, function: &str, platform: &str, output: &Path) -> Finished {
    let output = output.to_str().expect("the tests use plain names");
    node.cli(&["bundle", function, "--for", platform, "--output", output])
}

/// Packs a function as a program, and returns its path. Panics if that fails.
#[track_caller]
pub fn program(node: &Node, function: &str, folder: &Path) -> PathBuf {
    let path = folder.join(function.replace('@', "-"));
    try_bundle(node, function, "cloud-run", &path).expect_code(0);
    path
}

/// A program of a bundle that listens on a port of its own choice.
#[derive(Debug)]
pub struct Program {
    running: Running,
    address: SocketAddr,
}

impl Program {
    /// Starts the program with these variables and no others, and waits until it listens.
    #[track_caller]
    pub fn start(file: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(file);
        command.env_clear().env("PORT", "0").envs(variables.iter().copied());
        Self::spawn(&mut command)
    }

    /// Does the same with a command that starts the program.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let mut running = Running::spawn(command);
        let port = wait::until("the program listens", LIMIT, || {
            let said = running.stderr();
            assert!(running.exited().is_none(), "it has ended: {said}");
            let line = said.lines().find(|line| line.contains(" listens on http://"))?;
            line.rsplit_once(':')?.1.parse().ok()
        });
        Self { running, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    /// Opens a new connection.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends a GET on a connection of its own.
    #[must_use]
    pub fn get(&self, target: &str) -> Reply {
        self.connect().get(target)
    }

    /// Returns what it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        self.running.signal(Signal::SIGTERM);
    }

    /// Waits until it has ended.
    #[must_use]
    pub fn ended(&mut self) -> ExitStatus {
        self.running.wait_exit(LIMIT)
    }
}

/// Runs a program that is expected to end by itself, with these variables and no others.
#[must_use]
pub fn run(file: &Path, variables: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(file);
    Running::spawn(command.env_clear().envs(variables.iter().copied())).finish(LIMIT)
}

/// Has umoci, which knows the specification, unpack the image with this tag of a layout in a tar.
/// Returns the image's root folder, which is in `folder`.
#[track_caller]
#[must_use]
pub fn unpacked(layout_tar: &Path, tag: &str, folder: &Path) -> PathBuf {
    let umoci = std::env::var_os("SOCKHOP_TEST_UMOCI")
        .map_or_else(|| needs::program("umoci", "umoci"), PathBuf::from);
    let (layout, bundle) = (folder.join("layout"), folder.join("bundle"));
    std::fs::create_dir(&layout).expect("it is not there yet");
    let mut unpack = Command::new("tar");
    Running::spawn(unpack.arg("-xf").arg(layout_tar).arg("-C").arg(&layout))
        .finish(LIMIT)
        .expect_code(0);
    let image = format!("{}:{tag}", layout.display());
    let mut command = Command::new(umoci);
    let command = command.args(["unpack", "--image", &image]).arg(&bundle);
    Running::spawn(command).finish(LIMIT).expect_code(0);
    bundle.join("rootfs")
}
