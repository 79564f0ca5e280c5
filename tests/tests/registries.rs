//! WebAssembly in OCI registries: pushed to one and deployed from it, with the credentials that
//! Docker keeps; and registries that answer what they should not.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use harness::node::sockhop;
use harness::running::Finished;
use harness::{Node, Running, guests, needs, wait};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
/// `deployer` with the password `secret`, as htpasswd writes it.
const HTPASSWD: &str = "deployer:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// The same in Docker's configuration.
const BASIC: &str = "ZGVwbG95ZXI6c2VjcmV0";

/// Runs `sockhop` with the configuration of Docker that is in a folder.
fn cli(docker: &Path, arguments: &[&str]) -> Finished {
    let mut command = sockhop();
    let path = format!("{}:{}", docker.display(), std::env::var("PATH").unwrap());
    command.args(arguments).env("DOCKER_CONFIG", docker).env("PATH", path);
    Running::spawn(command.env("XDG_RUNTIME_DIR", docker)).finish(SOON)
}

/// A registry that asks for a password, and its address.
fn registry(folder: &Path) -> (Running, String) {
    let program = "usr/bin/docker-registry";
    let program = needs::cached("SOCKHOP_TEST_REGISTRY", "docker-registry", program).join(program);
    let password = folder.join("htpasswd");
    fs::write(&password, HTPASSWD).unwrap();
    let configuration = json!({
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": folder.join("blobs")}},
        "http": {"addr": "127.0.0.1:0", "secret": "only for this test"},
        "auth": {"htpasswd": {"realm": "test", "path": password}},
    });
    let path = folder.join("config.yml");
    // What is JSON is YAML, too.
    fs::write(&path, configuration.to_string()).unwrap();
    let running = Running::spawn(Command::new(program).arg("serve").arg(&path));
    let address = wait::until("the registry listens", SOON, || {
        let said = running.stdout() + &running.stderr();
        let address = said.split_once("listening on ")?.1;
        Some(address.split(['"', ' ', ',']).next()?.to_owned())
    });
    (running, address)
}

#[test]
fn what_is_pushed_to_a_registry_is_deployed_by_its_digest() {
    let (folder, docker) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (_registry, host) = registry(folder.path());
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    let reference = format!("oci://{host}/team/hello_app:v1");
    let path = |guest| guests::path(guest).to_str().unwrap().to_owned();
    let configure = |json: Value| {
        fs::write(docker.path().join("config.json"), json.to_string()).unwrap();
    };
    let push = |guest| cli(docker.path(), &["push", &path(guest), &reference]);
    push("hello").expect_error(&["refuses this (401)", &format!("docker login {host}")]);
    configure(json!({"auths": {&host: {"auth": "ZGVwbG95ZXI6d3Jvbmc="}}}));
    push("hello").expect_error(&["refuses this (401)"]);

    configure(json!({"auths": {format!("https://{host}/v1/"): {"auth": BASIC}}}));
    let pushed = push("hello").expect_code(0).stdout;
    let pushed = pushed.trim();
    assert!(pushed.starts_with(&format!("{reference}@sha256:")), "{pushed}");
    // The same file has the same digest, and what is there is not sent again.
    assert_eq!(push("hello").expect_code(0).stdout.trim(), pushed);

    let helper = docker.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread host\n[ \"$host\" = {host} ] || exit 1\n\
         echo '{{\"ServerURL\":\"'$host'\",\"Username\":\"deployer\",\"Secret\":\"secret\"}}'\n"
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    configure(json!({"credHelpers": {&host: "test"}}));
    cli(docker.path(), &["deploy", &reference, "--data", data]).expect_code(0);
    node.get("/hello-app/").expect_hello();
    // The tag means something else now; what is deployed stays.
    configure(json!({"credsStore": "test"}));
    push("cmd-p1").expect_code(0);
    let deploy = ["deploy", &reference, "--name", "moved", "--no-trial", "--data", data];
    cli(docker.path(), &deploy).expect_code(0);
    let origin = |name: &str| {
        let shown = node.cli(&["inspect", name, "--json"]).expect_code(0).stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["versions"][0]["origin"], shown["origin"]);
        shown["origin"].as_str().unwrap().to_owned()
    };
    assert_eq!(origin("hello-app"), pushed);
    assert_ne!(origin("moved"), pushed);
    for command in ["versions", "inspect"] {
        assert!(node.cli(&[command, "hello-app"]).expect_code(0).stdout.contains(pushed));
    }
    cli(docker.path(), &["deploy", pushed, "--name", "pinned", "--data", data]).expect_code(0);
    node.get("/pinned/").expect_hello();
    // A version of a file does not take over where the one before it was from.
    node.deploy("hello", "pinned", &[]);
    assert!(!node.cli(&["inspect", "pinned"]).expect_code(0).stdout.contains("oci://"));
    let none = reference.replace("v1", "v2");
    cli(docker.path(), &["deploy", &none, "--data", data])
        .expect_error(&["has no manifests v2 of team/hello_app"]);
    cli(docker.path(), &["deploy", "oci://team/app", "--data", data])
        .expect_error(&["registry's host", "oci://ghcr.io/you/app:v1"]);
    node.stop();
}

/// A request as it came: its first line, its headers in lower case and its body.
type Request = String;

