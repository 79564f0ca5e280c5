//! What two engines of any builds say to each other: the packets of
//! [`takeover::message`].
//!
//! Besides not panicking: whatever is read has as many fds as its kind, and packs to what reads
//! back the same, once the sentences that are too long have been cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use takeover::message::{Message, PACKET_BYTES_MAX};

fuzz_target!(|input: (u8, &[u8])| {
    let (fds, packet) = input;
    let fds = usize::from(fds % 3);
    let Ok(read) = Message::unpack(packet, fds) else { return };
    assert!(packet.len() <= PACKET_BYTES_MAX);
    assert_eq!(read.fd_count(), fds);
    let cut = Message::unpack(&read.pack(), fds).expect("what was read is well formed");
    assert_eq!(Message::unpack(&cut.pack(), fds), Ok(cut));
});
