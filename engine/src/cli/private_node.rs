//! A node of a command's own, which ends with it, however that ends. Owns the node's process.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{Signal as Watched, SignalKind, signal};

/// How long requests in flight may take at the end, and then the node.
const DRAIN: &str = "1s";
const END: Duration = Duration::from_secs(10);

/// A running node.
pub(super) struct PrivateNode(Child);

/// The stdout of a node that starts.
pub(super) struct Starting(ChildStdout);

impl PrivateNode {
    /// Starts a node with this data folder, and with more options than all such nodes have.
    pub(super) fn start(
        data: &Path,
        listen: &str,
        options: &[&str],
    ) -> anyhow::Result<(Self, Starting)> {
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg0("sockhop").args(["serve", "--log", "warn", "--drain-timeout", DRAIN]);
        command.args(["--versions-kept", "1", "--versions-kept-for", "1s", "--listen", listen]);
        command.args(options).arg("--data").arg(data);
        // It is a private node, whatever this shell says of another.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SOCKHOP_") {
                command.env_remove(name);
            }
        }
        // Ctrl-C is for this process, which ends the node in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec there is this one system call, about the new process alone.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?)) };
        let started = Command::from(command).kill_on_drop(true).spawn();
        let mut child = started.context("the node cannot be started")?;
        let stdout = child.stdout.take().context("the node has no stdout")?;
        Ok((Self(child), Starting(stdout)))
    }

    /// Resolves when the node ends though nobody has asked it to.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.0.wait().await {
            Ok(status) => {
                anyhow!("the node has ended with {status}; what it said stands above")
            }
            Err(error) => anyhow!("the node cannot be waited for: {error}"),
        }
    }

    /// Ends the node in order.
    pub(super) async fn end(mut self) {
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            if tokio::time::timeout(END, self.0.wait()).await.is_err() {
                let _ = self.0.kill().await;
            }
        }
    }
}

impl Starting {
    /// Waits until the node says that it is ready.
    pub(super) async fn wait(self) -> anyhow::Result<()> {
        let mut lines = BufReader::new(self.0).lines();
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("ready ") {
                break;
            }
        }
        Ok(())
    }
}

/// The signals that ask a command to end. From their watch on, they end it no more by themselves.
pub(super) struct Stop([Watched; 3]);

impl Stop {
    pub(super) fn watch() -> anyhow::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Resolves with the number of the first that comes.
    pub(super) async fn asked(&mut self) -> i32 {
        let [interrupt, terminate, hangup] = &mut self.0;
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}
