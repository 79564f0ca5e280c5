//! What a program tries from inside a sandbox, and that it is refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use abi::sandbox::{ExitStatus, Level, NetworkAccess};
use common::{Host, Who, probe};

for_root_and_for_a_user!(
    calls_that_reach_beyond_the_sandbox,
    files_of_the_host_and_of_others,
    its_code_and_its_root_are_read_only,
    other_processes_and_inherited_files,
    it_has_no_capabilities_and_a_user_of_its_own,
    the_hosts_network_and_the_worlds,
    without_namespaces_what_landlock_and_seccomp_stop,
);

fn lines(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.rsplit_once(' ')).collect()
}

fn calls_that_reach_beyond_the_sandbox(who: Who) {
    let mut host = Host::new(who);
    for level in [Level::Full, Level::Basic] {
        let mut sandbox = probe(&["attempts"]);
        sandbox.level = level;
        let ended = host.run(&sandbox);
        let said = lines(&ended.stdout);
        assert_eq!(ended.status, ExitStatus::Code(0), "{ended:?}");
        for what in [
            "ptrace",
            "process_vm_readv",
            "raw",
            "packet",
            "obsolete-packet",
            "vsock",
            "netlink-audit",
            "mount",
            "umount",
            "chroot",
            "unshare",
            "clone",
            "setns",
            "keyctl",
            "add_key",
            "io_uring",
            "bpf",
            "perf",
            "userfaultfd",
            "kexec",
            "reboot",
            "module",
            "swapoff",
            "settime",
            "personality",
            "tiocsti",
            "sethostname",
            "setuid-root",
        ] {
            let expected = if what == "setuid-root" && level == Level::Full {
                // There is a user 0 inside only where the spawner has users of its own.
                ["EPERM", "EINVAL"]
            } else {
                ["EPERM", "EPERM"]
            };
            assert!(expected.contains(&said[what]), "{level:?} {what}: {}", said[what]);
        }
        for what in ["clone3", "unknown"] {
            assert_eq!(said[what], "ENOSYS", "{what}: a libc takes to an older call");
        }
        if cfg!(target_arch = "x86_64") {
            assert_eq!(said["x32"], "ENOSYS");
        }
        assert_eq!(said["netlink-route"], "ok", "getifaddrs(3) and Go need it");
    }
}

fn files_of_the_host_and_of_others(who: Who) {
    let mut host = Host::new(who);
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"secret").unwrap();
    let secret = secret.path().to_str().unwrap();
    let own = format!("/proc/{}/environ", std::process::id());
    let outside = ["/etc/shadow", secret, &own, "/root", "/home", "/sys", "/var/log", "/run"];
    let ended = host.probe(&[&["paths"][..], &outside].concat());
    for (path, result) in lines(&ended.stdout) {
        assert!(result == "ENOENT" || result == "EACCES", "{path} {result}");
    }
    let inside = [
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/dev/null",
        "/dev/urandom",
        "/proc/self/status",
        "/usr/bin",
        "/var/task/probe",
        "/opt",
        "/dev/fd",
        "/tmp",
    ];
    let ended = host.probe(&[&["paths"][..], &inside].concat());
    assert!(lines(&ended.stdout).values().all(|result| *result == "ok"), "{}", ended.stdout);
    let listed = |host: &mut Host, folder| host.probe(&["list", folder]).stdout;
    assert_eq!(listed(&mut host, "/tmp"), "");
    assert_eq!(listed(&mut host, "/var"), "task\n");
    let mut root: Vec<String> = listed(&mut host, "/").lines().map(str::to_owned).collect();
    root.retain(|name| !["bin", "sbin", "lib", "lib32", "lib64", "libx32"].contains(&&**name));
    root.sort();
    assert_eq!(root, ["dev", "etc", "opt", "proc", "tmp", "usr", "var"]);
}

fn its_code_and_its_root_are_read_only(who: Who) {
    let mut host = Host::new(who);
    for path in ["/var/task/new", "/opt/new", "/new", "/etc/passwd", "/usr/new", "/dev/new"] {
        let said = host.probe(&["write", path]).stdout;
        assert!(["write EROFS\n", "write EACCES\n"].contains(&&*said), "{path}: {said}");
    }
    for path in ["/tmp/new", "/dev/shm/new", "/dev/null"] {
        assert_eq!(host.probe(&["write", path]).stdout, "write ok\n", "{path}");
    }
    // `/tmp` is another one for each process.
    assert_eq!(host.probe(&["list", "/tmp"]).stdout, "");
    assert!(!host.task().join("new").exists());
}

