//! How sure a ratio of medians is: the bootstrap. What was measured is drawn from again and again,
//! with replacement; the ratios of those draws spread as the ratio itself would, had everything
//! been measured again.
//!
//! A few values repeat themselves in their draws, so that medians of these take a few values only
//! and lie too close together: of equal builds more would be called different than the confidence
//! says (3 to 4 in 100 instead of 1, with ten rounds). Each value is therefore drawn with a little
//! noise of its own, as wide as the values' own spread makes reasonable: the smoothed bootstrap.
//!
//! No shape of the noise is assumed, and there is no table of constants to get wrong. The
//! generator's seed is a constant, so that the same files give the same answer. Pure; holds no file
//! descriptor.

use serde::Serialize;

use super::median;

const DRAWS: usize = 2000;
const SEED: u64 = 0x50c4_4095;
/// The standard deviation of normal values, in parts of their median distance from the median.
const DEVIATION_PER_DISTANCE: f64 = 1.4826;
/// Fewer values than this are not drawn from: their resamples repeat the same few, and the interval
/// comes out too narrow.
pub const ROUNDS_MIN: usize = 5;

/// A ratio and where it may lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Of what was measured.
    pub ratio: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The ratio of the medians, `after` to `before`, of values that have nothing to do with one
/// another. None where there is nothing to divide by, or too few values of either.
pub fn unpaired(before: &[f64], after: &[f64], confidence: f64) -> Option<Interval> {
    if before.len() < ROUNDS_MIN || after.len() < ROUNDS_MIN {
        return None;
    }
    let ratio = divide(median(&mut after.to_vec()), median(&mut before.to_vec()))?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut befores, mut afters) = (Draws::of(before), Draws::of(after));
    interval(ratio, confidence, || divide(afters.median(&mut random), befores.median(&mut random)))
}

/// The median of the ratios, round by round: for values that were measured in the same rounds,
/// whose drifts then cancel out. None where there is nothing to divide by, or too few rounds.
pub fn paired(before: &[f64], after: &[f64], confidence: f64) -> Option<Interval> {
    let ratios: Option<Vec<f64>> =
        before.iter().zip(after).map(|(&before, &after)| divide(after, before)).collect();
    let ratios = ratios.filter(|ratios| ratios.len() >= ROUNDS_MIN)?;
    let ratio = median(&mut ratios.clone());
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut draws = Draws::of(&ratios);
    interval(ratio, confidence, || Some(draws.median(&mut random)))
}

fn divide(after: f64, before: f64) -> Option<f64> {
    (before > 0.0 && after.is_finite()).then(|| after / before)
}

/// Draws from some values.
struct Draws<'a> {
    values: &'a [f64],
    /// How wide the noise of each is.
    noise: f64,
    drawn: Vec<f64>,
}

impl<'a> Draws<'a> {
    fn of(values: &'a [f64]) -> Self {
        let middle = median(&mut values.to_vec());
        let mut distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
        // Silverman's rule for the width; the spread by distances from the median, which a
        // disturbed round does not move.
        let noise = median(&mut distances)
            * DEVIATION_PER_DISTANCE
            * (values.len().max(1) as f64).powf(-0.2);
        Self { values, noise, drawn: values.to_vec() }
    }

    fn median(&mut self, random: &mut fastrand::Rng) -> f64 {
        for drawn in &mut self.drawn {
            // Twelve uniform values less their mean are as good as normal, and of deviation 1.
            let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            let value = self.values[random.usize(..self.values.len())];
            *drawn = (value + self.noise * normal).max(f64::MIN_POSITIVE);
        }
        median(&mut self.drawn)
    }
}

