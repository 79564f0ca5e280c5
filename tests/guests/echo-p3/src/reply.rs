//! Building responses: whole ones, and those whose body and trailers are written while they are on
//! their way.

use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::rt::async_support::{FutureWriter, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// A response and the ends through which the rest of it is written. To be written to only after the
/// response has been returned, in a task of its own: before that, nobody reads. Dropping an end
/// says that there is no more.
pub struct Reply {
    pub response: Response,
    pub body: StreamWriter<u8>,
    pub trailers: FutureWriter<Result<Option<Trailers>, ErrorCode>>,
}

impl Reply {
    pub fn new(headers: Fields) -> Self {
        let (body, contents) = wit_stream::new();
        let (trailers, end) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), end);
        Self { response, body, trailers }
    }
}

/// A whole reply, with its length.
pub fn text(extra: &[(&str, &str)], text: String) -> Response {
    let headers =
        headers(&[("content-type", "text/plain"), ("content-length", &text.len().to_string())]);
    for (name, value) in extra {
        headers.append(name, value.as_bytes()).expect("is well formed");
    }
    let mut reply = Reply::new(headers);
    spawn_local(async move {
        reply.body.write_all(text.into_bytes()).await;
    });
    reply.response
}

pub fn headers(list: &[(&str, &str)]) -> Fields {
    let list: Vec<_> =
        list.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Fields::from_list(&list).expect("are well formed")
}

/// Those of the request's headers that tell about its body.
pub fn like(request: &Request) -> Fields {
    let theirs = request.get_headers();
    let ours = Fields::new();
    for name in ["content-type", "trailer"] {
        for value in theirs.get(name) {
            ours.append(name, &value).expect("was taken from a request");
        }
    }
    ours
}
