//! The JSON that clients rely on, field by field: what is read is written again as it was, so that
//! no field can be renamed, dropped, or become null instead of absent without being noticed here.
#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test] functions")]

use api::cron::{CronOptions, CronRun, ListedCron};
use api::deploys::{DeployProgress, DeployedVersion, OptionsQuery};
use api::domains::{DomainQuery, DomainTarget, ListedDomain};
use api::errors::ErrorAnswer;
use api::functions::{Function, InspectedFunction};
use api::kv::{EntriesPage, KeyQuery, KeysPage, NewEntries};
use api::logs::{Entry, LogsQuery, OneInvocation};
use api::options::Options;
use api::removed::{RemoveQuery, RemovedFunction, Restore, RestoredFunction};
use api::secrets::ListedSecret;
use api::status::Status;
use api::top::Sample;
use api::versions::{Alias, AliasChange, ListedVersion, Rollback};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Checks that `json` is what a `T` is written as.
#[track_caller]
fn same<T: Serialize + DeserializeOwned>(json: Value) {
    let read: T = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), json);
}

/// `json` with more fields.
fn with(mut json: Value, more: &Value) -> Value {
    let more = more.as_object().unwrap().clone();
    json.as_object_mut().unwrap().extend(more);
    json
}

fn limits() -> Value {
    json!({
        "memory_bytes_max": 1, "table_elements_max": 2, "core_instances_max": 3,
        "timeout_ms": 4, "cpu_time_ms": 5, "request_body_bytes_max": 6,
        "reply_head_bytes_max": 7, "log_bytes_max": 8, "concurrency_max": 9, "queue_max": 10,
        "queue_timeout_ms": 11, "outbound_requests_max": 12, "kv_keys_max": 21, "kv_bytes_max": 22,
        "kv_calls_max": 23, "job_attempts_max": 4, "job_age_ms": 60000, "job_pause_ms": 1000, "processes_max": 13,
        "processes_min": 14, "process_requests_max": 15, "init_timeout_ms": 16,
        "process_idle_ms": 17, "process_grace_ms": 18, "threads_max": 19, "tmp_bytes_max": 20,
    })
}

fn version() -> Value {
    json!({
        "name": "hello", "version": "0190", "number": 2, "created_ms": 5, "kind": "http02",
        "artefact": "00ff", "artefact_bytes": 9, "isolation": "shared", "previews": false,
        "instances": "reuse=3", "env": { "A": "1" }, "config": {}, "args": [], "output": "raw",
        "allow_outbound": ["example.com:443"], "kv": { "orders": "shop-orders" },
        "report_lines": true, "network": "host", "websocket": "messages",
        "respond_async": true, "dead_letters": "https://example.com/letters",
        "limits": limits(),
    })
}

fn alias() -> Value {
    json!({
        "alias": "active", "env": {}, "config": { "B": "2" }, "changed_ms": 7,
        "targets": [{ "version": "0190", "number": 2, "weight": 1 }],
        "previous": [{ "version": "gone", "number": null, "weight": 90 }],
    })
}

fn function() -> Value {
    with(version(), &json!({ "aliases": { "active": alias() } }))
}

#[test]
fn functions_and_versions() {
    let listed = json!({
        "number": 2, "version": "0190", "created_ms": 5, "kind": "command", "artefact": "00ff",
        "artefact_bytes": 9, "origin": "oci://ghcr.io/u/app:v1", "aliases": [{ "alias": "active", "weight": 1, "of": 3 }],
    });
    same::<Function>(function());
    same::<Function>(with(
        function(),
        &json!({
            "health_path": "/up", "isolation": "process", "handler": "app.handler",
            "description": "what it is", "role": "arn:aws:iam::000000000000:role/none",
            "origin": "oci://ghcr.io/u/app:v1",
        }),
    ));
    same::<ListedVersion>(listed.clone());
    let inspected = with(function(), &json!({ "versions": [listed] }));
    same::<InspectedFunction>(inspected.clone());
    let reuse = json!({ "kept": 1, "memory": 2, "request": 3, "room": 4, "served": 5 });
    same::<InspectedFunction>(with(inspected, &json!({ "reuse": reuse })));
    same::<Alias>(alias());
    same::<AliasChange>(json!({}));
    same::<AliasChange>(json!({ "targets": [{ "version": "v1", "weight": 9 }], "env": {} }));
    same::<Rollback>(json!({}));
    same::<Rollback>(json!({ "version": "v1" }));
    assert!(serde_json::from_value::<AliasChange>(json!({ "target": [] })).is_err());
}

