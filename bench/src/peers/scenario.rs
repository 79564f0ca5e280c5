//! What is asked of the servers, and what is measured while they answer. Constants, and what
//! follows from them; no file descriptor.

use std::path::{Path, PathBuf};

use crate::server::{Instances, Kind, Program};

/// How many turns the function takes that computes: a few milliseconds.
const TURNS: &str = "?turns=10000";
/// Orders that make up about 10 KiB.
const ORDERS: u32 = 41;
/// How long the slow upstream takes.
pub const UPSTREAM_MS: u64 = 100;

/// A figure, or some that come from one load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Measure {
    /// Requests a second at saturation, its latencies, and CPU time a request.
    Rate,
    /// Latency at a rate that all servers can hold.
    Latency,
    /// From the start of a server to its first reply.
    Start,
    /// What functions and connections take up.
    Memory,
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    None,
    /// So many bytes.
    Bytes(usize),
    /// JSON for the guest of that name.
    Orders,
    /// The smallest event there is.
    Event,
}

/// What requests travel by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// HTTP/1.1, without TLS.
    Plain,
    /// HTTP/1.1 inside of TLS.
    Tls {
        /// Whether a new connection resumes the session of an earlier one.
        resumes: bool,
    },
    /// HTTP/2 inside of TLS, with so many streams at a time on each connection.
    Http2 { streams: u32 },
    /// There are none: TLS begins and ends.
    Handshakes,
}

/// Something that servers are for.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The component's file, without its extension; of a native program, the folder.
    pub guest: &'static str,
    /// The same for workerd.
    pub script: Option<&'static str>,
    /// Whether a server that only gives out bytes may take part: where giving out bytes is all
    /// there is to do.
    pub fixed: bool,
    /// How the guest is run and called. Programs of WASI preview 1 are served by sockhop alone.
    pub program: Program,
    pub way: Way,
    /// Behind the function's URL.
    pub query: &'static str,
    pub payload: Payload,
    /// At saturation.
    pub connections: u32,
    /// Of all requests, the share that leaves its connection open.
    pub kept_share: f64,
    /// Requests per second while latency is measured.
    pub latency_rate: u64,
    /// And on so many connections.
    pub latency_connections: u32,
    /// What four other connections ask for meanwhile, in a closed loop.
    pub beside: Option<&'static str>,
    /// Whether it is called by a function that calls out.
    pub upstream: bool,
    /// Whether there are as many functions as `--zipf-functions` says, asked by Zipf's law.
    pub zipf: bool,
    pub measures: &'static [Measure],
}

const HELLO: Scenario = Scenario {
    name: "hello",
    about: "the smallest function there is, connections kept alive",
    guest: "hello",
    script: Some(include_str!("scripts/hello.js")),
    fixed: true,
    program: Program::Component,
    way: Way::Plain,
    query: "",
    payload: Payload::None,
    connections: 32,
    kept_share: 1.0,
    latency_rate: 1000,
    latency_connections: 8,
    beside: None,
    upstream: false,
    zipf: false,
    measures: &[Measure::Rate, Measure::Latency, Measure::Start, Measure::Memory],
};

const UPSTREAM: Scenario = Scenario {
    guest: "fetch",
    script: Some(include_str!("scripts/upstream.js")),
    fixed: false,
    connections: 50,
    // Some twenty of them are under way at a time.
    latency_rate: 200,
    latency_connections: 50,
    upstream: true,
    measures: BOTH,
    ..HELLO
};

const ECHO: Scenario = Scenario {
    name: "echo",
    about: "a body of 1 MiB, streamed back while it comes",
    guest: "echo",
    script: Some(include_str!("scripts/echo.js")),
    fixed: false,
    payload: Payload::Bytes(1 << 20),
    connections: 4,
    latency_rate: 50,
    measures: BOTH,
    ..HELLO
};

const CONNECTIONS: Scenario = Scenario {
    name: "connections",
    about: "hello, one connection a request",
    kept_share: 0.0,
    latency_rate: 500,
    measures: BOTH,
    ..HELLO
};

const BOTH: &[Measure] = &[Measure::Rate, Measure::Latency];
const RATE: &[Measure] = &[Measure::Rate];

