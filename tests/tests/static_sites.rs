//! Static sites: folders of files, served as they are, by every way that functions are served.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::bytes::{assert_same, body};
use harness::client::{head, request};
use harness::s3::Server;
use harness::tls::{Site, tls_address};
use harness::tunnel::Tunnel;
use harness::{Connection, Node, NodeBuilder, Reply, guests, http2, process, wait};
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(20);

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, contents) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    folder
}

fn deploy(node: &Node, folder: &Path, options: &[&str]) {
    let folder = folder.to_str().unwrap();
    let command = ["deploy", folder, "--name", "site"];
    node.cli(&[&command[..], options].concat()).expect_code(0);
}

/// A node with a site of these files.
fn node_with(files: &[(&str, &[u8])]) -> Node {
    let node = Node::start();
    deploy(&node, folder(files).path(), &[]);
    node
}

fn ask(connection: &mut Connection, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    connection.send(request(method, target, headers, b""));
    connection.reply()
}

/// Returns the status of a reply to a raw target, which may be nothing that a client would send.
fn status(node: &Node, target: &str) -> u16 {
    let mut connection = node.connect();
    connection.send(head("GET", target, &[]));
    connection.reply().status()
}

#[test]
fn a_folder_is_served_as_it_is() {
    let node = node_with(&[
        ("index.html", b"<p>home</p>"),
        ("about.html", b"about"),
        ("docs/index.html", b"docs"),
        ("404.html", b"nothing here"),
        ("empty.css", b""),
        ("a b/ü.txt", b"letters"),
        (".env", b"SECRET=1"),
        (".git/config", b"secret"),
        (".well-known/security.txt", b"mail me"),
    ]);
    let home = node.get("/site/");
    assert_eq!((home.status(), home.text().as_str()), (200, "<p>home</p>"));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "11"),
        ("accept-ranges", "bytes"),
        ("cache-control", "public, max-age=0, must-revalidate"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(home.head.get(name), Some(value), "{name}");
    }
    assert!(home.head.get("last-modified").is_none());
    for (target, text) in [
        ("/site/index.html", "<p>home</p>"),
        ("/site/about", "about"),
        ("/site/docs/?a=b", "docs"),
        ("/site/empty.css", ""),
        ("/site/a%20b/%C3%BC.txt", "letters"),
        ("/site/.well-known/security.txt", "mail me"),
    ] {
        let reply = node.get(target);
        assert_eq!((reply.status(), reply.text().as_str()), (200, text), "{target}");
    }
    for (target, location) in [("/site", "./site/"), ("/site/docs?a", "./docs/?a")] {
        let reply = node.get(target);
        assert_eq!((reply.status(), reply.head.get("location")), (301, Some(location)));
    }
    let missing = node.get("/site/nothing/here");
    assert_eq!((missing.status(), missing.text().as_str()), (404, "nothing here"));

    let mut connection = node.connect();
    connection.send(head("HEAD", "/site/", &[]));
    let only_head = connection.head();
    assert_eq!((only_head.status, only_head.get("content-length")), (200, Some("11")));
    connection.send(request("POST", "/site/", &[], b"a body"));
    let refused = connection.reply();
    assert_eq!((refused.status(), refused.head.get("allow")), (405, Some("GET, HEAD")));
    // With a host there is no prefix.
    let by_host = ask(&mut connection, "GET", "/docs/", &[("host", "site.localhost")]);
    assert_eq!(by_host.text(), "docs");

    for target in [
        "/site/.env",
        "/site/%2eenv",
        "/site/.git/config",
        "/site/../site/.env",
        "/site/..%2f..%2fetc%2fpasswd",
        "/site/%2e%2e/%2e%2e/etc/passwd",
        "/site/docs/../../../etc/passwd",
        "/site/..\\..\\etc\\passwd",
        "/site//etc/passwd",
        "/site/index.html%00.png",
        "/site/%00",
        "/site/%",
        "/site/%ff",
        "/site/index.html/",
        "/site/docs/index.html/x",
    ] {
        assert!(matches!(status(&node, target), 400 | 404), "{target}");
    }
    let list = node.list();
    assert!(list.contains("static") && list.contains("site"), "{list}");
    let logged = wait::until("requests are logged", SOON, || {
        let logs = node.cli(&["logs", "site"]).expect_code(0).stdout;
        logs.contains("405").then_some(logs)
    });
    assert!(logged.contains("200") && logged.contains("404"), "{logged}");
    node.stop();
}

