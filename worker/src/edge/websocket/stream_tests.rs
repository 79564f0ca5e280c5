//! A stream of frames by a clock that stands still until everybody waits.

use std::future::poll_fn;

use abi::limits::WEBSOCKET_MESSAGE_BYTES_MAX;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;

const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
const PING: [u8; 2] = [0x89, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

fn frames(room: usize) -> (DuplexStream, Frames<DuplexStream>, Rc<Buffers>) {
    let (client, ours) = duplex(room);
    let buffers = Rc::<Buffers>::default();
    let (unread, unsent) = Default::default();
    let mut frames = Frames::new(ours, unread, unsent, Rc::clone(&buffers), WRITE_TIMEOUT);
    frames.bytes_max = 1000;
    (client, frames, buffers)
}

/// A frame under a mask of zeros.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    match u8::try_from(length) {
        Ok(length @ 0..126) => [&[first, 0x80 | length], &[0; 4][..], body].concat(),
        _ => [&[first, 0x80 | 126], &length.to_be_bytes()[..], &[0; 4], body].concat(),
    }
}

/// Moves what can be moved until there is a message or the end.
async fn next(frames: &mut Frames<DuplexStream>) -> Result<Message, u16> {
    poll_fn(|cx| {
        frames.poll(cx);
        match (frames.take_message(), frames.closed_there().or(frames.ended())) {
            (Some(message), _) => Poll::Ready(Ok(message)),
            (None, Some(code)) => Poll::Ready(Err(code)),
            (None, None) => Poll::Pending,
        }
    })
    .await
}

/// Checks how long something took. Timers are rounded to milliseconds.
fn assert_took(began: Instant, expected: Duration) {
    let (took, rounding) = (began.elapsed(), Duration::from_millis(100));
    assert!(took >= expected && took < expected + rounding, "{took:?} instead of {expected:?}");
}

async fn read_exactly<const N: usize>(client: &mut DuplexStream) -> [u8; N] {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_cut() {
    let (mut client, mut frames, _) = frames(1000);
    let began = Instant::now();
    let answering = async {
        for _ in 0..3 {
            assert_eq!(read_exactly(&mut client).await, PING);
            client.write_all(&PONG).await.unwrap();
        }
        assert_eq!(read_exactly(&mut client).await, PING);
        client
    };
    let (ended, _client) = tokio::join!(next(&mut frames), answering);
    assert_eq!(ended, Err(code::CUT));
    assert_took(began, 4 * WEBSOCKET_PING_AFTER + WEBSOCKET_PONG_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn anything_that_comes_is_no_silence() {
    let (mut client, mut frames, _) = frames(1000);
    let began = Instant::now();
    let trickling = async {
        for _ in 0..5 {
            sleep(WEBSOCKET_PING_AFTER - Duration::from_secs(1)).await;
            client.write_all(&PONG).await.unwrap();
        }
        client.write_all(&frame(0x82, b"a")).await.unwrap();
        client
    };
    let (message, _client) = tokio::join!(next(&mut frames), trickling);
    assert_eq!(message.unwrap().bytes, "a");
    assert!(began.elapsed() < 5 * WEBSOCKET_PING_AFTER);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_has_begun_has_to_go_on() {
    let (mut client, mut frames, _) = frames(1000);
    client.write_all(&frame(0x02, b"a")).await.unwrap();
    let began = Instant::now();
    assert_eq!(next(&mut frames).await, Err(code::POLICY));
    assert_took(began, BODY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_and_not_read_from_meanwhile() {
    let (mut client, mut frames, _) = frames(10);
    let large = Message { is_text: false, bytes: vec![0; UNSENT_BYTES_MAX].into() };
    frames.send(&large);
    assert!(!frames.takes_more());
    client.write_all(b"not read").await.unwrap();
    let began = Instant::now();
    assert_eq!(next(&mut frames).await, Err(code::CUT));
    assert_took(began, WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_and_a_flood_of_them_is_held_up() {
    let (mut client, mut frames, _) = frames(4096);
    let ping = frame(0x89, &[b'x'; 100]);
    let flooding = async {
        // Nobody takes the answers.
        let mut sent = 0;
        while let Ok(written) =
            timeout(Duration::from_secs(1), client.write(&ping[sent % ping.len()..])).await
        {
            sent += written.unwrap();
        }
        sent
    };
    let sent = tokio::select! {
        sent = flooding => sent,
        ended = next(&mut frames) => panic!("{ended:?}"),
    };
    assert!(sent > UNSENT_BYTES_MAX / 2 && sent < 4 * UNSENT_BYTES_MAX, "{sent}");
    assert!(frames.unsent.len() < 2 * UNSENT_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn only_one_message_is_read_ahead_and_nothing_is_held_between_messages() {
    let (mut client, mut frames, buffers) = frames(100_000);
    let bytes = [frame(0x82, &[1; 900]), frame(0x82, &[2; 900]), frame(0x88, b"\x03\xe8")].concat();
    client.write_all(&bytes).await.unwrap();
    poll_fn(|cx| {
        frames.poll(cx);
        Poll::Ready(())
    })
    .await;
    assert!(frames.ahead.is_some() && frames.closed_there().is_none());
    assert_eq!(next(&mut frames).await.unwrap().bytes[0], 1);
    assert_eq!(next(&mut frames).await.unwrap().bytes[0], 2);
    frames.answered();
    assert_eq!(next(&mut frames).await, Err(1000));
    assert_eq!((frames.unread.capacity(), frames.unsent.capacity(), buffers.held.get()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_all_connections_hold_is_bounded() {
    let (mut client, mut frames, buffers) = frames(100_000);
    frames.bytes_max = WEBSOCKET_MESSAGE_BYTES_MAX;
    buffers.held.set(WEBSOCKET_HELD_BYTES_PER_WORKER_MAX);
    // A small one goes through.
    client.write_all(&frame(0x82, &[1; 900])).await.unwrap();
    assert!(next(&mut frames).await.is_ok());
    client.write_all(&frame(0x02, &[1; 10_000])).await.unwrap();
    assert_eq!(next(&mut frames).await, Err(code::TRY_AGAIN));
    drop(frames);
    assert_eq!(buffers.held.get(), WEBSOCKET_HELD_BYTES_PER_WORKER_MAX);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_said_and_the_clients_awaited() {
    for answers in [true, false] {
        let (client, mut frames, _) = frames(1000);
        frames.close(code::RESTART, "again");
        let began = Instant::now();
        let reading = async {
            let mut client = client;
            let mut said = [0; 9];
            client.read_exact(&mut said).await.unwrap();
            assert_eq!(said, *b"\x88\x07\x03\xf4again");
            if answers {
                client.write_all(&frame(0x88, b"\x03\xf4")).await.unwrap();
            }
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let ((), rest) = tokio::join!(frames.finish(), reading);
        assert!(rest.is_empty());
        let waited = if answers { Duration::ZERO } else { WEBSOCKET_CLOSE_TIMEOUT };
        assert_took(began, waited);
    }
}
