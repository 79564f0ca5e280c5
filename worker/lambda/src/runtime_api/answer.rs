//! What comes of an invocation: its answer, and its completion. Owns no fds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::stream::StreamBody;
use crate::exit::Exit;
use crate::failure::Failure;

/// What the runtime answers an invocation with.
#[derive(Debug)]
pub enum Answer {
    /// A whole result.
    Buffered {
        /// The content type that the runtime gave it. Go's calls JSON `application/octet-stream`,
        /// so this tells nothing about the bytes.
        content_type: Option<String>,
        /// The result.
        body: Bytes,
    },
    /// A result that is still being sent. If the content type
    /// [is that of an HTTP response](crate::prelude::is_http_response), a prelude may come first.
    Stream {
        /// The content type that the runtime gave it.
        content_type: Option<String>,
        /// The result.
        body: StreamBody,
    },
    /// No result.
    Failed(Failure),
    /// The invocation was given up by
    /// [`invocation_failed`](super::RuntimeApi::invocation_failed).
    Cancelled,
}

/// Why an invocation is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionReason {
    /// The runtime asked for its next event, or with several invocations at a time, has sent its
    /// response.
    Next,
    /// The process ended.
    Exited(Exit),
    /// The invocation was given up by
    /// [`invocation_failed`](super::RuntimeApi::invocation_failed).
    Cancelled,
}

/// The end of an invocation, which comes after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Why it is complete.
    pub reason: CompletionReason,
    /// How long it took from its delivery on, as a REPORT line has it.
    pub duration: Duration,
}

/// A begun invocation. Its parts are futures that can be awaited, or dropped, independently.
#[derive(Debug)]
pub struct Begun {
    /// Gives the answer. If it is dropped, the runtime runs the invocation to its end all the same.
    pub answering: Answering,
    /// Gives the completion.
    pub completing: Completing,
}

/// The answer to come. See [`Begun`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Answering(pub(super) oneshot::Receiver<Answer>);

impl Future for Answering {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Answer::Cancelled))
    }
}

/// The completion to come. See [`Begun`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Completing(pub(super) oneshot::Receiver<Completion>);

impl Future for Completing {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let cancelled =
            Completion { reason: CompletionReason::Cancelled, duration: Duration::ZERO };
        Pin::new(&mut self.0).poll(context).map(|completion| completion.unwrap_or(cancelled))
    }
}
