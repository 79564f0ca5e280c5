//! Routing: `abi::route::route` over a fixed catalogue, by any domain, host and target.
//!
//! The function exists and bears the name that the host or the path says, and there is a version to
//! choose; the prefix that is cut off the path is a part of it, as the worker's HTTP library
//! understands the path; and the reply to an unknown name is good HTTP.
//!
//! An input is three lines: domain, host, and target, which may have more. `-` is no domain or no
//! host.
#![no_main]

use std::sync::LazyLock;

use abi::catalogue::{Alias, Catalogue, CatalogueView, Function, Spec, Target, Version};
use abi::function::{FunctionLimits, Isolation, Kind, Output};
use abi::invocation_id::InvocationId;
use abi::problem::{Problem, Reply};
use abi::route::{Caller, LOCAL_DOMAIN, Route, route};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] = ["a", "a--b", "hello", "hello-2", "http", "x"];

static CATALOGUE: LazyLock<CatalogueView> = LazyLock::new(|| {
    let version =
        |number: u8| Version { number: number.into(), id: [number; 16], module: [0; 32], spec: 0 };
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
        handler: String::new(),
        report_lines: false,
    };
    let functions = NAMES.map(function).to_vec();
    let fd = Catalogue { generation: 1, functions, specs: vec![spec] }
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
    let (domain, host) = (given(domain), given(host));
    match route(&CATALOGUE, domain, host, target, Caller::Public) {
        Ok(found) => check(found, domain, host, target),
        Err(name) => {
            assert!(!NAMES.contains(&name), "there is a function {name:?}");
            check_problem(name);
        }
    }
});

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

fn check_problem(name: &str) {
    let reply = Problem::unknown_function(name).reply(InvocationId::new(), Reply::Whole);
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
