//! Writes families of metrics as OpenMetrics, each with its samples. Pure; owns no fds.

use std::borrow::Borrow;
use std::fmt::Error;

use abi::board::Durations;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Writes families of metrics.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// Begins a family.
    pub(super) fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    /// Writes a family of counters, a sample for each of their labels.
    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, None, MetricType::Counter)?;
        samples.into_iter().try_for_each(|(labels, count)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
        })
    }

    /// Writes a family of counters of seconds, which are given in microseconds.
    pub(super) fn seconds<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        samples.into_iter().try_for_each(|(labels, micros)| {
            let seconds = seconds(micros);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&seconds, None)
        })
    }

    /// Writes a family of gauges.
    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, unit.as_ref(), MetricType::Gauge)?;
        samples
            .into_iter()
            .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    /// Writes a family of histograms with these bounds, in microseconds.
    pub(super) fn histograms<L: EncodeLabelSet, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        bounds_us: &[u64; N],
        samples: impl IntoIterator<Item = (L, impl Borrow<Durations<N>>)>,
    ) -> Result<(), Error> {
        let bounds =
            bounds_us.map(|bound| if bound == u64::MAX { f64::INFINITY } else { seconds(bound) });
        let mut family = self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        samples.into_iter().try_for_each(|(labels, durations)| {
            let durations = durations.borrow();
            let buckets: Vec<(f64, u64)> = bounds.into_iter().zip(durations.counts).collect();
            let count = durations.counts.iter().sum();
            let sum = seconds(durations.sum_us);
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    /// Writes a counter without labels.
    pub(super) fn counter_alone(
        &mut self,
        name: &str,
        help: &str,
        count: u64,
    ) -> Result<(), Error> {
        self.family(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    /// Writes a gauge without labels.
    pub(super) fn gauge_alone(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: u64,
    ) -> Result<(), Error> {
        self.family(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    }
}

/// Seconds are written as a float, as the format has it: exact to the microsecond for a century.
#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
