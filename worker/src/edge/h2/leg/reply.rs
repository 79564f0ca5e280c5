//! Sending a reply on a stream, at the client's pace. Owns no fds.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::problem::INVOCATION_ID_HEADER;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE, TRAILER};
use http::response::Parts;
use http::{HeaderName, HeaderValue, Response, Version};
use http_body::{Body as _, Frame};
use tokio::time::timeout;

use super::super::fields::remove_connection_specific;
use super::super::pump::room;
use crate::edge::h1::Connections;
use crate::edge::h1::encode::{self, Asked, Framing};
use crate::serve::ReplyBody;

/// A reply that is being sent.
pub(super) struct Sending {
    id: InvocationId,
    is_head: bool,
    /// Whether its body is what another protocol says.
    is_changed: bool,
    date: [u8; 29],
    write_timeout: Duration,
    sent_bytes: u64,
}

impl Sending {
    pub(super) fn new(
        connections: &Connections,
        id: InvocationId,
        is_head: bool,
        is_changed: bool,
    ) -> Self {
        let write_timeout = connections.pipeline().write_timeout();
        Self { id, is_head, is_changed, date: connections.date(), write_timeout, sent_bytes: 0 }
    }

    /// Returns how many bytes of the body were sent.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Sends it.
    ///
    /// # Errors
    /// If it does not arrive whole. The stream is reset then.
    pub(super) async fn send(
        &mut self,
        mut respond: SendResponse<Bytes>,
        reply: Response<ReplyBody>,
    ) -> Result<(), Reason> {
        let (mut head, mut body) = reply.into_parts();
        let declared = head.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let whole = match &body {
            ReplyBody::Whole(bytes) => Some(bytes.len() as u64),
            ReplyBody::File(_) | ReplyBody::Pending(_) => None,
        };
        let asked =
            Asked { minor_version: 1, head_only: self.is_head, keep_alive: true, trailers: true };
        let framing = match self.is_changed {
            // Of what follows, nobody knows the length (RFC 9110 9.3.6).
            true => Framing::Chunked,
            false => encode::framing(asked, head.status, declared, whole),
        };
        if framing == Framing::Changed {
            // There is no such status here (RFC 9113 8.6).
            respond.send_reset(Reason::HTTP_1_1_REQUIRED);
            return Err(Reason::HTTP_1_1_REQUIRED);
        }
        self.fields(&mut head, framing);
        let is_whole = matches!(framing, Framing::Bodiless { .. })
            || whole == Some(0) && matches!(framing, Framing::Length(0));
        let mut to = respond
            .send_response(Response::from_parts(head, ()), is_whole)
            .map_err(|_| Reason::CANCEL)?;
        if is_whole {
            return Ok(());
        }
        let sent = match body {
            ReplyBody::Whole(bytes) if bytes.is_empty() => {
                to.send_data(bytes, true).map_err(|_| Reason::CANCEL)
            }
            ReplyBody::Whole(bytes) => self.data(bytes, &mut to, true).await,
            ReplyBody::File(_) | ReplyBody::Pending(_) => {
                self.frames(&mut body, &mut to, framing).await
            }
        };
        sent.inspect_err(|reason| to.send_reset(*reason))
    }

    /// Adds the node's own fields to a head, and removes those that a guest cannot set.
    pub(super) fn fields(&self, head: &mut Parts, framing: Framing) {
        head.version = Version::HTTP_2;
        remove_connection_specific(&mut head.headers);
        head.headers.remove(CONTENT_LENGTH);
        if let Framing::Bodiless { length: Some(length) } | Framing::Length(length) = framing {
            head.headers.insert(CONTENT_LENGTH, length.into());
        }
        if let Ok(id) = HeaderValue::from_bytes(&self.id.text()) {
            head.headers.insert(HeaderName::from_static(INVOCATION_ID_HEADER), id);
        }
        if !head.headers.contains_key(DATE)
            && let Ok(date) = HeaderValue::from_bytes(&self.date)
        {
            head.headers.insert(DATE, date);
        }
    }

    async fn frames(
        &mut self,
        body: &mut ReplyBody,
        to: &mut SendStream<Bytes>,
        framing: Framing,
    ) -> Result<(), Reason> {
        let mut left = if let Framing::Length(length) = framing { length } else { u64::MAX };
        loop {
            // The guest runs here.
            let next = poll_fn(|cx| match to.poll_reset(cx) {
                Poll::Ready(_) => Poll::Ready(Err(Reason::CANCEL)),
                Poll::Pending => Pin::new(&mut *body).poll_frame(cx).map(Ok),
            });
            match next.await?.transpose().map_err(|_| Reason::INTERNAL_ERROR)?.map(Frame::into_data)
            {
                Some(Ok(data)) => {
                    let length = data.len() as u64;
                    left = left.checked_sub(length).ok_or(Reason::INTERNAL_ERROR)?;
                    self.data(data, to, false).await?;
                }
                _ if matches!(framing, Framing::Length(_)) && left > 0 => {
                    return Err(Reason::INTERNAL_ERROR);
                }
                Some(Err(frame)) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    remove_connection_specific(&mut trailers);
                    trailers.remove(CONTENT_LENGTH);
                    trailers.remove(TRAILER);
                    return to.send_trailers(trailers).map_err(|_| Reason::CANCEL);
                }
                None => return to.send_data(Bytes::new(), true).map_err(|_| Reason::CANCEL),
            }
        }
    }

    async fn data(
        &mut self,
        mut data: Bytes,
        to: &mut SendStream<Bytes>,
        is_last: bool,
    ) -> Result<(), Reason> {
        while !data.is_empty() {
            // As with a connection: who takes nothing for so long is gone.
            let room = timeout(self.write_timeout, room(to, data.len())).await;
            let room = room.unwrap_or(Err(Reason::CANCEL))?;
            let piece = data.split_to(room.min(data.len()));
            self.sent_bytes += piece.len() as u64;
            to.send_data(piece, is_last && data.is_empty()).map_err(|_| Reason::CANCEL)?;
        }
        Ok(())
    }
}
