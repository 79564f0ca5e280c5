//! Replies of a site, from its index to their headers.

use abi::site::SiteView;
use proptest::prelude::*;

use super::*;

/// A site to answer from.
pub(in super::super) mod samples {
    use abi::site::{Coding, Contents, HeaderRule, Redirect, Site, SiteFile, SiteView, Variant};

    /// Where the contents of the sample end.
    const END: u64 = 100_000;

    fn contents(offset: u64, bytes: u64) -> Contents {
        Contents { offset, bytes, digest: [u8::try_from(offset % 251).unwrap(); 16] }
    }

    fn file(path: &str, offset: u64, bytes: u64) -> SiteFile {
        let media_type = if path.ends_with(".js") { "text/javascript" } else { "text/html" };
        let (path, media_type) = (path.to_owned(), media_type.to_owned());
        SiteFile { path, media_type, contents: contents(offset, bytes), variants: Vec::new() }
    }

    fn redirect(from: &str, to: &str, status: u16, forced: bool) -> Redirect {
        Redirect { from: from.to_owned(), to: to.to_owned(), status, forced }
    }

    pub(in super::super::super) fn site() -> SiteView {
        let coded = [(Coding::Brotli, 300), (Coding::Zstandard, 400), (Coding::Gzip, 500)];
        let variants = coded
            .map(|(coding, offset)| Variant { coding, contents: contents(offset, 50) })
            .to_vec();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let rule = |path: &str, removed: &[&str], set: &[(&str, &str)]| HeaderRule {
            path: path.to_owned(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            set: set.iter().map(|(name, value)| pair(name, value)).collect(),
        };
        let mut files = vec![
            file("404.html", 16, 4),
            file("a b.txt", 20, 3),
            file("about.html", 30, 5),
            SiteFile { variants, ..file("app.js", 200, 100) },
            file("docs/404.html", 40, 4),
            file("docs/index.html", 50, 6),
            file("empty.txt", 60, 0),
            file("index.html", 70, 10),
            file("ü.txt", 90, 2),
        ];
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let site = Site {
            files,
            headers: vec![
                rule("/*", &[], &[("x-all", "1"), ("link", "<a>"), ("link", "<b>")]),
                rule("/app.js", &["x-all"], &[("cache-control", "max-age=9"), ("vary", "x-y")]),
            ],
            redirects: vec![
                redirect("/old/*", "/new/:splat", 302, false),
                redirect("/out/:id", "https://x.test/:id", 308, false),
                redirect("/index.html", "/", 301, true),
                redirect("/app/*", "/index.html", 200, false),
                redirect("/gone/*", "/docs/404.html", 404, false),
                redirect("/nowhere", "/none.html", 200, false),
            ],
        };
        SiteView::new(site.pack().unwrap(), END).unwrap()
    }
}

fn ask(method: Method, target: &str, given: &[(&str, &str)]) -> Answer {
    let view: SiteView = samples::site();
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let (prefix, is_bare, headers) = ("/shop", false, &headers);
    answer(view.get(), &Asked { method: &method, path, query, prefix, is_bare, headers })
}

fn get(target: &str, given: &[(&str, &str)]) -> Answer {
    ask(Method::GET, target, given)
}

fn header(answer: &Answer, name: &str) -> String {
    let all = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    all.collect::<Vec<_>>().join(" | ")
}

#[test]
fn a_file_is_sent_with_what_is_known_of_it() {
    let reply = get("/about", &[]);
    assert_eq!((reply.status, reply.body), (StatusCode::OK, Body::Part { offset: 30, bytes: 5 }));
    for (name, expected) in [
        ("content-type", "text/html"),
        ("content-length", "5"),
        ("etag", "\"1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e\""),
        ("cache-control", CACHE_DEFAULT),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("x-all", "1"),
        ("link", "<a> | <b>"),
        ("vary", ""),
        ("content-encoding", ""),
    ] {
        assert_eq!(header(&reply, name), expected, "{name}");
    }
    let head = ask(Method::HEAD, "/about", &[]);
    assert_eq!((head.body, head.headers), (Body::None, reply.headers));
    let empty = get("/empty.txt", &[]);
    assert_eq!(empty.body, Body::Part { offset: 60, bytes: 0 });
}

#[test]
fn a_coding_has_a_tag_of_its_own() {
    let (plain, coded) = (get("/app.js", &[]), get("/app.js", &[("accept-encoding", "br")]));
    assert_eq!(coded.body, Body::Part { offset: 300, bytes: 50 });
    assert_eq!(header(&coded, "content-encoding"), "br");
    assert_ne!(header(&plain, "etag"), header(&coded, "etag"));
    assert_eq!(header(&plain, "vary"), "Accept-Encoding | x-y", "whichever is sent");
    assert_eq!(header(&plain, "cache-control"), "max-age=9");
    assert_eq!(header(&plain, "x-all"), "", "a later rule takes it back");
    let etag = header(&coded, "etag");
    let again = get("/app.js", &[("accept-encoding", "br"), ("if-none-match", &etag)]);
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(header(&again, "vary"), "Accept-Encoding | x-y");
    let other = get("/app.js", &[("accept-encoding", "gzip"), ("if-none-match", &etag)]);
    assert_eq!(other.status, StatusCode::OK);
    let part = get("/app.js", &[("accept-encoding", "br"), ("range", "bytes=-10")]);
    assert_eq!(part.body, Body::Part { offset: 340, bytes: 10 });
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let etag = header(&get("/about", &[]), "etag");
    for method in [Method::GET, Method::HEAD] {
        let reply = ask(method, "/about", &[("if-none-match", &etag)]);
        assert_eq!((reply.status, reply.body), (StatusCode::NOT_MODIFIED, Body::None));
        // RFC 9110 15.4.5: what a 200 would have had of these.
        assert_eq!(header(&reply, "etag"), etag);
        assert_eq!(header(&reply, "cache-control"), CACHE_DEFAULT);
        assert_eq!(header(&reply, "content-type") + &header(&reply, "content-length"), "");
    }
    assert_eq!(get("/about", &[("if-match", "\"x\"")]).status, StatusCode::PRECONDITION_FAILED);
}

#[test]
fn ranges_say_which_they_are() {
    let reply = get("/about", &[("range", "bytes=1-2")]);
    assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(reply.body, Body::Part { offset: 31, bytes: 2 });
    assert_eq!(header(&reply, "content-range"), "bytes 1-2/5");
    assert_eq!(header(&reply, "content-length"), "2");
    assert!(reply.headers.contains_key("etag") && reply.headers.contains_key("cache-control"));
    let past = get("/about", &[("range", "bytes=5-")]);
    assert_eq!(past.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&past, "content-range"), "bytes */5");
    let several = get("/about", &[("range", "bytes=0-0,2-2")]);
    assert_eq!(
        (several.status, header(&several, "content-length").as_str()),
        (StatusCode::OK, "5")
    );
    let head = ask(Method::HEAD, "/about", &[("range", "bytes=1-2")]);
    assert_eq!((head.status, header(&head, "content-length").as_str()), (StatusCode::OK, "5"));
}

