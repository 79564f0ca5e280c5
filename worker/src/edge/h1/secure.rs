//! Where a client is sent that asks for a page without TLS (RFC 9110 15.4.9). Pure; owns no fds.

use http::HeaderValue;

/// The port that `https` means if none is named (RFC 9110 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Returns the same URL by `https` and on `port`. Returns `None` if the request names no host, or
/// has no path.
pub(in crate::edge) fn location(
    host: Option<&str>,
    target: &str,
    port: u16,
) -> Option<HeaderValue> {
    let authority = host.filter(|host| !host.is_empty())?;
    // An IPv6 address has colons of its own, in brackets.
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let host = authority[end..].find(':').map_or(authority, |colon| &authority[..end + colon]);
    let path = match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((_, rest)) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        None => return None,
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    HeaderValue::try_from(format!("https://{host}{port}{slash}{path}")).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn host_and_path_stay_and_the_port_is_that_of_https() {
        let location = |host, target, port| {
            super::location(host, target, port).map(|value| value.to_str().unwrap().to_owned())
        };
        for (host, target, port, expected) in [
            ("a.example", "/x?y", 443, "https://a.example/x?y"),
            ("a.example:8080", "/", 443, "https://a.example/"),
            ("a.example:8080", "/", 8443, "https://a.example:8443/"),
            ("[::1]:80", "/x", 443, "https://[::1]/x"),
            ("[::1]", "//x", 443, "https://[::1]//x"),
            ("b.example", "http://b.example:80/x", 443, "https://b.example/x"),
            ("b.example", "http://b.example?y", 443, "https://b.example/?y"),
            ("b.example", "http://b.example", 443, "https://b.example/"),
        ] {
            assert_eq!(location(Some(host), target, port).as_deref(), Some(expected), "{host}");
        }
        for (host, target) in [(None, "/"), (Some(""), "/"), (Some("a"), "*"), (Some("a"), "a:80")]
        {
            assert_eq!(location(host, target, 443), None);
        }
    }
}
