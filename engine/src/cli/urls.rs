//! Where a function can be called: what `deploy` prints. Pure; owns no fds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::route::LOCAL_DOMAIN;

/// Returns the URLs of function `name` on a node with `listeners`, the best first. `reference` is
/// empty, or `@` and a version, which no host can name.
pub(super) fn urls(listeners: &[String], name: &str, reference: &str) -> Vec<String> {
    let local = |listener: &String| {
        let address: SocketAddr = listener.strip_prefix("http://")?.parse().ok()?;
        // What resolves a name below localhost gives these two (RFC 6761 6.3).
        let found = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .contains(&address.ip());
        (found && reference.is_empty())
            .then(|| format!("http://{name}.{LOCAL_DOMAIN}:{}/", address.port()))
    };
    let by_path = listeners.iter().map(|listener| format!("{listener}/{name}{reference}/"));
    listeners.iter().find_map(local).into_iter().chain(by_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_a_browser_can_use_comes_first() {
        let of = |listeners: &[&str], reference| {
            let listeners: Vec<String> = listeners.iter().copied().map(str::to_owned).collect();
            urls(&listeners, "shop", reference).join(" ")
        };
        assert_eq!(
            of(&["http://127.0.0.1:8080"], ""),
            "http://shop.localhost:8080/ http://127.0.0.1:8080/shop/"
        );
        assert_eq!(of(&["http://[::1]:81"], ""), "http://shop.localhost:81/ http://[::1]:81/shop/");
        assert_eq!(of(&["http://127.0.0.1:8080"], "@v2"), "http://127.0.0.1:8080/shop@v2/");
        assert_eq!(
            of(&["http://0.0.0.0:80", "http://127.0.0.1:81"], ""),
            "http://shop.localhost:81/ http://0.0.0.0:80/shop/ http://127.0.0.1:81/shop/"
        );
        assert_eq!(of(&["http://192.0.2.1:80"], ""), "http://192.0.2.1:80/shop/");
        assert_eq!(of(&[], ""), "");
    }
}