#[test]
fn removals() {
    same::<RemovedFunction>(json!({
        "name": "hello", "id": "0190", "version": "v2, active", "versions": 2, "secrets": ["KEY"],
        "removed_ms": 1, "restorable_until_ms": 2,
    }));
    same::<RestoredFunction>(with(function(), &json!({ "secrets": [] })));
    same::<RemoveQuery>(json!({ "for-good": true }));
    same::<RemoveQuery>(json!({ "for-good": false, "with-state": true }));
    same::<Restore>(json!({ "id": "0190" }));
}

#[test]
fn state() {
    let page = json!({ "keys": ["a"], "keys_in_all": 1, "bytes_in_all": 2 });
    same::<KeysPage>(page.clone());
    same::<KeysPage>(with(page, &json!({ "next": "a" })));
    let entries = json!({ "entries": [{ "key": "a", "value": "YQ==" }] });
    same::<NewEntries>(entries.clone());
    same::<EntriesPage>(with(entries, &json!({ "next": "a" })));
    same::<KeyQuery>(json!({ "key": "a", "bucket": "b" }));
}

#[test]
fn deploys() {
    let change = json!({ "option": "memory", "from": "64.0 MiB", "to": "32.0 MiB" });
    let before = json!({ "version": "018f", "number": 1, "artefact": "00", "artefact_bytes": 1 });
    same::<OptionsQuery>(json!({ "activate": true, "trial": false, "dry-run": true }));
    for (before, changed) in [(Value::Null, json!([])), (before, json!([change]))] {
        let more = json!({
            "before": before, "options_kept": false, "changed": changed, "notes": ["n"],
        });
        same::<DeployedVersion>(with(version(), &more));
    }
    for phase in [
        json!({ "phase": "receiving" }),
        json!({ "phase": "waiting-for-compiler", "ahead": 2 }),
        json!({ "phase": "compiling" }),
        json!({ "phase": "waiting-for-trial" }),
        json!({ "phase": "trying" }),
        json!({ "phase": "storing" }),
        json!({ "phase": "publishing", "workers": 3 }),
    ] {
        same::<DeployProgress>(with(phase, &json!({ "seconds": 1.5 })));
    }
    let nothing = json!({
        "kind": null, "isolation": null, "instances": null, "env": {}, "config": {}, "args": [],
        "output": null, "allow_outbound": [], "kv": {}, "memory": null, "timeout": null, "cpu_time": null,
        "table_elements": null, "core_instances": null, "request_body": null, "reply_head": null,
        "log_size": null, "concurrency": null, "queue": null, "queue_timeout": null,
        "outbound_requests": null, "kv_keys": null, "kv_size": null, "kv_calls": null, "job_attempts": null,
        "job_age": null, "job_pause": null, "processes": null, "processes_min": null,
        "process_requests": null, "init_timeout": null, "process_idle": null,
        "process_grace": null, "threads": null, "tmp": null, "previews": null, "health_path": null,
        "handler": null, "report_lines": null, "network": null, "websocket": null,
        "respond_async": null, "dead_letters": null, "description": null, "role": null,
    });
    same::<Options>(nothing.clone());
    let more = json!({ "fresh_options": true, "unset": ["env"], "kind": "http", "memory": 65537 });
    same::<Options>(with(nothing, &more));
}

#[test]
fn domains() {
    let listed = json!({
        "domain": "a.example/api/*", "host": "a.example", "prefix": "/api", "function": "api",
        "added_ms": 1,
    });
    same::<ListedDomain>(listed.clone());
    same::<ListedDomain>(with(listed, &json!({ "alias": "beta", "error": "e" })));
    same::<DomainTarget>(json!({ "function": "api" }));
    same::<DomainTarget>(json!({ "function": "api", "alias": "beta" }));
    same::<DomainQuery>(json!({}));
    same::<DomainQuery>(json!({ "prefix": "/api" }));
    assert!(
        serde_json::from_value::<DomainTarget>(json!({ "function": "a", "version": "v1" }))
            .is_err()
    );
}

#[test]
fn schedules() {
    let run = json!({ "scheduled_ms": 1, "began_ms": 2, "duration_ms": 3 });
    let listed = json!({
        "id": "web-01234567", "function": "web", "schedule": "@daily", "path": "/",
        "overlap": "skip", "missed": "run-once", "jitter_ms": 0, "source": "project",
        "added_ms": 1, "running": 0,
    });
    same::<CronRun>(run.clone());
    let whole = with(run, &json!({ "status": 200, "invocation": "i", "error": "e" }));
    same::<CronRun>(whole.clone());
    same::<ListedCron>(listed.clone());
    let more = json!({
        "alias": "beta", "time_zone": "UTC", "next_ms": 4, "last": whole, "error": "e",
    });
    same::<ListedCron>(with(listed, &more));
    same::<CronOptions>(json!({ "schedule": "@daily", "overlap": "allow", "missed": "skip" }));
    same::<CronOptions>(json!({
        "schedule": "0 3 * * *", "alias": "beta", "path": "/x", "time_zone": "UTC",
        "overlap": "queue", "missed": "skip", "jitter": "30s",
    }));
}

