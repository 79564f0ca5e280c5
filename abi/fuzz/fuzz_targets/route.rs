//! Routing: `abi::route::route` over a fixed catalogue, by any domain, host and target.
//!
//! The function exists and bears the name that the host or the path says, or is the one that a look
//! at every route of every domain finds, and there is a version to choose; the prefix that is cut
//! off the path is a part of it, as the worker's HTTP library understands the path; and the reply to
//! an unknown name is good HTTP.
//!
//! An input is three lines: domain, host, and target, which may have more. `-` is no domain or no
//! host. A `!` before the domain switches routes by path off.
#![no_main]

use std::sync::LazyLock;

use abi::catalogue::{
    Alias, Catalogue, CatalogueView, Function, Host, HostRoute, Spec, Target, Version,
};
use abi::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};
use abi::invocation_id::InvocationId;
use abi::limits::DOMAIN_HOST_BYTES_MAX;
use abi::names::Names;
use abi::problem::{Problem, Reply};
use abi::route::{Caller, LOCAL_DOMAIN, NotFound, Route, route};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] = ["a", "a--b", "hello", "hello-2", "http", "x"];
/// Host, prefix and function of each route.
const DOMAINS: [(&str, &str, &str); 8] = [
    ("*.w.test", "", "x"),
    ("*.w.test", "/a", "http"),
    ("a.w.test", "/a/b", "hello"),
    ("d.test", "", "a"),
    ("d.test", "/a", "hello"),
    ("d.test", "/a/b", "hello-2"),
    ("d.test", "/gone", "gone"),
    ("localhost", "/l", "x"),
];

static CATALOGUE: LazyLock<CatalogueView> = LazyLock::new(|| {
    let version = |number: u8| Version {
        number: number.into(),
        id: [number; 16],
        module: [0; 32],
        assets: None,
        spec: 0,
    };
    let target = |version, weight| Target { version, spec: 0, weight };
    let alias = |name: &str, targets| Alias { name: name.to_owned(), targets };
    let function = |name: &str| Function {
        name: name.to_owned(),
        isolation: Isolation::Shared,
        slot: 0,
        slot_incarnation: 1,
        secrets: 0,
        previews: true,
        aliases: vec![
            alias("active", vec![target(0, 1)]),
            alias("canary", vec![target(0, 9), target(1, 1)]),
        ],
        versions: vec![version(1), version(2)],
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
    let functions = NAMES.map(function).to_vec();
    let mut hosts: Vec<Host> = Vec::new();
    for (name, prefix, function) in DOMAINS {
        if hosts.last().is_none_or(|host| host.name != name) {
            hosts.push(Host { name: name.to_owned(), routes: Vec::new() });
        }
        let (prefix, function) = (prefix.to_owned(), function.to_owned());
        let route = HostRoute { prefix, function, alias: String::new() };
        hosts.last_mut().expect("one was pushed").routes.push(route);
    }
    let fd = Catalogue { generation: 1, functions, specs: vec![spec], hosts }
        .seal()
        .expect("the catalogue can be sealed");
    CatalogueView::new(fd).expect("the catalogue is good")
});

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\n');
    let (Some(domain), Some(host), Some(target)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let given = |text| Some(text).filter(|text| *text != "-");
    let (domain, paths) = domain.strip_prefix('!').map_or((domain, true), |domain| (domain, false));
    let (domain, host) = (given(domain), given(host));
    let names = Names { domain: domain.map(str::to_owned), paths };
    let found = route(&CATALOGUE, &names, host, target, Caller::Public);
    if let Some(expected) = host.and_then(|host| by_looking_at_all(host, target)) {
        match found {
            Ok(found) => {
                let name = CATALOGUE.function(found.function).expect("it exists").name.as_str();
                assert_eq!((name, found.prefix_length), (expected, 0));
            }
            Err(NotFound::Target { function, .. }) => assert_eq!(function, expected),
            Err(missing) => panic!("{missing:?}, and not {expected}"),
        }
        return;
    }
    match found {
        Ok(found) => {
            assert!(paths || found.prefix_length == 0, "paths name nothing");
            check(found, domain, host, target);
        }
        Err(missing) => {
            if let NotFound::Function(name) = missing {
                assert!(!NAMES.contains(&name), "there is a function {name:?}");
            }
            check_problem(missing.into());
        }
    }
});

