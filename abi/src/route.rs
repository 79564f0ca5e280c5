//! From a request's host and target to a function of the catalogue. Pure; owns no fds.
//!
//! Shards route first requests and workers every later one, so the rule is one function in the
//! crate both know. The host comes first: a [domain](crate::domain) that was added for it, and of
//! several prefixes the longest that the path has; then `NAME.domain` with a domain of the node's,
//! and `NAME.localhost`. Both have the function see the path whole. Then `/NAME/rest` is NAME with
//! `/rest`, unless the node keeps that from the public. What is meant of a function may stand behind
//! its name: `/NAME@v12/rest`, `/NAME@staging/rest`, `NAME--staging.domain`. That is for the control
//! API alone unless the function allows it to all; a reference that is not allowed is answered as
//! one that means nothing.
//!
//! A host is taken for no other one: it is compared in small letters, without its port and one dot
//! at its end, and nothing of it or of a path is decoded.

use crate::catalogue::{ArchivedHostRoute, CatalogueView};
use crate::choice::Selector;
use crate::limits::{DOMAIN_HOST_BYTES_MAX, DOMAIN_PREFIX_BYTES_MAX, DOMAIN_PREFIX_SEGMENTS_MAX};
use crate::message::Awaits;
use crate::names::Names;
use crate::reference::split;

/// Browsers and curl take every name below it for this machine, without asking a name server (RFC
/// 6761 6.3).
pub const LOCAL_DOMAIN: &str = "localhost";

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Anybody.
    Public,
    /// The control API.
    Admin,
}

impl From<Awaits> for Caller {
    fn from(awaits: Awaits) -> Self {
        match awaits {
            Awaits::First | Awaits::Next | Awaits::Streams => Self::Public,
            Awaits::Admin | Awaits::Event => Self::Admin,
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The function's position in the catalogue that was asked.
    pub function: usize,
    /// Which of its versions may serve it.
    pub selector: Selector,
    /// How many bytes at the start of the target's path name the function and are not the
    /// function's to see: 0 when the host named it.
    pub prefix_length: usize,
}

/// What a request names that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound<'a> {
    /// This names no function, or nothing of one; empty when the path has no name.
    Function(&'a str),
    /// The host is no domain, and paths name nothing here.
    Host(Option<&'a str>),
    /// The function, or the alias, that a domain is for.
    Target {
        /// The domain's host.
        host: &'a str,
        /// What the paths begin with.
        prefix: &'a str,
        /// The function's name.
        function: &'a str,
        /// One of its aliases, or empty.
        alias: &'a str,
    },
}

/// Routes by `host` (with or without a port) and `target` (origin or absolute form) what `caller`
/// sends.
///
/// # Errors
/// What was looked for, when it names nothing in the catalogue.
pub fn route<'a>(
    catalogue: &'a CatalogueView,
    names: &Names,
    host: Option<&'a str>,
    target: &'a str,
    caller: Caller,
) -> Result<Route, NotFound<'a>> {
    // Requests of the control API name their function in the path, whatever their host is.
    if !catalogue.get().hosts.is_empty()
        && caller == Caller::Public
        && let Some(host) = host
        && let Some((host, route)) = by_domain(catalogue, host, target)
    {
        return of_domain(catalogue, host, route);
    }
    let named_in = |domain: &str| name_in_host(host?, domain);
    if let Some(label) =
        names.domain.as_deref().and_then(named_in).or_else(|| named_in(LOCAL_DOMAIN))
    {
        let found = by_label(catalogue, &label.to_ascii_lowercase(), caller);
        return found.ok_or(NotFound::Function(label));
    }
    if caller == Caller::Public && !names.paths {
        return Err(NotFound::Host(host));
    }
    let segment = name_in_path(path_of(target));
    let (name, reference) = split(segment);
    let found = find(catalogue, name, reference, segment.len() + 1, caller);
    found.ok_or(NotFound::Function(segment))
}

/// The route of a domain that takes requests to `host` for `target`, with the domain's host. A name
/// itself goes before the wildcard that has it; where it has no route for the path, the wildcard
/// may. Not inlined: without domains, nobody pays for its frame.
#[inline(never)]
fn by_domain<'a>(
    catalogue: &'a CatalogueView,
    host: &str,
    target: &str,
) -> Option<(&'a str, &'a ArchivedHostRoute)> {
    let mut buffer = [0; DOMAIN_HOST_BYTES_MAX];
    let name = without_port(host).as_bytes();
    let small = buffer.get_mut(..name.len()).filter(|small| !small.is_empty())?;
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    // Such a name would be taken for the wildcard itself.
    if small[0] == b'*' {
        return None;
    }
    let path = path_of(target);
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    let found = |name: &[u8]| {
        let host = catalogue.host(name)?;
        Some((host.name.as_str(), longest(&host.routes, path)?))
    };
    found(small).or_else(|| {
        let dot = small.iter().position(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
        small[dot - 1] = b'*';
        found(&small[dot - 1..])
    })
}

/// The one of `routes`, which are sorted, with the longest prefix that `path` has, in whole
/// segments.
fn longest<'a>(routes: &'a [ArchivedHostRoute], path: &str) -> Option<&'a ArchivedHostRoute> {
    // The empty prefix is the first one.
    let first = routes.first()?;
    let mut found = Some(first).filter(|route| route.prefix.is_empty());
    if routes.len() == 1 && found.is_some() {
        return found;
    }
    let path = path.as_bytes();
    let mut end = 0;
    for _ in 0..DOMAIN_PREFIX_SEGMENTS_MAX {
        if path.get(end) != Some(&b'/') {
            break;
        }
        let rest = &path[end + 1..];
        end += 1 + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        if end > DOMAIN_PREFIX_BYTES_MAX {
            break;
        }
        let known = routes.binary_search_by(|route| route.prefix.as_bytes().cmp(&path[..end]));
        if let Ok(at) = known {
            found = routes.get(at);
        }
    }
    found
}

