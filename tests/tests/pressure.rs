//! More clients than there is room for, and clients that only take up room: each has its limit, and
//! the others are served on.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use harness::client::request;
use harness::{Connection, Node, process, wait};

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);

/// Opens `count` connections, each of which has been served and stays open.
fn kept(count: usize, mut open: impl FnMut() -> Connection) -> Vec<Connection> {
    let one = |_| {
        let mut connection = open();
        connection.get("/hello/").expect_hello();
        connection
    };
    (0..count).map(one).collect()
}

/// Waits until a new client is served.
fn serves_again(node: &Node) {
    wait::until("there is room again", SOON, || {
        (node.get("/hello/").status() == 200).then_some(())
    });
}

#[test]
fn more_connections_than_the_node_takes_are_answered_503() {
    let node = Node::build().option("--connections-max", "40").start();
    node.deploy("hello", "hello", &[]);
    let mut connections = kept(40, || node.connect());
    for _ in 0..5 {
        let reply = node.get("/hello/");
        assert!(reply.expect_problem(503).contains("connections"));
        assert!(reply.head.get("retry-after").is_some(), "{:?}", reply.head);
    }
    connections.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    connections.truncate(39);
    serves_again(&node);
    drop(connections);
    node.stop();
}

#[test]
fn more_connections_than_an_address_may_have_are_answered_429_and_others_are_served() {
    let node = Node::build().option("--connections-per-address-max", "30").start();
    node.deploy("hello", "hello", &[]);
    let greedy = kept(30, || node.connect());
    for _ in 0..5 {
        assert!(node.get("/hello/").expect_problem(429).contains("your address"));
    }
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let others = kept(30, || Connection::open_from(other, node.addresses()[0]));
    Connection::open_from(other, node.addresses()[0]).get("/hello/").expect_problem(429);
    drop(greedy);
    serves_again(&node);
    drop(others);
    node.stop();
}

#[test]
fn with_few_file_descriptors_the_node_serves_as_many_as_it_can_and_recovers() {
    process::raise_fd_limit();
    let node = Node::build().open_files(200).start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    let pids = node.processes();
    let fds = node.fds();
    for _ in 0..3 {
        let mut connections: Vec<Connection> = (0..800).map(|_| node.connect()).collect();
        // The connection may have been refused and closed before its request. All send their
        // requests before the first reply is read, so that those that are not accepted yet wait
        // together.
        let ask = |connection: &mut Connection| {
            connection.try_send(request("GET", "/hello/", &[], b"")).is_ok()
        };
        let asked: Vec<bool> = connections.iter_mut().map(ask).collect();
        let replied = connections.iter_mut().zip(asked).filter_map(|(connection, asked)| {
            if asked { connection.try_reply().ok() } else { None }
        });
        let served = replied.filter(|reply| reply.status() == 200).count();
        assert!(served >= 100, "{served} of 800 were served");
        drop(connections);
        serves_again(&node);
    }
    assert_eq!(node.processes(), pids, "nobody has died of it: {}", node.stderr());
    node.until_status("all clients have gone", SOON, |status| status.open() == 0);
    node.expect_fds_back_at(&fds, SOON);
    node.stop();
}

#[test]
fn clients_that_take_up_room_for_nothing_are_ended_and_the_others_served_meanwhile() {
    process::raise_fd_limit();
    let node = Node::build()
        .option("--head-timeout", "2s")
        .option("--write-timeout", "2s")
        .option("--idle-timeout", "2s")
        .start();
    node.deploy("hello", "hello", &[]);
    node.deploy("flood", "flood", &[]);
    let (started, address) = (Instant::now(), node.addresses()[0]);
    let send = |what: &'static [u8]| {
        let mut stream = TcpStream::connect(address).expect("the node accepts");
        stream.write_all(what).expect("the node takes it");
        stream
    };
    let idle = kept(300, || node.connect());
    let slow: Vec<TcpStream> =
        (0..500).map(|_| send(b"GET /hello/ HTTP/1.1\r\nHost: slow\r\nX-Y")).collect();
    let silent: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(address).expect("the node accepts")).collect();
    let deaf: Vec<TcpStream> = (0..100)
        .map(|_| send(b"GET /flood/?bytes=100000000 HTTP/1.1\r\nHost: deaf\r\n\r\n"))
        .collect();
    let mut healthy = node.connect();
    wait::until("they are all ended", SOON, || {
        healthy.get("/hello/").expect_hello();
        node.get("/hello/").expect_hello();
        (node.status().open() <= 1).then_some(())
    });
    assert!(started.elapsed() >= Duration::from_secs(2), "each has its time");
    drop((idle, slow, silent, deaf, healthy));
    node.stop();
}