/// What all ways of asking must agree on: a status, some headers and the body's length.
type Seen = (u16, Option<String>, Option<String>, usize);

/// Asks for parts of a file, and on conditions, by one way.
fn check_ranges(size: usize, file: &[u8], mut get: impl FnMut(&[(&str, &str)]) -> (Seen, Vec<u8>)) {
    let ((code, tag, _, length), whole) = get(&[]);
    assert_eq!((code, length), (200, size));
    assert_same(&whole, file);
    let tag = tag.unwrap();
    let end = size - 1;
    let of = |first: usize, last: usize| Some(format!("bytes {first}-{last}/{size}"));
    for (headers, code, range, from, to) in [
        (&[("range", "bytes=0-0")][..], 206, of(0, 0), 0, 1),
        (&[("range", "bytes=10-19")], 206, of(10, 19), 10, 20),
        (&[("range", "bytes=-5")], 206, of(size - 5, end), size - 5, size),
        (&[("range", "bytes=100-")], 206, of(100, end), 100, size),
        (&[("range", "bytes=1-99999999999")], 206, of(1, end), 1, size),
        (&[("range", "bytes=0-1,4-5")], 200, None, 0, size),
        (&[("range", "bytes=5-1")], 200, None, 0, size),
        (&[("range", "lines=1-2")], 200, None, 0, size),
        (&[("range", "bytes=10-19"), ("if-range", &tag)], 206, of(10, 19), 10, 20),
        (&[("range", "bytes=10-19"), ("if-range", "\"other\"")], 200, None, 0, size),
        (&[("range", "bytes=1-2"), ("if-match", &tag)], 206, of(1, 2), 1, 3),
        (&[("if-none-match", "\"other\"")], 200, None, 0, size),
        (&[("if-modified-since", "Fri, 06 Nov 2094 08:49:37 GMT")], 200, None, 0, size),
        (&[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")], 200, None, 0, size),
    ] {
        let (seen, bytes) = get(headers);
        assert_eq!(seen, (code, Some(tag.clone()), range, to - from), "{headers:?}");
        assert_same(&bytes, &file[from..to]);
    }
    let weak = format!("W/{tag}, \"other\"");
    for headers in
        [&[("if-none-match", &*tag)], &[("if-none-match", "*")], &[("if-none-match", &weak)]]
    {
        let (seen, _) = get(headers);
        assert_eq!(seen, (304, Some(tag.clone()), None, 0), "{headers:?}");
    }
    assert_eq!(get(&[("if-match", "\"other\"")]).0.0, 412);
    let past = get(&[("range", &format!("bytes={size}-"))]).0;
    assert_eq!((past.0, past.2), (416, Some(format!("bytes */{size}"))));
}

#[test]
fn parts_and_conditions_are_the_same_by_every_way() {
    // One is read, of the other the kernel sends its own copy.
    let (small, large) = (body(1000, 7), body(3 * MIB + 17, 8));
    let files = folder(&[("index.html", b"home"), ("small.bin", &small), ("large.bin", &large)]);
    let tls = Site::default();
    let node = tls.node().start();
    deploy(&node, files.path(), &[]);
    let tunnel = Tunnel::to(tls_address(&node), &tls.authority.client(), "localhost");
    let by_http2 = [
        http2::Client::plain(node.addresses()[0]),
        http2::Client::tls(tls_address(&node), &tls.authority.client()),
    ];
    for (name, file) in [("small.bin", &small), ("large.bin", &large)] {
        let target = format!("/site/{name}");
        for address in [node.addresses()[0], tunnel.address()] {
            let mut connection = Connection::open(address);
            check_ranges(file.len(), file, |headers| {
                let reply = ask(&mut connection, "GET", &target, headers);
                let text = |name| reply.head.get(name).map(str::to_owned);
                let seen = (reply.status(), text("etag"), text("content-range"), reply.body.len());
                (seen, reply.body)
            });
        }
        for client in &by_http2 {
            check_ranges(file.len(), file, |headers| {
                let mut asked = http2::get(&target);
                for (name, value) in headers {
                    let name: http::HeaderName = name.parse().unwrap();
                    asked.headers_mut().insert(name, value.parse().unwrap());
                }
                let reply = client.send(asked, b"").unwrap();
                let text =
                    |name| reply.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                let seen =
                    (reply.status.as_u16(), text("etag"), text("content-range"), reply.body.len());
                (seen, reply.body)
            });
        }
    }
    node.stop();
}

#[test]
fn what_is_compressed_is_sent_to_who_takes_it() {
    let page = "<p>the same, again and again</p>\n".repeat(400).into_bytes();
    let node = node_with(&[
        ("index.html", &page),
        ("app.js", b"let a = 1;"),
        ("app.js.br", b"as Brotli"),
        ("x.png", &body(5000, 1)),
    ]);
    let mut connection = node.connect();
    let mut get = |target: &str, accepted: &str| {
        ask(&mut connection, "GET", target, &[("accept-encoding", accepted)])
    };
    let gzip = get("/site/", "gzip, deflate");
    assert_eq!(gzip.head.get("content-encoding"), Some("gzip"));
    assert_eq!(gzip.head.get("vary"), Some("Accept-Encoding"));
    assert!(gzip.body.len() < page.len() / 10);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_same(&unpacked, &page);
    let zstandard = get("/site/", "gzip, deflate, br, zstd");
    assert_eq!(zstandard.head.get("content-encoding"), Some("zstd"));
    assert_ne!(zstandard.head.get("etag"), gzip.head.get("etag"));
    let plain = get("/site/", "identity");
    assert_eq!(plain.head.get("content-encoding"), None);
    assert_eq!(plain.head.get("vary"), Some("Accept-Encoding"));
    assert_same(&plain.body, &page);
    let brotli = get("/site/app.js", "br");
    assert_eq!(
        (brotli.head.get("content-encoding"), brotli.text().as_str()),
        (Some("br"), "as Brotli")
    );
    assert_eq!(brotli.head.get("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(get("/site/app.js", "gzip").text(), "let a = 1;");
    let image = get("/site/x.png", "br, gzip, zstd");
    assert_eq!((image.head.get("content-encoding"), image.head.get("vary")), (None, None));
    let tag = gzip.head.get("etag").unwrap().to_owned();
    let headers = [("accept-encoding", "gzip"), ("if-none-match", &*tag)];
    let again = ask(&mut node.connect(), "GET", "/site/", &headers);
    assert_eq!((again.status(), again.head.get("vary")), (304, Some("Accept-Encoding")));
    node.stop();
}

#[test]
fn headers_redirects_and_a_single_page() {
    let files = folder(&[
        ("public/index.html", b"app"),
        ("public/assets/a.js", b"a"),
        (
            "public/_headers",
            b"/*\n  X-Frame-Options: DENY\n/assets/*\n  Cache-Control: max-age=9\n",
        ),
        ("public/_redirects", b"/old/* /new/:splat 302\n/assets/* /login 307!\n"),
        (
            "sockhop.toml",
            b"name = \"site\"\nkind = \"static\"\nsource = \"public\"\nsingle_page = true\n",
        ),
    ]);
    let node = Node::start();
    node.cli(&["deploy", files.path().to_str().unwrap()]).expect_code(0);
    let home = node.get("/site/");
    assert_eq!(home.head.get("x-frame-options"), Some("DENY"));
    let moved = node.get("/site/old/a%20b?q");
    assert_eq!((moved.status(), moved.head.get("location")), (302, Some("/site/new/a%20b?q")));
    assert_eq!(node.get("/site/assets/a.js").status(), 307);
    let deep = node.get("/site/any/where");
    assert_eq!((deep.status(), deep.text().as_str()), (200, "app"));
    for control in ["/site/_headers", "/site/sockhop.toml"] {
        assert_eq!(node.get(control).text(), "app", "{control} is not there");
    }
    // A forced redirect goes, and the headers behind it are seen.
    fs::write(files.path().join("public/_redirects"), "").unwrap();
    node.cli(&["deploy", files.path().to_str().unwrap()]).expect_code(0);
    assert_eq!(node.get("/site/assets/a.js").head.get("cache-control"), Some("max-age=9"));
    fs::write(files.path().join("public/_headers"), "\n/*\n  no header\n").unwrap();
    let refused = node.cli(&["deploy", files.path().to_str().unwrap()]);
    refused.expect_error(&["_headers, line 3", "NAME: VALUE"]);
    assert_eq!(node.get("/site/").text(), "app", "what was there is served");
    node.stop();
}

#[test]
fn versions_and_aliases_are_as_of_functions() {
    let files = folder(&[("index.html", b"one")]);
    let node = Node::start();
    deploy(&node, files.path(), &["--previews"]);
    let first = node.get("/site/").head.get("etag").unwrap().to_owned();
    fs::write(files.path().join("index.html"), "two").unwrap();
    deploy(&node, files.path(), &[]);
    assert_eq!(
        (node.get("/site/").text(), node.get("/site@v1/").text()),
        ("two".into(), "one".into())
    );
    node.cli(&["alias", "set", "site@old", "v1"]).expect_code(0);
    assert_eq!(node.get("/site@old/").text(), "one");
    node.cli(&["rollback", "site"]).expect_code(0);
    // Whoever has the newer one is not told that it has not changed.
    let headers =
        [("if-none-match", "\"of two\""), ("if-modified-since", "Fri, 06 Nov 2094 08:49:37 GMT")];
    let back = ask(&mut node.connect(), "GET", "/site/", &headers);
    assert_eq!((back.text().as_str(), back.head.get("etag")), ("one", Some(&*first)));
    let node = node.taken_over();
    assert_eq!(node.get("/site/").text(), "one");
    node.cli(&["remove", "site"]).expect_code(0);
    assert_eq!(node.get("/site/").status(), 404);
    node.stop();
}

#[test]
fn what_cannot_be_a_site_is_refused_with_a_reason() {
    let node = Node::start();
    let files = folder(&[("index.html", b"x")]);
    let path = files.path().to_str().unwrap().to_owned();
    let refused =
        |options: &[&str]| node.cli(&[&["deploy", &path, "--name", "site"], options].concat());
    refused(&["--env", "A=b"]).expect_error(&["--env is for programs", "leave it out"]);
    refused(&["--memory", "1MiB"]).expect_error(&["--memory is for programs"]);
    symlink("/etc/passwd", files.path().join("passwd")).unwrap();
    refused(&[]).expect_error(&["passwd", "link", "leave it out"]);
    let empty = folder(&[(".hidden", b"x")]);
    let empty = empty.path().to_str().unwrap().to_owned();
    let options = ["deploy", &empty, "--name", "site", "--kind", "static"];
    node.cli(&options).expect_error(&["no file that is served"]);
    let file = empty.clone() + "/.hidden";
    node.cli(&["deploy", &file, "--name", "site", "--kind", "static"])
        .expect_error(&["folder or a zip"]);
    assert!(!node.list().contains("site"));
    node.stop();
}

#[test]
fn a_large_file_takes_no_memory_and_keeps_nobody_waiting() {
    let large = body(100 * MIB, 3);
    let files = folder(&[("index.html", b"home"), ("large.bin", &large)]);
    let node = Node::build().option("--cores", "0").start();
    deploy(&node, files.path(), &[]);
    let resident = || node.processes().into_iter().map(process::resident).sum::<u64>();
    // Each has the head, and takes its time for the rest.
    let begin = |_| {
        let mut connection = node.connect();
        connection.send(head("GET", "/site/large.bin", &[]));
        let head = connection.head();
        assert_eq!(head.get("content-length"), Some(&*large.len().to_string()));
        (connection, head)
    };
    let mut slow: Vec<_> = (0..8).map(begin).collect();
    let before = resident();
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let reply = node.get("/site/large.bin");
            assert_same(&reply.body, &large);
        });
        // Others are served meanwhile.
        let mut connection = node.connect();
        while !reading.is_finished() {
            assert_eq!(ask(&mut connection, "GET", "/site/", &[]).text(), "home");
        }
        reading.join().unwrap();
    });
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "{grown} bytes");
    // One that went slowly has every byte in the end.
    let (mut connection, head) = slow.pop().unwrap();
    let mut received = Vec::with_capacity(large.len());
    connection.try_body(&head, |piece| received.extend_from_slice(piece)).unwrap();
    assert_same(&received, &large);
    // The node would wait for the others when it stops.
    drop(slow);
    node.stop();
}