/// What a domain's route is for. Whoever added it has said so to all.
#[inline(never)]
fn of_domain<'a>(
    catalogue: &CatalogueView,
    host: &'a str,
    route: &'a ArchivedHostRoute,
) -> Result<Route, NotFound<'a>> {
    let alias = Some(route.alias.as_str()).filter(|alias| !alias.is_empty());
    let (prefix, function) = (route.prefix.as_str(), route.function.as_str());
    let found = find(catalogue, function, alias, 0, Caller::Admin);
    found.ok_or(NotFound::Target { host, prefix, function, alias: route.alias.as_str() })
}

/// The prefix of the domain's route that a public request to `host` for `target` goes by, if it
/// goes by one. All its function's paths begin with it.
#[must_use]
pub fn domain_prefix<'a>(
    catalogue: &'a CatalogueView,
    host: &str,
    target: &str,
) -> Option<&'a str> {
    by_domain(catalogue, host, target).map(|(_, route)| route.prefix.as_str())
}

fn find(
    catalogue: &CatalogueView,
    name: &str,
    reference: Option<&str>,
    prefix_length: usize,
    caller: Caller,
) -> Option<Route> {
    let at = catalogue.find(name)?;
    let function = catalogue.function(at)?;
    if reference.is_some() && caller == Caller::Public && !function.previews {
        return None;
    }
    Some(Route { function: at, selector: function.select(reference)?, prefix_length })
}

/// A label in front of the domain: a function's name, or one and what is meant of it. Both may have
/// a `--`, aliases may not.
fn by_label(catalogue: &CatalogueView, label: &str, caller: Caller) -> Option<Route> {
    if catalogue.find(label).is_some() {
        return find(catalogue, label, None, 0, caller);
    }
    let (name, reference) = label.rsplit_once("--")?;
    find(catalogue, name, Some(reference), 0, caller)
}

/// `NAME` of `NAME.domain[:port]`; hosts are compared without regard to case (RFC 9110 4.2.3).
fn name_in_host<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    let host = without_port(host);
    let (name, rest) = host.split_at_checked(host.len().checked_sub(domain.len() + 1)?)?;
    let dotted = rest.strip_prefix('.')?;
    (dotted.eq_ignore_ascii_case(domain) && !name.is_empty() && !name.contains('.')).then_some(name)
}

