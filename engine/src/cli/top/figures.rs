//! From two samples to what is shown: rates, shares and quantiles of the time between them. Pure;
//! owns no fds.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use abi::board::LATENCY_BOUNDS_US;
use abi::outcome::ReplyEnd;

use api::jobs::JobsStatus;
use api::status::WorkerState;
use api::top::{FunctionSample, Sample};

/// What functions are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Rate,
    InFlight,
    Errors,
    Slowest,
    Name,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Rate, Self::InFlight, Self::Errors, Self::Slowest, Self::Name];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::InFlight => "in flight",
            Self::Errors => "errors",
            Self::Slowest => "p99",
            Self::Name => "name",
        }
    }

    pub(super) fn next(self) -> Self {
        self.step(1)
    }

    pub(super) fn previous(self) -> Self {
        self.step(Self::ALL.len() - 1)
    }

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

/// Everything that is shown. What needs two samples is none after the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) pid: u32,
    pub(super) functions_deployed: usize,
    pub(super) draining: bool,
    pub(super) started_s: u64,
    pub(super) requests_per_s: Option<f64>,
    pub(super) errors_per_s: Option<f64>,
    pub(super) accepted_per_s: Option<f64>,
    pub(super) connections: u64,
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    pub(super) jobs: JobsStatus,
    /// Of the engine and its workers together.
    pub(super) memory_bytes: u64,
    pub(super) workers: Vec<WorkerFigures>,
    pub(super) functions: Vec<FunctionFigures>,
}

