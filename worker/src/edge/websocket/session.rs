//! One connection from its acceptance to its end: one message after another is answered, and what
//! is pushed is sent meanwhile. Owns the stream.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use abi::limits::WEBSOCKET_MESSAGE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::frames::code;
use super::invoke::{self, Answer, Caller};
use super::stream::Frames;
use crate::push::{Message, Pushed, Registered};
use crate::serve::{Destination, Found};

/// A connection, apart from its stream.
pub(super) struct Session {
    pub(super) shared: Rc<Shared>,
    caller: Rc<Caller>,
    registered: Registered,
    /// The function has ordered its end, with this code. It comes behind the message that runs.
    ordered: Option<u16>,
}

impl Session {
    pub(super) fn new(shared: Rc<Shared>, caller: Caller, registered: Registered) -> Self {
        Self { shared, caller: Rc::new(caller), registered, ordered: None }
    }

    /// Serves the connection to its end, and tells its function.
    pub(super) async fn run<S>(mut self, mut frames: Frames<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let code = self.serve(&mut frames).await;
        let Self { shared, caller, registered, .. } = self;
        let id = registered.id;
        drop(registered);
        // Large, and needed only now.
        Box::pin(frames.finish()).await;
        Box::pin(invoke::end(&shared, &caller, id, code)).await;
    }

    /// Serves the connection. Returns the code of its end.
    async fn serve<S>(&mut self, frames: &mut Frames<S>) -> u16
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = Rc::clone(&self.shared);
        let mut drain = pin!(shared.drain.begun());
        if let Found::Here { bytes_max, .. } = shared.pipeline.find_again(&self.caller.callee) {
            frames.bytes_max = message_bytes_max(bytes_max);
        }
        loop {
            let next = poll_fn(|cx| self.poll_next(cx, frames, drain.as_mut())).await;
            let message = match next {
                Next::Message(message) => message,
                Next::End(code) => return code,
            };
            // The newest version answers, wherever its place is in the newest catalogue.
            match shared.pipeline.find_again(&self.caller.callee) {
                Found::Here { destination, bytes_max } => {
                    frames.bytes_max = message_bytes_max(bytes_max);
                    let answer = self.answer(frames, destination, message).await;
                    frames.answered();
                    match answer {
                        Answer::Message(message) => frames.send(&message),
                        Answer::Nothing => {}
                        Answer::Close { code, reason } => frames.close(code, &reason),
                    }
                }
                // Its client finds the other worker when it comes back.
                Found::Elsewhere => frames.close(code::RESTART, ""),
                Found::Nowhere => frames.close(code::GOING_AWAY, "the function is not here"),
            }
        }
    }

    /// Resolves with the next message, or with the end.
    fn poll_next<S>(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut Frames<S>,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Next>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.poll_streams(cx, frames);
        // Before the messages that have come: each of them would put it off.
        if drain.poll(cx).is_ready()
            && let Some(code) = self.shared.ending()
        {
            frames.close(code, "");
        }
        if let Some(code) = self.ordered {
            frames.close(code, "");
        }
        // What came before the client's close frame is answered before that.
        let is_draining = self.shared.ending().is_some() || self.ordered.is_some();
        if !is_draining && let Some(message) = frames.take_message() {
            return Poll::Ready(Next::Message(message));
        }
        if let Some(code) = frames.closed_there() {
            frames.close(code, "");
        }
        frames.ended().map_or(Poll::Pending, |code| Poll::Ready(Next::End(code)))
    }

    /// Sends and reads as far as it goes, with what was pushed.
    fn poll_streams<S>(&mut self, cx: &mut Context<'_>, frames: &mut Frames<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            frames.poll(cx);
            if self.ordered.is_some() || !frames.takes_more() {
                return;
            }
            match self.registered.mailbox.poll_next(cx) {
                Poll::Ready(Pushed::Message(message)) => frames.send(&message),
                Poll::Ready(Pushed::Close(code)) => self.ordered = Some(code),
                Poll::Pending => return,
            }
        }
    }

    /// Has a message answered. Meanwhile the stream goes on.
    async fn answer<S>(
        &mut self,
        frames: &mut Frames<S>,
        destination: Destination,
        message: Message,
    ) -> Answer
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (shared, caller) = (Rc::clone(&self.shared), Rc::clone(&self.caller));
        let id = self.registered.id;
        // In a box, as a connection has room for it only while there is a message.
        let mut invocation =
            Box::pin(
                async move { invoke::message(&shared, &caller, id, destination, message).await },
            );
        poll_fn(|cx| {
            let answer = invocation.as_mut().poll(cx);
            if answer.is_pending() {
                self.poll_streams(cx, frames);
            }
            answer
        })
        .await
    }
}

/// What a connection has come to.
enum Next {
    Message(Message),
    End(u16),
}

/// Returns how many bytes a message may have whose function takes bodies of `request_bytes_max`.
fn message_bytes_max(request_bytes_max: u64) -> usize {
    usize::try_from(request_bytes_max).unwrap_or(usize::MAX).min(WEBSOCKET_MESSAGE_BYTES_MAX)
}
