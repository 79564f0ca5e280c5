//! Sockets that cross the wall of a sandbox: listeners made inside, connections into it, and the
//! ports that are listened on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use abi::sandbox::{ExitStatus, FromSandbox, Level, NetworkAccess, ToSandbox};
use common::{Host, Program, Who, probe};
use sandbox::client::{ClientError, listener};

for_root_and_for_a_user!(
    a_listener_made_inside_is_the_workers,
    the_worker_connects_to_a_server_inside,
    many_connections_at_once,
    ports_are_the_same_for_every_sandbox,
    on_the_hosts_network_a_listener_has_a_free_port,
);

/// Answers one connection of a `probe talk`.
fn answer(fd: OwnedFd) {
    let (mut stream, _) = listener(fd).unwrap().accept().unwrap();
    let mut asked = [0; 5];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"hello");
    stream.write_all(b"and good day").unwrap();
}

fn a_listener_made_inside_is_the_workers(who: Who) {
    let mut host = Host::new(who);
    let mut sandbox = probe(&["talk", "9001"]);
    // One below 1024 is a program's to ask for as well: the network is its own.
    sandbox.listen = vec![9001, 80];
    let mut program = host.start(&sandbox);
    let ports: Vec<u16> = program.listeners.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, [9001, 80]);
    answer(program.listeners.remove(0).1);
    program.listeners.clear();
    let ended = program.wait();
    assert_eq!((ended.stdout.as_str(), ended.status), ("and good day\n", ExitStatus::Code(0)));
}

fn echoed(mut stream: TcpStream) {
    stream.write_all(b"words").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "words");
}

/// Starts a server and waits until it listens.
fn serving(host: &mut Host, kind: &str, port: &str) -> Program {
    let mut sandbox = probe(&[kind, port]);
    sandbox.listen = vec![9001];
    let program = host.start(&sandbox);
    assert_eq!((program.line(), program.line()), ("bind ok".into(), "listen ok".into()));
    program
}

fn ports(program: &mut Program) -> Vec<u16> {
    program.process.send(&ToSandbox::Ports).unwrap();
    match program.process.receive().unwrap().0 {
        FromSandbox::Ports { ports } => ports,
        other => panic!("{other:?}"),
    }
}

fn the_worker_connects_to_a_server_inside(who: Who) {
    let mut host = Host::new(who);
    for (kind, port) in [("serve", 8080), ("serve6", 8080), ("serve", 80)] {
        let mut program = serving(&mut host, kind, &port.to_string());
        assert_eq!(ports(&mut program), [port], "without those that the worker asked for");
        for ticket in 0..3 {
            echoed(program.process.connect(ticket, port).unwrap());
        }
        let refused = program.process.connect(4, 8081);
        assert!(matches!(refused, Err(ClientError::Io(error))
            if error.kind() == std::io::ErrorKind::ConnectionRefused));
        program.process.send(&ToSandbox::Kill).unwrap();
        assert_eq!(program.wait().status, ExitStatus::Signal(9));
    }
}

fn many_connections_at_once(who: Who) {
    let mut host = Host::new(who);
    let mut program = serving(&mut host, "serve", "8080");
    for ticket in 0..100 {
        program.process.send(&ToSandbox::Connect { ticket, port: 8080 }).unwrap();
    }
    let mut tickets = Vec::new();
    while tickets.len() < 100 {
        match program.process.receive().unwrap() {
            (FromSandbox::Connection { ticket }, Some(fd)) => {
                let stream = TcpStream::from(fd);
                stream.set_nonblocking(false).unwrap();
                echoed(stream);
                tickets.push(ticket);
            }
            other => panic!("{other:?}"),
        }
    }
    tickets.sort_unstable();
    assert!(tickets.into_iter().eq(0..100));
}

fn ports_are_the_same_for_every_sandbox(who: Who) {
    let mut host = Host::new(who);
    let mut one = serving(&mut host, "serve", "8080");
    let mut other = serving(&mut host, "serve", "8080");
    for program in [&mut one, &mut other] {
        echoed(program.process.connect(1, 8080).unwrap());
    }
}

fn on_the_hosts_network_a_listener_has_a_free_port(who: Who) {
    let mut host = Host::new(who);
    for (level, network) in
        [(Level::Full, NetworkAccess::Host), (Level::Basic, NetworkAccess::Host)]
    {
        let mut sandbox = probe(&["wait"]);
        sandbox.listen = vec![9001];
        (sandbox.level, sandbox.network) = (level, network);
        let program = host.start(&sandbox);
        let [(port, fd)] = <[(u16, OwnedFd); 1]>::try_from(program.listeners).unwrap();
        assert_eq!(listener(fd).unwrap().local_addr().unwrap().port(), port);
        program.process.send(&ToSandbox::Kill).unwrap();
    }
}
