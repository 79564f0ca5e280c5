//! A handler of HTTP requests: it answers with a greeting.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let text = greeting(request.uri().path());
    Ok(Response::builder().header("content-type", "text/plain").body(text.into())?)
}

fn greeting(path: &str) -> String {
    format!("Hello from Rust, at {path}\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_path_is_in_the_greeting() {
        assert_eq!(super::greeting("/a"), "Hello from Rust, at /a\n");
    }
}
