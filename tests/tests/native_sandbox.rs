//! A native program that tries to get out of its sandbox, to harm its neighbours, or to stay when
//! it is to go, fails; the node does not notice, and nothing of it is left behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::native::{cgroups_of, deploy, mounts, node_with, pids_by_name, programs};
use harness::{Node, native, process, running, wait};
use serde_json::Value;

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1024 * 1024;

/// Has `hostile` do what the target says, and returns what it reports.
fn ask(node: &Node, target: &str) -> Value {
    let reply = node.get(&format!("/hostile{target}"));
    assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
    reply.json()
}

/// Has `hostile` try, and panics if it is successful.
#[track_caller]
fn refused(node: &Node, target: &str) -> String {
    let seen = ask(node, target);
    let result = seen["result"].as_str().unwrap_or_else(|| panic!("{target}: {seen}"));
    assert_ne!(result, "ok", "{target}: {seen}");
    result.to_owned()
}

/// Starts a node with the hostile guest and one that is not.
fn node_of_both(options: &[&str]) -> Node {
    let node = node_with("hostile", "server", options);
    deploy(&node, "hello-server", "server", "neighbour", &["--processes-min", "1"]);
    node.get("/neighbour/").expect_hello();
    node.get("/hostile/").expect_hello();
    node
}

/// Returns the pid of the hostile program on the host.
#[track_caller]
fn program(node: &Node) -> u32 {
    let worker = native::worker(node, "hostile");
    let below = process::descendants(worker);
    let named =
        programs(node).into_iter().find(|(pid, name)| name == "server" && below.contains(pid));
    named.unwrap_or_else(|| panic!("it does not run: {:?}", programs(node))).0
}