/// All of them.
pub const SCENARIOS: [Scenario; 25] = [
    HELLO,
    CONNECTIONS,
    Scenario {
        name: "json",
        about: "10 KiB of JSON parsed, changed and printed",
        guest: "json",
        script: Some(include_str!("scripts/json.js")),
        fixed: false,
        payload: Payload::Orders,
        latency_rate: 200,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "page",
        about: "a template filled, 50 KiB of HTML; nginx gives out the same bytes as a file",
        guest: "page",
        script: Some(include_str!("scripts/page.js")),
        latency_rate: 50,
        measures: BOTH,
        ..HELLO
    },
    ECHO,
    Scenario {
        name: "upstream",
        about: "a call to a server that takes 100 ms, with 50 in flight",
        ..UPSTREAM
    },
    Scenario {
        name: "upstream-1000",
        about: "the same with 1,000 in flight",
        connections: 1000,
        measures: &[Measure::Rate],
        ..UPSTREAM
    },
    Scenario {
        name: "cpu",
        about: "a function that computes for a few milliseconds",
        guest: "cpu",
        script: None,
        fixed: false,
        query: TURNS,
        latency_rate: 20,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "beside-cpu",
        about: "the same function with nothing to compute, beside four connections on which it computes",
        guest: "cpu",
        script: None,
        fixed: false,
        query: "?turns=0",
        latency_rate: 200,
        beside: Some(TURNS),
        measures: &[Measure::Latency],
        ..HELLO
    },
    Scenario {
        name: "zipf",
        about: "1,000 functions, each a file of its own, asked by Zipf's law",
        fixed: false,
        zipf: true,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "c",
        about: "hello as a program in C (WASI preview 1)",
        guest: "c-hello",
        script: None,
        fixed: false,
        program: Program::Command,
        latency_rate: 200,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "go",
        about: "hello as a program in Go (WASI preview 1)",
        guest: "go-stdin",
        script: None,
        fixed: false,
        program: Program::Command,
        latency_rate: 200,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "native",
        about: "hello as a native server on $PORT; the same program alone, and behind nginx",
        guest: "hello-server",
        script: None,
        fixed: false,
        program: Program::Server,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "lambda",
        about: "hello as a native program for AWS Lambda, called by its URL",
        guest: "hello-lambda",
        script: None,
        fixed: false,
        program: Program::Lambda,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "invoke",
        about: "an event given back by a native program, by AWS's Invoke API, one at a time",
        guest: "lambda-events",
        script: None,
        fixed: false,
        program: Program::Invoked,
        payload: Payload::Event,
        connections: 1,
        latency_rate: 100,
        latency_connections: 1,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "tls-hello",
        about: "hello over TLS 1.3, connections kept alive; +plain is without TLS",
        way: SECURE,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "tls-echo",
        about: "the echo over TLS 1.3; +plain is without TLS",
        way: SECURE,
        measures: RATE,
        ..ECHO
    },
    Scenario {
        name: "tls-connections",
        about: "hello over TLS 1.3, one connection and one full handshake a request",
        way: SECURE,
        measures: RATE,
        ..CONNECTIONS
    },
    Scenario {
        name: "tls-resumed",
        about: "the same by sessions that are resumed",
        way: Way::Tls { resumes: true },
        measures: RATE,
        ..CONNECTIONS
    },
    Scenario {
        name: "handshakes",
        about: "full handshakes of TLS 1.3 with X25519 and a certificate of P-256, and no request",
        way: Way::Handshakes,
        measures: RATE,
        ..HELLO
    },
    Scenario {
        name: "h2-1",
        about: "hello over HTTP/2 in TLS 1.3, one stream at a time on each of 32 connections",
        way: Way::Http2 { streams: 1 },
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "h2-100",
        about: "the same with 100 streams at a time on one connection",
        way: Way::Http2 { streams: 100 },
        connections: 1,
        latency_connections: 1,
        measures: BOTH,
        ..HELLO
    },
    Scenario {
        name: "static-1k",
        about: "a file of 1 KiB, connections kept alive",
        program: Program::Static { bytes: 1 << 10 },
        ..STATIC
    },
    Scenario {
        name: "static-100k",
        about: "a file of 100 KiB, connections kept alive",
        program: Program::Static { bytes: 100 << 10 },
        ..STATIC
    },
    Scenario {
        name: "static-100m",
        about: "a file of 100 MiB, on four connections that are kept alive",
        program: Program::Static { bytes: 100 << 20 },
        connections: 4,
        measures: RATE,
        ..STATIC
    },
];

const STATIC: Scenario = Scenario { guest: "none", script: None, measures: BOTH, ..HELLO };

/// The usual way inside of TLS.
const SECURE: Way = Way::Tls { resumes: false };

impl Scenario {
    /// The guest's file, of components in one folder, of native programs in another.
    pub fn file(&self, guests: &Path, native_guests: &Path) -> PathBuf {
        match self.program.file_name() {
            Some(name) => native_guests.join(self.guest).join(name),
            None => guests.join(format!("{}.wasm", self.guest)),
        }
    }

    /// Whether requests, or what stands for them, are inside of TLS.
    pub fn is_secure(&self) -> bool {
        self.way != Way::Plain
    }

    /// Whether a server is of the same sort as the guest, and speaks what is spoken. Those that are
    /// not are no peers.
    pub fn concerns(&self, kind: &Kind) -> bool {
        if self.is_secure() {
            return match kind {
                // Where all else is the same: the same connections, and more than handshakes.
                Kind::Plain(_) => self.way == SECURE && self.kept_share == 1.0,
                // Nothing is run.
                Kind::Fronted { .. } | Kind::Sockhop { instances: Instances::Reuse, .. } => {
                    self.way != Way::Handshakes
                }
                _ => kind.ends_tls(),
            };
        }
        match kind {
            Kind::Hyper | Kind::Plain(_) | Kind::Fronted { .. } => false,
            Kind::Null | Kind::Sockhop { instances: Instances::Fresh, .. } => true,
            Kind::Direct | Kind::Proxy { .. } => self.program == Program::Server,
            Kind::CargoLambda { .. } => self.program == Program::Invoked,
            _ if matches!(self.program, Program::Static { .. }) => {
                matches!(kind, Kind::Nginx { .. })
            }
            _ => !self.program.is_native(),
        }
    }

