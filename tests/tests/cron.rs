//! Cron: functions that are rung by schedules, on one node of many, once a tick.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use harness::answer::Answer;
use harness::client::request;
use harness::running::records;
use harness::s3::Server;
use harness::{Connection, Node, NodeBuilder, native, wait, wat};
use serde_json::Value;
use tempfile::TempDir;

/// How long a run may be in coming, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// A schedule that is not due while a test runs, unless it runs through the night of a leap day.
const NEVER: &str = "0 0 29 2 *";

/// Deploys a function that writes its environment, with the request's headers, to its log.
fn deploy(node: &Node, name: &str) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("environment.wasm");
    fs::write(&file, wat::whole("environment")).unwrap();
    let file = file.to_str().unwrap();
    node.cli(&["deploy", file, "--name", name, "--no-trial"]).expect_code(0);
}

/// Adds a schedule, and returns its id.
fn add(node: &Node, arguments: &[&str]) -> String {
    let said = node.cli(&[&["cron", "add"], arguments].concat()).expect_code(0).stdout;
    let (id, rest) = said.split_once(' ').unwrap();
    assert!(rest.starts_with("rings "), "{said}");
    id.to_owned()
}

fn listed(node: &Node) -> Vec<Value> {
    records(&node.cli(&["cron", "list", "--json"]).expect_code(0).stdout)
}

