//! How a process ended, in the words that Lambda has for it. Owns no fds.

use std::fmt;

/// How the process of a function ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit(2) with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    /// Writes the text that Lambda puts after `Error: `, whose names of signals are Go's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(0) => f.write_str("Runtime exited without providing a reason"),
            Self::Status(status) => {
                write!(f, "Runtime exited with error: exit status {status}")
            }
            Self::Signal(signal) => {
                f.write_str("Runtime exited with error: signal: ")?;
                match signal_name(*signal) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "signal {signal}"),
                }
            }
        }
    }
}

/// Returns the name of a signal of Linux on x86-64 and arm64 (signal(7)).
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_as_on_lambda() {
        for (exit, text) in [
            (Exit::Status(0), "Runtime exited without providing a reason"),
            (Exit::Status(1), "Runtime exited with error: exit status 1"),
            (Exit::Signal(9), "Runtime exited with error: signal: killed"),
            (Exit::Signal(40), "Runtime exited with error: signal: signal 40"),
        ] {
            assert_eq!(exit.to_string(), text);
        }
    }
}
