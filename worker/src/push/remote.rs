//! Orders to connections of another worker, over a socket pair that the engine passes on.
//!
//! The worker of the guest writes the order into its end and sends the other one through the
//! engine, which lets it pass between workers that run the same functions. It says whose function
//! it is, as the engine cannot know. The worker of the connection answers with a status. Each owns
//! its end.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use abi::limits::{NAME_BYTES_MAX, WEBSOCKET_PUSH_TIMEOUT, WEBSOCKET_PUSHED_BYTES_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::id::ID_BYTES;
use super::{ConnectionId, Message, Order, Outcome, WebSockets};

/// The status when the other worker does not answer in time.
const TIMED_OUT: u16 = 504;
/// The status when nothing more can be sent there.
const UNAVAILABLE: u16 = 503;

const LOOK: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 3;

/// What stands before the function's name and the message: the kind, the code, the id, and the
/// lengths of both.
const HEAD_BYTES: usize = 1 + 2 + ID_BYTES + 1 + 4;

/// An order as it is written before its function's name and its message.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    kind: u8,
    code: u16,
    id: ConnectionId,
    name_bytes: u8,
    message_bytes: u32,
}

impl Head {
    fn write(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = self.kind;
        bytes[1..3].copy_from_slice(&self.code.to_be_bytes());
        bytes[3..3 + ID_BYTES].copy_from_slice(&self.id.bytes());
        bytes[3 + ID_BYTES] = self.name_bytes;
        bytes[4 + ID_BYTES..].copy_from_slice(&self.message_bytes.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let (mut id, mut message_bytes) = ([0; ID_BYTES], [0; 4]);
        id.copy_from_slice(&bytes[3..3 + ID_BYTES]);
        message_bytes.copy_from_slice(&bytes[4 + ID_BYTES..]);
        Self {
            kind: bytes[0],
            code: u16::from_be_bytes([bytes[1], bytes[2]]),
            id: ConnectionId::from_bytes(id),
            name_bytes: bytes[3 + ID_BYTES],
            message_bytes: u32::from_be_bytes(message_bytes),
        }
    }
}

/// Has another worker carry out an order of `function`. Returns the status for the guest.
pub(crate) fn send(
    websockets: &WebSockets,
    function: &Arc<str>,
    id: ConnectionId,
    order: Order,
) -> impl Future<Output = u16> + Send + use<> {
    let (sender, function) = (websockets.remote.clone(), Arc::clone(function));
    async move {
        let Ok(place) = sender.try_reserve_owned() else { return UNAVAILABLE };
        let sent = async {
            let (ours, theirs) = tls::pair()?;
            let ours = UnixStream::from_std(ours)?;
            place.send((id.row(), theirs));
            write(ours, &function, id, order).await
        };
        match timeout(WEBSOCKET_PUSH_TIMEOUT, sent).await {
            Ok(Ok(status)) => status,
            // Nobody is there, or not any more.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Outcome::Gone.status()
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Gone.status(),
            Ok(Err(_)) => UNAVAILABLE,
            Err(_) => TIMED_OUT,
        }
    }
}

async fn write(
    mut socket: UnixStream,
    function: &str,
    id: ConnectionId,
    order: Order,
) -> io::Result<u16> {
    let (kind, code, bytes) = match order {
        Order::Look => (LOOK, 0, bytes::Bytes::new()),
        Order::Send(Message { is_text: true, bytes }) => (TEXT, 0, bytes),
        Order::Send(Message { is_text: false, bytes }) => (BINARY, 0, bytes),
        Order::Close(code) => (CLOSE, code, bytes::Bytes::new()),
    };
    let name_bytes = u8::try_from(function.len()).map_err(io::Error::other)?;
    let message_bytes = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let head = Head { kind, code, id, name_bytes, message_bytes };
    socket.write_all(&[&head.write()[..], function.as_bytes()].concat()).await?;
    socket.write_all(&bytes).await?;
    socket.read_u16().await
}

/// Carries out an order that another worker has sent.
pub(crate) async fn receive(websockets: Arc<WebSockets>, fd: OwnedFd) {
    let received = async {
        let socket = StdStream::from(fd);
        socket.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(socket)?;
        let outcome = read(&websockets, &mut socket).await?;
        socket.write_u16(outcome.status()).await
    };
    if let Ok(Err(error)) = timeout(WEBSOCKET_PUSH_TIMEOUT, received).await {
        tracing::debug!("another worker's push is lost: {error}");
    }
}

async fn read(websockets: &WebSockets, socket: &mut UnixStream) -> io::Result<Outcome> {
    let mut head = [0; HEAD_BYTES];
    socket.read_exact(&mut head).await?;
    let head = Head::read(&head);
    let (name_bytes, message_bytes) = (usize::from(head.name_bytes), head.message_bytes as usize);
    if name_bytes > NAME_BYTES_MAX || message_bytes > WEBSOCKET_PUSHED_BYTES_MAX {
        return Err(io::Error::other("it is larger than it may be"));
    }
    let mut bytes = vec![0; name_bytes + message_bytes];
    socket.read_exact(&mut bytes).await?;
    let message = bytes::Bytes::from(bytes.split_off(name_bytes));
    let function = String::from_utf8(bytes).map_err(io::Error::other)?;
    let order = match head.kind {
        LOOK => Order::Look,
        TEXT if std::str::from_utf8(&message).is_ok() => {
            Order::Send(Message { is_text: true, bytes: message })
        }
        BINARY => Order::Send(Message { is_text: false, bytes: message }),
        CLOSE => Order::Close(head.code),
        _ => return Err(io::Error::other("it is no order")),
    };
    Ok(websockets.order(&function, head.id, order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read as _, Write as _};

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(kind: u8, code: u16, id: [u8; ID_BYTES], name_bytes: u8, message_bytes: u32) {
            let id = ConnectionId::from_bytes(id);
            let head = Head { kind, code, id, name_bytes, message_bytes };
            prop_assert_eq!(Head::read(&head.write()), head);
        }
    }

    #[tokio::test]
    async fn an_order_is_carried_out_by_the_worker_that_has_the_connection() {
        let (here, mut sockets) = WebSockets::new(0);
        let (there, _) = WebSockets::new(1);
        let connection = there.register(&"chat".into()).unwrap();
        let message = || Message { is_text: true, bytes: "hello".into() };
        for (function, order, status) in [
            ("chat", Order::Look, 200),
            ("chat", Order::Send(message()), 200),
            ("other", Order::Send(message()), 410),
            ("chat", Order::Close(4000), 200),
        ] {
            let sending = send(&here, &function.into(), connection.id, order);
            let passing = async {
                let (row, fd) = sockets.recv().await.unwrap();
                assert_eq!(row, 1);
                receive(Arc::clone(&there), fd).await;
            };
            assert_eq!(tokio::join!(sending, passing).0, status);
        }
        let pushed = std::future::poll_fn(|cx| connection.mailbox.poll_next(cx)).await;
        assert_eq!(pushed, super::super::Pushed::Message(message()));
        // Nobody takes the socket.
        let sending = send(&here, &"chat".into(), connection.id, Order::Look);
        let dropping = async { drop(sockets.recv().await) };
        assert_eq!(tokio::join!(sending, dropping).0, 410);
    }

    #[tokio::test]
    async fn what_is_no_order_is_refused_and_nothing_large_is_waited_for() {
        let (there, _) = WebSockets::new(1);
        let connection = there.register(&"chat".into()).unwrap();
        let large = u32::try_from(WEBSOCKET_PUSHED_BYTES_MAX + 1).unwrap();
        for (kind, name_bytes, message_bytes) in
            [(9, 4, 0), (TEXT, 4, large), (TEXT, 4, u32::MAX), (LOOK, 200, 0)]
        {
            let (mut ours, theirs) = tls::pair().unwrap();
            let head = Head { kind, code: 0, id: connection.id, name_bytes, message_bytes };
            ours.write_all(&[&head.write()[..], b"chat"].concat()).unwrap();
            receive(Arc::clone(&there), theirs).await;
            ours.set_nonblocking(false).unwrap();
            assert_eq!(ours.read(&mut [0; 2]).map_err(|error| error.kind()).unwrap_or(0), 0);
        }
    }
}
