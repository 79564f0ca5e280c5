//! A program that is called once a request, as by CGI: it answers with a greeting.

use std::env;
use std::io::{self, Read as _};

fn main() -> io::Result<()> {
    let mut body = String::new();
    io::stdin().read_to_string(&mut body)?;
    let path = env::var("PATH_INFO").unwrap_or_default();
    println!("{}", greeting(&path, body.len()));
    Ok(())
}

fn greeting(path: &str, bytes: usize) -> String {
    format!("Hello from Rust, at {path}, with {bytes} bytes")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_path_is_in_the_greeting() {
        assert_eq!(super::greeting("/a", 3), "Hello from Rust, at /a, with 3 bytes");
    }
}
