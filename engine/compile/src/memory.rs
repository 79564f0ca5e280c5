//! How much memory a compiler takes, and so how many threads it gets, whether it waits for another
//! one to end, and which file is refused as too large. Decisions are pure; owns no fds.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytesize::ByteSize;
use package::function_in;
use tokio::sync::Notify;
use wasmparser::{Parser, Payload};

use super::queue::Purpose;
use host::memory::{self, Available, Room};

/// What a compiler takes: a base, so much for each byte of the file, each byte of code (the bodies
/// of functions) and each function, and with each further thread more, which again grows with the
/// code.
///
/// Fitted to the largest resident size of `sockhop compile` with wasmtime 48 on x86-64, in MiB by
/// the number of threads, so that the estimate is never under them by more than a twentieth:
///
/// | file | MiB | of it code | functions | 1 | 2 | 4 | 8 |
/// |---|---|---|---|---|---|---|---|
/// | hello | 0.06 | 0.04 | 256 | 55 | 66 | 90 | 119 |
/// | page | 1.3 | 1.2 | 5,243 | 147 | 155 | 177 | 236 |
/// | go-stdin | 2.4 | 1.5 | 1,640 | 128 | 147 | 192 | |
/// | go-cgi | 5.6 | 3.6 | 3,154 | 204 | 228 | 256 | 361 |
/// | JavaScript (StarlingMonkey) | 12.2 | 8.8 | 12,796 | 436 | 424 | 478 | 644 |
/// | Python (componentize-py) | 17.5 | 6.3 | 13,473 | 414 | | | |
///
/// What is collected for a [pack](super::incremental) takes its size besides: with that, JavaScript
/// took 577 MiB with 2 threads, and Python 529.
const BASE_BYTES: u64 = 64 * MIB;
const BYTES_PER_FILE_BYTE: u64 = 2;
const BYTES_PER_CODE_BYTE: u64 = 44;
const BYTES_PER_FUNCTION: u64 = 8 * 1024;
const THREAD_BYTES: u64 = 16 * MIB;
const THREAD_BYTES_PER_CODE_BYTE: u64 = 3;
/// With less of what is estimated for one thread than this, none is tried. In a cgroup without
/// swap, the kernel killed hello at 30 MiB, page at 85, go-cgi at 150 and JavaScript at 300, which
/// is 44 to 70 percent; hello was done at 40 and page at 110. The rest is margin, and pages of
/// files.
const NEVER_WITHOUT_PERCENT: u64 = 50;

const MIB: u64 = 1024 * 1024;

/// The sizes of a file by which its compiler's memory is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    file_bytes: u64,
    code_bytes: u64,
    functions: u64,
}

impl Size {
    /// Reads the sizes of the file at `path`, on a thread that may block.
    pub(super) async fn of_file(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            // A damaged zip is refused by the compiler.
            match function_in(&File::open(&path)?).unwrap_or_default() {
                Some(function) => Ok(Self::of(&function)),
                None => std::fs::read(path).map(|bytes| Self::of(&bytes)),
            }
        });
        read.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    /// Returns the size of a file that is not compiled, but unpacked a part at a time.
    pub(super) fn of_nothing() -> Self {
        Self { file_bytes: 0, code_bytes: 0, functions: 0 }
    }

    /// Returns the size of a file of these `bytes`. A file that cannot be parsed counts as one
    /// without code: the compiler refuses it.
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = Self { file_bytes: bytes.len() as u64, code_bytes: 0, functions: 0 };
        for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
            if let Payload::CodeSectionStart { size, count, .. } = payload {
                found.code_bytes += u64::from(size);
                found.functions += u64::from(count);
            }
        }
        found
    }

    /// Returns how much memory a compiler with so many threads takes.
    fn need_bytes(self, threads: usize) -> u64 {
        let further = (threads as u64).saturating_sub(1);
        let file = self.file_bytes * BYTES_PER_FILE_BYTE;
        let code = self.code_bytes * BYTES_PER_CODE_BYTE + self.functions * BYTES_PER_FUNCTION;
        BASE_BYTES
            + file
            + code
            + further * (THREAD_BYTES + self.code_bytes * THREAD_BYTES_PER_CODE_BYTE)
    }
}

