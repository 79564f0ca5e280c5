//! The reader of frames against clients that keep to the standard, and to nothing.

use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 1 << 20;

/// Reads bytes that arrive in pieces of these sizes, over and over.
fn read(bytes: &[u8], sizes: &[usize], bytes_max: usize) -> Result<Vec<Incoming>, Violation> {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let (mut found, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        while let Some(next) = decoder.next(&mut buffer, bytes_max)? {
            found.push(next);
        }
    }
    assert!(buffer.is_empty() || !found.iter().any(|one| matches!(one, Incoming::Close(_))));
    Ok(found)
}

fn masked(first: u8, body: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = body.to_vec();
    unmask(&mut bytes, mask);
    let mut frame = Vec::new();
    head(&mut frame, first & 0x0f, body.len());
    frame[0] = first;
    frame[1] |= MASKED;
    frame.extend_from_slice(&mask);
    frame.extend_from_slice(&bytes);
    frame
}

fn text(text: &str) -> Incoming {
    Incoming::Message(Message { is_text: true, bytes: Bytes::copy_from_slice(text.as_bytes()) })
}

#[test]
fn fragments_are_joined_with_control_frames_between_them() {
    let parts: [(u8, &[u8]); 5] =
        [(0x01, b"h\xc3"), (0x89, b"p"), (0x00, b"\xa9"), (0x8a, b""), (0x80, b"llo")];
    let bytes: Vec<u8> = parts.iter().flat_map(|(first, body)| masked(*first, body)).collect();
    let expected = [Incoming::Ping(Bytes::from_static(b"p")), Incoming::Pong, text("h\u{e9}llo")];
    for size in [1, 2, 3, 5, 100] {
        assert_eq!(read(&bytes, &[size], BYTES_MAX).unwrap(), expected, "{size}");
    }
}

#[test]
fn what_the_standard_forbids_is_refused_with_its_code() {
    let unmasked = vec![0x81, 1, b'a'];
    let announces = |length: u64| {
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame
    };
    for (bytes, code) in [
        (unmasked, 1002),
        (masked(0xc1, b"a"), 1002),
        (masked(0x91, b"a"), 1002),
        (masked(0x83, b"a"), 1002),
        (masked(0x8b, b"a"), 1002),
        (masked(0x80, b"a"), 1002),
        ([masked(0x01, b"a"), masked(0x81, b"b")].concat(), 1002),
        (masked(0x09, b"a"), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0x88, b"a"), 1002),
        (masked(0x88, &1005u16.to_be_bytes()), 1002),
        (masked(0x88, &999u16.to_be_bytes()), 1002),
        (masked(0x88, b"\x03\xe8\xff"), 1007),
        (masked(0x81, b"\xff"), 1007),
        ([masked(0x01, b"\xc3"), masked(0x80, b"a")].concat(), 1007),
        (announces(11), 1002),
        (announces(1 << 16), 1009),
        (announces(u64::MAX), 1009),
        (vec![0x82, 0x80 | 126, 0, 125], 1002),
        ([masked(0x02, b"123456"), masked(0x80, b"12345")].concat(), 1009),
    ] {
        let found = read(&bytes, &[1], 10).unwrap_err();
        assert_eq!(found.code, code, "{bytes:?}");
        assert!(found.reason.len() <= CONTROL_BYTES_MAX - 2);
    }
    assert_eq!(read(&masked(0x88, b""), &[1], 10).unwrap(), [Incoming::Close(None)]);
    let normal = read(&masked(0x88, b"\x03\xe8bye"), &[1], 10).unwrap();
    assert_eq!(normal, [Incoming::Close(Some(1000))]);
}

#[test]
fn nothing_is_held_for_what_a_frame_announces() {
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend_from_slice(&(BYTES_MAX as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 5]);
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::from(&frame[..]));
    assert_eq!(decoder.next(&mut buffer, BYTES_MAX), Ok(None));
    assert!(decoder.is_within_message() && decoder.held_bytes() < 64);
    assert!(buffer.is_empty());
}

/// Returns the frames of a message that is sent in parts of these sizes, over and over.
fn in_parts(message: &Message, sizes: &[usize]) -> Vec<u8> {
    let (mut out, mut rest, mut sizes) = (Vec::new(), &message.bytes[..], sizes.iter().cycle());
    let mut opcode = if message.is_text { TEXT } else { BINARY };
    loop {
        let (part, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        let last = if after.is_empty() { FINAL } else { 0 };
        out.extend(masked(last | opcode, part));
        (opcode, rest) = (CONTINUATION, after);
        if last == FINAL {
            return out;
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(any::<u8>(), 65_000..66_000),
    ];
    let text = ".{0,80}".prop_map(|text| Message { is_text: true, bytes: text.into() });
    prop_oneof![text, bytes.prop_map(|bytes| Message { is_text: false, bytes: bytes.into() })]
}

proptest! {
    /// However a message is cut into frames, and however those arrive, it comes out.
    #[test]
    fn messages_are_read_as_they_were_sent(
        messages in proptest::collection::vec(message(), 1..6),
        parts in proptest::collection::vec(1usize..70_000, 1..8),
        sizes in proptest::collection::vec(1usize..5000, 1..8),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| in_parts(message, &parts)).collect();
        let found = read(&bytes, &sizes, BYTES_MAX).unwrap();
        prop_assert_eq!(found, messages.into_iter().map(Incoming::Message).collect::<Vec<_>>());
    }

    /// What the node writes would be read, but for the mask.
    #[test]
    fn what_is_written_has_the_length_that_its_head_says(bytes in proptest::collection::vec(any::<u8>(), 0..70_000), reason in ".{0,200}", code in 3000u16..5000) {
        let message = Message { is_text: false, bytes: bytes.into() };
        let mut out = Vec::new();
        write_message(&mut out, &message);
        out[1] |= MASKED;
        let at = out.len() - message.bytes.len();
        out.splice(at..at, [0; 4]);
        prop_assert_eq!(read(&out, &[100_000], BYTES_MAX).unwrap(), [Incoming::Message(message)]);
        let mut out = Vec::new();
        write_close(&mut out, code, &reason);
        out[1] |= MASKED;
        out.splice(2..2, [0; 4]);
        prop_assert_eq!(read(&out, &[1], BYTES_MAX).unwrap(), [Incoming::Close(Some(code))]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..20) {
        let _ = read(&bytes, &[size], 100);
    }
}