/// Returns the value of a field of a process's status on the host (proc_pid_status(5)).
fn status_field(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

#[test]
fn it_is_nobody_and_may_gain_nothing() {
    let node = node_of_both(&[]);
    ask(&node, "/identity");
    let pid = program(&node);
    let uids = status_field(pid, "Uid");
    assert!(uids.split_whitespace().all(|uid| uid != "0"), "not root on the host: {uids}");
    let gids = status_field(pid, "Gid");
    assert!(gids.split_whitespace().all(|gid| gid != "0"), "nor in its group: {gids}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status_field(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(status_field(pid, "NoNewPrivs"), "1");
    assert_eq!(status_field(pid, "Seccomp"), "2");
    let inside = ask(&node, "/identity")["seen"].clone();
    assert_ne!(inside["status"]["Pid"], "1", "the program is not the init of its sandbox");
    assert_ne!(inside["hostname"], fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    let groups = status_field(pid, "Groups");
    assert!(groups.split_whitespace().all(|group| group != "0"), "{groups}");
    // Of another user than another function's.
    let other = process::descendants(native::worker(&node, "neighbour"));
    let other = programs(&node).into_iter().find(|(p, name)| name == "server" && other.contains(p));
    assert_ne!(status_field(other.unwrap().0, "Uid"), uids);
    node.stop();
}

#[test]
fn the_files_of_the_host_of_the_node_and_of_others_are_out_of_reach() {
    let node = node_of_both(&[]);
    let data = node.data().to_str().unwrap().to_owned();
    for path in ["/etc/shadow", "/root", "/home", "/var/lib", "/proc/1/root/etc/shadow", "/sys"] {
        refused(&node, &format!("/read?path={path}"));
    }
    for file in [&data, &format!("{data}/admin.token"), &format!("{data}/secrets.key")] {
        refused(&node, &format!("/read?path={file}"));
        refused(&node, &format!("/list?path={file}"));
    }
    let sockets = fs::read_dir(node.data()).unwrap().flatten().map(|entry| entry.path());
    for socket in sockets.chain(["/run/docker.sock".into(), "/run/dbus/system_bus_socket".into()]) {
        refused(&node, &format!("/connect-unix?path={}", socket.display()));
    }
    for path in [
        "/var/task/new",
        "/var/task/server",
        "/usr/bin/new",
        "/etc/passwd",
        "/new",
        "/bin/sh",
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/dev/new",
    ] {
        refused(&node, &format!("/write?path={path}"));
    }
    let listed = ask(&node, "/list?path=/")["seen"].clone();
    for name in listed.as_array().unwrap() {
        let known = [
            "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "sbin", "tmp",
            "usr", "var",
        ];
        assert!(known.contains(&name.as_str().unwrap()), "{name} in {listed}");
    }
    // What it writes to its own /tmp is on no disk of the host, nor in another's.
    let name = format!("of-{}", std::process::id());
    assert_eq!(ask(&node, &format!("/write?path=/tmp/{name}"))["result"], "ok");
    assert!(!Path::new("/tmp").join(&name).exists());
    deploy(&node, "hostile", "server", "other", &[]);
    let seen = node.get(&format!("/other/read?path=/tmp/{name}")).json();
    assert_eq!(seen["result"], "ENOENT");
    node.stop();
}

#[test]
fn other_processes_are_not_seen_and_those_that_are_cannot_be_read() {
    let node = node_of_both(&[]);
    let seen = ask(&node, "/processes")["seen"].clone();
    let seen = seen.as_array().unwrap();
    assert!((1..=2).contains(&seen.len()), "itself, and at most its init: {seen:?}");
    for process in seen.iter().filter(|process| process["own"] == false) {
        for part in ["environ", "maps", "fd", "root"] {
            assert_ne!(process[part], "ok", "{part} of {process}");
        }
    }
    for attempt in ["/memory?pid=1", "/ptrace?pid=1", "/process-vm?pid=1"] {
        refused(&node, attempt);
    }
    for pid in node.processes() {
        refused(&node, &format!("/kill?pid={pid}&signal=0"));
        refused(&node, &format!("/memory?pid={pid}"));
    }
    node.stop();
}

#[test]
fn system_calls_that_reach_beyond_it_are_refused() {
    let node = node_of_both(&[]);
    let calls = ask(&node, "/calls");
    let calls = calls.as_object().unwrap();
    assert!(calls.len() > 30, "{calls:?}");
    let done: Vec<_> = calls.iter().filter(|(_, result)| *result == "ok").collect();
    assert!(done.is_empty(), "these were done: {done:?}; of all {calls:?}");
    // A signal would end programs that only look whether a call is there.
    let ended: Vec<_> =
        calls.iter().filter(|(_, result)| result.as_str().unwrap().contains(' ')).collect();
    assert!(ended.is_empty(), "{ended:?}");
    for kind in ["raw", "raw6", "packet", "netfilter", "audit", "vsock", "alg", "bluetooth", "can"]
    {
        refused(&node, &format!("/socket?kind={kind}"));
    }
    assert_eq!(ask(&node, "/exec?path=/usr/bin/true")["result"], "ok", "programs run as ever");
    node.stop();
}

#[test]
fn nothing_outside_of_it_can_be_connected_to() {
    let node = node_of_both(&[]);
    // Before anything is sent to an address that is not this machine's.
    let devices = ask(&node, "/read?path=/proc/net/dev")["seen"].clone();
    let devices = devices.as_str().unwrap().lines().skip(2).map(|line| line.trim_start());
    let others: Vec<_> = devices.filter(|line| !line.starts_with("lo:")).collect();
    assert!(others.is_empty(), "no device but the loopback: {others:?}");

    let port = node.addresses()[0].port();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}"), "127.0.0.1:22".into()] {
        refused(&node, &format!("/connect?address={address}"));
    }
    for address in ["169.254.169.254:80", "192.0.2.1:443"] {
        assert_eq!(refused(&node, &format!("/connect?address={address}")), "ENETUNREACH");
        assert_eq!(refused(&node, &format!("/send-udp?address={address}")), "ENETUNREACH");
    }
    node.stop();
}

#[test]
fn it_holds_no_fd_of_the_nodes_and_passes_none() {
    let node = node_of_both(&[]);
    let fds = ask(&node, "/fds")["seen"].clone();
    for (fd, target) in fds.as_object().unwrap() {
        let target = target.as_str().unwrap();
        let own = match fd.as_str() {
            "0" => target == "/dev/null",
            "1" | "2" => target.starts_with("pipe:"),
            // Its listener, its connections, and the folder that it reads this from.
            _ => target.starts_with("socket:") || target.ends_with("/fd"),
        };
        assert!(own, "{fd} is {target}: {fds}");
    }
    let sent = ask(&node, "/send-fds")["seen"].clone();
    let passed: Vec<_> = sent.as_object().unwrap().iter().filter(|(_, to)| *to == "ok").collect();
    assert!(passed.is_empty(), "{passed:?}");
    node.stop();
}

#[test]
fn each_resource_comes_to_its_limit_and_the_neighbour_is_served_meanwhile() {
    let limits = ["--threads", "50", "--tmp", "16MiB", "--memory", "128MiB", "--processes", "1"];
    let node = node_of_both(&limits);
    let worker = native::worker(&node, "hostile");

    let bomb = ask(&node, "/fork-bomb?max=1000");
    assert_eq!(bomb["result"], "EAGAIN", "{bomb}");
    assert!(bomb["children"].as_u64().unwrap() <= 50, "{bomb}");
    node.get("/neighbour/").expect_hello();

    let full = ask(&node, "/fill?path=/tmp&mib=1000");
    assert_eq!(full["result"], "ENOSPC", "{full}");
    assert!(full["bytes"].as_u64().unwrap() <= 16 * MIB, "{full}");
    for folder in ["/dev/shm", "/", "/var/task", "/opt", "/dev"] {
        let full = ask(&node, &format!("/fill?path={folder}&mib=1000"));
        assert_ne!(full["result"], "ok", "{folder}: {full}");
        assert!(full["bytes"].as_u64().unwrap() <= 64 * MIB, "{folder}: {full}");
    }
    let files = ask(&node, "/open-files?max=100000");
    assert_eq!(files["result"], "EMFILE", "{files}");
    assert!(files["files"].as_u64().unwrap() <= 1024, "{files}");
    assert_eq!(ask(&node, "/spam?mib=8")["result"], "ok");
    assert_eq!(ask(&node, "/spin")["result"], "ok");
    for _ in 0..50 {
        node.get("/neighbour/").expect_hello();
    }

    // Either it is refused memory, or it is ended for it.
    let reply = node.get("/hostile/allocate?mib=1000");
    if reply.status() == 200 {
        let taken = reply.json();
        assert_eq!(taken["result"], "ENOMEM", "{taken}");
        assert!(taken["mib"].as_u64().unwrap() <= 128, "{taken}");
    } else {
        reply.expect_problem(502);
    }
    assert_eq!(native::worker(&node, "hostile"), worker, "its worker has not noticed");
    node.get("/neighbour/").expect_hello();
    node.get("/hostile/").expect_hello();
    let threads = ask(&node, "/threads?max=1000");
    assert_eq!(threads["result"], "EAGAIN", "{threads}");
    node.stop();
}

#[test]
fn signals_reach_nobody_else() {
    let node = node_of_both(&[]);
    let before = node.processes();
    // The answer does not matter: the kernel lets it signal those that it sees.
    for target in ["/kill?pid=-1&signal=9", "/kill?pid=1&signal=9", "/kill?pid=1&signal=15"] {
        let reply = node.get(&format!("/hostile{target}"));
        assert!([200, 502].contains(&reply.status()), "{target}: {}", reply.text());
    }
    let own = process::descendants(native::worker(&node, "hostile"));
    let others = before.into_iter().filter(|pid| !own.contains(pid));
    let gone: Vec<_> = others.filter(|pid| !process::alive(*pid)).collect();
    // A sandbox of its own may have gone with it.
    assert!(gone.len() <= 2, "{gone:?}");
    node.get("/neighbour/").expect_hello();
    node.get("/hostile/").expect_hello();
    node.stop();
}

/// Starts a node whose hostile guest has left a process behind that has a session of its own and
/// ignores SIGTERM. Returns the node and the name of that process.
fn node_with_daemon(options: &[&str]) -> (Node, String) {
    let node = node_of_both(options);
    // No longer than such a name may be (prctl(2), PR_SET_NAME).
    let name = format!("left-{}", node.pid());
    assert_eq!(ask(&node, "/ignore-term")["result"], "ok");
    assert_eq!(ask(&node, &format!("/daemon?name={name}"))["result"], "ok");
    wait::until("it runs", SOON, || (pids_by_name(&name).len() == 1).then_some(()));
    (node, name)
}

fn until_gone(name: &str) {
    wait::for_value("it is gone", SOON, || pids_by_name(name), Vec::is_empty);
}

#[test]
fn nothing_outlives_its_function() {
    let mounts_before = mounts();
    let options = ["--process-idle", "300ms", "--process-grace", "300ms"];
    let (node, name) = node_with_daemon(&options);
    until_gone(&name);

    assert_eq!(ask(&node, &format!("/daemon?name={name}"))["result"], "ok");
    let processes = node.processes();
    node.cli(&["remove", "hostile"]).expect_code(0);
    until_gone(&name);
    let worker = processes.into_iter().filter(|pid| !process::alive(*pid)).collect::<Vec<_>>();
    wait::for_value("its cgroups are gone", SOON, || cgroups_of(&worker), |all| all.is_empty());
    node.get("/neighbour/").expect_hello();

    let processes = node.processes();
    node.stop();
    let left = cgroups_of(&processes);
    assert!(left.is_empty(), "{left:?}");
    assert!(mounts() <= mounts_before, "mounts: {mounts_before} before, {} after", mounts());
}

#[test]
fn nothing_outlives_a_worker_that_is_killed() {
    let (node, name) = node_with_daemon(&[]);
    let worker = native::worker(&node, "hostile");
    let below = process::descendants(worker);
    running::kill_now(worker);
    until_gone(&name);
    for pid in &below {
        wait::until("a process below it is gone", SOON, || (!process::alive(*pid)).then_some(()));
    }
    node.get("/neighbour/").expect_hello();
    node.get("/hostile/").expect_hello();
    wait::for_value("its cgroups are gone", SOON, || cgroups_of(&below), |all| all.is_empty());
    node.stop();
}

#[test]
fn nothing_outlives_an_engine_that_is_killed() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut node = Node::build().data(&folder.path().join("data")).start();
    deploy(&node, "hostile", "server", "hostile", &[]);
    let name = format!("left-{}", node.pid());
    assert_eq!(ask(&node, &format!("/daemon?name={name}"))["result"], "ok");
    wait::until("it runs", SOON, || (pids_by_name(&name).len() == 1).then_some(()));
    let below = process::descendants(node.pid());
    node.kill_engine();
    until_gone(&name);
    for pid in &below {
        wait::until("a process below it is gone", SOON, || (!process::alive(*pid)).then_some(()));
    }
    drop(node);
    // What could not be cleaned up is, by whoever comes next.
    let node = Node::build().data(&folder.path().join("data")).start();
    node.get("/hostile/").expect_hello();
    wait::for_value("its cgroups are gone", SOON, || cgroups_of(&below), |all| all.is_empty());
    node.stop();
}

#[test]
fn nothing_outlives_a_program_that_is_killed() {
    let (node, name) = node_with_daemon(&[]);
    running::kill_now(program(&node));
    until_gone(&name);
    node.get("/hostile/").expect_hello();
    node.stop();
}
