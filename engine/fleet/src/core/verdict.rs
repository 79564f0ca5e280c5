//! What happens with a connection, by what can be seen of its next request. Pure; owns no fds.

use abi::catalogue::CatalogueView;
use abi::function::ArchivedIsolation;
use abi::head::{self, Parsed};
use abi::names::Names;
use abi::problem::Problem;
use abi::route::{Caller, route};

use super::Pool;

/// What happens with a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A worker of this pool takes it.
    Hop(Pool),
    /// It is answered with an error and closed.
    Refuse(Problem),
}

/// The first byte of a TLS connection: the type of a record with a handshake (RFC 8446 5.1). No
/// request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Returns whether a connection that begins with `bytes` is TLS.
pub fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TLS_HANDSHAKE)
}

/// Returns whether a connection to a port for TLS begins with something else.
pub fn is_plain(bytes: &[u8]) -> bool {
    !bytes.is_empty() && !is_tls(bytes)
}

/// Decides about a new connection to a port where clients speak TLS. An edge waits for the rest.
pub fn tls_verdict(bytes: &[u8]) -> Verdict {
    match is_plain(bytes) {
        true => Verdict::Refuse(Problem::new(400, "this port is for TLS: use an https:// URL")),
        false => Verdict::Hop(Pool::Edge),
    }
}

/// Decides by the bytes at the front of the connection. HTTP/2 goes to an edge. The shared workers
/// wait for the rest of a head that is not complete: they have deadlines and readiness for it, and
/// give the connection back if it turns out to be for another pool.
pub fn verdict(bytes: &[u8], catalogue: &CatalogueView, names: &Names, caller: Caller) -> Verdict {
    if caller == Caller::Public && head::is_http2(bytes) {
        return Verdict::Hop(Pool::Edge);
    }
    let head = match head::parse(bytes) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Partial) => return Verdict::Hop(Pool::Shared),
        Err(error) => return Verdict::Refuse(error.into()),
    };
    match route(catalogue, names, head.host, head.target, caller) {
        Err(missing) => Verdict::Refuse(missing.into()),
        Ok(route) => Verdict::Hop(match catalogue.function(route.function) {
            Some(function) if function.isolation == ArchivedIsolation::Process => {
                Pool::Function(function.name.as_str().to_owned())
            }
            _ => Pool::Shared,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::catalogue::{Alias, Catalogue, Function, Host, HostRoute, Spec, Target, Version};
    use abi::choice::ACTIVE;
    use abi::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};
    use proptest::prelude::*;

    fn catalogue() -> CatalogueView {
        let version = Version { number: 1, id: [1; 16], module: [0; 32], assets: None, spec: 0 };
        let active =
            Alias { name: ACTIVE.into(), targets: vec![Target { version: 0, spec: 0, weight: 1 }] };
        let function = |name: &str, isolation| Function {
            name: name.into(),
            isolation,
            slot: 0,
            slot_incarnation: 1,
            secrets: 0,
            previews: true,
            aliases: vec![active.clone()],
            versions: vec![version.clone()],
        };
        let spec = Spec {
            kind: Kind::Http02,
            limits: FunctionLimits::default(),
            requests_per_instance_max: 1,
            env: Vec::new(),
            config: Vec::new(),
            args: Vec::new(),
            output: Output::Raw,
            allow_outbound: Vec::new(),
            kv: Vec::new(),
            handler: String::new(),
            network: NetworkMode::default(),
            websocket: WebSocketMode::default(),
            respond_async: false,
            report_lines: false,
        };
        let functions = vec![function("a", Isolation::Shared), function("own", Isolation::Process)];
        let route = |prefix: &str, function: &str| HostRoute {
            prefix: prefix.into(),
            function: function.into(),
            alias: String::new(),
        };
        let routes = vec![route("", "a"), route("/own", "own"), route("/gone", "gone")];
        let hosts = vec![Host { name: "shop.example".into(), routes }];
        CatalogueView::new(
            Catalogue { generation: 1, functions, specs: vec![spec], hosts }.seal().unwrap(),
        )
        .unwrap()
    }

    fn of(text: &str) -> Verdict {
        let names = Names { domain: Some("example.com".to_owned()), paths: true };
        verdict(text.as_bytes(), &catalogue(), &names, Caller::Public)
    }

    #[test]
    fn requests_go_where_their_function_runs() {
        assert_eq!(of("GET /a/ HTTP/1.1\r\nHost: h\r\n\r\n"), Verdict::Hop(Pool::Shared));
        assert_eq!(
            of("GET /own/ HTTP/1.1\r\nHost: h\r\n\r\n"),
            Verdict::Hop(Pool::Function("own".into()))
        );
        assert_eq!(
            of("GET / HTTP/1.1\r\nHost: own.example.com\r\n\r\n"),
            Verdict::Hop(Pool::Function("own".into()))
        );
        // Whichever of its versions.
        assert_eq!(
            of("GET /own@v1/ HTTP/1.1\r\nHost: h\r\n\r\n"),
            Verdict::Hop(Pool::Function("own".into()))
        );
        // By a domain.
        for (path, pool) in
            [("/", Pool::Shared), ("/ownx", Pool::Shared), ("/own/x", Pool::Function("own".into()))]
        {
            let head = format!("GET {path} HTTP/1.1\r\nHost: SHOP.example:80\r\n\r\n");
            assert_eq!(of(&head), Verdict::Hop(pool), "{path}");
        }
        assert_eq!(of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Verdict::Hop(Pool::Edge));
        assert_eq!(of("GET /own/ HTT"), Verdict::Hop(Pool::Shared));
        assert_eq!(of(""), Verdict::Hop(Pool::Shared));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let status = |text| match of(text) {
            Verdict::Refuse(problem) => problem.status,
            hop => panic!("{hop:?}"),
        };
        assert_eq!(status("GET /b/ HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
        assert_eq!(status("GET /gone HTTP/1.1\r\nHost: shop.example\r\n\r\n"), 404);
        assert_eq!(status("GET /a@v2/ HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
        assert_eq!(status("GET /a/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("\x16\x03\x01"), 400);
    }

    #[test]
    fn a_port_for_tls_takes_nothing_else() {
        assert_eq!(tls_verdict(b""), Verdict::Hop(Pool::Edge));
        assert_eq!(tls_verdict(b"\x16"), Verdict::Hop(Pool::Edge));
        let plain = tls_verdict(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(matches!(plain, Verdict::Refuse(problem) if problem.status == 400));
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
            let _ = verdict(&bytes, &catalogue(), &Names::default(), Caller::Public);
        }
    }
}
