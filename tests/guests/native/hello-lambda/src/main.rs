//! The smallest `bootstrap`: the Runtime API over one `TcpStream`, for figures of cold starts.
//!
//! It replies `Hello, world!` as `text/plain`. It reads bodies by their `content-length`, which the
//! Runtime API must send with every event, and keeps one connection open.

use std::io::{BufRead as _, BufReader, Read as _, Result, Write as _};
use std::net::TcpStream;

const REPLY: &str = concat!(
    r#"{"statusCode":200,"headers":{"content-type":"text/plain"},"#,
    r#""body":"Hello, world!"}"#
);

fn main() -> Result<()> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("the node says where its API is");
    let mut writer = TcpStream::connect(&api)?;
    writer.set_nodelay(true)?;
    let mut reader = BufReader::new(writer.try_clone()?);
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {api}\r\n\r\n");
    loop {
        writer.write_all(next.as_bytes())?;
        let Some(id) = read_answer(&mut reader)? else { return Ok(()) };
        let reply = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {api}\r\n\
             content-length: {}\r\n\r\n{REPLY}",
            REPLY.len(),
        );
        writer.write_all(reply.as_bytes())?;
        read_answer(&mut reader)?;
    }
}

/// Reads an answer of the API and drops its body. Returns the request id, which is empty where the
/// answer has none; `None` if the connection has ended.
fn read_answer(reader: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let (mut id, mut length) = (String::new(), 0);
    for at in 0.. {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() && at > 0 {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("lambda-runtime-aws-request-id") {
            value.trim().clone_into(&mut id);
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a number");
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(Some(id))
}