/// A host without its port and without a dot at its end.
fn without_port(host: &str) -> &str {
    let end = host.bytes().rposition(|byte| byte == b':');
    let host = end.and_then(|end| host.get(..end)).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

/// The path, and what follows it, of a target in origin or absolute form; what has neither has no
/// path.
fn path_of(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((_scheme, rest)) = target.split_once("://") else { return "" };
    // A slash behind the query's or the fragment's mark is not the path's.
    match rest.find(['/', '?', '#']) {
        Some(at) if rest[at..].starts_with('/') => &rest[at..],
        _ => "",
    }
}

/// The first segment of a path.
fn name_in_path(path: &str) -> &str {
    let rest = path.strip_prefix('/').unwrap_or("");
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::tests::{catalogue, host, view};
    use proptest::prelude::*;

    fn names(domain: Option<&str>) -> Names {
        Names { domain: domain.map(str::to_owned), paths: true }
    }

    /// What is named, of an error that names something.
    fn wanted(error: NotFound<'_>) -> String {
        match error {
            NotFound::Function(name) => name.to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn name(
        domain: Option<&str>,
        host: Option<&str>,
        target: &str,
    ) -> Result<(String, usize), String> {
        let view = view(&["a", "hello", "x-1"]);
        route(&view, &names(domain), host, target, Caller::Public)
            .map(|route| {
                (
                    view.function(route.function).unwrap().name.as_str().to_owned(),
                    route.prefix_length,
                )
            })
            .map_err(wanted)
    }

    #[test]
    fn what_is_meant_stands_behind_the_name() {
        let view = view(&["a", "a--b"]);
        let meant = |domain: Option<&str>, host: &str, target: &str| {
            let found = route(&view, &names(domain), Some(host), target, Caller::Public);
            let found = found.map_err(wanted)?;
            Ok((found.function, found.selector, found.prefix_length))
        };
        let (active, canary, first) =
            (Selector::Alias(0), Selector::Alias(1), Selector::Version(0));
        assert_eq!(meant(None, "h", "/a/x"), Ok((0, active, 2)));
        assert_eq!(meant(None, "h", "/a@canary/x"), Ok((0, canary, 9)));
        assert_eq!(meant(None, "h", "/a@v1?q"), Ok((0, first, 5)));
        for unknown in ["a@v3", "a@nope", "a@", "b@v1", "a@v1@v1"] {
            assert_eq!(meant(None, "h", &format!("/{unknown}/x")), Err(unknown.to_owned()));
        }
        let domain = Some("example.com");
        for (label, expected) in [
            ("a", Ok((0, active, 0))),
            ("A--Canary", Ok((0, canary, 0))),
            ("a--v1", Ok((0, first, 0))),
            ("a--b", Ok((1, active, 0))),
            ("a--b--canary", Ok((1, canary, 0))),
            ("a--c", Err("a--c".to_owned())),
            ("a--", Err("a--".to_owned())),
        ] {
            assert_eq!(
                meant(domain, &format!("{label}.example.com"), "/b@v1/"),
                expected,
                "{label}"
            );
        }
    }

    #[test]
    fn what_is_not_allowed_to_all_is_nothing_to_them() {
        let mut catalogue = catalogue(&["a", "b"]);
        catalogue.functions[0].previews = false;
        let view = CatalogueView::new(catalogue.seal().unwrap()).unwrap();
        let names = names(Some("example.com"));
        let found = |target, caller| route(&view, &names, None, target, caller).is_ok();
        let by_host = |host, caller| route(&view, &names, Some(host), "/", caller).is_ok();
        for (caller, allowed) in [(Caller::Public, false), (Caller::Admin, true)] {
            for target in ["/a@v1/", "/a@canary/", "/a@active/"] {
                assert_eq!(found(target, caller), allowed, "{target}");
            }
            assert_eq!(by_host("a--canary.example.com", caller), allowed);
            assert!(
                found("/a/", caller) && found("/b@v1/", caller) && by_host("a.example.com", caller)
            );
            assert!(!found("/a@v9/", caller));
        }
    }

    #[test]
    fn by_path() {
        for target in ["/hello", "/hello/", "/hello/x?y", "/hello?y=/z", "http://h:1/hello/x"] {
            assert_eq!(name(None, Some("h"), target), Ok(("hello".into(), 6)), "{target}");
        }
        assert_eq!(name(None, None, "/a/b"), Ok(("a".into(), 2)));
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (target, unknown) in [
            ("/", ""),
            ("/nope/x", "nope"),
            ("*", ""),
            ("/hell", "hell"),
            ("/hello%2f", "hello%2f"),
            ("//hello", ""),
            ("/../hello", ".."),
            ("http://hello", ""),
            ("http://h?x=/hello", ""),
            ("http://h#/hello", ""),
        ] {
            assert_eq!(name(None, Some("h"), target), Err(unknown.into()), "{target}");
        }
    }

    #[test]
    fn by_host() {
        let domain = Some("example.com");
        for host in ["hello.example.com", "HELLO.Example.COM:8080", "hello.example.com."] {
            assert_eq!(name(domain, Some(host), "/x-1/y"), Ok(("hello".into(), 0)), "{host}");
        }
        assert_eq!(name(domain, Some("nope.example.com"), "/hello/"), Err("nope".into()));
        for host in [
            "example.com",
            "b.hello.example.com",
            "helloexample.com",
            ".example.com",
            "127.0.0.1:80",
        ] {
            assert_eq!(name(domain, Some(host), "/x-1/y"), Ok(("x-1".into(), 4)), "{host}");
        }
    }

    #[test]
    fn by_a_host_below_localhost_without_any_setting() {
        for domain in [None, Some("example.com"), Some("localhost")] {
            for host in ["hello.localhost", "HELLO.LocalHost:8080", "hello.localhost."] {
                assert_eq!(name(domain, Some(host), "/x-1/y"), Ok(("hello".into(), 0)), "{host}");
            }
            assert_eq!(name(domain, Some("nope.localhost"), "/hello/"), Err("nope".into()));
            for host in [
                "localhost",
                "localhost:8080",
                "b.hello.localhost",
                "hello.localhost.example",
                ".localhost",
            ] {
                assert_eq!(name(domain, Some(host), "/x-1/y"), Ok(("x-1".into(), 4)), "{host}");
            }
        }
    }

    /// Functions `a`, `api`, `web` and `x-1`, and domains of some of them.
    fn with_domains() -> CatalogueView {
        let catalogue = Catalogue {
            hosts: vec![
                host(
                    "example.com",
                    &[("", "web"), ("/api", "api"), ("/api/v2", "a@canary"), ("/gone", "gone")],
                ),
                host("only.example.com", &[("/api", "api")]),
                host("*.example.com", &[("", "x-1"), ("/gone", "a@gone")]),
                host("a.other.example", &[("", "web")]),
                host("localhost", &[("", "web")]),
            ],
            ..catalogue(&["a", "api", "web", "x-1"])
        };
        CatalogueView::new(catalogue.seal().unwrap()).unwrap()
    }

    fn by(view: &CatalogueView, host: &str, target: &str) -> String {
        let names = names(Some("other.example"));
        match route(view, &names, Some(host), target, Caller::Public) {
            Ok(Route { function, selector, prefix_length }) => {
                let name = view.function(function).unwrap().name.as_str();
                let cut = if prefix_length == 0 { "whole" } else { "cut" };
                format!(
                    "{name} {cut} {}",
                    if selector == Selector::Alias(0) { "active" } else { "other" }
                )
            }
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn a_domain_takes_the_longest_prefix_in_whole_segments() {
        let view = with_domains();
        let web = [
            "/", "", "*", "/apix", "/ap", "/API", "/%61pi", "/x/api", "//api", "/?/api", "/.%2fapi",
        ];
        for target in web {
            assert_eq!(by(&view, "example.com", target), "web whole active", "{target}");
        }
        for target in
            ["/api", "/api/", "/api?x", "/api#x", "/api/x/y", "/api//", "/api/v2x", "/api/v1/v2"]
        {
            assert_eq!(by(&view, "example.com", target), "api whole active", "{target}");
        }
        for target in ["/api/v2", "/api/v2/", "/api/v2/x", "http://ignored/api/v2/x?/"] {
            assert_eq!(by(&view, "example.com", target), "a whole other", "{target}");
        }
        for host in
            ["EXAMPLE.Com", "example.com.", "example.com:80", "example.com.:", "Example.COM.:65535"]
        {
            assert_eq!(by(&view, host, "/api/x"), "api whole active", "{host}");
        }
        // Of no more segments than a prefix may have any notice is taken.
        let deep = format!("/api{}", "/x".repeat(30_000));
        assert_eq!(by(&view, "example.com", &deep), "api whole active");
        let long = format!("/{}", "x".repeat(60_000));
        assert_eq!(by(&view, "example.com", &long), "web whole active");
    }

    #[test]
    fn a_name_goes_before_its_wildcard_and_both_before_a_function_that_is_named() {
        let view = with_domains();
        for host in ["any.example.com", "web.example.com", "ANY.example.com.:1"] {
            assert_eq!(by(&view, host, "/api/x"), "x-1 whole active", "{host}");
        }
        assert_eq!(by(&view, "only.example.com", "/api/x"), "api whole active");
        assert_eq!(by(&view, "only.example.com", "/else"), "x-1 whole active");
        // One label, which is not empty.
        for host in [
            "a.b.example.com",
            ".example.com",
            "*.example.com",
            "xexample.com",
            "com",
            "a%2eexample.com",
            "[::1]:80",
            "",
        ] {
            assert_eq!(by(&view, host, "/web/"), "web cut active", "{host}");
        }
        assert_eq!(by(&view, "a.other.example", "/"), "web whole active");
        assert_eq!(by(&view, "api.other.example", "/"), "api whole active");
        assert_eq!(by(&view, "api.localhost", "/"), "api whole active");
        assert_eq!(by(&view, "localhost:8080", "/api/"), "web whole active");
    }

    #[test]
    fn a_domain_of_what_is_gone_names_it() {
        let view = with_domains();
        let gone = |host, target, expected| {
            let names = Names::default();
            let error = route(&view, &names, Some(host), target, Caller::Public).unwrap_err();
            assert_eq!(error, expected);
        };
        let (host, prefix) = ("example.com", "/gone");
        gone(host, "/gone/x", NotFound::Target { host, prefix, function: "gone", alias: "" });
        let (host, function, alias) = ("*.example.com", "a", "gone");
        gone("b.example.com", "/gone", NotFound::Target { host, prefix, function, alias });
    }

    #[test]
    fn the_control_api_knows_no_domains() {
        let view = with_domains();
        for (host, target) in
            [("localhost", "/api/"), ("example.com", "/api/x"), ("b.example.com", "/api@v1/")]
        {
            for paths in [true, false] {
                let names = Names { domain: None, paths };
                let found = route(&view, &names, Some(host), target, Caller::Admin).unwrap();
                assert_eq!(view.function(found.function).unwrap().name, "api");
                assert!(found.prefix_length > 0);
            }
        }
    }

    #[test]
    fn without_routes_by_path_hosts_alone_name_functions() {
        let view = with_domains();
        let names = Names { paths: false, ..names(Some("other.example")) };
        let found = |host, target| {
            let found = route(&view, &names, host, target, Caller::Public)?;
            Ok(view.function(found.function).unwrap().name.as_str().to_owned())
        };
        assert_eq!(found(Some("example.com"), "/api/"), Ok("api".to_owned()));
        assert_eq!(found(Some("api.other.example"), "/web/"), Ok("api".to_owned()));
        assert_eq!(found(Some("api.localhost"), "/web/"), Ok("api".to_owned()));
        for host in [Some("h"), Some("127.0.0.1:80"), None] {
            for target in ["/api/", "/nope", "/", "*"] {
                assert_eq!(found(host, target), Err(NotFound::Host(host)));
            }
        }
    }

    proptest! {
        /// The walk over segments finds what a look at all routes finds.
        #[test]
        fn another_way_to_look_agrees(
            prefixes in proptest::collection::btree_set("(/[ab]{1,2}){0,3}", 0..12),
            path in "(/[ab]{0,2}){0,5}[/ab?]{0,2}",
        ) {
            prop_assume!(!prefixes.is_empty());
            let routes: Vec<(&str, &str)> = prefixes.iter().map(|prefix| (&**prefix, "a")).collect();
            let hosts = vec![host("h.example", &routes)];
            let sealed = Catalogue { hosts, ..catalogue(&["a"]) }.seal().unwrap();
            let view = CatalogueView::new(sealed).unwrap();
            let bare = path.split('?').next().unwrap();
            let takes = |prefix: &&String| {
                bare.strip_prefix(&***prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.is_empty())
            };
            let expected = prefixes.iter().filter(takes).max_by_key(|prefix| prefix.len());
            let found = by_domain(&view, "h.example", &path).map(|(_, route)| route.prefix.as_str());
            prop_assert_eq!(found, expected.map(String::as_str));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(host in ".{0,40}", target in ".{0,40}", domain in "[a-z.]{0,12}") {
            let view = view(&["a"]);
            let _ = route(&view, &names(Some(&domain)), Some(&host), &target, Caller::Public);
        }
    }
}
