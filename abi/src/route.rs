//! From a request's host and target to a function of the catalogue. Pure; owns no fds.
//!
//! Shards route first requests and workers every later one, so the rule is one function in the
//! crate both know: host `NAME.localhost`, and with a domain `NAME.domain`, is the function NAME
//! with the path whole; else `/NAME/rest` is NAME with `/rest`. What is meant of it may stand
//! behind its name: `/NAME@v12/rest`, `/NAME@staging/rest`, `NAME--staging.domain`. That is for the
//! control API alone unless the function allows it to all; a reference that is not allowed is
//! answered as one that means nothing.

use crate::catalogue::CatalogueView;
use crate::choice::Selector;
use crate::message::Awaits;
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
            Awaits::First | Awaits::Next => Self::Public,
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

/// Routes by `host` (with or without a port) and `target` (origin or absolute form) what `caller`
/// sends. `Err` names what was looked for.
///
/// # Errors
/// What names nothing in the catalogue; empty when the path names no function.
pub fn route<'a>(
    catalogue: &CatalogueView,
    domain: Option<&str>,
    host: Option<&'a str>,
    target: &'a str,
    caller: Caller,
) -> Result<Route, &'a str> {
    let named_in = |domain: &str| name_in_host(host?, domain);
    if let Some(label) = domain.and_then(named_in).or_else(|| named_in(LOCAL_DOMAIN)) {
        return by_label(catalogue, &label.to_ascii_lowercase(), caller).ok_or(label);
    }
    let segment = name_in_path(path_of(target));
    let (name, reference) = split(segment);
    let found = find(catalogue, name, reference, segment.len() + 1, caller);
    found.ok_or(segment)
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
    let end = host.bytes().rposition(|byte| byte == b':');
    let host = end.and_then(|end| host.get(..end)).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let (name, rest) = host.split_at_checked(host.len().checked_sub(domain.len() + 1)?)?;
    let dotted = rest.strip_prefix('.')?;
    (dotted.eq_ignore_ascii_case(domain) && !name.is_empty() && !name.contains('.')).then_some(name)
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
    use crate::catalogue::tests::view;
    use proptest::prelude::*;

    fn name(
        domain: Option<&str>,
        host: Option<&str>,
        target: &str,
    ) -> Result<(String, usize), String> {
        let view = view(&["a", "hello", "x-1"]);
        route(&view, domain, host, target, Caller::Public)
            .map(|route| {
                (
                    view.function(route.function).unwrap().name.as_str().to_owned(),
                    route.prefix_length,
                )
            })
            .map_err(str::to_owned)
    }

    #[test]
    fn what_is_meant_stands_behind_the_name() {
        let view = view(&["a", "a--b"]);
        let meant = |domain: Option<&str>, host: &str, target: &str| {
            let found =
                route(&view, domain, Some(host), target, Caller::Public).map_err(str::to_owned)?;
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
        let mut catalogue = crate::catalogue::tests::catalogue(&["a", "b"]);
        catalogue.functions[0].previews = false;
        let view = CatalogueView::new(catalogue.seal().unwrap()).unwrap();
        let found =
            |target, caller| route(&view, Some("example.com"), None, target, caller).is_ok();
        let by_host =
            |host, caller| route(&view, Some("example.com"), Some(host), "/", caller).is_ok();
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

    proptest! {
        #[test]
        fn any_text_is_survived(host in ".{0,40}", target in ".{0,40}", domain in "[a-z.]{0,12}") {
            let view = view(&["a"]);
            let _ = route(&view, Some(&domain), Some(&host), &target, Caller::Public);
        }
    }
}
