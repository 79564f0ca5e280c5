//! The variables by which HTTP clients find the proxy. Owns no fds.

/// Returns the environment variables, names and values, that make a process's HTTP clients use the
/// proxy that listens on `port` of 127.0.0.1.
///
/// There is no standard for them. Most clients read both spellings; some, curl among them, read
/// `http_proxy` in lower case alone. What a process asks of its own loopback goes past the proxy.
pub fn environment(port: u16) -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{port}");
    let direct = "localhost,127.0.0.1,::1".to_owned();
    [("HTTP_PROXY", &proxy), ("HTTPS_PROXY", &proxy), ("ALL_PROXY", &proxy), ("NO_PROXY", &direct)]
        .into_iter()
        .flat_map(|(name, value)| {
            [(name.to_owned(), value.clone()), (name.to_ascii_lowercase(), value.clone())]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_has_both_spellings() {
        let variables = environment(8080);
        assert_eq!(variables.len(), 8);
        for name in ["HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            let expected = (name.to_owned(), "http://127.0.0.1:8080".to_owned());
            assert!(variables.contains(&expected), "{name}");
        }
        for name in ["NO_PROXY", "no_proxy"] {
            let expected = (name.to_owned(), "localhost,127.0.0.1,::1".to_owned());
            assert!(variables.contains(&expected), "{name}");
        }
    }
}
