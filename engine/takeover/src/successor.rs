//! Starts the engine that is to take over from this one when a signal asks for it. It is the binary
//! that is at this one's path by then, with the same arguments. Owns no fds, and the new process
//! does not depend on this one.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::signal::unix::Signal;

use host::systemd;

/// The option that makes an engine take over.
const OPTION: &str = "--take-over";

/// How this engine was started.
#[derive(Debug)]
pub struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Successor {
    /// Notes how this process was started. Call it early: when the binary has been replaced, the
    /// kernel no longer knows its path.
    ///
    /// # Errors
    /// Returns an error if /proc is not mounted.
    pub fn remember() -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: with_option(std::env::args_os().skip(1)),
        })
    }

    /// Starts an engine at each signal, and logs if it ends before it has taken over.
    pub async fn start_at(&self, signal: &mut Signal) -> Infallible {
        loop {
            if signal.recv().await.is_none() {
                return std::future::pending().await;
            }
            match self.start() {
                Ok(mut child) => {
                    tracing::info!("process {:?} is started to take over", child.id());
                    let how = child
                        .wait()
                        .await
                        .map_or_else(|error| error.to_string(), |status| status.to_string());
                    tracing::error!(
                        "the engine that was to take over has ended before it did: {how}; what it said is above"
                    );
                }
                Err(error) => {
                    tracing::error!(
                        "{:?} cannot be started to take over: {error}; this engine goes on",
                        self.program
                    );
                }
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        systemd::pass_on(&mut command);
        command.spawn()
    }
}

/// Returns these arguments with the option behind `serve`, unless they have it already.
fn with_option(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if !arguments.iter().any(|argument| argument == OPTION) {
        let behind = arguments
            .iter()
            .position(|argument| argument == "serve")
            .map_or(arguments.len(), |at| at + 1);
        arguments.insert(behind, OPTION.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_there_once_and_is_nobodys_value() {
        let with = |line: &str| {
            let arguments = with_option(line.split(' ').map(OsString::from));
            arguments
                .iter()
                .map(|argument| argument.to_str().unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(with("serve"), "serve --take-over");
        assert_eq!(with("serve --data x"), "serve --take-over --data x");
        assert_eq!(with("serve --data x --take-over"), "serve --data x --take-over");
    }
}