/// Checks what two nodes do with one store of any kind.
fn two_nodes_serve_it(with_store: impl Fn(NodeBuilder) -> NodeBuilder) {
    let node = || with_store(Node::build().option("--sync-interval", "100ms")).start();
    let (one, other) = (node(), node());
    let (text, large) = ("text ".repeat(1000), body(MIB, 5));
    let files = folder(&[("index.html", text.as_bytes()), ("large.bin", &large)]);
    deploy(&one, files.path(), &[]);
    wait::until("the other node serves it", SOON, || {
        (other.get("/site/").status() == 200).then_some(())
    });
    for target in ["/site/", "/site/large.bin"] {
        let [first, second] = [&one, &other].map(|node| node.get(target));
        assert_same(&first.body, &second.body);
        assert_eq!(first.head.get("etag"), second.head.get("etag"));
    }
    assert_same(&other.get("/site/large.bin").body, &large);
    one.stop();
    other.stop();
}

#[test]
fn nodes_share_a_site_in_a_folder() {
    let store = TempDir::new().unwrap();
    two_nodes_serve_it(|node| node.option("--store", store.path().join("store")));
}

#[test]
fn nodes_share_a_site_in_a_bucket() {
    let server = Server::s3s_fs();
    two_nodes_serve_it(|node| node.bucket(&server, "site", server.address()));
}

