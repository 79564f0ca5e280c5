//! A node that cannot start names the setting that prevents it. A command that finds no node says
//! how to start one.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::client::request;
use harness::{Connection, Finished, Node, Running, guests, needs, node, process, seccomp};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, chown};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);
/// `nobody`.
const UNPRIVILEGED: u32 = 65534;

/// Runs a `serve` that is expected to fail.
fn serve(data: &Path, options: &[&str]) -> Finished {
    let mut command = node::sockhop();
    command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]).args(options);
    let ended = Running::spawn(&mut command).finish(LIMIT);
    assert_eq!(ended.stdout, "", "a node that does not start is not ready");
    ended
}

#[test]
fn a_second_node_on_the_same_data_names_the_first() {
    let node = Node::with(&["hello"]);
    serve(node.data(), &[]).expect_error(&[&node.pid().to_string()]);
    node.get("/hello/").expect_hello();
    assert!(node.list().contains("hello"), "the control socket is still the first one's");
    node.stop();
}

#[test]
fn commands_without_a_node_say_how_to_start_one() {
    let data = TempDir::new().unwrap();
    let hello = guests::path("hello");
    let data = data.path().to_str().unwrap();
    let start = format!("sockhop serve --data {data}");
    for arguments in [
        &["deploy", hello.to_str().unwrap(), "--name", "hello"][..],
        &["list"],
        &["status"],
        &["inspect", "hello"],
        &["remove", "hello"],
        &["invoke", "hello"],
    ] {
        node::run(arguments.iter().chain(&["--data", data])).expect_error(&[&start]);
    }
    assert_eq!(fs::read_dir(data).unwrap().count(), 0, "and they leave nothing there");
}

#[test]
fn a_socket_left_by_a_killed_node_is_no_node() {
    let data = TempDir::new().unwrap();
    let mut killed = Node::build().data(data.path()).start();
    killed.kill_engine();
    assert!(data.path().join("control.sock").exists(), "a killed node cannot remove it");
    let path = data.path().to_str().unwrap();
    node::run(["list", "--data", path]).expect_error(&["sockhop serve --data"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = TempDir::new().unwrap();
    let mut command = node::sockhop();
    command.arg("serve").arg("--data").arg(data.path()).args(["--listen", &address]);
    Running::spawn(&mut command).finish(LIMIT).expect_error(&[&address]);
}

#[test]
fn a_data_folder_that_cannot_be_one_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "not a folder").unwrap();
    serve(&file, &[]).expect_error(&["a-file"]);
    serve(&file.join("below"), &[]).expect_error(&["a-file"]);
}

#[test]
fn cores_that_are_not_there_are_named() {
    let data = TempDir::new().unwrap();
    serve(data.path(), &["--cores", "900-901"]).expect_error(&["900"]);
}

#[test]
fn an_engine_without_its_worker_says_which_file_is_missing() {
    let folder = TempDir::new().unwrap();
    let engine = folder.path().join("sockhop");
    fs::copy(node::binaries().join("sockhop"), &engine).unwrap();
    let mut command = Command::new(engine);
    command
        .arg("serve")
        .arg("--data")
        .arg(folder.path().join("data"))
        .args(["--listen", "127.0.0.1:0"]);
    Running::spawn(&mut command).finish(LIMIT).expect_error(&["sockhop-worker"]);
}

#[test]
fn forbidden_io_uring_is_named() {
    let data = TempDir::new().unwrap();
    let mut command = node::sockhop();
    command.arg("serve").arg("--data").arg(data.path()).args(["--listen", "127.0.0.1:0"]);
    seccomp::forbid_io_uring(&mut command);
    let ended = Running::spawn(&mut command).finish(LIMIT);
    assert_eq!(ended.stdout, "");
    ended.expect_error(&["io_uring", "seccomp"]);
}

/// Returns the command that runs `serve` as an unprivileged user with these limits, on the folder
/// `data` in `folder`.
fn serve_as_nobody(folder: &Path, limits: &[&str]) -> Command {
    needs::root("start a node as another user");
    let prlimit = needs::program("prlimit", "util-linux");
    let setpriv = needs::program("setpriv", "util-linux");
    // The user `nobody` must be able to read it.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["sockhop", "sockhop-worker"] {
        fs::copy(node::binaries().join(name), folder.join(name)).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(Uid::from_raw(UNPRIVILEGED)), None).unwrap();

    let mut command = Command::new(prlimit);
    command.args(limits).arg(setpriv).arg("--clear-groups");
    command.args([format!("--reuid={UNPRIVILEGED}"), format!("--regid={UNPRIVILEGED}")]);
    command
        .arg(folder.join("sockhop"))
        .arg("serve")
        .arg("--data")
        .arg(&data)
        .args(["--listen", "127.0.0.1:0"]);
    command
}

#[test]
fn too_little_locked_memory_is_named() {
    // Root is not held to the limit, so the node must run as somebody else.
    let folder = TempDir::new().unwrap();
    let mut command = serve_as_nobody(folder.path(), &["--memlock=65536:65536"]);
    let ended = Running::spawn(&mut command).finish(LIMIT);
    assert_eq!(ended.stdout, "");
    ended.expect_error(&["memlock"]);
}

