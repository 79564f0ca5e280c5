//! The paths that `scripts/check-instructions` counts the instructions of: runs one of them so many
//! times.
//!
//!   instructions PATH TIMES      PATH is one of those below; without arguments their names
//!                                are printed
//!
//! Counts of two runs are subtracted, so that what happens once does not count. Everything here is
//! deterministic, or the counts would not be. Owns the memfd of its catalogue; closed on drop.
#![expect(clippy::unwrap_used, reason = "whatever fails here fails the check")]

use std::hint::black_box;

use abi::catalogue::{
    Alias, Catalogue, CatalogueView, Function, Host, HostRoute, Spec, Target, Version,
};
use abi::choice::ACTIVE;
use abi::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};
use abi::invocation_id::InvocationId;
use abi::message::{ArchivedToEngine, ArchivedToWorker, Awaits, ToEngine, ToWorker};
use abi::names::Names;
use abi::outcome::Outcome;
use abi::spool::{self, Invocation, Line, Record, Request, Stream};
use abi::{envelope, head, route};

/// Functions of the catalogue: a node of some size, whose look-up takes ten steps.
const FUNCTIONS: u32 = 1000;

const REQUEST: &[u8] = b"GET /function-0731/some/path?with=query HTTP/1.1\r\nHost: node.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nX-Request-Id: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n\r\n";

type Path = (&'static str, fn(u32));

const PATHS: [Path; 7] = [
    ("peek-and-route-by-path", |times| peek_and_route(&catalogue(Vec::new()), None, times)),
    ("peek-and-route-by-host", |times| {
        peek_and_route(&catalogue(Vec::new()), Some("example.com"), times);
    }),
    ("peek-and-route-by-domain", |times| peek_and_route(&catalogue(hosts()), None, times)),
    ("catalogue-look-up", catalogue_look_up),
    ("message-to-worker", message_to_worker),
    ("message-to-engine", message_to_engine),
    ("log-an-invocation", log_an_invocation),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().and_then(|name| PATHS.iter().find(|(known, _)| known == name));
    match (path, arguments.get(1)) {
        (Some((_, run)), Some(times)) => run(times.parse().unwrap()),
        _ => PATHS.iter().for_each(|(name, _)| println!("{name}")),
    }
}

fn name(number: u32) -> String {
    format!("function-{number:04}")
}

fn function(number: u32) -> Function {
    let target = Target { version: 0, spec: 0, weight: 1 };
    Function {
        name: name(number),
        isolation: Isolation::Shared,
        slot: number,
        slot_incarnation: 1,
        secrets: 0,
        previews: true,
        aliases: vec![Alias { name: ACTIVE.to_owned(), targets: vec![target] }],
        versions: vec![Version {
            number: 1,
            id: u128::from(number).to_be_bytes(),
            module: [7; 32],
            assets: None,
            spec: 0,
        }],
    }
}

/// What all of them share.
fn spec() -> Spec {
    Spec {
        kind: Kind::Http02,
        limits: FunctionLimits::default(),
        requests_per_instance_max: 1,
        env: Vec::new(),
        config: Vec::new(),
        args: Vec::new(),
        output: Output::Raw,
        allow_outbound: Vec::new(),
        kv: Vec::new(),
        handler: String::new(),
        network: NetworkMode::default(),
        websocket: WebSocketMode::default(),
        respond_async: false,
        report_lines: false,
    }
}

/// Domains of a node of some size, one of which is that of the request.
fn hosts() -> Vec<Host> {
    let route = |prefix: &str, number| HostRoute {
        prefix: prefix.to_owned(),
        function: name(number),
        alias: String::new(),
    };
    let host = |number: u32| Host {
        name: format!("host-{number:04}.example.com"),
        routes: vec![route("", number)],
    };
    let routes = vec![route("", 1), route("/function-0731", 2), route("/other", 3)];
    let own = Host { name: "node.example.com".to_owned(), routes };
    (0..FUNCTIONS).map(host).chain([own]).collect()
}

fn catalogue(hosts: Vec<Host>) -> CatalogueView {
    let mut functions: Vec<Function> = (0..FUNCTIONS).map(function).collect();
    // By host the name is the first label: `node`.
    functions.push(Function { name: "node".to_owned(), ..function(FUNCTIONS) });
    let specs = vec![spec()];
    let sealed = Catalogue { generation: 1, functions, specs, hosts }.seal().unwrap();
    CatalogueView::new(sealed).unwrap()
}

/// What a shard does with the bytes it has peeked at, and a worker with those of each later
/// request.
fn peek_and_route(catalogue: &CatalogueView, domain: Option<&str>, times: u32) {
    let names = Names { domain: domain.map(str::to_owned), paths: true };
    for _ in 0..times {
        let head::Parsed::Complete(head) = head::parse(black_box(REQUEST)).unwrap() else {
            panic!("the head is whole")
        };
        black_box(
            route::route(catalogue, &names, head.host, head.target, route::Caller::Public).unwrap(),
        );
    }
}

fn catalogue_look_up(times: u32) {
    let catalogue = catalogue(Vec::new());
    for number in 0..times {
        // Different ones, or the processor's caches alone would be measured on real machines.
        let found = catalogue.find(black_box(LOOKED_FOR[number as usize % LOOKED_FOR.len()]));
        black_box(catalogue.function(found.unwrap()).unwrap());
    }
}

const LOOKED_FOR: [&str; 4] = ["function-0003", "function-0250", "function-0731", "function-0999"];

/// A connection with the bytes that were read from it: packed by one side, opened by the other.
fn message_to_worker(times: u32) {
    for _ in 0..times {
        let message = ToWorker::Connection {
            read: REQUEST.to_vec(),
            accepted_at_us: 1,
            awaits: Awaits::First,
            origin: None,
        };
        let bytes = envelope::pack(black_box(&message)).unwrap();
        black_box(envelope::open::<ArchivedToWorker>(black_box(&bytes)).unwrap());
    }
}

fn message_to_engine(times: u32) {
    for _ in 0..times {
        let message =
            ToEngine::Return { read: REQUEST.to_vec(), awaits: Awaits::Next, origin: None };
        let bytes = envelope::pack(black_box(&message)).unwrap();
        black_box(envelope::open::<ArchivedToEngine>(black_box(&bytes)).unwrap());
    }
}

/// An invocation's record and one line of it, as a worker gathers them.
fn log_an_invocation(times: u32) {
    let (mut buffer, id) = (Vec::with_capacity(64 * 1024), InvocationId::from_bytes([7; 16]));
    let line = Line {
        id,
        time_us: 1,
        stream: Stream::Stdout,
        function: "function-0731",
        text: b"a line of the log",
    };
    let invocation = Invocation {
        id,
        started_us: 1,
        duration_us: 2,
        cpu_us: 3,
        memory_bytes: 4,
        status: 200,
        received_bytes: 5,
        sent_bytes: 6,
        queue_us: 7,
        instantiate_us: 8,
        run_us: 9,
        outcome: Outcome::Ok,
        function: "function-0731",
        version: "0190f3c0-0000-7000-8000-000000000731",
        number: 1,
        alias: "active",
        request: Request { method: "GET", prefix: "/f", path: "/" },
        goes_on: false,
        arrival: None,
        trace: None,
    };
    for _ in 0..times {
        buffer.clear();
        spool::append(&mut buffer, black_box(&Record::Line(line)));
        spool::append(&mut buffer, black_box(&Record::Invocation(invocation)));
        black_box(&buffer);
    }
}