/// A server whose answers a test makes, and the requests that it has had.
struct Server {
    host: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let request = read(&mut stream);
                seen.lock().unwrap().push(request.clone());
                answer(&request, &mut stream);
            }
        });
        Self { host, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Request {
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.split("\r\n").next().unwrap().parse::<usize>().unwrap()
            });
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut piece) {
            Ok(length @ 1..) => read.extend_from_slice(&piece[..length]),
            _ => return String::from_utf8_lossy(&read).into_owned(),
        }
    }
}

/// Answers once on a connection. The client may have left.
fn reply(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn manifest(file: &[u8], size: u64) -> Vec<u8> {
    let layer = json!({"mediaType": "application/wasm", "digest": digest(file), "size": size});
    json!({"schemaVersion": 2, "layers": [layer]}).to_string().into_bytes()
}

fn deploy(docker: &Path, reference: &str) -> Finished {
    // Nothing gets as far as a node.
    cli(docker, &["deploy", reference, "--node", "http://127.0.0.1:1"])
}

#[test]
fn a_registry_is_believed_nothing() {
    let docker = TempDir::new().unwrap();
    let file = b"\0asm\r\0\x01\0";
    let server = Server::start(move |request, stream| {
        let case = request.split(['/', ' ']).nth(3).unwrap_or_default().to_owned();
        let blob = request.contains("/blobs/");
        match &*case {
            "other" if blob => reply(stream, "200 OK", b"another"),
            "endless" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                while stream.write_all(&[b' '; 65536]).is_ok() {}
            }
            "long" if blob => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                while stream.write_all(&[0; 65536]).is_ok() {}
            }
            "large" => reply(stream, "200 OK", &manifest(file, 1 << 40)),
            "circle" => {
                let host = request.split_once("host: ").unwrap().1.split("\r\n").next().unwrap();
                let to = format!("302 Found\r\nlocation: http://{host}/v2/circle/manifests/v1");
                reply(stream, &to, b"");
            }
            "nested" => {
                let index = json!({"mediaType": "", "digest": digest(b"i"), "size": 1});
                let index = json!({"manifests": [index]}).to_string();
                reply(stream, "200 OK", index.as_bytes());
            }
            "image" => {
                let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
                let layer = json!({"mediaType": media_type, "digest": digest(file), "size": 8});
                reply(stream, "200 OK", json!({"layers": [layer]}).to_string().as_bytes());
            }
            "page" => reply(stream, "200 OK", b"<html>"),
            "broken" => reply(stream, "500 Internal Server Error", b""),
            _ => reply(stream, "200 OK", &manifest(file, file.len() as u64)),
        }
    });
    let pinned = digest(b"something else");
    for (path, words) in [
        ("other:v1", &["the digest", &*digest(b"another")][..]),
        ("endless:v1", &["more than 4194304 bytes"]),
        ("long:v1", &["more than 8 bytes"]),
        ("large:v1", &["at most"]),
        ("circle:v1", &["cannot be asked", "redirects too often"]),
        ("nested:v1", &["answers wrongly"]),
        ("image:v1", &["container's image", "--kind server"]),
        ("page:v1", &["manifest is not understood"]),
        ("broken:v1", &["500"]),
        (&format!("good@{pinned}"), &["the manifest", &pinned]),
    ] {
        deploy(docker.path(), &format!("oci://{}/{path}", server.host)).expect_error(words);
    }
}

#[test]
fn a_token_is_asked_for_where_the_registry_says_and_goes_nowhere_else() {
    let docker = TempDir::new().unwrap();
    let file = fs::read(guests::path("hello")).unwrap();
    let made = manifest(&file, file.len() as u64);
    // Blobs are elsewhere, as with the registries of clouds.
    let blobs = Server::start(move |_, stream| reply(stream, "200 OK", &file));
    let elsewhere = blobs.host.clone();
    let tokens = Server::start(|request, stream| {
        let answer = if request.contains("refresh_token=long-lived")
            && request.contains("service=shop")
            && request.contains("scope=repository%3au%2fapp%3apull")
        {
            r#"{"access_token": "short-lived"}"#
        } else {
            r#"{"token": "of-anybody"}"#
        };
        reply(stream, "200 OK", answer.as_bytes());
    });
    let realm = format!("http://{}/token", tokens.host);
    let server = Server::start(move |request, stream| {
        if !request.contains("authorization: bearer short-lived") {
            let asked = format!(
                "401 Unauthorized\r\nwww-authenticate: Bearer realm=\"{realm}\",service=\"shop\",scope=\"x\""
            );
            reply(stream, &asked, b"");
        } else if request.contains("/blobs/") {
            reply(
                stream,
                &format!("307 Temporary Redirect\r\nlocation: http://{elsewhere}/x"),
                b"",
            );
        } else {
            reply(stream, "200 OK", &made);
        }
    });
    let reference = format!("oci://{}/u/app:v1", server.host);
    deploy(docker.path(), &reference).expect_error(&["refuses this (401)"]);
    let configuration = json!({"auths": {&server.host: {"identitytoken": "long-lived"}}});
    fs::write(docker.path().join("config.json"), configuration.to_string()).unwrap();
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    cli(docker.path(), &["deploy", &reference, "--data", data]).expect_code(0);
    node.get("/app/").expect_hello();
    node.stop();
    let at_blobs = blobs.requests();
    assert_eq!(at_blobs.len(), 1);
    assert!(!at_blobs[0].contains("authorization"), "{at_blobs:?}");
    assert!(tokens.requests().iter().all(|request| !request.contains("short-lived")));
}
