//! A node's own histograms, from the text of its /metrics. Holds no file descriptor; `target`
//! fetches the text.
//!
//! Counts only grow, so what happened in a window is the difference of two readings.

use serde::Serialize;

use crate::server::Node;
use crate::target::{self, Fetched, Session, Target};

/// A histogram cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no reply.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The node has no admin listener.
    #[error(transparent)]
    Server(#[from] crate::server::Error),
    /// The node does not have the histogram.
    #[error(
        "/metrics (status {status}) has no histogram {name}; is the node older than this harness?"
    )]
    Missing {
        /// The status of the reply.
        status: u16,
        /// The name of the histogram.
        name: &'static str,
    },
}

/// A histogram: for each bound in microseconds, the last of them infinite, the number of values up
/// to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// The buckets, in ascending order.
    pub buckets: Vec<Bucket>,
}

/// A bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bucket {
    /// The upper bound. `None` for the last bucket.
    pub at_most_us: Option<f64>,
    /// The number of values up to it, including those of lower buckets.
    pub count: f64,
}

/// The bucket that a quantile lies in; a histogram knows no more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantile {
    /// The lower bound.
    pub above_us: f64,
    /// The upper bound. `None` if the quantile is beyond the last bound.
    pub at_most_us: Option<f64>,
    /// A value between the two, as if values were spread evenly; the lower bound if there is no
    /// upper one.
    pub about_us: f64,
}

/// A node's /metrics, which are asked for again and again.
#[derive(Debug)]
pub struct Source(Target);

impl Source {
    /// Finds them on a node that was started with an admin listener.
    pub fn of(node: &Node) -> Result<Self, Error> {
        Ok(Self(Target::parse(&format!("{}/metrics", node.admin()?))?))
    }

    /// Returns the sum of all series of a name that have all of these labels, as they stand in the
    /// text: `outcome="ok"`. A series that is not there yet counts nothing.
    pub fn sum(&self, name: &str, labels: &[&str]) -> Result<f64, Error> {
        let fetched = self.fetch()?;
        Ok(sum(&String::from_utf8_lossy(&fetched.body), name, labels))
    }

    fn fetch(&self) -> Result<Fetched, Error> {
        Ok(Session::open(&self.0)?.exchange(&self.0.get())?)
    }
}

fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(name));
    let wanted = series.filter_map(|rest| rest.rsplit_once(' ')).filter(|(of, _)| {
        (of.is_empty() || of.starts_with('{')) && labels.iter().all(|label| of.contains(label))
    });
    wanted.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

impl Histogram {
    /// Fetches a histogram from a node that was started with an admin listener.
    pub fn of(node: &Node, name: &'static str) -> Result<Self, Error> {
        let fetched = Source::of(node)?.fetch()?;
        let text = String::from_utf8_lossy(&fetched.body);
        Self::parse(&text, name).ok_or(Error::Missing { status: fetched.status, name })
    }

    /// Parses the series of one name and adds them up, whatever their other labels are.
    fn parse(text: &str, name: &str) -> Option<Self> {
        let mut buckets: Vec<Bucket> = Vec::new();
        for line in text.lines() {
            let Some(labels) =
                line.strip_prefix(name).and_then(|rest| rest.strip_prefix("_bucket{"))
            else {
                continue;
            };
            let (labels, value) = labels.rsplit_once("} ")?;
            let bound = labels
                .split(',')
                .find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'))?;
            let count: f64 = value.parse().ok()?;
            let at_most_us =
                if bound == "+Inf" { None } else { Some(bound.parse::<f64>().ok()? * 1e6) };
            match buckets.iter_mut().find(|bucket| bucket.at_most_us == at_most_us) {
                Some(bucket) => bucket.count += count,
                None => buckets.push(Bucket { at_most_us, count }),
            }
        }
        let bound = |bucket: &Bucket| bucket.at_most_us.unwrap_or(f64::INFINITY);
        buckets.sort_by(|one, other| bound(one).total_cmp(&bound(other)));
        (!buckets.is_empty()).then_some(Self { buckets })
    }

