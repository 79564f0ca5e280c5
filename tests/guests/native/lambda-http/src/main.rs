//! A function for HTTP requests, as users of `lambda_http` write it.
//!
//! | path          | reply                                                                    |
//! |---------------|--------------------------------------------------------------------------|
//! | `/echo`       | the request's body and its `content-type`, byte by byte                  |
//! | `/sleep?ms=N` | `slept N ms`, after that time                                            |
//! | `/bytes`      | the bytes `00 ff 80 0a` as `application/octet-stream`                    |
//! | `/cookies`    | two cookies, `one=1; Path=/` and `two=2`                                 |
//! | `/status/N`   | the status N and no body                                                 |
//! | `/error`      | none: the handler returns an error                                       |
//! | `/panic`      | none: the handler panics, and lambda_runtime reports it                  |
//! | `/exit?N`     | none: the process ends with code N (default 1), after a line on stderr   |
//! | any other     | what the function was given, as JSON; a line on stdout and one on stderr |

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_http::{Body, Error, Request, RequestExt as _, Response, run, service_fn};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}

async fn handle(request: Request) -> Result<Response<Body>, Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/echo" => {
            let mut response = Response::builder();
            if let Some(kind) = request.headers().get("content-type") {
                response = response.header("content-type", kind);
            }
            Ok(response.body(request.into_body())?)
        }
        "/sleep" => {
            let ms = query.strip_prefix("ms=").unwrap_or("1000").parse()?;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(text(&format!("slept {ms} ms"))?)
        }
        "/bytes" => Ok(Response::builder()
            .header("content-type", "application/octet-stream")
            .body(Body::Binary(vec![0x00, 0xff, 0x80, 0x0a]))?),
        "/cookies" => Ok(Response::builder()
            .header("set-cookie", "one=1; Path=/")
            .header("set-cookie", "two=2")
            .body(Body::Text("two cookies".to_owned()))?),
        "/error" => Err("an error of the handler".into()),
        "/panic" => panic!("a panic of the handler"),
        "/exit" => {
            eprintln!("last words");
            std::process::exit(query.parse().unwrap_or(1));
        }
        path => match path.strip_prefix("/status/") {
            Some(status) => Ok(Response::builder().status(status).body(Body::Empty)?),
            None => Ok(inspect(&request)?),
        },
    }
}

fn text(text: &str) -> Result<Response<Body>, lambda_http::http::Error> {
    Response::builder()
        .header("content-type", "text/plain; charset=utf-8")
        .body(Body::Text(text.to_owned()))
}

/// Replies with all that a handler can see of its request.
fn inspect(request: &Request) -> Result<Response<Body>, lambda_http::http::Error> {
    let headers: BTreeMap<_, Vec<_>> = request
        .headers()
        .keys()
        .map(|name| {
            let values = request.headers().get_all(name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (name.as_str(), values)
        })
        .collect();
    let parameters = request.query_string_parameters();
    let parameters: BTreeMap<_, Vec<_>> = parameters
        .iter()
        .map(|(name, _)| (name, parameters.all(name).unwrap_or_default()))
        .collect();
    let (kind, body) = match request.body() {
        Body::Text(text) => ("text", text.clone()),
        Body::Binary(bytes) => ("binary", bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        _ => ("empty", String::new()),
    };
    let context = request.lambda_context_ref();
    println!("a line on stdout");
    eprintln!("a line on stderr");
    let seen = json!({
        "method": request.method().as_str(),
        "path": request.raw_http_path(),
        "uri": request.uri().to_string(),
        "query": parameters,
        "headers": headers,
        "kind": kind,
        "body": body,
        "id": context.map(|context| context.request_id.clone()),
        "function": context.map(|context| context.env_config.function_name.clone()),
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::Text(seen.to_string()))
}
