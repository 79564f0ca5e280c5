//! `scripts/tune-host` looks without changing anything, changes only settings that are worse, and
//! restores exactly what was there.
//!
//! Most tests use a folder that looks like the host's `/proc/sys` and `/sys`, so that no machine is
//! tuned by its own tests. One uses real settings, those of a network namespace of its own.
#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::needs;
use tempfile::TempDir;

const GOVERNOR: &str = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tune-host")
}

/// Returns a host with settings that are all worse than they should be, except `fs.file-max`, which
/// is far better.
fn poor_host() -> TempDir {
    let host = tempfile::tempdir().expect("a folder");
    for (path, value) in [
        ("proc/sys/net/core/somaxconn", "128\n"),
        ("proc/sys/net/core/wmem_max", "212992\n"),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "10000 60999\n"),
        ("proc/sys/net/ipv4/tcp_tw_reuse", "0\n"),
        ("proc/sys/fs/nr_open", "65536\n"),
        ("proc/sys/fs/file-max", "18446744073709551615\n"),
        ("proc/sys/vm/max_map_count", "30000\n"),
        ("proc/sys/vm/overcommit_memory", "2\n"),
        ("proc/sys/kernel/io_uring_disabled", "2\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
        (GOVERNOR, "powersave\n"),
        (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors",
            "performance powersave\n",
        ),
        ("sys/devices/system/cpu/cpu1/online", "1\n"),
        ("sys/class/net/eth0/device/vendor", "0x1af4\n"),
        ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
    ] {
        put(host.path(), path, value);
    }
    host
}

fn put(host: &Path, path: &str, value: &str) {
    let path = host.join(path);
    fs::create_dir_all(path.parent().expect("a file's folder")).expect("a folder");
    fs::write(path, value).expect("a file");
}

fn get(host: &Path, path: &str) -> String {
    fs::read_to_string(host.join(path)).unwrap_or_default()
}

/// Returns every file below `folder` with its contents.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read_to_string(path).expect("a text file"));
            }
        }
    }
    found
}

/// Runs the script on `host` with a hard limit of 1,024 open files, which any user may lower it to.
fn tune(host: &Path, arguments: &[&str]) -> Output {
    let run = r#"ulimit -n 1024 && exec "$0" "$@""#;
    let mut command = Command::new("bash");
    command.args(["-c", run]).arg(script()).args(arguments).env("TUNE_HOST_ROOT", host);
    command.output().expect("bash")
}

