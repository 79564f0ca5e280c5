//! Messages of sandboxes: what is beyond a limit is refused on receipt, and no value is printed.

use proptest::prelude::*;

use super::*;
use crate::channel::{Channel, ReceiveBuffer, ReceiveError};

fn sandbox() -> Sandbox {
    Sandbox {
        code: 1,
        program: "/var/task/bootstrap".into(),
        args: vec!["--port".into()],
        beside: vec!["/opt/extensions/one".into()],
        env: vec![("KEY".into(), "hidden value".into())],
        working_directory: "/var/task".into(),
        hostname: "sandbox".into(),
        listen: vec![9001],
        memory_bytes_max: 128 << 20,
        processes_max: 64,
        open_files_max: 1024,
        tmp_bytes_max: 512 << 20,
        file_bytes_max: u64::MAX,
        level: Level::Full,
        network: NetworkAccess::Isolated,
        begin: Begin::AtOnce,
    }
}

/// What to spoil in a good sandbox.
type Change = fn(&mut Sandbox);

#[test]
fn what_is_beyond_a_limit_is_refused() {
    assert_eq!(sandbox().check(), Ok(()));
    let changes: [Change; 16] = [
        |s| s.program = "bootstrap".into(),
        |s| s.program = "/a\0b".into(),
        |s| s.program = format!("/{}", "a".repeat(PATH_BYTES_MAX)),
        |s| s.working_directory = String::new(),
        |s| s.hostname = "a".repeat(HOSTNAME_BYTES_MAX + 1),
        |s| s.args = vec![String::new(); PROGRAM_STRINGS_MAX + 1],
        |s| s.args = vec!["a".repeat(PROGRAM_TEXT_BYTES_MAX)],
        |s| s.args = vec!["\0".into()],
        |s| s.env = vec![("A".into(), "a".repeat(PROGRAM_TEXT_BYTES_MAX))],
        |s| s.env = vec![("A=B".into(), String::new())],
        |s| s.env = vec![(String::new(), String::new())],
        |s| s.env = vec![("A".into(), "\0".into())],
        |s| s.listen = vec![1; LISTENERS_MAX + 1],
        |s| s.listen = vec![0],
        |s| s.memory_bytes_max = 0,
        |s| s.processes_max = 0,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut spoilt = sandbox();
        change(&mut spoilt);
        assert!(spoilt.check().is_err(), "change {number}");
    }
}

#[test]
fn the_largest_sandbox_fits_a_message() {
    let mut largest = sandbox();
    largest.args = vec![String::new(); PROGRAM_STRINGS_MAX];
    let value = "a".repeat(PROGRAM_TEXT_BYTES_MAX / PROGRAM_STRINGS_MAX - 8);
    largest.env = (0..PROGRAM_STRINGS_MAX).map(|n| (format!("V{n}"), value.clone())).collect();
    assert_eq!(largest.check(), Ok(()));
    let (a, b) = Channel::pair().unwrap();
    let message = ToSpawner::Spawn { process: 1, sandbox: Box::new(largest) };
    let fd = std::fs::File::open("/dev/null").unwrap();
    a.send(&message, Some(std::os::fd::AsFd::as_fd(&fd))).unwrap();
    let received = b.receive::<ToSpawner>(&mut ReceiveBuffer::default()).unwrap();
    assert_eq!(received.message, message);
}

#[test]
fn a_peer_cannot_send_what_the_limits_forbid() {
    let (a, b) = Channel::pair().unwrap();
    for message in [ToSandbox::Signal { signal: 0 }, ToSandbox::Signal { signal: 65 }] {
        a.send(&message, None).unwrap();
        let received = b.receive::<ToSandbox>(&mut ReceiveBuffer::default());
        assert!(matches!(received, Err(ReceiveError::Malformed(_))), "{message:?}");
    }
}

#[test]
fn values_of_the_environment_are_not_printed() {
    let printed = format!("{:?}", ToSpawner::Spawn { process: 1, sandbox: Box::new(sandbox()) });
    assert!(printed.contains("KEY") && !printed.contains("hidden"), "{printed}");
}

proptest! {
    #[test]
    fn a_reason_is_cut_to_its_limit(reason in "\\PC{0,1500}") {
        let cut = bounded_reason(reason.clone());
        prop_assert!(cut.len() <= REASON_BYTES_MAX && reason.starts_with(&cut));
    }

    #[test]
    fn junk_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let (a, b) = Channel::pair().unwrap();
        a.send_packet(&bytes, None).unwrap();
        prop_assert!(b.receive::<ToSpawner>(&mut ReceiveBuffer::default()).is_err());
    }
}
