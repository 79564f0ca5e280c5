//! A receiver of OpenTelemetry's spans, which speaks OTLP over HTTP as JSON. It answers with the
//! status that the test chooses, and keeps the spans that it has accepted.
//!
//! Each connection has a thread, which ends with it. A request that is not well formed panics
//! there, and its spans do not arrive.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// A span as it was received.
#[derive(Debug, Clone)]
pub struct Span {
    /// The id of its trace.
    pub trace: String,
    /// The id of the span.
    pub id: String,
    /// The id of its parent.
    pub parent: Option<String>,
    /// Its name.
    pub name: String,
    /// Its start, in nanoseconds since 1970.
    pub start: u64,
    /// Its end, in nanoseconds since 1970.
    pub end: u64,
    /// The whole span.
    pub json: Value,
}

impl Span {
    fn read(json: &Value) -> Self {
        let text = |key: &str| {
            json[key].as_str().unwrap_or_else(|| panic!("no {key} in {json}")).to_owned()
        };
        let number = |key: &str| {
            text(key).parse().unwrap_or_else(|_| panic!("{key} is no number in {json}"))
        };
        let (start, end) = (number("startTimeUnixNano"), number("endTimeUnixNano"));
        let parent = json["parentSpanId"].as_str().map(str::to_owned);
        let (trace, id, name) = (text("traceId"), text("spanId"), text("name"));
        assert!(trace.len() == 32 && id.len() == 16 && start <= end, "{json}");
        Self { trace, id, parent, name, start, end, json: json.clone() }
    }

    /// Returns an attribute as text, whatever its type is.
    pub fn attribute(&self, key: &str) -> Option<String> {
        let attributes = self.json["attributes"].as_array()?;
        let value = &attributes.iter().find(|attribute| attribute["key"] == key)?["value"];
        let text = value["stringValue"].as_str().or_else(|| value["intValue"].as_str());
        Some(
            text.unwrap_or_else(|| panic!("{key} has neither text nor a number: {value}"))
                .to_owned(),
        )
    }
}

#[derive(Debug)]
struct Shared {
    /// The status that it answers with.
    status: AtomicU16,
    requests: AtomicUsize,
    spans: Mutex<Vec<Span>>,
    /// The headers of the last request, in lower case.
    headers: Mutex<Vec<String>>,
}

/// A running receiver. It runs as long as the test's process.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Collector {
    /// Starts a receiver on a free port of 127.0.0.1. It accepts all spans.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            status: AtomicU16::new(200),
            requests: AtomicUsize::new(0),
            spans: Mutex::default(),
            headers: Mutex::default(),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.expect("an fd to spare"), Arc::clone(&ours));
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this status from now on. It accepts spans only with a 200.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, SeqCst);
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(SeqCst)
    }

    /// Returns the spans that it has accepted so far.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.spans.lock().expect("no holder panics").clone()
    }

    /// Returns the headers of the last request, as `name: value`, in lower case.
    pub fn headers(&self) -> Vec<String> {
        self.shared.headers.lock().expect("no holder panics").clone()
    }
}

/// Answers requests until the client ends the connection.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().expect("an fd to spare"));
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(1..) if line != "\r\n" => lines.push(line.trim_end().to_lowercase()),
                Ok(1..) => break,
                _ => return,
            }
        }
        assert_eq!(lines[0], "post /v1/traces http/1.1");
        let length =
            lines.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        assert!(lines.iter().any(|line| line == "content-type: application/json"), "{lines:?}");
        let status = shared.status.load(SeqCst);
        if status == 200 {
            take(&body, shared);
        }
        let last = lines.iter().any(|line| line == "connection: close");
        *shared.headers.lock().expect("no holder panics") = lines;
        shared.requests.fetch_add(1, SeqCst);
        let answer = format!(
            "HTTP/1.1 {status} So\r\ncontent-length: 2\r\n\
             content-type: application/json\r\n\r\n{{}}"
        );
        if stream.write_all(answer.as_bytes()).is_err() || last {
            return;
        }
    }
}

fn take(body: &[u8], shared: &Shared) {
    let json: Value = serde_json::from_slice(body).expect("JSON");
    let resource = &json["resourceSpans"][0];
    let attributes = resource["resource"]["attributes"].as_array().expect("a resource");
    assert!(
        attributes
            .iter()
            .any(|a| a["key"] == "service.name" && a["value"]["stringValue"] == "sockhop"),
        "{json}"
    );
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
    let spans: Vec<Span> = spans.iter().map(Span::read).collect();
    shared.spans.lock().expect("no holder panics").extend(spans);
}
