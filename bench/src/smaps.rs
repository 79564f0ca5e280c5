//! What a process has in memory, as /proc/PID/smaps_rollup and /proc/PID/status say.
//! Opens those files for the length of one read only.

use std::fs;
use std::io;

use serde::Serialize;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such process, or not ours.
    #[error("cannot read /proc/{pid}/{file} ({source}); has the process ended? its log says why")]
    Read {
        /// The process.
        pid: u32,
        /// Which of its files.
        file: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A kernel without one of the lines; they are there since 5.4.
    #[error("/proc/{pid}/smaps_rollup or status lacks a line; this needs Linux 5.4 or newer")]
    Line {
        /// The process.
        pid: u32,
    },
}

/// Bytes in memory. Pss counts a page that n processes share as 1/n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// All that is resident, shared or not.
    pub rss: u64,
    /// Its own pages, and its part of those that it shares.
    pub pss: u64,
    /// Its own pages: heap, stacks, instances, copies of file pages it wrote to.
    pub pss_anonymous: u64,
    /// Its part of shared memory, memfds included.
    pub pss_shmem: u64,
    /// File pages: program and mapped files, which the kernel can drop and read again. Not a part
    /// by Pss: that one moves when another process runs the same program.
    pub rss_file: u64,
    /// Of `pss_anonymous`, what stands in huge pages: it comes and goes 2 MiB at a time.
    pub huge: u64,
}

impl Sample {
    /// Of a process, now.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let read = |file| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|source| Error::Read {
                pid,
                file,
                source,
            })
        };
        parse(&read("smaps_rollup")?, &read("status")?).ok_or(Error::Line { pid })
    }

    /// What no kernel can take away without swapping: the figure that a limit on memory is about.
    pub fn kept(&self) -> u64 {
        self.pss_anonymous + self.pss_shmem
    }
}

fn parse(rollup: &str, status: &str) -> Option<Sample> {
    let bytes = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        let kilobytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
        kilobytes.checked_mul(1024)
    };
    Some(Sample {
        rss: bytes(rollup, "Rss")?,
        pss: bytes(rollup, "Pss")?,
        pss_anonymous: bytes(rollup, "Pss_Anon")?,
        pss_shmem: bytes(rollup, "Pss_Shmem")?,
        rss_file: bytes(status, "RssFile")?,
        huge: bytes(rollup, "AnonHugePages")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernel_s_lines_are_found() {
        let text = "1000-2000 ---p 00000000 00:00 0  [rollup]\nRss:   10 kB\nPss:  9 kB\nPss_Anon:  4 kB\nPss_Shmem:  2 kB\nAnonHugePages:  0 kB\n";
        let sample = parse(text, "Name:\tx\nRssFile:\t       3 kB\n").unwrap();
        assert_eq!((sample.rss, sample.kept(), sample.rss_file), (10 * 1024, 6 * 1024, 3 * 1024));
        assert_eq!(sample.pss, 9 * 1024);
        assert_eq!(parse("Rss: 10 kB\n", text), None);
    }

    #[test]
    fn our_own_process_has_memory() {
        let sample = Sample::of(std::process::id()).unwrap();
        assert!(sample.kept() > 0 && sample.rss >= sample.pss_anonymous);
        assert!(matches!(Sample::of(u32::MAX), Err(Error::Read { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = parse(&text, &text);
        }
    }
}