/// How a compiler is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) threads: usize,
    need_bytes: u64,
    /// The memory that was available when it was planned, in the place that had least.
    room: Option<Room>,
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let need = ByteSize(self.need_bytes).display().iec();
        let threads =
            if self.threads == 1 { "1 thread" } else { &format!("{} threads", self.threads) };
        write!(formatter, "compiling it takes some {need} with {threads}")?;
        self.room.map_or(Ok(()), |room| write!(formatter, ", and when it began there was {room}"))
    }
}

/// There is not enough memory to compile a file at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is not enough memory to compile it: that takes some {} with one thread, and there is {room}. Give it more memory, or add \
     swap, which is enough for this", ByteSize(*need_bytes).display().iec()
)]
pub struct Short {
    need_bytes: u64,
    room: Room,
}

/// What is done with a file that is to be compiled.
#[derive(Debug)]
enum Decision {
    Compile(Plan),
    /// Wait until another compiler has ended, which gives back its memory.
    Wait,
    Refuse(Short),
}

/// Decides how a file is compiled, with at most `threads_max` threads, while `taken_bytes` are
/// planned for other compilers.
fn decide(
    size: Size,
    available: Option<Available>,
    taken_bytes: u64,
    threads_max: usize,
) -> Decision {
    let Some(Available { memory, with_swap }) = available else {
        let threads = threads_max.max(1);
        return Decision::Compile(Plan {
            threads,
            need_bytes: size.need_bytes(threads),
            room: None,
        });
    };
    // What other compilers have already allocated counts twice. At worst this compiler gets fewer
    // threads, or waits.
    let free_bytes = memory.memory_bytes.saturating_sub(taken_bytes);
    let fitting = (1..=threads_max).rev().find(|threads| size.need_bytes(*threads) <= free_bytes);
    let need_bytes = size.need_bytes(1);
    match fitting {
        Some(threads) => Decision::Compile(Plan {
            threads,
            need_bytes: size.need_bytes(threads),
            room: Some(memory),
        }),
        None if taken_bytes > 0 => Decision::Wait,
        None if with_swap.with_swap_bytes() < need_bytes / 100 * NEVER_WITHOUT_PERCENT => {
            Decision::Refuse(Short { need_bytes, room: with_swap })
        }
        // With swap it may be slow, or be killed, but it may work.
        None => Decision::Compile(Plan { threads: 1, need_bytes, room: Some(memory) }),
    }
}

/// The memory that is planned for running compilers.
#[derive(Debug, Default)]
pub(super) struct Budget {
    taken_bytes: Mutex<u64>,
    given_back: Notify,
}

/// A compiler's part of the budget, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    pub(super) plan: Plan,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.taken() -= self.plan.need_bytes;
        self.budget.given_back.notify_waiters();
    }
}