#[test]
fn a_functions_assets_come_before_it() {
    let toml = b"name = \"shop\"\nsource = \"shop.wasm\"\n[assets]\ndirectory = \"public\"\n";
    let files = folder(&[
        ("sockhop.toml", toml),
        ("public/app.css", b"red"),
        ("public/docs/index.html", b"docs"),
        ("public/_redirects", b"/old /docs/ 302\n"),
    ]);
    fs::copy(guests::path("hello"), files.path().join("shop.wasm")).unwrap();
    let path = files.path().to_str().unwrap();
    let node = Node::start();
    node.cli(&["deploy", path, "--previews"]).expect_code(0);
    let style = node.get("/shop/app.css");
    assert_eq!((style.status(), style.text().as_str()), (200, "red"));
    assert!(style.head.get("etag").is_some());
    assert_eq!(node.get("/shop/docs/").text(), "docs");
    assert_eq!(node.get("/shop/docs").head.get("location"), Some("./docs/"));
    assert_eq!(node.get("/shop/old").head.get("location"), Some("/shop/docs/"));
    // All else is the function's.
    for target in ["/shop", "/shop/", "/shop/nothing/here"] {
        node.get(target).expect_hello();
    }
    let mut connection = node.connect();
    connection.send(request("POST", "/shop/app.css", &[], b"a body"));
    connection.reply().expect_hello();

    // Both are one version.
    fs::write(files.path().join("public/app.css"), "blue").unwrap();
    node.cli(&["deploy", path, "--previews"]).expect_code(0);
    assert_eq!(node.get("/shop/app.css").text(), "blue");
    assert_eq!(node.get("/shop@v1/app.css").text(), "red");
    node.get("/shop@v1/").expect_hello();
    let node = node.taken_over();
    node.cli(&["rollback", "shop"]).expect_code(0);
    assert_eq!(node.get("/shop/app.css").text(), "red");
    let bundle = ["bundle", "shop", "--for", "lambda", "--output", "/dev/null"];
    node.cli(&bundle).expect_error(&["has assets"]);
    // Without the table it has none any more.
    let toml = "name = \"shop\"\nsource = \"shop.wasm\"\n";
    fs::write(files.path().join("sockhop.toml"), toml).unwrap();
    node.cli(&["deploy", path]).expect_code(0);
    node.get("/shop/app.css").expect_hello();
    node.stop();
}