/// The middle part of many draws.
fn interval(
    ratio: f64,
    confidence: f64,
    mut draw: impl FnMut() -> Option<f64>,
) -> Option<Interval> {
    let draws: Option<Vec<f64>> = (0..DRAWS).map(|_| draw()).collect();
    let mut draws = draws?;
    draws.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of DRAWS, not below zero"
    )]
    let cut = ((DRAWS as f64 * tail) as usize).min(DRAWS / 2 - 1);
    Some(Interval { ratio, low: draws[cut].min(ratio), high: draws[DRAWS - 1 - cut].max(ratio) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIDENCE: f64 = 0.99;
    const RUNS: usize = 300;

    /// Rounds with noise of so many parts of the value, as the sum of uniform ones: about normal;
    /// and with the odd round that something disturbed.
    fn rounds(
        random: &mut fastrand::Rng,
        count: usize,
        value: f64,
        noise: f64,
        disturbed: f64,
    ) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
                let hit = if random.f64() < disturbed { 0.8 } else { 1.0 };
                value * (1.0 + noise * normal) * hit
            })
            .collect()
    }

    fn excludes_one(interval: Option<Interval>) -> bool {
        let Interval { low, high, .. } = interval.unwrap();
        low > 1.0 || high < 1.0
    }

    fn found(
        count: usize,
        slowdown: f64,
        noise: f64,
        how: fn(&[f64], &[f64], f64) -> Option<Interval>,
    ) -> usize {
        let mut random = fastrand::Rng::with_seed(7);
        (0..RUNS)
            .filter(|_| {
                let before = rounds(&mut random, count, 30_000.0, noise, 0.05);
                let after = rounds(&mut random, count, 30_000.0 * slowdown, noise, 0.05);
                excludes_one(how(&before, &after, CONFIDENCE))
            })
            .count()
    }

    #[test]
    fn five_percent_are_found() {
        for how in [unpaired, paired] {
            let found = found(20, 0.95, 0.02, how);
            assert!(found * 100 >= RUNS * 95, "{found} of {RUNS}");
        }
    }

    #[test]
    fn equal_builds_are_equal() {
        for how in [unpaired, paired] {
            let found = found(20, 1.0, 0.02, how);
            assert!(found * 100 <= RUNS * 2, "{found} of {RUNS}");
        }
    }

    #[test]
    fn a_drift_of_both_is_no_difference_of_either() {
        let drift: Vec<f64> = (0..10).map(|round| 1000.0 - 30.0 * f64::from(round)).collect();
        let slower: Vec<f64> = drift.iter().map(|value| value * 0.95).collect();
        let interval = paired(&drift, &slower, CONFIDENCE).unwrap();
        assert!(
            excludes_one(Some(interval)) && (interval.ratio - 0.95).abs() < 1e-9,
            "{interval:?}"
        );
        assert!(!excludes_one(unpaired(&drift, &slower, CONFIDENCE)));
    }

    #[test]
    fn too_few_rounds_say_nothing() {
        assert_eq!(unpaired(&[1.0; 4], &[2.0; 20], CONFIDENCE), None);
        assert_eq!(paired(&[1.0; 4], &[2.0; 4], CONFIDENCE), None);
        assert_eq!(unpaired(&[0.0; 9], &[2.0; 9], CONFIDENCE), None);
    }

    proptest! {
        #[test]
        fn the_ratio_lies_in_its_interval(before in prop::collection::vec(1.0..1e6, 5..30), after in prop::collection::vec(0.0..1e6, 5..30)) {
            let interval = unpaired(&before, &after, CONFIDENCE).unwrap();
            prop_assert!(interval.low <= interval.ratio * 1.000_001 && interval.ratio <= interval.high * 1.000_001, "{:?}", interval);
            prop_assert_eq!(unpaired(&before, &after, CONFIDENCE).unwrap(), interval, "the same values, the same answer");
        }

        #[test]
        fn units_do_not_matter(values in prop::collection::vec((1.0..1e3, 1.0..1e3), 5..20), factor in 1.0..1e3) {
            let (before, after): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
            let scale = |values: &[f64]| values.iter().map(|value| value * factor).collect::<Vec<_>>();
            let (one, other) = (paired(&before, &after, CONFIDENCE).unwrap(), paired(&scale(&before), &scale(&after), CONFIDENCE).unwrap());
            prop_assert!((one.low / other.low - 1.0).abs() < 1e-9 && (one.high / other.high - 1.0).abs() < 1e-9);
        }
    }
}