    /// Returns what was added since `earlier`, a reading of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound| {
            let found = earlier.buckets.iter().find(|bucket| bucket.at_most_us == bound);
            found.map_or(0.0, |bucket| bucket.count)
        };
        let added =
            |bucket: &Bucket| Bucket { count: bucket.count - before(bucket.at_most_us), ..*bucket };
        Self { buckets: self.buckets.iter().map(added).collect() }
    }

    /// Returns the number of all values.
    pub fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |bucket| bucket.count)
    }

    /// Returns the bucket that a quantile lies in. Returns `None` without values.
    pub fn quantile(&self, quantile: f64) -> Option<Quantile> {
        let rank = self.count() * quantile;
        if self.count() <= 0.0 {
            return None;
        }
        let at =
            self.buckets.iter().position(|bucket| bucket.count > 0.0 && bucket.count >= rank)?;
        let Bucket { at_most_us, count } = *self.buckets.get(at)?;
        let below = at.checked_sub(1).and_then(|at| self.buckets.get(at));
        let (above_us, below) =
            below.map_or((0.0, 0.0), |bucket| (bucket.at_most_us.unwrap_or(0.0), bucket.count));
        let part = if count > below { (rank - below) / (count - below) } else { 1.0 };
        let about_us = at_most_us
            .map_or(above_us, |at_most| above_us + (at_most - above_us) * part.clamp(0.0, 1.0));
        Some(Quantile { above_us, at_most_us, about_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# TYPE h histogram\nh_sum{worker=\"0\"} 3\nh_count{worker=\"0\"} 3\n\
        h_bucket{le=\"0.0001\",worker=\"0\"} 1\nh_bucket{le=\"0.0002\",worker=\"0\"} 3\nh_bucket{le=\"+Inf\",worker=\"0\"} 3\n\
        h_bucket{le=\"0.0001\",worker=\"1\"} 0\nh_bucket{le=\"0.0002\",worker=\"1\"} 0\nh_bucket{le=\"+Inf\",worker=\"1\"} 1\n\
        other_bucket{le=\"1\"} 9\n";

    #[test]
    fn workers_are_added_up_and_readings_subtracted() {
        let read = Histogram::parse(TEXT, "h").unwrap();
        assert_eq!(
            read.buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>(),
            [1.0, 3.0, 4.0]
        );
        assert_eq!(read.count(), 4.0);
        assert_eq!(read.since(&read).quantile(0.5), None);
        assert_eq!(Histogram::parse(TEXT, "nothing"), None);
    }

    #[test]
    fn a_quantile_is_as_good_as_its_bucket() {
        let read = Histogram::parse(TEXT, "h").unwrap();
        let middle = read.quantile(0.5).unwrap();
        assert_eq!(
            (middle.above_us.round(), middle.at_most_us.map(f64::round)),
            (100.0, Some(200.0))
        );
        assert!((middle.about_us - 150.0).abs() < 1e-6, "{middle:?}");
        assert_eq!(read.quantile(0.99).unwrap().at_most_us, None);
    }

    #[test]
    fn series_of_a_name_are_added_up() {
        let text = "# TYPE jobs gauge\njobs{function=\"a\",state=\"dead\"} 2\n\
            jobs{function=\"b\",state=\"dead\"} 1\njobs{function=\"b\",state=\"queued\"} 4\n\
            jobs_submitted_total{function=\"b\"} 9\nage 0.5\n";
        assert_eq!(sum(text, "jobs", &["state=\"dead\""]), 3.0);
        assert_eq!(sum(text, "jobs", &["state=\"dead\"", "function=\"b\""]), 1.0);
        assert_eq!(sum(text, "jobs", &[]), 7.0);
        assert_eq!((sum(text, "age", &[]), sum(text, "none", &[])), (0.5, 0.0));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(h_bucket)?.{0,200}") {
            let _ = sum(&text, "h", &["le"]);
            if let Some(read) = Histogram::parse(&text, "h") {
                let _ = read.quantile(0.99);
            }
        }
    }
}
