//! An HTTP server on $PORT: it answers with a greeting.

use axum::Router;
use axum::http::Uri;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;
    axum::serve(listener, Router::new().fallback(|uri: Uri| async move { greeting(uri.path()) })).await
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
