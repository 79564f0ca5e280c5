//! Small replies that are ready at about the same time are sent right after each other.
//!
//! Sending to a client that sleeps makes the kernel wake it. If the client is on this machine (a
//! reverse proxy), that costs the worker more than the rest of the sending: an interrupt to another
//! core, which is expensive in a virtual machine. If each reply were sent as soon as its guest has
//! run, each would find the client asleep again. So a reply waits until the tasks that are ready to
//! run have run; the first reply of a batch wakes the client, which is awake for the others.
//! [`is_due`] limits the wait.
//!
//! Owns no fds but shares in the wires of the waiting replies.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::wire::SharedWire;
use crate::run::thread::TurnObserver;

/// The most replies in a batch.
const REPLIES_MAX: usize = 32;
/// The most time of guests that a reply waits for.
const WAIT_MAX: Duration = Duration::from_micros(300);

/// Returns whether `waiting` replies must be sent now. The first of them has waited for `waited`,
/// and the next guest is expected to take `next`.
fn is_due(waiting: usize, waited: Duration, next: Duration) -> bool {
    waiting >= REPLIES_MAX || (waiting > 0 && waited.saturating_add(next) > WAIT_MAX)
}

#[derive(Default)]
pub(crate) struct SendBatch {
    waiting: RefCell<Vec<(SharedWire, Waker)>>,
    /// How long guests have run since the first reply began to wait.
    waited: Cell<Duration>,
    /// How long the last guest has run.
    last_turn: Cell<Duration>,
    /// The number of batches so far.
    sent: Cell<u64>,
    begun: Notify,
}

impl TurnObserver for SendBatch {
    /// Sends the batch now if the guest would make a reply wait for too long.
    fn turn_begins(&self, expected: Duration) {
        if is_due(self.waiting.borrow().len(), self.waited.get(), expected) {
            self.send_all();
        }
    }

    fn turn_ended(&self, took: Duration) {
        self.waited.set(self.waited.get().saturating_add(took));
        self.last_turn.set(took);
    }
}

impl SendBatch {
    /// Sends the outgoing bytes of `wire` together with those of others, as far as its socket takes
    /// them at once. After a guest that took long nothing is sent here: the caller sends its reply
    /// at once.
    pub(super) async fn send(&self, wire: &SharedWire) {
        // If guests take this long, waking the client costs little in comparison, and the client
        // has waited enough.
        if self.last_turn.get() > WAIT_MAX {
            return;
        }
        let mut joined = None;
        poll_fn(|cx| {
            match joined {
                None => joined = Some(self.sent.get()),
                // The task was woken for something else.
                Some(batch) if batch == self.sent.get() => return Poll::Pending,
                Some(_) => return Poll::Ready(()),
            }
            let waiting = {
                let mut waiting = self.waiting.borrow_mut();
                waiting.push((wire.clone(), cx.waker().clone()));
                waiting.len()
            };
            if waiting == 1 {
                self.waited.set(Duration::ZERO);
                self.begun.notify_one();
            }
            if is_due(waiting, self.waited.get(), Duration::ZERO) {
                self.send_all();
            }
            Poll::Pending
        })
        .await;
    }

    /// Sends the waiting replies whenever no other task is ready to run. Never returns.
    pub(super) async fn run(&self) {
        loop {
            self.begun.notified().await;
            // This yield goes to the end of the run queue, behind a look at the sockets.
            tokio::task::yield_now().await;
            self.send_all();
        }
    }

    fn send_all(&self) {
        self.sent.set(self.sent.get().wrapping_add(1));
        for (wire, waker) in self.waiting.borrow_mut().drain(..) {
            wire.lock().try_send();
            drop(wire);
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::io::Read as _;
    use std::pin::pin;
    use std::task::Context;

    use bytes::BytesMut;
    use tokio::net::TcpListener;

    use super::super::wire::{Peer, Wire};
    use crate::origin::Client;

    #[test]
    fn a_reply_waits_for_few_and_for_short_ones_only() {
        let short = WAIT_MAX / 8;
        assert!(!is_due(1, Duration::ZERO, short));
        assert!(!is_due(1, WAIT_MAX - short, short));
        assert!(is_due(1, WAIT_MAX, short));
        assert!(is_due(1, Duration::ZERO, Duration::MAX), "nobody knows how long the next takes");
        assert!(is_due(REPLIES_MAX, Duration::ZERO, Duration::ZERO));
        assert!(!is_due(0, Duration::ZERO, Duration::MAX), "there is none");
    }

    /// A wire with a reply to be sent, and its client.
    async fn wire(reply: &str) -> (SharedWire, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        socket.writable().await.unwrap();
        let mut wire = Wire::new(
            socket,
            Peer::new(Client::NODE, None),
            BytesMut::new(),
            Duration::from_secs(60),
        );
        wire.outgoing.own.extend_from_slice(reply.as_bytes());
        (SharedWire::new(wire), client)
    }

    fn read(client: &mut std::net::TcpStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        client.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn nothing_came(client: &std::net::TcpStream) -> bool {
        client.set_nonblocking(true).unwrap();
        let nothing = client
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        nothing
    }

    #[tokio::test]
    async fn replies_wait_for_a_short_guest_and_leave_before_a_long_one() {
        let batch = SendBatch::default();
        let ((first, mut one), (second, mut two)) = (wire("first").await, wire("second").await);
        let (mut first, mut second) = (pin!(batch.send(&first)), pin!(batch.send(&second)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        batch.turn_begins(WAIT_MAX / 4);
        batch.turn_ended(WAIT_MAX / 4);
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(nothing_came(&one) && nothing_came(&two));
        assert!(first.as_mut().poll(&mut cx).is_pending(), "woken for something else");
        batch.turn_begins(WAIT_MAX);
        assert_eq!((read(&mut one, 5).as_str(), read(&mut two, 6).as_str()), ("first", "second"));
        assert!(first.poll(&mut cx).is_ready() && second.poll(&mut cx).is_ready());
    }

    #[tokio::test]
    async fn replies_leave_when_nobody_has_anything_left_to_do() {
        let batch = SendBatch::default();
        let ((first, mut one), (second, two)) = (wire("first").await, wire("second").await);
        drop(two);
        tokio::select! {
            () = batch.run() => unreachable!("it runs for as long as the worker"),
            // It makes no difference whether the client is still there.
            _ = async { tokio::join!(batch.send(&first), batch.send(&second)) } => {}
        }
        assert_eq!(read(&mut one, 5), "first");
    }

    #[tokio::test]
    async fn the_reply_of_a_long_guest_waits_for_nobody() {
        let batch = SendBatch::default();
        let (wire, client) = wire("late").await;
        batch.turn_ended(WAIT_MAX * 2);
        batch.send(&wire).await;
        assert!(nothing_came(&client), "whoever has it sends it");
        batch.turn_ended(WAIT_MAX / 2);
        assert!(pin!(batch.send(&wire)).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[tokio::test]
    async fn a_full_batch_leaves_at_once() {
        let batch = SendBatch::default();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut wires, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..REPLIES_MAX {
            let (wire, client) = wire("x").await;
            wires.push(wire);
            clients.push(client);
        }
        let mut sends: Vec<_> = wires.iter().map(|wire| Box::pin(batch.send(wire))).collect();
        sends.iter_mut().for_each(|send| assert!(send.as_mut().poll(&mut cx).is_pending()));
        clients.iter_mut().for_each(|client| assert_eq!(read(client, 1), "x"));
        sends.iter_mut().for_each(|send| assert!(send.as_mut().poll(&mut cx).is_ready()));
    }
}
