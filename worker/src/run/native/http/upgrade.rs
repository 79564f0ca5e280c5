//! A connection to a program that has changed its protocol, as to WebSocket: what the client sends
//! goes to the program, and what that sends is the reply's body. Owned by hyper's task until the
//! change, then by the body and the copying.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::{self, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf, ReadHalf};
use tokio::sync::oneshot;

use super::Replied;
use crate::run::body::{GuestBody, RequestBody};

/// How much is read at a time.
const READ_BYTES: usize = 16 * 1024;

/// Returns the reply that the protocol changes by. `client` is what the client sends from then on.
pub(super) async fn replied(
    mut response: Response<Incoming>,
    mut client: RequestBody,
) -> Result<Replied, hyper::Error> {
    let changed = upgrade::on(&mut response).await?;
    let (program, mut to_program) = tokio::io::split(TokioIo::new(changed));
    let (done, read) = oneshot::channel();
    let buffer = vec![0; READ_BYTES];
    let body = FromProgram { program, buffer, done: Some(done) };
    let ended = Box::pin(async move {
        let copied = async {
            while let Some(Ok(frame)) = client.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                if to_program.write_all(&data).await.is_err() {
                    return;
                }
            }
            let _ = to_program.shutdown().await;
        };
        // It is over when the program has ended its side, or nobody reads that any more.
        tokio::select! {
            _ = read => {}
            () = async { copied.await; std::future::pending().await } => {}
        }
    });
    let (head, _) = response.into_parts();
    Ok(Replied { response: Response::from_parts(head, GuestBody::new(body)), ended })
}

/// What the program sends by the new protocol.
struct FromProgram {
    program: ReadHalf<TokioIo<Upgraded>>,
    buffer: Vec<u8>,
    /// Dropped with the body, or sent at its end.
    done: Option<oneshot::Sender<()>>,
}

impl Body for FromProgram {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Self { program, buffer, done } = &mut *self;
        let mut buffer = ReadBuf::new(buffer);
        // A connection that breaks off is an end like another: the client sees its own end.
        let read = ready!(Pin::new(program).poll_read(cx, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            if let Some(done) = done.take() {
                let _ = done.send(());
            }
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(buffer.filled())))))
    }
}