/// Runs the script on `host`, and returns its stdout. Panics if it fails.
fn tuned(host: &Path, arguments: &[&str]) -> String {
    let output = tune(host, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn looking_says_everything_and_changes_nothing() {
    let host = poor_host();
    let before = files(host.path());
    let said = tuned(host.path(), &[]);
    assert_eq!(files(host.path()), before);
    for part in [
        "change  net.core.somaxconn               now 128                wanted 4096",
        "undo: tune-host --revert, or sysctl -w net.core.somaxconn='128'",
        "change  net.ipv4.ip_local_port_range     now 10000 60999        wanted 10000 65535",
        "change  net.core.wmem_max ",
        "change  net.ipv4.tcp_max_syn_backlog ",
        "change  vm.max_map_count ",
        "ok      fs.file-max ",
        "change  kernel.io_uring_disabled ",
        "change  hard limit nofile                now 1024 ",
        "change  CPU governor                     now powersave ",
        "hint    vm.overcommit_memory ",
        "hint    transparent huge pages ",
        "hint    net.ipv4.tcp_tw_reuse ",
        "hint    receive queues of eth0 ",
        "echo 3 >/sys/class/net/eth0/queues/rx-0/rps_cpus",
        "nothing was changed; 8 settings and 1 limits would be by: tune-host --apply",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn what_was_changed_comes_back_exactly() {
    let host = poor_host();
    let before = files(host.path());
    tuned(host.path(), &["--apply"]);
    assert_eq!(get(host.path(), "proc/sys/net/core/somaxconn"), "4096\n");
    assert_eq!(get(host.path(), "proc/sys/net/ipv4/ip_local_port_range"), "10000 65535\n");
    assert_eq!(get(host.path(), "proc/sys/fs/file-max"), "18446744073709551615\n");
    assert_eq!(get(host.path(), GOVERNOR), "performance\n");
    // Hints are never followed.
    assert_eq!(get(host.path(), "proc/sys/vm/overcommit_memory"), "2\n");
    // For the next boots and logins.
    let sysctls = get(host.path(), "etc/sysctl.d/90-sockhop.conf");
    assert!(
        sysctls.contains("\nnet.core.somaxconn = 4096\n") && !sysctls.contains("file-max"),
        "{sysctls}"
    );
    let limits = get(host.path(), "etc/security/limits.d/90-sockhop.conf");
    assert!(
        limits.contains("\n* hard nofile 524288\n")
            && limits.contains("\nroot hard nofile 524288\n"),
        "{limits}"
    );
    let boot = get(host.path(), "etc/tmpfiles.d/90-sockhop.conf");
    assert!(boot.contains(&format!("\nw /{GOVERNOR} - - - - performance\n")), "{boot}");

    // A second run finds nothing to do, and does not record its own values as the former ones.
    let applied = files(host.path());
    assert!(tuned(host.path(), &["--apply"]).contains("nothing to change"));
    assert_eq!(files(host.path()), applied);

    tuned(host.path(), &["--revert"]);
    assert_eq!(files(host.path()), before);
    assert!(tuned(host.path(), &["--revert"]).contains("nothing to revert"));
}

#[test]
fn what_came_undone_is_applied_again_and_still_comes_back() {
    let host = poor_host();
    let before = files(host.path());
    tuned(host.path(), &["--apply"]);
    put(host.path(), "proc/sys/net/core/somaxconn", "256\n");
    tuned(host.path(), &["--apply"]);
    assert_eq!(get(host.path(), "proc/sys/net/core/somaxconn"), "4096\n");
    tuned(host.path(), &["--revert"]);
    assert_eq!(files(host.path()), before);
}

#[test]
fn what_somebody_changed_since_and_files_of_others_are_left_alone() {
    let host = poor_host();
    tuned(host.path(), &["--apply"]);
    put(host.path(), "proc/sys/net/core/somaxconn", "8192\n");
    let said = tuned(host.path(), &["--revert"]);
    assert!(said.contains("left /proc/sys/net/core/somaxconn at 8192"), "{said}");
    assert_eq!(get(host.path(), "proc/sys/net/core/somaxconn"), "8192\n");
    assert_eq!(get(host.path(), "proc/sys/net/core/wmem_max"), "212992\n");

    put(host.path(), "etc/sysctl.d/90-sockhop.conf", "net.core.somaxconn = 64\n");
    let before = files(host.path());
    let refused = tune(host.path(), &["--apply"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not ours"), "{refused:?}");
    assert_eq!(files(host.path()), before);
}

#[test]
fn what_the_host_does_not_take_is_said_and_is_not_for_the_next_boot() {
    let host = poor_host();
    // A setting that not even root may write, as all are in most containers.
    let stubborn = host.path().join("proc/sys/fs/nr_open");
    fs::remove_file(&stubborn).expect("a file");
    symlink("/proc/sys/kernel/ngroups_max", &stubborn).expect("a link");
    let output = tune(host.path(), &["--apply"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("nr_open does not take"),
        "{output:?}"
    );
    assert_eq!(get(host.path(), "proc/sys/net/core/somaxconn"), "4096\n");
    assert!(!get(host.path(), "etc/sysctl.d/90-sockhop.conf").contains("nr_open"));
}

#[test]
fn the_kernel_takes_the_values() {
    let host = tempfile::tempdir().expect("a folder");
    // Only these: root in its own user namespace may still write settings that belong to the whole
    // machine.
    for path in ["core/somaxconn", "ipv4/tcp_max_syn_backlog", "ipv4/ip_local_port_range"] {
        let link = host.path().join("proc/sys/net").join(path);
        fs::create_dir_all(link.parent().expect("a file's folder")).expect("a folder");
        symlink(Path::new("/proc/sys/net").join(path), link).expect("a link");
    }
    // Settings of the network belong to a network namespace, and a user may change those of its
    // own.
    let script = format!(
        r#"set -e
        cd /proc/sys/net
        echo 100 >core/somaxconn
        echo 200 >ipv4/tcp_max_syn_backlog
        echo "40000 50000" >ipv4/ip_local_port_range
        look() {{ cat core/somaxconn ipv4/tcp_max_syn_backlog ipv4/ip_local_port_range; }}
        look; echo --; {0} --apply >/dev/null; look; echo --; {0} --revert >/dev/null; look"#,
        script().display()
    );
    let unshare = needs::program("unshare", "util-linux");
    let in_namespace = |arguments: &[&str]| {
        let mut command = Command::new(&unshare);
        command.args(["--user", "--map-root-user", "--net"]).args(arguments);
        command.env("TUNE_HOST_ROOT", host.path()).output().expect("unshare starts")
    };
    let made = in_namespace(&["true"]);
    assert!(
        made.status.success(),
        "this test needs a user and a network namespace of its own, which the kernel refuses \
         ({}): allow them (sysctl user.max_user_namespaces, the container's seccomp profile)",
        String::from_utf8_lossy(&made.stderr).trim_end()
    );
    let output = in_namespace(&["bash", "-c", &script]);
    let said = String::from_utf8_lossy(&output.stdout).replace('\t', " ");
    let poor = "100\n200\n40000 50000\n";
    assert_eq!(said, format!("{poor}--\n4096\n4096\n16384 65535\n--\n{poor}"), "{output:?}");
}

#[test]
fn it_is_used_wrongly_with_exit_code_2() {
    let host = poor_host();
    for arguments in [&["--aply"][..], &["--apply", "--revert"]] {
        assert_eq!(tune(host.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(fs::metadata(script()).expect("the script").permissions().mode() & 0o111 != 0);
}