#[derive(Debug, Clone)]
pub(super) struct WorkerFigures {
    pub(super) pid: Option<u32>,
    pub(super) core: usize,
    pub(super) pool: String,
    pub(super) state: WorkerState,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    pub(super) requests_per_s: Option<f64>,
    pub(super) restarts: u32,
    pub(super) memory_bytes: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FunctionFigures {
    pub(super) name: String,
    pub(super) requests_per_s: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    pub(super) jobs: JobsStatus,
    /// Of invocations that ended with 5xx, in percent; none when none ended.
    pub(super) errors_percent: Option<f64>,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

impl Figures {
    /// What happened from `before` to `now`. Samples of two nodes have nothing in common.
    pub(super) fn between(before: Option<&Sample>, now: &Sample) -> Self {
        let before =
            before.filter(|before| before.node.pid == now.node.pid && before.at_us < now.at_us);
        let per_s = |more: u64| before.map(|before| per_second(more, now.at_us - before.at_us));
        let old: HashMap<&str, &FunctionSample> = before
            .iter()
            .flat_map(|before| &before.functions)
            .map(|function| (function.name.as_str(), function))
            .collect();
        let (mut requests, mut errors) = (0, 0);
        let functions = now.functions.iter().map(|function| {
            let more = Difference::of(old.get(function.name.as_str()).copied(), function);
            requests += more.requests;
            errors += more.errors;
            more.figures(function, per_s(more.requests))
        });
        let functions: Vec<_> = functions.collect();
        let workers = now.workers.iter().map(|worker| {
            let same = |old: &&api::top::WorkerSample| {
                old.index == worker.index && old.pool == worker.pool
            };
            let old = before
                .and_then(|before| before.workers.iter().find(same))
                .map_or(0, |old| old.requests);
            WorkerFigures {
                pid: worker.pid,
                core: worker.core,
                pool: worker.pool.clone(),
                state: worker.state,
                in_flight: worker.in_flight,
                connections: worker.connections,
                requests_per_s: per_s(worker.requests.saturating_sub(old)),
                restarts: worker.restarts,
                memory_bytes: worker.memory_bytes,
            }
        });
        let accepted =
            now.node.accepted.saturating_sub(before.map_or(0, |before| before.node.accepted));
        Self {
            pid: now.node.pid,
            functions_deployed: now.node.functions,
            draining: now.node.draining,
            started_s: now.node.started_s,
            requests_per_s: per_s(requests),
            errors_per_s: per_s(errors),
            accepted_per_s: per_s(accepted),
            connections: now.workers.iter().map(|worker| worker.connections).sum(),
            in_flight: now.workers.iter().map(|worker| worker.in_flight).sum(),
            queued: now.functions.iter().map(|function| function.queued).sum(),
            jobs: now.node.jobs,
            memory_bytes: now.node.memory_bytes
                + now.workers.iter().map(|worker| worker.memory_bytes).sum::<u64>(),
            workers: workers.collect(),
            functions,
        }
    }

    /// Puts functions in order, the greatest first; what is equal stands by name.
    pub(super) fn sort(&mut self, by: Sort) {
        let thousandths =
            |figure: Option<f64>| Reverse(figure.map(|figure| (figure * 1000.0).round().to_bits()));
        self.functions.sort_by(|a, b| a.name.cmp(&b.name));
        match by {
            Sort::Rate => {
                self.functions.sort_by_key(|function| thousandths(function.requests_per_s))
            }
            Sort::InFlight => {
                self.functions.sort_by_key(|function| Reverse(function.in_flight + function.queued))
            }
            Sort::Errors => {
                self.functions.sort_by_key(|function| thousandths(function.errors_percent))
            }
            Sort::Slowest => self.functions.sort_by_key(|function| Reverse(function.p99)),
            Sort::Name => {}
        }
    }
}

/// What has ended of one function.
struct Difference {
    requests: u64,
    errors: u64,
    latency: [u64; LATENCY_BOUNDS_US.len()],
}

impl Difference {
    /// Counters that fell are those of another function with the same name: all of them are new.
    fn of(before: Option<&FunctionSample>, now: &FunctionSample) -> Self {
        let ended = |function: &FunctionSample| function.outcomes.iter().sum::<u64>();
        let before = before.filter(|before| {
            let latency =
                before.latency.iter().zip(&now.latency).all(|(before, now)| before <= now);
            latency && ended(before) <= ended(now)
        });
        let zero = FunctionSample::default();
        let before = before.unwrap_or(&zero);
        let failed = ReplyEnd::Whole(500).class();
        let latency = std::array::from_fn(|at| now.latency[at] - before.latency[at]);
        let errors = now.outcomes[failed].saturating_sub(before.outcomes[failed]);
        Self { requests: ended(now) - ended(before), errors, latency }
    }

    fn figures(&self, function: &FunctionSample, requests_per_s: Option<f64>) -> FunctionFigures {
        let measured = requests_per_s.is_some();
        let share = || percent(self.errors, self.requests);
        FunctionFigures {
            name: function.name.clone(),
            requests_per_s,
            in_flight: function.in_flight,
            queued: function.queued,
            jobs: function.jobs,
            errors_percent: measured.then(share).flatten(),
            p50: measured.then(|| quantile(&self.latency, 50)).flatten(),
            p99: measured.then(|| quantile(&self.latency, 99)).flatten(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "what is shown has four digits")]
fn per_second(more: u64, micros: u64) -> f64 {
    more as f64 * 1e6 / micros as f64
}

#[expect(clippy::cast_precision_loss, reason = "what is shown has four digits")]
fn percent(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 * 100.0 / of as f64)
}

/// What so many percent took no longer than: evenly spread within a bucket; of the last, which has
/// no end, its beginning.
fn quantile(counts: &[u64; LATENCY_BOUNDS_US.len()], percent: u64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    let wanted = (total * percent).div_ceil(100);
    let (mut below, mut lower) = (0, 0);
    for (count, upper) in counts.iter().zip(LATENCY_BOUNDS_US) {
        if *count > 0 && below + count >= wanted {
            let upper = if upper == u64::MAX { lower } else { upper };
            return Some(Duration::from_micros(lower + (upper - lower) * (wanted - below) / count));
        }
        below += count;
        lower = upper;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::top::{NodeSample, WorkerSample};
    use proptest::prelude::*;

    fn function(name: &str, ok: u64, failed: u64) -> FunctionSample {
        let mut function = FunctionSample {
            name: name.into(),
            in_flight: 1,
            queued: 2,
            ..FunctionSample::default()
        };
        (function.outcomes[1], function.outcomes[4], function.latency[2]) =
            (ok, failed, ok + failed);
        function
    }

    fn sample(at_us: u64, functions: Vec<FunctionSample>) -> Sample {
        let worker = WorkerSample {
            index: 0,
            pid: Some(7),
            core: 0,
            pool: "shared".into(),
            state: WorkerState::Ready,
            restarts: 0,
            connections: 3,
            in_flight: 1,
            requests: at_us / 1000,
            memory_bytes: 100,
        };
        let node = NodeSample {
            pid: 5,
            accepted: at_us / 10_000,
            memory_bytes: 50,
            ..NodeSample::default()
        };
        Sample { at_us, node, workers: vec![worker], functions }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let before = sample(1_000_000, vec![function("a", 10, 0), function("gone", 5, 5)]);
        let now = sample(3_000_000, vec![function("a", 16, 2), function("new", 4, 0)]);
        let figures = Figures::between(Some(&before), &now);
        assert_eq!((figures.requests_per_s, figures.errors_per_s), (Some(6.0), Some(1.0)));
        assert_eq!(
            (figures.accepted_per_s, figures.workers[0].requests_per_s),
            (Some(100.0), Some(1000.0))
        );
        let [a, new] = &figures.functions[..] else { panic!("{figures:?}") };
        assert_eq!((a.requests_per_s, a.errors_percent), (Some(4.0), Some(25.0)));
        assert_eq!((new.requests_per_s, new.errors_percent), (Some(2.0), Some(0.0)));
        // Eight between 100 and 200 µs: half of them up to the middle.
        assert_eq!(
            (a.p50, a.p99),
            (Some(Duration::from_micros(150)), Some(Duration::from_micros(200)))
        );
        assert_eq!((figures.memory_bytes, figures.connections, figures.queued), (150, 3, 4));
    }

    #[test]
    fn one_sample_or_another_node_has_no_rates_and_what_fell_begins_anew() {
        let first = sample(1_000_000, vec![function("a", 10, 0)]);
        assert_eq!(Figures::between(None, &first).requests_per_s, None);
        let mut other = sample(2_000_000, vec![function("a", 12, 0)]);
        other.node.pid = 6;
        let figures = Figures::between(Some(&first), &other);
        assert_eq!((figures.requests_per_s, figures.functions[0].p50), (None, None));
        let again = sample(2_000_000, vec![function("a", 3, 0)]);
        assert_eq!(Figures::between(Some(&first), &again).requests_per_s, Some(3.0));
        assert_eq!(
            Figures::between(Some(&first), &first).requests_per_s,
            None,
            "no time has passed"
        );
    }

    #[test]
    fn orders() {
        let figure = |name: &str, rate: f64, p99_us| FunctionFigures {
            name: name.into(),
            requests_per_s: Some(rate),
            p99: Some(Duration::from_micros(p99_us)),
            ..FunctionFigures::default()
        };
        let functions = vec![figure("c", 2.0, 1), figure("a", 2.0, 9), figure("b", 10.5, 5)];
        let mut figures = Figures { functions, ..Figures::default() };
        let mut names = |by| {
            figures.sort(by);
            figures.functions.iter().map(|function| function.name.as_str()).collect::<String>()
        };
        assert_eq!(
            [names(Sort::Rate), names(Sort::Slowest), names(Sort::Name)],
            ["bac", "abc", "abc"]
        );
        let around = (0..Sort::ALL.len()).fold(Sort::Rate, |sort, _| sort.next());
        assert_eq!((around, Sort::Rate.next().previous()), (Sort::Rate, Sort::Rate));
    }

    proptest! {
        /// A quantile is within the bucket that has it, and a higher one is no less.
        #[test]
        fn quantiles_are_in_order_and_within_what_was_counted(counts in proptest::array::uniform18(0u64..1000)) {
            let (p50, p99) = (quantile(&counts, 50), quantile(&counts, 99));
            prop_assert_eq!(p50.is_some(), counts.iter().any(|count| *count > 0));
            prop_assert!(p50 <= p99);
            let longest = counts.iter().rposition(|count| *count > 0).map(|at| Duration::from_micros(LATENCY_BOUNDS_US[at.min(16)]));
            prop_assert!(p99 <= longest);
        }
    }
}
