//! Limits of a sandbox: reached, told, and of no consequence for the host.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use abi::sandbox::{ExitStatus, Level};
use common::{Host, Who, probe};
use sandbox::LimitedBy;

for_root_and_for_a_user!(
    a_fork_bomb_ends_at_its_limit,
    tmp_is_full_at_its_size,
    memory_beyond_the_limit_is_not_had,
    a_file_and_the_number_of_files_have_limits,
    without_namespaces_they_hold_too,
);

fn a_fork_bomb_ends_at_its_limit(who: Who) {
    let mut host = Host::new(who);
    let ended = host.probe(&["fork"]);
    let said: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(said[0], "fork EAGAIN", "{ended:?}");
    let children: u32 = said[1].parse().unwrap();
    assert!((29..=32).contains(&children), "{children} besides itself");
    assert_eq!(ended.status, ExitStatus::Code(0));
    assert_eq!(common::cgroups_of(host.client.spawner().id()), Vec::<std::path::PathBuf>::new());
}

fn tmp_is_full_at_its_size(who: Who) {
    let mut host = Host::new(who);
    for (path, size) in [("/tmp/a", 8 << 20), ("/dev/shm/a", 16 << 20)] {
        let ended = host.probe(&["fill", path]);
        assert_eq!(ended.stdout, format!("fill ENOSPC\n{size}\n"));
    }
}

fn memory_beyond_the_limit_is_not_had(who: Who) {
    let mut host = Host::new(who);
    let by_cgroup = who == Who::Tester
        && !matches!(sandbox::support().memory, LimitedBy::ResourceLimits { .. });
    let within = host.probe(&["memory", "16777216"]);
    assert_eq!(within.stdout, "memory ok\n");
    assert!(!within.out_of_memory);
    assert!(within.memory_bytes_peak >= 16 << 20, "{within:?}");
    assert!(within.cpu_us > 0);
    let beyond = host.probe(&["memory", "268435456"]);
    if by_cgroup {
        assert_eq!(beyond.status, ExitStatus::Signal(9));
        assert!(beyond.out_of_memory);
        assert!(beyond.memory_bytes_peak <= 64 << 20, "{beyond:?}");
        // Files in `/tmp` are memory too.
        let mut sandbox = probe(&["fill", "/tmp/a"]);
        sandbox.tmp_bytes_max = 256 << 20;
        assert!(host.run(&sandbox).out_of_memory);
    } else {
        assert_eq!(
            (beyond.stdout.as_str(), beyond.status),
            ("memory ENOMEM\n", ExitStatus::Code(3))
        );
        assert!(!beyond.out_of_memory, "nothing counts it");
    }
}

fn a_file_and_the_number_of_files_have_limits(who: Who) {
    let mut host = Host::new(who);
    let mut sandbox = probe(&["fill", "/tmp/a"]);
    sandbox.file_bytes_max = 1 << 20;
    assert_eq!(host.run(&sandbox).stdout, format!("fill EFBIG\n{}\n", 1 << 20));
    host.add("limits", "#!/bin/sh\nulimit -n; ulimit -c\n");
    sandbox.program = "/var/task/limits".into();
    assert_eq!(host.run(&sandbox).stdout, "256\n0\n");
}

fn without_namespaces_they_hold_too(who: Who) {
    let mut host = Host::new(who);
    let mut sandbox = probe(&["memory", "268435456"]);
    sandbox.level = Level::Basic;
    let ended = host.run(&sandbox);
    assert!(ended.out_of_memory || ended.stdout == "memory ENOMEM\n", "{ended:?}");
    sandbox.args = vec!["fork".into()];
    assert!(host.run(&sandbox).stdout.starts_with("fork EAGAIN\n"));
}

#[test]
fn a_sandbox_beyond_the_messages_limits_ends_the_spawner() {
    let mut host = Host::new(Who::Tester);
    let mut sandbox = probe(&[]);
    sandbox.processes_max = 0;
    // A peer that breaks the protocol is not talked to any more.
    assert!(host.client.spawn(&sandbox).is_err());
}
