//! Sending a reply: its head, and its body at the client's pace. Owns no fds.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use abi::invocation_id::InvocationId;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use http_body::Body as _;

use super::encode::{self, Asked, Framing};
use super::end::End;
use super::wire::Outgoing;
use super::{Connection, Connections};
use crate::serve::ReplyBody;

/// Pieces of a body up to this size are copied and sent together; larger ones are sent from where
/// they are.
const COPIED_BYTES_MAX: usize = 16 * 1024;

impl Connection {
    /// Sends a reply. Returns whether the connection can be kept afterwards.
    ///
    /// # Errors
    /// How the connection must end instead.
    pub(super) async fn send(
        &mut self,
        connections: &Connections,
        reply: Response<ReplyBody>,
        asked: Asked,
        id: InvocationId,
    ) -> Result<bool, End> {
        let (head, mut body) = reply.into_parts();
        let declared =
            head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let whole =
            if let ReplyBody::Whole(bytes) = &body { Some(bytes.len() as u64) } else { None };
        let framing = encode::framing(asked, head.status, declared, whole);
        let last = matches!(framing, Framing::UntilClose | Framing::Changed);
        let asked = Asked { keep_alive: asked.keep_alive && !last, ..asked };
        let id = id.text();
        {
            let outgoing = &mut self.wire.lock().outgoing;
            encode::head(
                &mut outgoing.own,
                asked,
                head.status,
                &head.headers,
                framing,
                &id,
                &connections.date.get(),
            );
            match (&mut body, framing) {
                (ReplyBody::Whole(bytes), Framing::Length(_) | Framing::Changed) => {
                    put(outgoing, std::mem::take(bytes), b"");
                }
                (ReplyBody::File(part), Framing::Length(length)) if length == part.bytes => {
                    outgoing.put_file(part.clone());
                }
                _ => {}
            }
        }
        // The kernel sends the rest.
        if self.wire.lock().outgoing.has_file() {
            poll_fn(|cx| self.wire.lock().poll_send(cx)).await.map_err(|_| End::Cut)?;
            return Ok(asked.keep_alive);
        }
        // Nothing more follows, so the reply can wait for others that are ready at the same time.
        if matches!((&body, framing), (ReplyBody::Whole(_), _) | (_, Framing::Bodiless { .. })) {
            connections.send_batch.send(&self.wire).await;
            poll_fn(|cx| self.wire.lock().poll_send(cx)).await.map_err(|_| End::Cut)?;
            return Ok(asked.keep_alive);
        }
        let mut sending = Sending {
            framing,
            left: declared.unwrap_or(u64::MAX),
            trailers: asked.trailers,
            ended: false,
        };
        poll_fn(|cx| sending.poll(cx, self, &mut body)).await?;
        Ok(asked.keep_alive)
    }
}

/// Appends data to what is sent, copied if it is short.
fn put(outgoing: &mut Outgoing, data: Bytes, end: &'static [u8]) {
    if data.len() <= COPIED_BYTES_MAX {
        outgoing.own.extend_from_slice(&data);
        outgoing.own.extend_from_slice(end);
    } else {
        outgoing.put(data, end);
    }
}

/// The state of sending a streamed body.
struct Sending {
    framing: Framing,
    /// The bytes that the head has promised and that have not been sent.
    left: u64,
    trailers: bool,
    ended: bool,
}

impl Sending {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        body: &mut ReplyBody,
    ) -> Poll<Result<(), End>> {
        let Connection { wire, client, .. } = connection;
        loop {
            if self.ended || wire.lock().outgoing.is_large() {
                ready!(wire.lock().poll_send(cx)).map_err(|_| End::Cut)?;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            // The guest runs here, and may read its request's body off the same wire, so the wire
            // is not locked yet.
            let frame = Pin::new(&mut *body).poll_frame(cx);
            let mut locked = wire.lock();
            let outgoing = &mut locked.outgoing;
            match frame {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.data(data, outgoing)?,
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref(), outgoing)?,
                },
                Poll::Ready(None) => self.end(None, outgoing)?,
                Poll::Ready(Some(Err(_))) => {
                    // The bytes from before the failure are still sent, as far as the socket takes
                    // them.
                    let _ = locked.poll_send(cx);
                    return Poll::Ready(Err(End::Cut));
                }
                Poll::Pending => {
                    ready!(locked.poll_send(cx)).map_err(|_| End::Cut)?;
                    ready!(client.poll_gone(cx, &mut locked));
                    return Poll::Ready(Err(End::Cut));
                }
            }
        }
    }

    fn data(&mut self, data: Bytes, outgoing: &mut Outgoing) -> Result<(), End> {
        match self.framing {
            Framing::Bodiless { .. } => {}
            Framing::Chunked => {
                encode::chunk(&mut outgoing.own, data.len());
                put(outgoing, data, b"\r\n");
            }
            Framing::Length(_) | Framing::UntilClose | Framing::Changed => {
                // The client would take bytes beyond the promised length for the next reply.
                self.left = self.left.checked_sub(data.len() as u64).ok_or(End::Cut)?;
                put(outgoing, data, b"");
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, outgoing: &mut Outgoing) -> Result<(), End> {
        self.ended = true;
        match self.framing {
            Framing::Chunked => {
                encode::last_chunk(&mut outgoing.own, trailers.filter(|_| self.trailers))
            }
            Framing::Length(_) if self.left > 0 => return Err(End::Cut),
            Framing::Length(_)
            | Framing::Bodiless { .. }
            | Framing::UntilClose
            | Framing::Changed => {}
        }
        Ok(())
    }
}
