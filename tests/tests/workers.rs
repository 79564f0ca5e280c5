//! Workers are started when they are needed and ended when they are not, and nothing waits for one
//! that is stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use harness::running::kill_now;
use harness::{Node, node, process, wait};
use nix::sys::signal::Signal;

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_worker_of_a_function_comes_with_its_first_call_and_goes_when_nobody_calls() {
    let node = Node::build().option("--own-worker-idle-timeout", "300ms").start();
    node.deploy("hello", "alone", &["--isolation", "process"]);
    let shared = node.status().pool("shared").count();
    let dormant = |status: &harness::status::Status| {
        status.pool("alone").all(|worker| worker.state == "dormant" && worker.pid == 0)
    };
    assert!(dormant(&node.status()), "{:#?}", node.status());
    for _ in 0..3 {
        node.get("/alone/").expect_hello();
        let status = node.status();
        assert_eq!(process::children(node.pid()).len(), shared + 1, "{status:#?}");
        node.until_status("its worker has gone", SOON, dormant);
        wait::until("its process, too", SOON, || {
            (process::children(node.pid()).len() == shared).then_some(())
        });
    }
    // An open connection keeps the worker, even if it sends nothing.
    let mut kept = node.connect();
    kept.get("/alone/").expect_hello();
    wait::throughout("a worker with a connection stays", Duration::from_secs(1), || {
        !dormant(&node.status())
    });
    kept.get("/alone/").expect_hello();
    drop(kept);
    let status = node.until_status("its worker has gone", SOON, dormant);
    assert_eq!(status.workers.iter().map(|worker| worker.restarts).sum::<u32>(), 0, "{status:#?}");
    node.stop();
}

#[test]
fn a_stopped_worker_gets_no_connections_and_is_replaced() {
    let node = Node::with(&["hello"]);
    node.get("/hello/").expect_hello();
    let victim = node.status().workers[0].clone();
    process::signal(victim.pid, Signal::SIGSTOP);
    let stopped = Instant::now();
    let silent =
        node.until_status("it is noticed", SOON, |status| status.workers[0].state == "silent");
    let noticed = stopped.elapsed();
    assert!(noticed < Duration::from_secs(3), "noticed after {noticed:?}");
    let hops = silent.workers[0].connections_taken;
    for _ in 0..40 {
        node.get("/hello/").expect_hello();
    }
    assert_eq!(node.status().workers[0].connections_taken, hops);
    let back = node.until_status("another is in its place", Duration::from_secs(30), |status| {
        status.workers[0].state == "ready" && status.workers[0].pid != victim.pid
    });
    assert_eq!(back.workers[0].restarts, 1, "{back:#?}");
    assert!(!process::alive(victim.pid));
    node.stop();
}

#[test]
fn a_worker_that_goes_on_in_time_is_taken_back() {
    let node = Node::with(&["hello"]);
    let mut kept: Vec<_> = (0..8).map(|_| node.connect()).collect();
    kept.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    let pid = node.status().workers[0].pid;
    process::signal(pid, Signal::SIGSTOP);
    node.until_status("it is noticed", SOON, |status| status.workers[0].state == "silent");
    process::signal(pid, Signal::SIGCONT);
    let status =
        node.until_status("it is taken back", SOON, |status| status.workers[0].state == "ready");
    assert_eq!((status.workers[0].pid, status.workers[0].restarts), (pid, 0));
    kept.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    drop(kept);
    node.stop();
}

#[test]
fn a_deploy_waits_for_a_worker_that_stands_still_or_for_its_successor() {
    let node = Node::with(&["hello"]);
    let pid = node.status().workers[1].pid;
    process::signal(pid, Signal::SIGSTOP);
    node.deploy("inspect", "inspect", &[]);
    let status = node.status();
    assert!(
        status.workers.iter().all(|worker| worker.state == "ready" && worker.pid != pid),
        "{status:#?}"
    );
    node.stop();
}

#[test]
fn a_deploy_outlives_the_workers_that_it_is_tried_on() {
    let node = Node::with(&["hello"]);
    let pids: Vec<u32> = node.status().workers.iter().map(|worker| worker.pid).collect();
    // The worker that gets the request does not answer and is killed for it, and another gets the
    // request once it is ready.
    pids.iter().for_each(|pid| process::signal(*pid, Signal::SIGSTOP));
    node.deploy("inspect", "first", &[]);
    let status = node.status();
    assert!(status.workers.iter().any(|worker| worker.restarts > 0), "{status:#?}");
    assert!(pids.iter().any(|pid| !process::alive(*pid)));
    assert_eq!(node.get("/first/").status(), 200);
    // There is no worker at first.
    node.until_status("all serve", SOON, |status| {
        status.workers.iter().all(|worker| worker.state == "ready")
    });
    node.status().workers.iter().for_each(|worker| kill_now(worker.pid));
    node.deploy("inspect", "second", &[]);
    assert_eq!(node.get("/second/").status(), 200);
    node.stop();
}