/// Nobody can read the memory of a node's processes: they leave no core dump, whatever the limit
/// is, and no process of the same user can debug them or read them in /proc.
#[test]
fn a_nodes_processes_leave_no_core_and_show_nothing_to_their_own_user() {
    let folder = TempDir::new().unwrap();
    let mut command = serve_as_nobody(folder.path(), &["--core=1000000:1000000"]);
    let mut node = Running::spawn(command.args(["--cores", &node::two_cores()]));
    let (_, addresses) = node::ready_line(&mut node);
    let (data, hello) = (folder.path().join("data"), guests::path("hello"));
    for options in [&["--name", "hello"][..], &["--name", "alone", "--isolation", "process"]] {
        let deploy = ["deploy", hello.to_str().unwrap(), "--data", data.to_str().unwrap()];
        node::run(deploy.iter().chain(options)).expect_code(0);
    }
    for target in ["/hello/", "/alone/"] {
        Connection::open(addresses[0]).get(target).expect_hello();
    }
    let workers = process::descendants(node.pid());
    assert!(workers.len() >= 2, "shared ones and alone's: {workers:?}");
    for pid in workers.into_iter().chain([node.pid()]) {
        assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), UNPRIVILEGED);
        assert_eq!(
            fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(),
            0,
            "{pid} is dumpable"
        );
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(
            core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
            ["0", "0"],
            "{pid}"
        );
    }
    let status =
        node::run(["status", "--json", "--data", data.to_str().unwrap()]).expect_code(0).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let memory = |worker: &serde_json::Value| worker["memory_bytes"].as_u64() > Some(100_000);
    assert!(status["workers"].as_array().unwrap().iter().all(memory), "{status:#}");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(LIMIT).code(), Some(0));
}

#[test]
fn a_data_folder_that_is_not_its_users_alone_is_mended_or_refused() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mode = || fs::metadata(&data).unwrap().permissions().mode() & 0o7777;
    let set_mode = |mode| fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
    // The folder is empty: nobody can have put anything there.
    for loose in [0o777, 0o755] {
        set_mode(loose);
        let node = Node::build().data(&data).in_folder().start();
        assert_eq!(mode(), 0o700);
        assert!(node.stderr().contains("chmod 700"), "{}", node.stderr());
        node.stop();
        for entry in fs::read_dir(&data)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|_| loose == 0o777)
        {
            if entry.is_dir() {
                fs::remove_dir_all(entry).unwrap()
            } else {
                fs::remove_file(entry).unwrap()
            }
        }
    }
    for loose in [0o770, 0o702, 0o1777] {
        set_mode(loose);
        serve(&data, &[]).expect_error(&[
            &format!("{loose:04o}"),
            "chmod 700",
            data.to_str().unwrap(),
        ]);
        assert_eq!(mode(), loose);
    }
}

#[test]
fn a_data_folder_of_another_user_is_refused() {
    needs::root("give a folder to another user");
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&data, Some(Uid::from_raw(UNPRIVILEGED)), None).unwrap();
    serve(&data, &[]).expect_error(&[&format!("belongs to user {UNPRIVILEGED}"), "chown -R 0"]);
}

/// A name in a path is checked before anything else, percent-encoded or not.
#[test]
fn what_is_no_name_is_refused_wherever_the_control_api_takes_one() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let node = Node::build().data(&data).in_folder().start();
    node.deploy("hello", "hello", &[]);
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x.json"), "kept").unwrap();
    let bad =
        ["..%2F..%2F..%2Foutside", "%2e%2e", "..%2Fhello", "%2Fusr", "hello%00", "a.b", "a%20b"];
    let paths = |bad: &str| {
        let of_function = [
            "",
            "/secrets",
            "/secrets/KEY",
            "/versions",
            "/rollback",
            "/aliases",
            "/aliases/x",
            "/invoke/",
        ];
        let mut paths = of_function.map(|rest| format!("/v1/functions/{bad}{rest}")).to_vec();
        paths.push(format!("/v1/functions/hello@{bad}/invoke/"));
        paths
            .extend(["aliases", "secrets"].map(|kind| format!("/v1/functions/hello/{kind}/{bad}")));
        paths
    };
    for path in bad.iter().flat_map(|bad| paths(bad)) {
        for method in ["GET", "PUT", "DELETE", "POST"] {
            let mut socket = UnixStream::connect(data.join("control.sock")).unwrap();
            socket.write_all(&request(method, &path, &[("connection", "close")], b"")).unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
            let answer = harness::answer::Answer::read(method, &answer);
            assert_eq!(answer.status, Some(400), "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(fs::read_to_string(outside.join("x.json")).unwrap(), "kept");
    for command in [
        &["remove", "../x"][..],
        &["inspect", "../x"],
        &["invoke", "hello@../x"],
        &["secret", "list", "../x"],
    ] {
        node.cli(command).expect_code(1);
    }
    node.stop();
}
