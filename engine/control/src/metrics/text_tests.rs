//! What Prometheus reads of a node that has counted a little.

use std::collections::BTreeMap;

use abi::board::FunctionTally;
use api::cron::CronStatus;

use super::*;
use crate::cron::tally::{LeftOut, Outcome};
use crate::jobs::tally::Refusal;
use fleet::metrics::reading::DispatchReading;
use logs::Waiting;

fn exposition(name: &str) -> Exposition {
    let node = NodeStatus {
        pid: 7,
        version: "0.1".to_owned(),
        listeners: Vec::new(),
        admin: None,
        lambda_api: None,
        path_routes: true,
        native_limits: Vec::new(),
        generation: 1,
        functions: 2,
        compilations: 3,
        draining: false,
        store_away: None,
        started_s: 9,
        cron: CronStatus { rings: true, ..CronStatus::default() },
        jobs: api::jobs::JobsStatus::default(),
    };
    let mut tally =
        FunctionTally { outcomes: [0, 5, 0, 0, 1, 0], sent_bytes: 600, ..FunctionTally::default() };
    (tally.latency.counts[0], tally.latency.counts[17], tally.latency.sum_us) = (4, 2, 25_000_123);
    tally.reasons[Reason::Timeout as usize] = 1;
    tally.reasons[Reason::Trap as usize] = 2;
    let function = FunctionReading { name: name.to_owned(), in_flight: 1, queued: 2, tally };
    let dispatch = DispatchReading {
        accepted: vec![(0, 11)],
        hops: BTreeMap::from([(1, 10)]),
        ..DispatchReading::default()
    };
    let worker =
        WorkerTally { connections_taken: 10, log_lines: 4, restarts: 1, ..WorkerTally::default() };
    let logs = LogsReading {
        lost: 3,
        waiting: Waiting { segments: 2, bytes: 99 },
        ..LogsReading::default()
    };
    let dropped = [("refused", 0), ("unreachable", 7), ("queue", 1)];
    let traces = TracesReading { exported: 5, dropped };
    let mut cron = Tally::default();
    cron.runs.insert((name.to_owned(), Outcome::Ok), 3);
    cron.left_out.insert((name.to_owned(), LeftOut::Missed), 2);
    cron.late_ms.insert(name.to_owned(), 1500);
    let mut jobs = JobsReading { oldest_ms: 2500, ..JobsReading::default() };
    jobs.tally.submitted.insert(name.to_owned(), 9);
    jobs.tally.dead.insert(name.to_owned(), 1);
    jobs.depths.insert(name.to_owned(), api::jobs::JobsStatus { queued: 4, running: 3, dead: 1 });
    jobs.tally.refused.insert((name.to_owned(), Refusal::Full), 6);
    jobs.database = Some(Counted { commits: 3, commit_us: 1500, ..Counted::default() });
    let state = StateReading {
        writes: 5,
        failures: [("denied", 0), ("invalid", 0), ("quota", 2), ("unavailable", 0)],
        database: Some(Counted { failed: 4, ..Counted::default() }),
        buckets: vec![(Bucket::Shared(name.to_owned()), Usage { keys: 7, bytes: 70 })],
        ..StateReading::default()
    };
    let reading =
        Reading { dispatch, workers: BTreeMap::from([(1, worker)]), functions: vec![function] };
    Exposition {
        node,
        workers: Vec::new(),
        reading,
        engine_memory_bytes: Some(4096),
        parked: 0,
        logs,
        traces: Some(traces),
        cron,
        jobs,
        state,
    }
}

#[test]
fn every_family_is_described_and_every_line_is_one() {
    let text = write(exposition("hello")).unwrap();
    for line in [
        "# TYPE sockhop_connections_accepted counter",
        "sockhop_connections_accepted_total{shard=\"0\"} 11",
        "sockhop_hops_total{worker=\"1\"} 10",
        "sockhop_worker_restarts_total{worker=\"1\"} 1",
        "sockhop_requests_total{function=\"hello\",status=\"2xx\"} 5",
        "sockhop_requests_total{function=\"hello\",status=\"5xx\"} 1",
        "sockhop_request_duration_seconds_sum{function=\"hello\"} 25.000123",
        "sockhop_request_duration_seconds_count{function=\"hello\"} 6",
        "sockhop_request_duration_seconds_bucket{le=\"0.00005\",function=\"hello\"} 4",
        "sockhop_request_duration_seconds_bucket{le=\"10.0\",function=\"hello\"} 4",
        "sockhop_request_duration_seconds_bucket{le=\"+Inf\",function=\"hello\"} 6",
        "sockhop_in_flight{function=\"hello\"} 1",
        "sockhop_queue_depth{function=\"hello\"} 2",
        "sockhop_limits_hit_total{function=\"hello\",limit=\"timeout\"} 1",
        "sockhop_failures_total{function=\"hello\",reason=\"trap\"} 2",
        "sockhop_log_lines_total{worker=\"1\"} 4",
        "sockhop_log_segments_lost_total 3",
        "sockhop_log_spool_bytes 99",
        "sockhop_spans_exported_total 5",
        "sockhop_spans_dropped_total{reason=\"unreachable\"} 7",
        "sockhop_engine_resident_memory_bytes 4096",
        "sockhop_cron_rings 1",
        "sockhop_cron_runs_total{function=\"hello\",outcome=\"ok\"} 3",
        "sockhop_cron_left_out_total{function=\"hello\",reason=\"missed\"} 2",
        "sockhop_cron_late_seconds_total{function=\"hello\"} 1.5",
        "sockhop_jobs{function=\"hello\",state=\"queued\"} 4",
        "sockhop_jobs_oldest_age_seconds 2",
        "sockhop_jobs_submitted_total{function=\"hello\"} 9",
        "sockhop_jobs_dead_letters_total{function=\"hello\"} 1",
        "sockhop_jobs_refused_total{function=\"hello\",reason=\"full\"} 6",
        "sockhop_kv_operations_total{operation=\"write\"} 5",
        "sockhop_kv_failures_total{reason=\"quota\"} 2",
        "sockhop_kv_keys{kind=\"shared\",bucket=\"hello\"} 7",
        "sockhop_kv_size_bytes{kind=\"shared\",bucket=\"hello\"} 70",
        "sockhop_database_failures_total{database=\"kv\"} 4",
        "sockhop_database_commits_total{database=\"jobs\"} 3",
        "sockhop_database_commit_seconds_total{database=\"jobs\"} 0.0015",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("status=\"4xx\""), "what never happened has no series");
}

#[test]
fn a_label_cannot_end_its_quotes() {
    let text = write(exposition("a\"b\\c\nd")).unwrap();
    assert!(text.contains("sockhop_in_flight{function=\"a\\\"b\\\\c\\nd\"} 1"), "{text}");
}