#[test]
fn a_worker_that_cannot_start_is_told_with_its_last_words_and_costs_nothing() {
    let folder = node::binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker"));
    let node = Node::build().binaries(folder.path()).start();
    node.deploy("hello", "hello", &[]);
    let mischief = folder.path().join("mischief");
    fs::write(&mischief, "a library is missing: libnothing.so").unwrap();
    kill_now(node.status().workers[0].pid);
    let failing = node.until_status("it fails over and over", SOON, |status| {
        status.workers[0].failed_starts >= 4
    });
    let words = failing.workers[0].last_words.clone().unwrap_or_default();
    assert!(words.contains("libnothing.so"), "{failing:#?}");
    assert!(node.stderr().contains("libnothing.so"), "{}", node.stderr());
    let shown = node.cli(&["status"]).expect_code(0).stdout;
    assert!(shown.contains("libnothing.so") && shown.contains("failed to start"), "{shown}");
    node.get("/hello/").expect_hello();
    let (before, from) = (process::cpu_time(node.pid()), Instant::now());
    wait::throughout("the node serves", Duration::from_secs(1), || {
        node.get("/hello/").status() == 200
    });
    assert!(failing.workers[0].failed_starts < 12, "{failing:#?}");
    let starts = node.status().workers[0].failed_starts - failing.workers[0].failed_starts;
    assert!(
        starts <= 3,
        "{starts} starts in {:?}, {:?}",
        from.elapsed(),
        process::cpu_time(node.pid()) - before
    );

    fs::remove_file(&mischief).unwrap();
    let back = node.until_status("it starts again", Duration::from_secs(30), |status| {
        status.workers[0].state == "ready"
    });
    assert_eq!(
        (back.workers[0].failed_starts, back.workers[0].last_words.clone()),
        (0, None),
        "{back:#?}"
    );
    node.stop();
}

/// Binaries that are installed while an engine runs are used by the next engine. Until then worker
/// and compiler are of the same build as the engine.
#[test]
fn an_engine_runs_the_binaries_that_it_was_started_with() {
    let folder = node::copied_binaries();
    let node = Node::build().binaries(folder.path()).start();
    for name in ["sockhop", "sockhop-worker"] {
        let path = folder.path().join(name);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "#!/bin/sh\nexit 3\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let before = node.status();
    before.workers.iter().for_each(|worker| kill_now(worker.pid));
    node.until_status("all are replaced", SOON, |status| {
        status.workers.iter().all(|worker| {
            worker.state == "ready" && before.workers.iter().all(|w| w.pid != worker.pid)
        })
    });
    fs::remove_file(folder.path().join("sockhop-worker")).unwrap();
    node.deploy("hello", "hello", &[]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    node.get("/hello/").expect_hello();
    node.get("/alone/").expect_hello();
    for worker in node.status().workers {
        let name = fs::read_to_string(format!("/proc/{}/comm", worker.pid)).unwrap();
        assert_eq!(name.trim(), "sockhop-worker");
    }
    node.stop();
}

/// The operator's environment may hold tokens: a worker gets only the variables that it needs.
#[test]
fn a_worker_gets_none_of_the_engines_environment_but_what_it_needs() {
    const GIVEN: [(&str, &str); 4] = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush"),
        ("DATABASE_PASSWORD", "hush"),
        ("SOCKHOP_TOKEN", "hush"),
        ("SSL_CERT_DIR", "/etc/ssl/certs"),
    ];
    let node =
        GIVEN.iter().fold(Node::build(), |node, (name, value)| node.variable(name, value)).start();
    node.deploy("inspect", "shared", &[]);
    node.deploy("inspect", "alone", &["--isolation", "process"]);
    for path in ["/shared/", "/alone/"] {
        assert!(!node.get(path).text().contains("hush"));
    }
    let workers = node.status().workers;
    assert!(workers.iter().filter(|worker| worker.pid != 0).count() >= 2, "{workers:?}");
    for worker in workers.iter().filter(|worker| worker.pid != 0) {
        let environment = fs::read(format!("/proc/{}/environ", worker.pid)).unwrap();
        let environment = String::from_utf8(environment).unwrap();
        let needed = ["RES_OPTIONS", "LOCALDOMAIN", "RUST_BACKTRACE", "WASMTIME_BACKTRACE_DETAILS"];
        let names =
            environment.split_terminator('\0').map(|variable| variable.split('=').next().unwrap());
        let names: BTreeSet<&str> =
            names.filter(|name| !needed.contains(name) && *name != "SSL_CERT_FILE").collect();
        assert_eq!(names, ["SOCKHOP_LOG", "SOCKHOP_LOG_FORMAT", "SSL_CERT_DIR"].into());
    }
    node.stop();
}

#[test]
fn a_core_can_have_several_workers() {
    let node = Node::build().option("--workers-per-core", "3").start();
    node.deploy("hello", "hello", &[]);
    let status = node.status();
    let mut cores = BTreeMap::<u32, usize>::new();
    status.pool("shared").for_each(|worker| *cores.entry(worker.core).or_default() += 1);
    assert!(cores.values().all(|workers| *workers == 3), "{status:#?}");
    status
        .pool("shared")
        .for_each(|worker| assert_eq!(process::cores(worker.pid), [worker.core as usize]));
    // Connections that stay are spread over all of them.
    let mut kept: Vec<_> = (0..cores.len() * 3 * 12).map(|_| node.connect()).collect();
    kept.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    let loads: Vec<u64> =
        node.status().pool("shared").map(|worker| worker.connections_open).collect();
    assert!(loads.iter().all(|open| (10..=14).contains(open)), "{loads:?}");
    drop(kept);
    node.stop();
}