#[test]
fn the_log() {
    same::<Entry>(json!({
        "kind": "line", "time": "t", "function": "f", "invocation": "i", "stream": "stdout",
        "text": "x",
    }));
    let after = json!({
        "time": "t", "function": "f", "invocation": "i", "outcome": "ok", "after_us": 1,
        "cpu_us": 2, "memory_bytes": 3,
    });
    same::<Entry>(with(after.clone(), &json!({ "kind": "after" })));
    same::<Entry>(json!({ "kind": "gap", "time": "t", "records": 1, "reason": "r" }));
    let invocation = json!({
        "time": "t", "function": "f", "version": "0190", "invocation": "i", "status": null,
        "outcome": "trap", "started": "s", "duration_us": 1, "cpu_us": 2, "memory_bytes": 3,
        "received_bytes": 4, "sent_bytes": 5, "queue_us": 6, "instantiate_us": 7, "run_us": 8,
    });
    let more = json!({
        "kind": "invocation", "status": 200, "number": 2, "alias": "active", "method": "GET",
        "path": "/", "accepted": "a", "received": "r", "goes_on": true,
    });
    same::<Entry>(with(invocation.clone(), &json!({ "kind": "invocation" })));
    same::<Entry>(with(invocation.clone(), &more));
    let one = json!({ "id": "i", "record": null, "lines": [], "notes": ["n"] });
    same::<OneInvocation>(one.clone());
    same::<OneInvocation>(with(one, &json!({ "record": invocation, "after": after })));
    same::<LogsQuery>(json!({}));
    same::<LogsQuery>(json!({ "function": "f", "limit": 1, "newest": true, "follow": true }));
    same::<LogsQuery>(json!({ "function": "a,b", "stream": "stderr", "text": "t" }));
}

#[test]
fn the_node() {
    let away = json!({ "store": "s3://b", "since_s": 1, "reason": "r" });
    let node = json!({
        "pid": 1, "version": "0.1.0", "listeners": ["http://127.0.0.1:1"], "admin": null,
        "lambda_api": null, "native_limits": ["n"], "generation": 2, "functions": 3, "compilations": 4, "draining": false, "store_away": away,
        "path_routes": true,
        "started_s": 5, "cron": { "rings": true, "schedules": 2, "nodes": ["a"] },
        "jobs": { "queued": 1, "running": 2, "dead": 3 },
    });
    let states = ["starting", "ready", "silent", "dormant", "restarting"];
    let workers = states.map(|state| {
        json!({
            "index": 0, "pid": null, "core": 1, "pool": "shared", "state": state, "restarts": 2,
            "failed_starts": 3, "last_words": null, "connections_taken": 4, "connections_open": 5,
            "requests": 6, "in_flight": 7, "returns": 8, "modules": 9, "memory_bytes": null,
        })
    });
    let status = json!({ "node": node, "workers": workers });
    same::<Status>(status.clone());
    let state = json!({ "buckets": 1, "keys": 2, "bytes": 3, "error": "e" });
    same::<Status>(with(status, &json!({ "state": state })));
    let node = json!({
        "pid": 1, "functions": 2, "draining": true, "started_s": 3, "accepted": 4,
        "memory_bytes": 5, "jobs": { "queued": 6, "running": 7, "dead": 8 },
    });
    let worker = json!({
        "index": 0, "pid": 1, "core": 2, "pool": "shared", "state": "ready", "restarts": 3,
        "connections": 4, "in_flight": 5, "requests": 6, "memory_bytes": 7,
    });
    let function = json!({
        "name": "f", "in_flight": 1, "queued": 2, "outcomes": [0, 1, 2, 3, 4, 5],
        "latency": (0..18).collect::<Vec<_>>(),
        "jobs": { "queued": 1, "running": 2, "dead": 3 },
    });
    same::<Sample>(
        json!({ "at_us": 1, "node": node, "workers": [worker], "functions": [function] }),
    );
    same::<ListedSecret>(json!({ "key": "KEY", "set_ms": 1 }));
    same::<ListedSecret>(json!({ "key": "KEY", "set_ms": null, "error": "e" }));
    same::<ErrorAnswer>(json!({ "error": "e" }));
}
