//! One outgoing request: what is wanted of it, sending it, waiting for its response. Errors are
//! text for the report.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};

/// One blocking write takes 4096 bytes at most.
const PIECE: usize = 4096;

#[derive(Default)]
pub struct Wanted {
    url: String,
    method: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<String>,
    connect_ms: Option<u64>,
    first_byte_ms: Option<u64>,
    between_ms: Option<u64>,
}

impl Wanted {
    /// Takes one pair of the query.
    pub fn take(&mut self, name: &str, value: String) {
        let ms = || Some(value.parse().expect("a number of milliseconds"));
        match name {
            "connect-ms" => self.connect_ms = ms(),
            "first-byte-ms" => self.first_byte_ms = ms(),
            "between-ms" => self.between_ms = ms(),
            "url" => self.url = value,
            "method" => self.method = value,
            "body" => self.body = Some(value),
            "header" => {
                let (name, value) = value.split_once(':').expect("NAME:VALUE");
                self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
            }
            _ => panic!("the query has {name}, which this guest does not know"),
        }
    }
}

/// A request that has left, body and all.
pub struct Sent(FutureIncomingResponse);

impl Sent {
    /// Waits for the response's head.
    pub fn response(self) -> Result<IncomingResponse, String> {
        self.0.subscribe().block();
        self.0.get().expect("is ready").expect("asked once").map_err(|error| format!("{error:?}"))
    }
}

pub fn send(wanted: &Wanted) -> Result<Sent, String> {
    let headers = Fields::from_list(&wanted.headers).map_err(|error| format!("{error:?}"))?;
    let request = OutgoingRequest::new(headers);
    address(&request, &wanted.url)?;
    request
        .set_method(&method(&wanted.method))
        .map_err(|()| format!("the method {:?} is refused", wanted.method))?;

    let body = request.body().expect("taken once");
    let pending = outgoing_handler::handle(request, options(wanted)?)
        .map_err(|error| format!("{error:?}"))?;
    // The host reads the body while it sends, so it is written only now.
    if let Some(text) = &wanted.body {
        let stream = body.write().expect("taken once");
        for piece in text.as_bytes().chunks(PIECE) {
            // The response says why, and may be a whole one: an upstream need not read all it is
            // sent.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
    Ok(Sent(pending))
}

/// Splits `SCHEME://AUTHORITY/PATH?QUERY`. What a part may look like is for the host to say.
fn address(request: &OutgoingRequest, url: &str) -> Result<(), String> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| format!("the url {url:?} has no scheme"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme is refused")?;
    request
        .set_authority(Some(authority))
        .map_err(|()| format!("the authority {authority:?} is refused"))?;
    request
        .set_path_with_query(Some(&path))
        .map_err(|()| format!("the path {path:?} is refused"))?;
    Ok(())
}

fn method(name: &str) -> Method {
    match name {
        "" | "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(wanted: &Wanted) -> Result<Option<RequestOptions>, String> {
    let options = RequestOptions::new();
    let ns = |ms: u64| ms * 1_000_000;
    options.set_connect_timeout(wanted.connect_ms.map(ns)).map_err(|()| "connect-ms is refused")?;
    options
        .set_first_byte_timeout(wanted.first_byte_ms.map(ns))
        .map_err(|()| "first-byte-ms is refused")?;
    options
        .set_between_bytes_timeout(wanted.between_ms.map(ns))
        .map_err(|()| "between-ms is refused")?;
    Ok(Some(options))
}
