//! Replies with everything the guest was given, as JSON.
//!
//! The node must reply 200 with `content-type: application/json` and an object with the members
//! `method`, `path`, `query` (null if the target has no `?`), `headers` (name to list of values),
//! `environment`, `scheme` and `authority`. `inspect stdout line` must show up once where the
//! guest's stdout goes, `inspect stderr line` where its stderr goes.
//!
//! Raw bindings: `wstd` would parse and normalise the target before the guest could see it.

use std::collections::BTreeMap;

use serde::Serialize;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
};

#[derive(Serialize)]
struct Report {
    method: String,
    path: Option<String>,
    query: Option<String>,
    headers: BTreeMap<String, Vec<String>>,
    environment: BTreeMap<String, String>,
    scheme: Option<String>,
    authority: Option<String>,
}

impl Report {
    fn new(request: &IncomingRequest) -> Self {
        let target = request.path_with_query();
        let (path, query) = match target.as_deref().map(|target| target.split_once('?')) {
            Some(Some((path, query))) => (Some(path.to_owned()), Some(query.to_owned())),
            _ => (target, None),
        };
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in request.headers().entries() {
            let value = String::from_utf8_lossy(&value).into_owned();
            headers.entry(name).or_default().push(value);
        }
        Self {
            method: method_name(request.method()),
            path,
            query,
            headers,
            environment: std::env::vars().collect(),
            scheme: request.scheme().map(scheme_name),
            authority: request.authority(),
        }
    }
}

fn method_name(method: Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => return name,
    };
    name.to_owned()
}

fn scheme_name(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}

struct Inspect;

impl Guest for Inspect {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        println!("inspect stdout line");
        eprintln!("inspect stderr line");
        let report = serde_json::to_vec(&Report::new(&request)).expect("only strings");

        let headers =
            Fields::from_list(&[("content-type".to_owned(), b"application/json".to_vec())])
                .expect("the header is well formed");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("taken once");
        ResponseOutparam::set(response_out, Ok(response));

        let stream = body.write().expect("taken once");
        // One blocking write takes 4096 bytes at most.
        for piece in report.chunks(4096) {
            stream.blocking_write_and_flush(piece).expect("the client stays until the end");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("no length was promised");
    }
}

wasip2::http::proxy::export!(Inspect);