fn ids(node: &Node) -> Vec<String> {
    listed(node).iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

/// Returns the value that each run of a function had of a variable, in the order of the log.
fn told(node: &Node, name: &str, variable: &str) -> Vec<String> {
    let printed = node.cli(&["logs", name, "--json", "--limit", "1000"]).stdout;
    let lines = records(&printed);
    let start = format!("{variable}=");
    let value = |line: &Value| {
        let text = line["text"].as_str()?.to_owned();
        let value = text.split('\0').find_map(|pair| pair.strip_prefix(&start))?;
        Some(value.to_owned())
    };
    lines.iter().filter_map(value).collect()
}

/// Returns the ticks for which a function was rung, once there are so many.
fn ticks(node: &Node, name: &str, count: usize) -> Vec<String> {
    let what = format!("{name} is rung {count} times");
    wait::for_value(
        &what,
        SOON,
        || told(node, name, "HTTP_SOCKHOP_CRON_TIME"),
        |it| it.len() >= count,
    )
}

/// Checks that no tick was rung twice.
fn expect_once(ticks: &[String]) {
    let different: BTreeSet<&String> = ticks.iter().collect();
    assert_eq!(different.len(), ticks.len(), "{ticks:?}");
}

#[test]
fn a_function_is_rung_when_its_schedule_is_due_and_knows_by_which_and_for_when() {
    let node = Node::start();
    deploy(&node, "shop");
    let id = add(&node, &["shop", "@every 1s", "--path", "/nightly?a=b"]);
    let seconds = add(&node, &["shop", "* * * * * *", "--time-zone", "asia/kathmandu"]);
    let ticks = ticks(&node, "shop", 4);
    expect_once(&told(&node, "shop", "HTTP_SOCKHOP_CRON_TIME"));
    assert!(ticks.iter().all(|tick| tick.ends_with('Z') && tick.contains('T')), "{ticks:?}");
    for (variable, values) in [
        ("HTTP_SOCKHOP_CRON", &[id.as_str(), &seconds][..]),
        ("REQUEST_METHOD", &["POST"]),
        ("QUERY_STRING", &["a=b", ""]),
        ("PATH_INFO", &["/nightly", "/"]),
    ] {
        let seen: BTreeSet<String> = told(&node, "shop", variable).into_iter().collect();
        let expected: BTreeSet<String> = values.iter().map(|&value| value.to_owned()).collect();
        assert_eq!(seen, expected, "{variable}");
    }
    let of = |id: &str| listed(&node).into_iter().find(|it| it["id"] == id).unwrap();
    let last = wait::until("a run has ended", SOON, || of(&id)["last"].as_object().cloned());
    assert_eq!(last["status"], 200);
    let invocation = last["invocation"].as_str().unwrap();
    let log = node.cli(&["logs", invocation]).expect_code(0).stdout;
    assert!(log.contains("POST") && log.contains("/nightly"), "{log}");
    assert_eq!(of(&seconds)["time_zone"], "Asia/Kathmandu");
    assert!(of(&id)["next_ms"].as_u64() > of(&id)["added_ms"].as_u64());
    let printed = node.cli(&["cron", "list"]).expect_code(0).stdout;
    assert!(
        printed.contains(&id) && printed.contains("shop/nightly") && printed.contains("200 at"),
        "{printed}"
    );
    let status = node.cli(&["status"]).expect_code(0).stdout;
    assert!(status.contains("cron: 2 schedules, this node rings"), "{status}");
    node.stop();
}

#[test]
fn a_schedule_that_was_removed_or_was_never_due_rings_no_more_and_can_be_run_by_hand() {
    let node = Node::start();
    deploy(&node, "shop");
    let every = add(&node, &["shop", "@every 1s"]);
    let never = add(&node, &["shop", NEVER]);
    ticks(&node, "shop", 1);
    node.cli(&["cron", "remove", &every]).expect_code(0);
    assert_eq!(ids(&node), [never.as_str()]);
    // What was begun may be under way.
    let of_every = || {
        let ids = told(&node, "shop", "HTTP_SOCKHOP_CRON");
        ids.iter().filter(|id| **id == every).count()
    };
    let printed = node.cli(&["cron", "run", &never]).expect_code(0).stdout;
    assert!(printed.starts_with("200 in "), "{printed}");
    let run = node.cli(&["cron", "run", &never, "--json"]).expect_code(0).stdout;
    assert_eq!(records(&run)[0]["status"], 200);
    let rung = of_every();
    wait::throughout("it rings no more", Duration::from_secs(3), || of_every() <= rung + 1);
    assert_eq!(
        told(&node, "shop", "HTTP_SOCKHOP_CRON").iter().filter(|id| **id == never).count(),
        2
    );
    node.cli(&["cron", "remove", &every]).expect_error(&["no schedule", &every]);
    node.cli(&["cron", "run", &every]).expect_error(&["no schedule", &every]);
    node.stop();
}

#[test]
fn what_cannot_be_a_schedule_is_refused_in_the_command_and_by_the_node() {
    let node = Node::start();
    deploy(&node, "shop");
    for (arguments, words) in [
        (&["shop", "0 0 30 2 *"][..], &["never due"][..]),
        (&["shop", "61 * * * *"], &["61", "expected five fields"]),
        (&["shop", "* * * *"], &["4 fields"]),
        (&["shop", "@every 10ms"], &["1s"]),
        (&["shop", "@daily", "--time-zone", "Europe/Berln"], &["Europe/Berlin"]),
        (&["shop", "@every 1h", "--time-zone", "UTC"], &["leave it out"]),
        (&["shop", "@daily", "--path", "nightly"], &["begins with /"]),
        (&["shop", "@daily", "--jitter", "2days"], &["24h"]),
        (&["shop@v1", "@daily"], &["alias set"]),
        (&["shop", "@daily", "--overlap", "both"], &["skip", "queue", "allow"]),
    ] {
        let said = node.cli(&[&["cron", "add"], arguments].concat()).expect_code(2).stderr;
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
    for (arguments, words) in [
        (&["nope", "@daily"][..], &["no function", "nope"][..]),
        (&["shop@beta", "@daily"], &["no alias", "beta"]),
    ] {
        node.cli(&[&["cron", "add"], arguments].concat()).expect_error(words);
    }
    for (status, method, path, body) in [
        (400, "POST", "/v1/functions/shop/cron", ""),
        (400, "POST", "/v1/functions/shop/cron", r#"{"schedule":"0 0 30 2 *"}"#),
        (400, "POST", "/v1/functions/shop/cron", r#"{"schedule":"@daily","zone":"UTC"}"#),
        (400, "POST", "/v1/functions/..%2Fx/cron", r#"{"schedule":"@daily"}"#),
        (400, "PUT", "/v1/functions/shop/cron", r#"[{"schedule":"x"}]"#),
        (404, "PUT", "/v1/functions/nope/cron", "[]"),
        (404, "DELETE", "/v1/cron/..%2F..%2Fformat", ""),
        (404, "POST", "/v1/cron/shop-01234567/run", ""),
    ] {
        let (answered, text) = ask(&node, method, path, body);
        assert_eq!(answered, status, "{method} {path} {body}: {text}");
    }
    assert!(listed(&node).is_empty());
    node.stop();
}

#[test]
fn nobody_outside_can_send_what_a_schedule_sends() {
    let node = Node::start();
    deploy(&node, "shop");
    native::deploy(&node, "server", "server", "server", &[]);
    let forged = [("sockhop-cron", "shop-01234567"), ("Sockhop-Cron-Time", "x"), ("x-own", "y")];
    let reply = native::answer(&node, "POST", "/shop/", &forged, b"");
    assert_eq!(reply.status, Some(200));
    let own = wait::for_value(
        "it is logged",
        SOON,
        || told(&node, "shop", "HTTP_X_OWN"),
        |it| !it.is_empty(),
    );
    assert_eq!(own, ["y"]);
    assert!(told(&node, "shop", "HTTP_SOCKHOP_CRON").is_empty());
    assert!(told(&node, "shop", "HTTP_SOCKHOP_CRON_TIME").is_empty());
    let seen = native::answer(&node, "POST", "/server/", &forged, b"").text();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let names: Vec<&str> =
        seen["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert!(
        names.contains(&"x-own") && !names.iter().any(|name| name.contains("cron")),
        "{names:?}"
    );
    node.stop();
}

#[test]
fn an_alias_is_rung_and_what_is_gone_is_said_once_and_rung_again_when_it_is_back() {
    let node = Node::start();
    deploy(&node, "shop");
    node.cli(&["alias", "set", "shop@beta", "v1"]).expect_code(0);
    let id = add(&node, &["shop@beta", "@every 1s"]);
    let before = ticks(&node, "shop", 1).len();
    node.cli(&["alias", "remove", "shop@beta"]).expect_code(0);
    let vain = format!("the schedule {id} rings nothing");
    wait::until("the node says so", SOON, || node.stderr().contains(&vain).then_some(()));
    let printed = node.cli(&["cron", "list"]).expect_code(0).stdout;
    assert!(
        printed.contains(&format!("{id} rings nothing")) && printed.contains("beta"),
        "{printed}"
    );
    node.cli(&["cron", "run", &id]).expect_error(&["no alias", "beta"]);
    let left_out =
        || metric(&node, "sockhop_cron_left_out_total{function=\"shop\",reason=\"no-function\"}");
    wait::until("more ticks pass", SOON, || (left_out() >= 2).then_some(()));
    assert_eq!(node.stderr().matches(&vain).count(), 1);
    let said = node.cli(&["remove", "shop", "--yes"]).expect_code(0).stderr;
    assert!(said.contains(&id) && said.contains("ring nothing"), "{said}");
    node.cli(&["restore", "shop"]).expect_code(0);
    node.cli(&["alias", "set", "shop@beta", "v1"]).expect_code(0);
    ticks(&node, "shop", before + 2);
    node.stop();
}

/// Asks the control API, and returns the status and the body of its answer.
fn ask(node: &Node, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut connection = Connection::open_unix(&node.data().join("control.sock"));
    connection.send(request(method, path, &[("connection", "close")], body.as_bytes()));
    let answer = Answer::read(method, &connection.rest());
    (answer.status.unwrap(), answer.text())
}

/// Returns a counter of the node's, or 0 if it is not there.
fn metric(node: &Node, name: &str) -> u64 {
    let (_, text) = ask(node, "GET", "/metrics", "");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or(0)
}

#[test]
fn runs_that_overlap_are_left_out_wait_or_run_beside_each_other() {
    let node = Node::start();
    native::deploy(&node, "server", "server", "server", &["--processes", "4"]);
    let running = |id: &str| {
        let all = listed(&node);
        all.iter().find(|it| it["id"] == id).unwrap()["running"].as_u64().unwrap()
    };
    let skip = add(&node, &["server", "@every 1s", "--path", "/slow?ms=3500"]);
    let skipped =
        || metric(&node, "sockhop_cron_left_out_total{function=\"server\",reason=\"overlap\"}");
    wait::until("ticks are left out", SOON, || {
        assert!(running(&skip) <= 1);
        (skipped() >= 3).then_some(())
    });
    node.cli(&["cron", "remove", &skip]).expect_code(0);
    let allow =
        add(&node, &["server", "@every 1s", "--path", "/slow?ms=3501", "--overlap", "allow"]);
    wait::until("several run", SOON, || (running(&allow) >= 2).then_some(()));
    node.cli(&["cron", "remove", &allow]).expect_code(0);
    let before = skipped();
    let queue =
        add(&node, &["server", "@every 1s", "--path", "/slow?ms=1500", "--overlap", "queue"]);
    let last = wait::until("one that has waited runs late", SOON, || {
        assert!(running(&queue) <= 1);
        let all = listed(&node);
        let last = all.iter().find(|it| it["id"] == queue.as_str()).unwrap()["last"].clone();
        let late = last["began_ms"].as_u64()?.checked_sub(last["scheduled_ms"].as_u64()?)?;
        (late >= 300).then_some(last)
    });
    assert_eq!((&last["status"], skipped()), (&Value::from(200), before));
    node.stop();
}

#[test]
fn a_run_that_fails_is_logged_and_listed() {
    let node = Node::start();
    node.deploy("status", "status", &[]);
    let id = add(&node, &["status", NEVER, "--path", "/?code=503"]);
    let said = node.cli(&["cron", "run", &id]).expect_code(1);
    assert!(said.stdout.starts_with("503 in "), "{}", said.stdout);
    let printed = node.cli(&["cron", "list"]).expect_code(0).stdout;
    assert!(printed.contains(&format!("{id} rang in vain: 503")), "{printed}");
    let stderr = node.stderr();
    assert!(stderr.contains(&format!("the schedule {id} rang in vain")), "{stderr}");
    assert_eq!(metric(&node, "sockhop_cron_runs_total{function=\"status\",outcome=\"failed\"}"), 1);
    node.stop();
}

#[test]
fn a_project_brings_its_schedules_and_takes_them_away_again() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.wasm"), wat::whole("environment")).unwrap();
    let toml = |text: &str| {
        let text = format!("name = \"shop\"\nsource = \"a.wasm\"\n{text}");
        fs::write(folder.path().join("sockhop.toml"), text).unwrap();
    };
    let path = folder.path().to_str().unwrap();
    let deploy = |more: &[&str]| node.cli(&[&["deploy", path, "--no-trial"], more].concat());
    toml(
        "[[cron]]\nschedule = \"@every 1s\"\n[[cron]]\nschedule = \"0 3 * * *\"\npath = \"/n\"\ntime_zone = \"Europe/Berlin\"\nmissed = \"run-once\"\n",
    );
    let said = deploy(&[]).expect_code(0).stdout;
    assert!(said.contains("rings shop/n, next at "), "{said}");
    ticks(&node, "shop", 1);
    let own = add(&node, &["shop", NEVER]);
    assert_eq!(listed(&node).len(), 3);
    // What is wrong in it is told before anything is sent.
    toml("[[cron]]\nschedule = \"0 0 30 2 *\"\n");
    deploy(&[]).expect_error(&["[[cron]] number 1", "never due"]);
    toml("[[cron]]\nschedule = \"@daily\"\nzone = \"UTC\"\n");
    deploy(&[]).expect_error(&["sockhop.toml", "zone"]);
    toml(
        "[[cron]]\nschedule = \"0 3 * * *\"\npath = \"/n\"\ntime_zone = \"Europe/Berlin\"\noverlap = \"queue\"\n",
    );
    deploy(&["--no-activate"]).expect_code(0);
    assert_eq!(listed(&node).len(), 3, "what is not active brings nothing");
    deploy(&[]).expect_code(0);
    let of_project: Vec<Value> =
        listed(&node).into_iter().filter(|it| it["source"] == "project").collect();
    assert_eq!(of_project.len(), 1, "{of_project:?}");
    assert_eq!(
        (&of_project[0]["overlap"], &of_project[0]["missed"]),
        (&"queue".into(), &"skip".into())
    );
    toml("");
    deploy(&[]).expect_code(0);
    assert_eq!(ids(&node), [own], "what somebody has added stays");
    node.stop();
}

fn node() -> NodeBuilder {
    Node::build().option("--sync-interval", "100ms")
}

/// Checks that of two nodes on one store the one that is to ring does, and both say so.
fn one_of_two_rings(with_store: impl Fn(NodeBuilder) -> NodeBuilder) {
    let rings = with_store(node()).option("--cron", "on").start();
    let silent = with_store(node()).option("--cron", "off").start();
    deploy(&silent, "shop");
    let id = add(&silent, &["shop", "@every 1s"]);
    let of = |node: &Node| {
        let all = listed(node);
        all.into_iter().find(|it| it["id"] == id.as_str())
    };
    wait::until("the other node rings", SOON, || of(&rings)?["last"].as_object().cloned());
    expect_once(&ticks(&rings, "shop", 3));
    assert!(of(&silent).unwrap()["last"].is_null());
    let printed = rings.cli(&["status"]).expect_code(0).stdout;
    assert!(printed.contains("cron: 1 schedule, this node rings"), "{printed}");
    wait::until("each node knows who rings", SOON, || {
        let printed = silent.cli(&["status"]).expect_code(0).stdout;
        printed.contains("cron: 1 schedule, rung by ").then_some(())
    });
    let run = silent.cli(&["cron", "run", &id]).expect_code(0).stdout;
    assert!(run.starts_with("200"), "any node runs by hand: {run}");
    rings.stop();
    wait::until("nobody rings any more", SOON, || {
        let printed = silent.cli(&["status"]).expect_code(0).stdout;
        printed.contains("no node rings").then_some(())
    });
    silent.cli(&["cron", "remove", &id]).expect_code(0);
    silent.stop();
}

#[test]
fn of_two_nodes_on_one_folder_one_rings() {
    let folder = TempDir::new().unwrap();
    one_of_two_rings(|node| node.option("--store", folder.path().join("store")));
}

#[test]
fn of_two_nodes_on_one_bucket_one_rings() {
    let server = Server::garage();
    one_of_two_rings(|node| node.bucket(&server, "shared", server.address()));
}

#[test]
fn a_node_with_a_bucket_rings_only_if_it_is_told_to() {
    let server = Server::garage();
    let node = node().bucket(&server, "p", server.address()).start();
    deploy(&node, "shop");
    add(&node, &["shop", "@every 1s"]);
    let printed = node.cli(&["status"]).expect_code(0).stdout;
    assert!(printed.contains("no node rings; start one with --cron on"), "{printed}");
    wait::throughout("it does not ring", Duration::from_secs(3), || {
        told(&node, "shop", "HTTP_SOCKHOP_CRON").is_empty()
    });
    node.stop();
}

/// However often another engine takes over, no tick is rung twice, and none is left out while each
/// takes less than the minute by which a tick may be late: of a period of three seconds, so that no
/// two are due at once.
#[test]
fn engines_that_take_over_ring_every_tick_once() {
    let mut node = Node::start();
    deploy(&node, "shop");
    let id = add(&node, &["shop", "@every 3s"]);
    let mut rung = ticks(&node, "shop", 1).len();
    for _ in 0..3 {
        node = node.taken_over();
        rung = ticks(&node, "shop", rung + 1).len();
    }
    let ticks = ticks(&node, "shop", rung + 1);
    expect_once(&ticks);
    let missed = metric(&node, "sockhop_cron_left_out_total{function=\"shop\",reason=\"missed\"}");
    assert_eq!(missed, 0, "{}", node.stderr());
    assert_eq!(ids(&node), [id]);
    // They are those of one row without a gap, perhaps over midnight.
    let (day_ms, mut times) = (24 * 60 * 60 * 1000, Vec::from_iter(&ticks));
    times.sort_unstable();
    let times: Vec<u64> = times.into_iter().map(|tick| of_day_ms(tick)).collect();
    let gaps = times.windows(2).map(|pair| (day_ms + pair[1] - pair[0]) % day_ms);
    assert_eq!(BTreeSet::from_iter(gaps), BTreeSet::from([3000]), "{ticks:?}");
    node.stop();
}

/// Returns the time of day of a moment, in milliseconds.
fn of_day_ms(rfc3339: &str) -> u64 {
    let time = rfc3339.split_once('T').unwrap().1.trim_end_matches('Z');
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let number = |text: &str| text.parse::<u64>().unwrap();
    let seconds = time.split(':').fold(0, |seconds, part| seconds * 60 + number(part));
    seconds * 1000 + number(&format!("{fraction:0<3}")[..3])
}

#[test]
fn a_node_that_was_killed_goes_on_with_what_it_has_not_rung_and_rings_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let start = || Node::build().data(&data).start();
    let mut node = start();
    deploy(&node, "shop");
    let id = add(&node, &["shop", "@every 1s"]);
    ticks(&node, "shop", 2);
    node.kill_engine();
    drop(node);
    let node = start();
    assert_eq!(ids(&node), [id.as_str()]);
    let rung = told(&node, "shop", "HTTP_SOCKHOP_CRON_TIME").len();
    expect_once(&ticks(&node, "shop", rung + 2));
    node.stop();
}

/// A data folder whose schedules were settled an hour ahead, as a clock that was put back leaves it,
/// or long ago, as one that was put forward does.
#[test]
fn a_clock_that_was_stepped_repeats_nothing_and_makes_no_storm() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let start = || Node::build().data(&data).start();
    let node = start();
    deploy(&node, "shop");
    let seconds = add(&node, &["shop", "* * * * * *"]);
    let rung = ticks(&node, "shop", 1).len();
    node.stop();
    let step = |by_ms: i64| {
        let file = data.join("cron");
        let text = fs::read_to_string(&file).unwrap();
        let (_, json) = text.split_once('\n').unwrap();
        let mut settled: Value = serde_json::from_str(json).unwrap();
        let at = settled["settled"][&seconds].as_i64().unwrap();
        settled["settled"][&seconds] = (at + by_ms).into();
        let json = settled.to_string();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&json);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&file, format!("sockhop 1 sha256={digest}\n{json}")).unwrap();
    };
    step(60 * 60 * 1000);
    let node = start();
    let silent = told(&node, "shop", "HTTP_SOCKHOP_CRON").len();
    wait::throughout("what was rung is not rung again", Duration::from_secs(3), || {
        told(&node, "shop", "HTTP_SOCKHOP_CRON").len() == silent
    });
    let next = listed(&node)[0]["next_ms"].as_u64().unwrap();
    let ahead = next.saturating_sub(listed(&node)[0]["added_ms"].as_u64().unwrap());
    assert!(ahead > 50 * 60 * 1000, "`cron list` says when it rings again: {ahead}");
    node.stop();
    step(-2 * 60 * 60 * 1000);
    let node = start();
    let ticks = ticks(&node, "shop", silent + 2);
    expect_once(&ticks);
    assert!(ticks.len() < rung + 60, "an hour of ticks is not rung at once: {}", ticks.len());
    let missed = metric(&node, "sockhop_cron_left_out_total{function=\"shop\",reason=\"missed\"}");
    assert!(missed >= 100, "{missed}");
    node.stop();
}
