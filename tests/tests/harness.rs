//! The harness itself detects what the other tests rely on. The server here is a socket of the
//! test.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::bytes::{body, chunked};
use harness::disk::{SmallDisk, picture};
use harness::{Connection, Cut, Reply, Running, process, running, seccomp, wait};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nsockhop-invocation-id: 01920000-0000-7000-8000-000000000000\r\n";

/// Returns what the client reads of `answer`, which is sent in packets of `piece` bytes before the
/// connection is closed, and the rest of the connection.
fn read_reply(answer: &[u8], piece: usize) -> (Result<Reply, Cut>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut connection = Connection::open(listener.local_addr().expect("bound"));
    let (mut far, _) = listener.accept().expect("connected");
    far.set_nodelay(true).expect("a socket");
    thread::scope(|scope| {
        scope.spawn(move || {
            answer.chunks(piece).for_each(|piece| far.write_all(piece).expect("read by the client"))
        });
        let reply = connection.try_reply();
        (reply, connection.rest())
    })
}

#[test]
fn a_reply_is_read_to_its_end_and_no_further() {
    let sent = body(5_000, 1);
    let with_length =
        [format!("{HEAD}content-length: 5000\r\n\r\n").as_bytes(), &sent, b"next"].concat();
    let mut in_chunks = format!("{HEAD}transfer-encoding: chunked\r\n\r\n").into_bytes();
    in_chunks.extend(chunked(&sent, 999));
    in_chunks.extend(b"next");
    for answer in [with_length, in_chunks] {
        for piece in [1, 7, 1 << 20] {
            let (reply, rest) = read_reply(&answer, piece);
            assert_eq!(reply.expect("whole").body, sent);
            assert_eq!(rest, b"next");
        }
    }
}

#[test]
fn a_cut_reply_is_told_from_a_whole_one() {
    for answer in [
        "content-length: 10\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "transfer-encoding: chunked\r\n\r\n9\r\nabc",
        "x-no-framing: 1\r\n\r\nabc",
    ] {
        let cut = read_reply(format!("{HEAD}{answer}").as_bytes(), 1 << 20).0.expect_err(answer);
        assert_eq!(cut.head.expect("it came").status, 200);
    }
    let cut = read_reply(HEAD.as_bytes(), 1 << 20).0.expect_err("half a head");
    assert_eq!(cut.head, None);
}

#[test]
#[should_panic(expected = "without sockhop-invocation-id")]
fn a_reply_without_an_id_fails_the_test() {
    _ = read_reply(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 1 << 20);
}

#[test]
fn an_open_and_silent_connection_is_told_from_any_other() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut connection = Connection::open(listener.local_addr().expect("bound"));
    let (mut far, _): (TcpStream, _) = listener.accept().expect("connected");
    assert!(connection.silent());
    connection.send("x");
    assert_eq!(far.read(&mut [0; 9]).expect("sent"), 1);
    assert!(connection.silent());
    drop(far);
    wait::until("the end is seen", Duration::from_secs(5), || (!connection.silent()).then_some(()));
}

#[test]
fn fds_children_and_cpu_time_are_seen() {
    let own = std::process::id();
    let before = process::fds(own);
    let file = File::open("/dev/null").expect("it is there");
    assert_eq!(process::fds(own).len(), before.len() + 1);
    drop(file);
    assert_eq!(process::fds(own), before);

    let child = Running::spawn(Command::new("sh").args(["-c", "sleep 60 & while :; do :; done"]));
    let pid = child.pid();
    assert!(process::children(own).contains(&pid));
    wait::until("the shell has started its own child", Duration::from_secs(5), || {
        process::children(pid).pop()
    });
    wait::until("the shell burns CPU", Duration::from_secs(20), || {
        (process::cpu_time(pid) > Duration::from_millis(100)).then_some(())
    });
    assert!(process::resident(pid) > 4096);
    let below = process::descendants(pid);
    drop(child);
    assert!(!process::alive(pid));
    wait::until("its child is gone with it", Duration::from_secs(5), || {
        below.iter().all(|pid| !process::alive(*pid)).then_some(())
    });
}

#[test]
fn both_streams_and_the_exit_code_are_kept() {
    let ended =
        Running::spawn(Command::new("sh").args(["-c", "echo out; echo error: bad >&2; exit 1"]));
    let ended = ended.finish(Duration::from_secs(10)).expect_error(&["BAD"]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "error: bad\n"));
}

#[test]
fn the_filter_against_io_uring_is_in_force() {
    let mut command = Command::new("grep");
    command.args(["^Seccomp:", "/proc/self/status"]);
    seccomp::forbid_io_uring(&mut command);
    let ended = Running::spawn(&mut command).finish(Duration::from_secs(10)).expect_code(0);
    assert_eq!(ended.stdout.trim_end(), "Seccomp:\t2");
}

#[test]
fn a_killed_process_is_gone() {
    let mut child = Running::spawn(Command::new("sleep").arg("60"));
    running::kill_now(child.pid());
    assert_eq!(child.wait_exit(Duration::from_secs(5)).code(), None);
}

#[test]
fn a_small_disk_is_full_until_there_is_room_again() {
    let disk = SmallDisk::mount(1);
    let path = disk.path().to_owned();
    let filler = disk.fill();
    let full = std::fs::write(path.join("more"), "x").expect_err("it is full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(filler).expect("it is ours");
    std::fs::write(path.join("more"), "x").expect("there is room again");
    let before = picture(&path);
    assert_eq!(before.get(&path.join("more")), Some(&b"x".to_vec()));
    std::fs::write(path.join("more"), "y").expect("there is room again");
    assert_ne!(picture(&path), before);
    drop(disk);
    assert!(!path.exists(), "unmounted and removed");
}
