//! A function for AWS Lambda, called by HTTP: it answers with a greeting.

use lambda_http::{Error, Request, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}

async fn handle(request: Request) -> Result<String, Error> {
    Ok(greeting(request.uri().path()))
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
