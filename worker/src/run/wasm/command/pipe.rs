//! The pipe behind a command's stdout. It decides when the reply begins. Owns no fds.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use abi::function::Output;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::head::{Head, HeadError, Parser};
use crate::run::{GATHERED_BYTES_MAX, ReplySender};

/// The most bytes that a program may be ahead of its client.
pub(super) const PIPE_BYTES_MAX: usize = 2 * GATHERED_BYTES_MAX;
/// The most bytes of one write. WASI has no way to hold two handles on one stdout to a sum.
const WRITE_BYTES_MAX: usize = GATHERED_BYTES_MAX;

/// How long raw output is held back, in case the program exits with an error that the client can
/// still be told.
pub(super) const RAW_HELD_MAX: Duration = Duration::from_millis(100);

/// The bytes that a program has written and nobody has read. One thread runs both ends; each waits
/// by a waker.
pub(super) struct Pipe {
    buffer: BytesMut,
    /// The reply's sender, until the reply begins.
    held: Option<(Form, ReplySender)>,
    /// Whether the program has ended, well or not.
    ended: bool,
    /// Whether nobody reads any more: what is written is thrown away.
    abandoned: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

enum Form {
    Raw { held_bytes_max: usize },
    Cgi { parser: Parser, head_bytes_max: usize },
}

impl Form {
    /// Returns the head of a reply of which `written` is there so far, and how much of that is not
    /// its body. Returns `None` if the reply cannot begin yet.
    fn head(&mut self, written: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
        match self {
            Self::Raw { held_bytes_max } => {
                Ok((written.len() > *held_bytes_max).then(|| (raw_head(), 0)))
            }
            Self::Cgi { parser, head_bytes_max: limit } => {
                let head = parser.advance(written)?;
                let length = head.as_ref().map_or(written.len(), |(_, length)| *length);
                if length > *limit { Err(HeadError::TooLong { limit: *limit }) } else { Ok(head) }
            }
        }
    }
}

fn raw_head() -> Head {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, text)]);
    Head { status: StatusCode::OK, headers, local_redirect: None }
}

impl Pipe {
    pub(super) fn new(output: Output, head_bytes_max: usize, reply: ReplySender) -> Self {
        let form = match output {
            Output::Raw => Form::Raw { held_bytes_max: GATHERED_BYTES_MAX },
            Output::Always => Form::Raw { held_bytes_max: 0 },
            Output::Cgi => Form::Cgi { parser: Parser::default(), head_bytes_max },
        };
        let (buffer, held) = (BytesMut::new(), Some((form, reply)));
        Self { buffer, held, ended: false, abandoned: false, writer: None, reader: None }
    }

    /// Returns how many bytes may be written now.
    pub(super) fn permit(&self) -> usize {
        match self.held {
            // Nobody reads yet. The output is bounded because the reply begins at some size, or by
            // the limit of its head.
            Some(_) => WRITE_BYTES_MAX,
            None => PIPE_BYTES_MAX.saturating_sub(self.buffer.len()).min(WRITE_BYTES_MAX),
        }
    }

    pub(super) fn poll_permit(&mut self, cx: &Context<'_>) -> Poll<usize> {
        let permit = self.permit();
        if permit == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(permit)
    }

    /// Takes what the program writes. Returns the head if the reply can begin now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> wasmtime::Result<Option<(Head, ReplySender)>> {
        if self.abandoned {
            return Ok(None);
        }
        if bytes.len() > WRITE_BYTES_MAX
            || self.buffer.len() > PIPE_BYTES_MAX && self.held.is_none()
        {
            wasmtime::bail!("the program wrote more to stdout than it was permitted");
        }
        self.buffer.extend_from_slice(bytes);
        wake(&mut self.reader);
        let Some((form, _)) = &mut self.held else { return Ok(None) };
        let Some((head, length)) = form.head(&self.buffer)? else { return Ok(None) };
        drop(self.buffer.split_to(length));
        Ok(self.held.take().map(|(_, reply)| (head, reply)))
    }

    /// Returns whether bytes of a raw reply are held back.
    pub(super) fn holds_raw(&self) -> bool {
        matches!(self.held, Some((Form::Raw { .. }, _))) && !self.buffer.is_empty()
    }

    /// Returns the head of a raw reply that was held back until now.
    pub(super) fn begin_raw(&mut self) -> Option<(Head, ReplySender)> {
        self.held
            .take_if(|(form, _)| matches!(form, Form::Raw { .. }))
            .map(|(_, reply)| (raw_head(), reply))
    }

    /// Finishes the output of a program that has exited well. Returns the head of a reply that was
    /// held back until now.
    pub(super) fn finish(&mut self) -> Result<Option<(Head, ReplySender)>, HeadError> {
        match self.held.take() {
            Some((Form::Cgi { .. }, _)) => Err(HeadError::Ended),
            Some((Form::Raw { .. }, reply)) => Ok(Some((raw_head(), reply))),
            None => Ok(None),
        }
    }

    /// Ends the output: the program has ended, and writes no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        wake(&mut self.reader);
    }

    /// Resolves with all bytes that can be read, or with `None` at the end.
    pub(super) fn poll_read(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        if !self.buffer.is_empty() {
            wake(&mut self.writer);
            return Poll::Ready(Some(self.buffer.split().freeze()));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Abandons the output: nobody reads any more.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.buffer.clear();
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