/// The function that a domain is for, found in another way.
fn by_looking_at_all(host: &str, target: &str) -> Option<&'static str> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let path = match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((_, rest)) => rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]),
        None => "",
    };
    let path = if path.starts_with('/') { path } else { "" };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (first, below) = host.split_once('.').unwrap_or((host, ""));
    let wildcard = format!("*.{below}");
    let of = |name: &str| {
        let takes = |(host, prefix, _): &&(&str, &str, &str)| {
            let rest = path.strip_prefix(prefix);
            let whole = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            *host == name && (whole || prefix.is_empty())
        };
        let found = DOMAINS.iter().filter(takes).max_by_key(|(_, prefix, _)| prefix.len());
        found.map(|(.., function)| *function)
    };
    match first {
        _ if host.starts_with('*') || host.len() > DOMAIN_HOST_BYTES_MAX => None,
        "" => of(host),
        _ => of(host).or_else(|| of(&wildcard)),
    }
}

fn check(found: Route, domain: Option<&str>, host: Option<&str>, target: &str) {
    let Route { function, selector, prefix_length } = found;
    for random in [0, u32::MAX / 2, u32::MAX] {
        let choice =
            CATALOGUE.choose(function, selector, random).expect("what is meant can be chosen");
        assert!(CATALOGUE.chosen(choice).is_some_and(|_| choice.function == function));
    }
    let name = CATALOGUE.function(function).expect("the function exists").name.as_str();
    if prefix_length == 0 {
        let host = host.expect("only with a host").to_ascii_lowercase();
        let rest = host.strip_prefix(name).expect("the host begins with the name");
        let (reference, rest) = rest.split_once('.').expect("and then there is the domain");
        assert!(reference.is_empty() || reference.starts_with("--"), "{host:?}");
        let domains = [domain.map(str::to_ascii_lowercase), Some(LOCAL_DOMAIN.to_owned())];
        let mut rests =
            domains.iter().flatten().filter_map(|domain| rest.strip_prefix(domain.as_str()));
        let ends = |rest: &str| {
            rest.is_empty() || rest == "." || rest.starts_with(':') || rest.starts_with(".:")
        };
        assert!(rests.any(ends), "{host:?}");
        return;
    }
    assert!(prefix_length > name.len() && target.len() >= prefix_length);
    // Only targets that are URIs get past the reading of the head. The worker cuts the prefix off
    // the path that its HTTP library sees.
    if let Ok(uri) = target.parse::<http::Uri>() {
        let (prefix, rest) =
            uri.path().split_at_checked(prefix_length).expect("the prefix is within the path");
        let named = prefix
            .strip_prefix('/')
            .and_then(|prefix| prefix.strip_prefix(name))
            .expect("it names the function");
        assert!(named.is_empty() || named.starts_with('@'), "{prefix:?}");
        assert!(
            rest.is_empty() || rest.starts_with('/'),
            "{rest:?} is in the same segment as {name:?}"
        );
    }
}

fn check_problem(problem: Problem) {
    let reply = problem.reply(InvocationId::new(), Reply::Whole);
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut headers);
    let length = parsed.parse(&reply).expect("the reply is HTTP").unwrap();
    let header = parsed
        .headers
        .iter()
        .find(|header| header.name == "content-length")
        .expect("it has a length");
    assert_eq!(header.value, (reply.len() - length).to_string().as_bytes());
    assert_eq!(parsed.code, Some(404));
}
