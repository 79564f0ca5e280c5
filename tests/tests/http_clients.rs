//! Clients that others have written, over TLS: Python's httpx and gRPC, and Go's net/http. Each has
//! HTTP/2 chosen for it, and what it sends comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::tls::{Site, tls_address};
use harness::{Node, Running, native};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// Runs a client of Python's, whose packages scripts/test has installed.
fn python(script: &str, arguments: &[&str]) {
    let named = std::env::var_os("SOCKHOP_TEST_HTTP_CLIENTS").map(PathBuf::from);
    let installed = named.unwrap_or_else(|| {
        panic!("SOCKHOP_TEST_HTTP_CLIENTS names the folder of its packages: run scripts/test")
    });
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", installed).arg(here(script)).args(arguments);
    let finished = Running::spawn(&mut command).finish(LONG).expect_code(0);
    assert_eq!(finished.stdout, "all is well\n");
}

fn authority(site: &Site) -> String {
    site.authority.file().display().to_string()
}

fn node(site: &Site) -> Node {
    let node = site.node().start();
    node.deploy("hello", "hello", &[]);
    node.deploy("echo-p3", "echo", &["--request-body", "64MiB"]);
    node
}

#[test]
fn httpx_speaks_http2_with_a_node() {
    let site = Site::default();
    let node = node(&site);
    native::deploy(&node, "server", "server", "server", &[]);
    let url = format!("https://localhost:{}", tls_address(&node).port());
    python("httpx_client.py", &[&url, &authority(&site)]);
    node.stop();
}

#[test]
fn grpc_has_its_trailers_and_streams() {
    let (site, folder) = (Site::default(), TempDir::new().unwrap());
    let node = site.node().start();
    fs::copy(here("grpc_server"), folder.path().join("server")).unwrap();
    native::try_deploy(&node, folder.path(), "server", "grpc", &[]).expect_code(0);
    let address = format!("localhost:{}", tls_address(&node).port());
    python("grpc_client.py", &[&address, &authority(&site)]);
    node.stop();
}

#[test]
fn go_speaks_http2_with_a_node() {
    let site = Site::default();
    let node = node(&site);
    let url = format!("https://localhost:{}", tls_address(&node).port());
    let mut command = Command::new(native::path("go-client").join("client"));
    let finished = Running::spawn(command.args([&url, &authority(&site)])).finish(LONG);
    let said = "HTTP/2.0 200 Hello, world!\n50 bodies came back\nexpected 200 1048576\n";
    assert_eq!(finished.expect_code(0).stdout, said);
    node.stop();
}