fn other_processes_and_inherited_files(who: Who) {
    let mut host = Host::new(who);
    let processes = host.probe(&["processes"]).stdout;
    assert_eq!(processes.lines().count(), 1, "itself alone: {processes}");
    assert_ne!(processes.trim(), "1", "signals without a handler would not reach pid 1");
    assert_eq!(host.probe(&["fds"]).stdout, "0\n1\n2\n");
    let worker = std::process::id().to_string();
    assert_eq!(host.probe(&["kill", &worker]).stdout, "kill ESRCH\n");
    let spawner = host.client.spawner().id().to_string();
    assert_eq!(host.probe(&["kill", &spawner]).stdout, "kill ESRCH\n");
    assert_eq!(host.probe(&["signals"]).stdout, "1 1\n", "no signal blocked or ignored");
}

fn it_has_no_capabilities_and_a_user_of_its_own(who: Who) {
    let mut host = Host::new(who);
    host.add("status", "#!/bin/sh\ncat /proc/self/status; id; hostname; cat /proc/self/cgroup\n");
    let mut sandbox = probe(&[]);
    sandbox.program = "/var/task/status".into();
    let said = host.run(&sandbox).stdout;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{set}:\t0000000000000000")), "{set}: {said}");
    }
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    assert!(said.contains("uid=993(sbx_user1051) gid=990(sbx_group)"), "{said}");
    assert!(said.contains("\ninside\n"), "its host name: {said}");
}

fn the_hosts_network_and_the_worlds(who: Who) {
    let mut host = Host::new(who);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let dialled = |host: &mut Host, address| host.probe(&["connect", address, &port]).stdout;
    assert_eq!(dialled(&mut host, "127.0.0.1"), "connect ECONNREFUSED\n");
    // That of a cloud's metadata service, and one of the range for documentation (RFC 5737).
    for address in ["169.254.169.254", "192.0.2.1"] {
        assert_eq!(dialled(&mut host, address), "connect ENETUNREACH\n");
        assert_eq!(host.probe(&["send", address]).stdout, "send ENETUNREACH\n");
    }
    let mut shared = probe(&["connect", "127.0.0.1", &port]);
    shared.network = NetworkAccess::Host;
    assert_eq!(host.run(&shared).stdout, "connect ok\n", "a grant that was said");

    // Abstract sockets are not the network that was granted.
    let name = format!("sandbox-test-{}-{who:?}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(host.probe(&["abstract", &name]).stdout, "abstract ECONNREFUSED\n");
    if sandbox::support().landlock_abi.is_ok_and(|abi| abi >= 6) {
        shared.args = vec!["abstract".into(), name];
        assert_eq!(host.run(&shared).stdout, "abstract EPERM\n");
    }
}

fn without_namespaces_what_landlock_and_seccomp_stop(who: Who) {
    let mut host = Host::new(who);
    let mut run = |args: &[&str]| {
        let mut sandbox = probe(args);
        sandbox.level = Level::Basic;
        host.run(&sandbox)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ended = run(&["paths", "/etc/shadow", "/root", "/home", "/var/log", "/proc/1/environ"]);
    for (path, result) in lines(&ended.stdout) {
        assert_eq!(result, "EACCES", "{path}");
    }
    let ended = run(&["paths", "/usr/bin", "/etc/passwd", "/dev/null", "/proc/self/status"]);
    assert!(lines(&ended.stdout).values().all(|result| *result == "ok"), "{}", ended.stdout);
    assert_eq!(run(&["fds"]).stdout, "0\n1\n2\n");
    assert_eq!(run(&["send", "192.0.2.1"]).stdout, "send EPERM\n");
    let support = sandbox::support();
    let abi = support.landlock_abi.unwrap();
    if abi >= 4 {
        assert_eq!(run(&["connect", "127.0.0.1", &port]).stdout, "connect EACCES\n");
    }
    if abi >= 6 {
        let worker = std::process::id().to_string();
        assert_eq!(run(&["kill", &worker]).stdout, "kill EPERM\n");
    }
    let written = run(&["write", "/tmp/sandbox-test-new"]).stdout;
    assert_eq!(written, "write EACCES\n");
}