#[test]
fn what_is_not_there_is_404_whatever_the_preconditions_are() {
    for given in
        [&[][..], &[("if-match", "*")], &[("if-none-match", "*")], &[("range", "bytes=9-")]]
    {
        let reply = get("/nothing/here", given);
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert_eq!(reply.body, Body::Part { offset: 16, bytes: 4 });
        assert_eq!(header(&reply, "etag") + &header(&reply, "accept-ranges"), "");
    }
    assert_eq!(get("/docs/x", &[]).body, Body::Part { offset: 40, bytes: 4 });
    assert_eq!(get("/%00", &[]).status, StatusCode::NOT_FOUND);
}

#[test]
fn other_methods_are_not_allowed() {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let reply = ask(method, "/about", &[]);
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&reply, "allow"), "GET, HEAD");
    }
}

#[test]
fn folders_and_redirects_lead_on() {
    for (target, status, location) in [
        ("/docs", 301, "./docs/"),
        ("/docs?a=b", 301, "./docs/?a=b"),
        ("/old/x/y?q", 302, "/shop/new/x/y?q"),
        ("/old/a%20b%0d%0ax:%20y", 302, "/shop/new/a%20b%0D%0Ax:%20y"),
        ("/out/7", 308, "https://x.test/7"),
        ("/index.html", 301, "/shop/"),
    ] {
        let reply = get(target, &[]);
        assert_eq!(reply.status.as_u16(), status, "{target}");
        assert_eq!(header(&reply, "location"), location, "{target}");
    }
    let fallback = get("/app/any/where", &[]);
    assert_eq!(fallback.status, StatusCode::OK);
    assert_eq!(fallback.body, Body::Part { offset: 70, bytes: 10 });
    assert_eq!(get("/gone/x", &[]).status, StatusCode::NOT_FOUND);
    assert_eq!(get("/gone/x", &[]).body, Body::Part { offset: 40, bytes: 4 });
    assert_eq!(get("/nowhere", &[]).status, StatusCode::NOT_FOUND);
}

#[test]
fn a_path_never_becomes_a_host() {
    let view = samples::site();
    let (method, headers) = (Method::GET, HeaderMap::new());
    let asked = |path, is_bare, prefix| {
        let (query, method, headers) = (None, &method, &headers);
        let reply = answer(view.get(), &Asked { method, path, query, prefix, is_bare, headers });
        header(&reply, "location")
    };
    assert_eq!(asked("/old//evil.test", false, ""), "/new//evil.test");
    assert_eq!(asked("/", true, "/shop"), "./shop/");
    assert_eq!(asked("/", true, "/a:b"), "./a:b/");
}

proptest! {
    /// Whatever is asked: no reply reaches beyond the site, and its length is what it says.
    #[test]
    fn any_request_is_answered(
        target in "/[a-z./%0-9A-F?\\\\]{0,16}",
        accept in "[a-z;=.,* 01]{0,16}",
        range in "bytes=[0-9]{0,3}-[0-9]{0,3}",
        tag in "[W/\"*a-f,]{0,8}",
    ) {
        let given = [("accept-encoding", &*accept), ("range", &range), ("if-none-match", &tag), ("if-range", &tag)];
        let reply = get(&target, &given);
        if let Body::Part { offset, bytes } = reply.body {
            prop_assert!(offset >= 16 && offset + bytes <= 100_000);
            prop_assert_eq!(header(&reply, "content-length"), bytes.to_string());
        }
    }
}
