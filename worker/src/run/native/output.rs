//! What a native program writes to stdout and stderr: lines of the invocation that it has, and the
//! last words of one that does not start. Each reader owns its pipe.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use abi::invocation_id::InvocationId;
use abi::spool::Stream;
use tokio::net::unix::pipe::Receiver;

use crate::guest_log::{GuestLog, GuestStream};

/// How much of the end of its output is kept, as a reason if it does not start, and for callers
/// that ask for the tail of the log.
const TAIL_BYTES_MAX: usize = 4096;
const READ_BYTES: usize = 16 * 1024;
/// What a pipe holds (pipe(7)).
const PIPE_BYTES: usize = 64 * 1024;

/// Both streams of a process.
pub(super) struct Output {
    stdout: GuestStream,
    stderr: GuestStream,
    tail: RefCell<VecDeque<u8>>,
    /// Those that have not ended.
    pipes: RefCell<Vec<(Stream, Rc<Receiver>)>>,
    /// For the node's own lines around an invocation. `None` if nothing is logged of it.
    log: Option<(GuestLog, Arc<str>)>,
}

impl Output {
    /// Returns the streams of a process that is started for the invocation `id`.
    pub(super) fn new(
        log: &GuestLog,
        function: &Arc<str>,
        id: InvocationId,
        bytes_max: u32,
    ) -> Rc<Self> {
        let stream =
            |stream| GuestStream::new(log.clone(), Arc::clone(function), id, stream, bytes_max);
        let (stdout, stderr) = (stream(Stream::Stdout), stream(Stream::Stderr));
        let log = (bytes_max > 0).then(|| (log.clone(), Arc::clone(function)));
        let (tail, pipes) = Default::default();
        Rc::new(Self { stdout, stderr, tail, pipes, log })
    }

    /// Begins an invocation: what is written from now on is logged as its. With several at a time,
    /// it is the last one's that began.
    pub(super) fn begin(&self, id: InvocationId) {
        self.stdout.begin(id);
        self.stderr.begin(id);
        self.tail.borrow_mut().clear();
    }

    /// Logs a line that the program has reported in another way.
    pub(super) fn log_line(&self, text: &str) {
        for line in text.lines() {
            self.stdout.write(line.as_bytes());
            self.stdout.write(b"\n");
        }
    }

    /// Logs a line of the node's own, about what the program has tried.
    pub(super) fn note(&self, text: &str) {
        self.stderr.note(text);
    }

    /// Logs a line of the node's own around the invocation `id`. It is not the program's doing, and
    /// is there whatever the program has written.
    pub(super) fn frame_line(&self, id: InvocationId, text: &str) {
        if let Some((log, function)) = &self.log {
            log.line(function, id, Stream::Node, text.as_bytes());
        }
    }

    /// Adds a line to the tail alone.
    pub(super) fn remember_line(&self, text: &str) {
        self.remember(text.as_bytes());
        self.remember(b"\n");
    }

    /// Ends the last lines.
    pub(super) fn end(&self) {
        self.stdout.end();
        self.stderr.end();
    }

    /// Reads one of the two until its end, in a task of its own.
    pub(super) fn read(self: &Rc<Self>, stream: Stream, pipe: OwnedFd) {
        let output = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let Ok(pipe) = Receiver::from_owned_fd(pipe) else { return };
            let pipe = Rc::new(pipe);
            output.pipes.borrow_mut().push((stream, Rc::clone(&pipe)));
            let mut buffer = vec![0; READ_BYTES];
            while pipe.readable().await.is_ok() {
                match pipe.try_read(&mut buffer) {
                    Ok(length @ 1..) => output.take(stream, &buffer[..length]),
                    // All of it was taken between invocations.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => break,
                }
                // A program that writes all the time leaves the thread to others.
                tokio::task::consume_budget().await;
            }
            output.pipes.borrow_mut().retain(|(_, other)| !Rc::ptr_eq(other, &pipe));
            output.end();
        });
    }

    /// Takes what the program has written so far, as far as the kernel has told of it: what it
    /// wrote before it asked for its next event is then before what the node adds.
    pub(super) fn catch_up(&self) {
        let pipes = self.pipes.borrow().clone();
        let mut buffer = vec![0; READ_BYTES];
        for (stream, pipe) in pipes {
            // One that writes all the time is not followed.
            for _ in 0..PIPE_BYTES / READ_BYTES {
                let Ok(length @ 1..) = pipe.try_read(&mut buffer) else { break };
                self.take(stream, &buffer[..length]);
            }
        }
    }

    fn take(&self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.write(bytes),
            _ => self.stderr.write(bytes),
        }
        self.remember(bytes);
    }

    fn remember(&self, bytes: &[u8]) {
        let mut tail = self.tail.borrow_mut();
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..];
        let over = (tail.len() + kept.len()).saturating_sub(TAIL_BYTES_MAX);
        let over = over.min(tail.len());
        tail.drain(..over);
        tail.extend(kept);
    }

    /// Returns the end of what was written since the invocation began, at most 4 KiB.
    pub(super) fn tail(&self) -> Vec<u8> {
        self.tail.borrow().iter().copied().collect()
    }

    /// Returns a reason with the end of what the program wrote.
    pub(super) fn with_last_words(&self, reason: &str) -> String {
        let tail = self.tail();
        let said = String::from_utf8_lossy(&tail);
        match said.trim() {
            "" => reason.to_owned(),
            said => format!("{reason}; it wrote: {said}"),
        }
    }
}
