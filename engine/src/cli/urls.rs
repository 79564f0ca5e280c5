//! Where a function can be called: what `deploy` prints. Pure; owns no fds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::route::LOCAL_DOMAIN;
use api::domains::ListedDomain;

/// By what a node finds a function.
pub(super) struct Named<'a> {
    /// The URLs that the node listens on.
    pub(super) listeners: &'a [String],
    /// Whether paths name functions there.
    pub(super) by_path: bool,
    /// The domains that are for the function.
    pub(super) domains: &'a [ListedDomain],
    /// The host by which the node itself is reached, if it is elsewhere.
    pub(super) host: Option<&'a str>,
}

/// Returns the URLs of function `name`, the best first. `reference` is empty, or `@` and a version,
/// which no host can name.
pub(super) fn urls(named: &Named<'_>, name: &str, reference: &str) -> Vec<String> {
    let Named { listeners, by_path, domains, host } = named;
    let elsewhere = host.filter(|host| !is_on_this_machine(host));
    let addresses = listeners.iter().filter_map(|listener| {
        let (scheme, address) = listener.split_once("://")?;
        Some((scheme, address.parse::<SocketAddr>().ok()?))
    });
    let addresses: Vec<(&str, SocketAddr)> = addresses.collect();
    let of_domain = |domain: &ListedDomain| {
        let (scheme, address) = addresses.first()?;
        let port = match (*scheme, address.port()) {
            ("http", 80) | ("https", 443) => String::new(),
            (_, port) => format!(":{port}"),
        };
        // A wildcard is no host, and an alias may mean another version.
        (reference.is_empty() && domain.alias.is_none() && !domain.host.starts_with('*'))
            .then(|| format!("{scheme}://{}{port}{}/", domain.host, domain.prefix))
    };
    let local = |(scheme, address): &(&str, SocketAddr)| {
        // What resolves a name below localhost gives these two (RFC 6761 6.3).
        let found = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .contains(&address.ip());
        (found && reference.is_empty() && elsewhere.is_none())
            .then(|| format!("{scheme}://{name}.{LOCAL_DOMAIN}:{}/", address.port()))
    };
    // A Unix socket has no URL, and behind the PROXY protocol a client finds nothing by itself.
    let by_path = addresses
        .iter()
        .filter(|_| *by_path)
        .filter(|(_, address)| elsewhere.is_none() || !address.ip().is_loopback())
        .map(|(scheme, address)| match elsewhere {
            Some(host) if address.ip().is_unspecified() => {
                format!("{scheme}://{host}:{}/{name}{reference}/", address.port())
            }
            _ => format!("{scheme}://{address}/{name}{reference}/"),
        });
    let by_domain = domains.iter().filter_map(of_domain);
    by_domain.chain(addresses.iter().find_map(local)).chain(by_path).collect()
}

/// Whether a URL with this host leads to the machine itself.
pub(super) fn is_on_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == LOCAL_DOMAIN || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(listeners: &[&str], reference: &str, by_path: bool, domains: &[ListedDomain]) -> String {
        let listeners: Vec<String> = listeners.iter().copied().map(str::to_owned).collect();
        let named = Named { listeners: &listeners, by_path, domains, host: None };
        urls(&named, "shop", reference).join(" ")
    }

    #[test]
    fn a_page_that_a_browser_can_use_comes_first() {
        let of = |listeners: &[&str], reference| of(listeners, reference, true, &[]);
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
        let by_proxy = ["unix:/run/a.sock", "http://192.0.2.1:80?proxy-protocol"];
        assert_eq!(of(&by_proxy, ""), "");
        assert_eq!(of(&[], ""), "");
    }

    #[test]
    fn of_a_node_elsewhere_there_is_no_address_of_this_machine() {
        let of = |host, listeners: &[&str]| {
            let listeners: Vec<String> = listeners.iter().copied().map(str::to_owned).collect();
            let named =
                Named { listeners: &listeners, by_path: true, domains: &[], host: Some(host) };
            urls(&named, "shop", "").join(" ")
        };
        let both = ["http://0.0.0.0:80", "http://127.0.0.1:81"];
        assert_eq!(of("node.example", &both), "http://node.example:80/shop/");
        assert_eq!(of("node.example", &["http://192.0.2.1:80"]), "http://192.0.2.1:80/shop/");
        assert_eq!(
            of("127.0.0.1", &both[1..]),
            "http://shop.localhost:81/ http://127.0.0.1:81/shop/"
        );
    }

    #[test]
    fn domains_come_before_all_else_and_paths_only_where_they_are_routed_by() {
        let domain = |host: &str, prefix: &str, alias: Option<&str>| ListedDomain {
            domain: String::new(),
            host: host.to_owned(),
            prefix: prefix.to_owned(),
            function: "shop".to_owned(),
            alias: alias.map(str::to_owned),
            added_ms: 1,
            certificate_until_ms: None,
            certificate_error: None,
            error: None,
        };
        let domains = [
            domain("*.example.com", "", None),
            domain("beta.example.com", "", Some("beta")),
            domain("example.com", "/shop", None),
        ];
        assert_eq!(of(&["http://0.0.0.0:80"], "", false, &domains), "http://example.com/shop/");
        assert_eq!(of(&["https://0.0.0.0:443"], "", false, &domains), "https://example.com/shop/");
        assert_eq!(
            of(&["http://127.0.0.1:81"], "", true, &domains),
            "http://example.com:81/shop/ http://shop.localhost:81/ http://127.0.0.1:81/shop/"
        );
        assert_eq!(of(&["http://127.0.0.1:81"], "@v2", false, &domains), "");
    }
}
