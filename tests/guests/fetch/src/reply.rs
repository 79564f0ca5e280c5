//! What the guest's own client gets: a report of an upstream's response, or that response as it
//! comes.

use wasip2::http::types::{
    Fields, IncomingBody, IncomingResponse, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// One blocking write takes 4096 bytes at most.
const PIECE: usize = 4096;

/// Reads the response to its end and adds its lines to `text`. After an error, the lines so far
/// stay.
pub fn report(response: IncomingResponse, text: &mut Vec<u8>) -> Result<(), String> {
    text.extend_from_slice(format!("status: {}\n", response.status()).as_bytes());
    fields(text, "header", &response.headers());

    let body = response.consume().expect("taken once");
    let stream = body.stream().expect("taken once");
    let mut bytes = Vec::new();
    let end = loop {
        match stream.blocking_read(1 << 16) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => break Ok(()),
            Err(error) => break Err(describe(&error)),
        }
    };
    drop(stream);
    text.extend_from_slice(format!("body-bytes: {}\nbody: ", bytes.len()).as_bytes());
    text.extend_from_slice(&bytes);
    text.push(b'\n');
    end?;

    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let trailers = trailers
        .get()
        .expect("is ready")
        .expect("asked once")
        .map_err(|error| format!("{error:?}"))?;
    if let Some(trailers) = trailers {
        fields(text, "trailer", &trailers);
    }
    Ok(())
}

fn fields(text: &mut Vec<u8>, kind: &str, fields: &Fields) {
    for (name, value) in fields.entries() {
        text.extend_from_slice(format!("{kind}: {name}: ").as_bytes());
        text.extend_from_slice(&value);
        text.push(b'\n');
    }
}

/// The name of the HTTP error where the host knows one, else its own words.
fn describe(error: &StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => {
            match wasip2::http::types::http_error_code(error) {
                Some(code) => format!("{code:?}"),
                // The host may add a backtrace.
                None => error.to_debug_string().lines().next().unwrap_or_default().to_owned(),
            }
        }
    }
}

/// A reply that is there as a whole.
pub fn text(status: u16, text: &[u8], response_out: ResponseOutparam) {
    let Some(body) = begin(status, b"text/plain", response_out) else { return };
    let stream = body.write().expect("taken once");
    for piece in text.chunks(PIECE) {
        // The only error that can come is that the client left, and then nobody is to be told.
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// The upstream's response, as it comes. When that breaks off, so does the reply.
pub fn stream(response: Result<IncomingResponse, String>, response_out: ResponseOutparam) {
    let response = match response {
        Ok(response) => response,
        Err(error) => return text(502, format!("error: {error}\n").as_bytes(), response_out),
    };
    let kind = response.headers().get("content-type").into_iter().next().unwrap_or_default();
    let Some(to) = begin(response.status(), &kind, response_out) else { return };
    let from = response.consume().expect("taken once");
    let source = from.stream().expect("taken once");
    let sink = to.write().expect("taken once");
    loop {
        // A plain copy; `splice` would let the host do it, as the guest `echo` has it.
        match source.blocking_read(PIECE as u64) {
            Ok(piece) if sink.blocking_write_and_flush(&piece).is_ok() => {}
            Err(StreamError::Closed) => break,
            // Without `finish`, the reply is broken off.
            Ok(_) | Err(_) => return,
        }
    }
    drop((source, sink));
    let _ = OutgoingBody::finish(to, None);
}

fn begin(status: u16, kind: &[u8], response_out: ResponseOutparam) -> Option<OutgoingBody> {
    let headers = Fields::from_list(&[("content-type".to_owned(), kind.to_vec())]).ok()?;
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).ok()?;
    let body = response.body().expect("taken once");
    ResponseOutparam::set(response_out, Ok(response));
    Some(body)
}