impl Budget {
    /// Plans a compiler, when there is memory for it or no other compiler runs. A rollback does not
    /// wait.
    ///
    /// # Errors
    /// [`Short`] if there is not enough memory in any case.
    pub(super) async fn share(&self, size: Size, purpose: Purpose) -> Result<Share<'_>, Short> {
        let threads_max = std::thread::available_parallelism().map_or(1, usize::from);
        loop {
            // This is created before the decision, so that no notification in between is missed.
            let given_back = self.given_back.notified();
            match self.take(size, purpose, memory::available(), threads_max) {
                Decision::Compile(plan) => return Ok(Share { budget: self, plan }),
                Decision::Wait => given_back.await,
                Decision::Refuse(short) => return Err(short),
            }
        }
    }

    fn take(
        &self,
        size: Size,
        purpose: Purpose,
        available: Option<Available>,
        threads_max: usize,
    ) -> Decision {
        let mut taken_bytes = self.taken();
        let counted = if purpose == Purpose::Rollback { 0 } else { *taken_bytes };
        let decision = decide(size, available, counted, threads_max);
        if let Decision::Compile(plan) = &decision {
            *taken_bytes += plan.need_bytes;
        }
        decision
    }

    fn taken(&self) -> MutexGuard<'_, u64> {
        self.taken_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Plan {
    pub(super) fn for_tests(threads: usize, need_bytes: u64) -> Self {
        Self { threads, need_bytes, room: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::memory::Place;

    /// Those of the table.
    const LARGE: Size = Size { file_bytes: 12_803_942, code_bytes: 9_235_455, functions: 12_796 };
    const SMALL: Size = Size { file_bytes: 63_219, code_bytes: 45_693, functions: 256 };

    fn having(memory_bytes: u64, swap_bytes: u64) -> Option<Available> {
        let room = Room { place: Place::Host, whole_bytes: 4096 * MIB, memory_bytes, swap_bytes };
        Some(Available { memory: room, with_swap: room })
    }

    fn threads(decision: &Decision) -> usize {
        let Decision::Compile(plan) = decision else { panic!("{decision:?}") };
        plan.threads
    }

    #[test]
    fn what_was_measured_is_what_is_estimated() {
        let page = Size { file_bytes: 1_356_727, code_bytes: 1_208_111, functions: 5_243 };
        let go_stdin = Size { file_bytes: 2_481_332, code_bytes: 1_562_374, functions: 1_640 };
        let go_cgi = Size { file_bytes: 5_862_731, code_bytes: 3_764_060, functions: 3_154 };
        let python = Size { file_bytes: 18_394_430, code_bytes: 6_590_292, functions: 13_473 };
        for (size, threads, measured_mib) in [
            (python, 1, 414),
            (SMALL, 1, 55),
            (SMALL, 8, 119),
            (page, 1, 147),
            (page, 8, 236),
            (go_stdin, 1, 128),
            (go_stdin, 4, 192),
            (go_cgi, 1, 204),
            (go_cgi, 8, 361),
            (LARGE, 1, 436),
            (LARGE, 8, 644),
        ] {
            let percent = size.need_bytes(threads) * 100 / (measured_mib * MIB);
            assert!((95..=155).contains(&percent), "{size:?} with {threads} threads: {percent} %");
        }
    }

    #[test]
    fn where_memory_is_short_there_are_fewer_threads() {
        let with = |size: Size, bytes: u64| threads(&decide(size, having(bytes, 0), 0, 8));
        assert_eq!(with(LARGE, 4096 * MIB), 8);
        assert_eq!(with(LARGE, LARGE.need_bytes(3)), 3);
        assert_eq!(with(LARGE, LARGE.need_bytes(3) - 1), 2);
        assert_eq!(with(LARGE, LARGE.need_bytes(1)), 1);
        assert_eq!(
            with(LARGE, LARGE.need_bytes(1) * 3 / 4),
            1,
            "it is an estimate, and may do with less"
        );
        assert_eq!(with(SMALL, 300 * MIB), 8, "a small file takes little");
        assert_eq!(
            threads(&decide(LARGE, None, 0, 4)),
            4,
            "where nothing is known, nothing is held back"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_and_says_what_it_takes_and_what_there_is() {
        let Decision::Refuse(short) = decide(LARGE, having(100 * MIB, 0), 0, 2) else {
            panic!("it is taken")
        };
        let said = short.to_string();
        let need = ByteSize(LARGE.need_bytes(1)).display().iec().to_string();
        for part in
            [need.as_str(), "with one thread", "100.0 MiB of it free, and no swap", "add swap"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(
            threads(&decide(LARGE, having(100 * MIB, 1024 * MIB), 0, 2)),
            1,
            "there is swap for it"
        );
        assert_eq!(threads(&decide(SMALL, having(100 * MIB, 0), 0, 2)), 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn two_large_ones_take_turns_where_there_is_memory_for_one() {
        let (budget, room) = (Budget::default(), having(LARGE.need_bytes(1), 0));
        let take = |purpose| budget.take(LARGE, purpose, room, 1);
        let Decision::Compile(plan) = take(Purpose::Deploy) else { panic!("the first one fits") };
        let share = Share { budget: &budget, plan };
        assert!(matches!(take(Purpose::Deploy), Decision::Wait));
        let Decision::Compile(back) = take(Purpose::Rollback) else {
            panic!("a way back waits for nobody")
        };
        drop(Share { budget: &budget, plan: back });
        let waiting = budget.given_back.notified();
        drop(share);
        waiting.await;
        assert_eq!(*budget.taken(), 0);
        assert_eq!(threads(&take(Purpose::Serving)), 1);
    }

    #[test]
    fn code_is_counted_in_modules_and_in_components() {
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";
        assert_eq!(
            Size::of(module),
            Size { file_bytes: module.len() as u64, code_bytes: 3, functions: 1 }
        );
        let length = u8::try_from(module.len()).unwrap();
        let component = [&b"\0asm\x0d\0\x01\0\x01"[..], &[length], module].concat();
        assert_eq!(Size::of(&component).code_bytes, 3);
        assert_eq!(Size::of(b"nonsense").code_bytes, 0);
    }
}