    /// Why a server cannot take part; nothing if it can.
    pub fn bars(&self, kind: &Kind) -> Option<&'static str> {
        let component = self.program == Program::Component;
        match kind {
            Kind::Sockhop { instances: Instances::Reuse, .. } if !component => {
                Some("a preview-1 program ends with each request")
            }
            Kind::Sockhop { .. } => None,
            Kind::Plain(kind) => self.bars(kind),
            // Its bar would be all there is to see beside theirs.
            Kind::Null => (self.upstream || self.guest == "cpu")
                .then_some("does none of what takes the time here"),
            Kind::Nginx { .. } => (!self.fixed).then_some("runs no functions"),
            Kind::Workerd { .. } if self.script.is_none() => {
                Some("would need another program than the others")
            }
            Kind::Wasmtime { .. } | Kind::Spin { .. } if !component => {
                Some("serves no preview-1 programs")
            }
            Kind::Wasmtime { .. } if self.zipf => Some("serves one function a process"),
            Kind::Workerd { .. } | Kind::Spin { .. } if self.zipf => {
                Some("is asked for one function only")
            }
            _ => None,
        }
    }

    /// The body of its requests.
    pub fn body(&self) -> Option<Vec<u8>> {
        match self.payload {
            Payload::None => None,
            Payload::Bytes(bytes) => Some(crate::load::payload(bytes)),
            Payload::Orders => Some(orders(ORDERS).into_bytes()),
            Payload::Event => Some(b"{}".to_vec()),
        }
    }
}

/// Orders with a few items each, as the guest takes them.
fn orders(count: u32) -> String {
    let item = |number: u32| {
        format!(
            r#"{{"sku":"M{}-{:05}","quantity":{},"cents":{}}}"#,
            number % 20,
            number,
            number % 9 + 1,
            number * 37 % 5000
        )
    };
    let order = |number: u32| {
        let items: Vec<String> = (0..4).map(|part| item(number * 4 + part)).collect();
        format!(
            r#"{{"id":{number},"customer":"Jane Doe the {number}th, \"bolts\" only","items":[{}]}}"#,
            items.join(",")
        )
    };
    format!(r#"{{"orders":[{}]}}"#, (1..=count).map(order).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_orders_are_json_of_about_ten_kibibytes() {
        let text = orders(ORDERS);
        assert!((9_500..11_000).contains(&text.len()), "{}", text.len());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["orders"].as_array().unwrap().len(), ORDERS as usize);
    }

    #[test]
    fn names_differ_and_sockhop_takes_part_in_all() {
        let mut names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
        let takes_part = |scenario: &Scenario, instances| {
            let kind = Kind::Sockhop { binary: PathBuf::new(), label: None, instances };
            scenario.concerns(&kind) && scenario.bars(&kind).is_none()
        };
        assert!(SCENARIOS.iter().all(|scenario| takes_part(scenario, Instances::Fresh)));
        let reuses = |scenario: &Scenario| {
            scenario.program == Program::Component && scenario.way != Way::Handshakes
        };
        assert!(
            SCENARIOS
                .iter()
                .all(|scenario| takes_part(scenario, Instances::Reuse) == reuses(scenario))
        );
    }

    #[test]
    fn only_who_ends_tls_is_asked_inside_of_it() {
        let hyper = Kind::Hyper;
        let plain = Kind::Plain(Box::new(Kind::Hyper));
        for scenario in &SCENARIOS {
            let secure = scenario.is_secure();
            assert_eq!(scenario.concerns(&hyper), secure, "{}", scenario.name);
            assert_eq!(scenario.concerns(&Kind::Null), !secure, "{}", scenario.name);
            let beside = ["tls-hello", "tls-echo"].contains(&scenario.name);
            assert_eq!(scenario.concerns(&plain), beside, "{}", scenario.name);
        }
    }

    #[test]
    fn peers_of_native_programs_are_asked_for_nothing_else() {
        let nginx = PathBuf::from("nginx");
        for scenario in &SCENARIOS {
            let native = scenario.program.is_native();
            assert_eq!(scenario.concerns(&Kind::Nginx { binary: nginx.clone() }), !native);
            if scenario.is_secure() {
                continue;
            }
            let proxy = Kind::Proxy { binary: nginx.clone() };
            assert_eq!(scenario.concerns(&proxy), scenario.name == "native", "{}", scenario.name);
            let cargo = Kind::CargoLambda { binary: PathBuf::new() };
            assert_eq!(scenario.concerns(&cargo), scenario.name == "invoke", "{}", scenario.name);
            let file = scenario.file(Path::new("a"), Path::new("b"));
            assert_eq!(file.starts_with("b"), native, "{}", file.display());
        }
    }
}
