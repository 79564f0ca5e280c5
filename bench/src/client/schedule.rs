//! Intended start times of an open loop. Holds no file descriptor, and reads no clock.

use std::collections::VecDeque;

use super::rate::Stretch;

const NS_PER_SECOND: f64 = 1e9;

/// Start times that follow a rate. Each is computed from its stretch's start, so that rounding
/// never adds up.
///
/// Several threads share a rate by turns: of `share` of them, each takes every `share`-th time.
#[derive(Debug, Clone)]
pub struct Schedule {
    stretches: VecDeque<Stretch>,
    /// Requests from the first stretch's start to the next one of ours.
    ahead: u64,
    share: u64,
}

impl Schedule {
    /// Of stretches without gaps; `turn` counts from 0.
    pub fn new(stretches: impl IntoIterator<Item = Stretch>, turn: usize, share: usize) -> Self {
        let mut new = Self {
            stretches: stretches.into_iter().collect(),
            ahead: turn as u64,
            share: share.max(1) as u64,
        };
        new.settle();
        new
    }

    /// When the next request should start; never, once the last stretch is over.
    pub fn next(&self) -> u64 {
        self.stretches.front().map_or(u64::MAX, |stretch| stretch.at(self.ahead))
    }

    /// The intended time of the next request, if that has come.
    pub fn take_due(&mut self, now: u64) -> Option<u64> {
        let next = self.next();
        (next <= now && next < u64::MAX).then(|| {
            self.ahead += self.share;
            self.settle();
            next
        })
    }

    /// The intended times not taken yet that lie before `end`: requests that never got a
    /// connection.
    pub fn due_before(mut self, end: u64) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || self.take_due(end.saturating_sub(1)))
    }

    /// Moves on to the stretch that the next request lies in.
    fn settle(&mut self) {
        while let Some(stretch) = self.stretches.front() {
            let holds = stretch.holds();
            if self.ahead < holds {
                return;
            }
            self.ahead -= holds;
            self.stretches.pop_front();
        }
    }
}

impl Stretch {
    /// How many requests begin in it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are positive, and far below 2^53"
    )]
    fn holds(&self) -> u64 {
        ((self.from + self.to) / 2.0 * self.length().as_secs_f64()).round() as u64
    }

    /// When its request number `index` should start: where so many have come up by the area below
    /// the rate.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time inside the stretch"
    )]
    fn at(&self, index: u64) -> u64 {
        let count = index as f64;
        let seconds = self.length().as_secs_f64();
        let ns = if self.from == self.to {
            count * NS_PER_SECOND / self.from
        } else {
            let growth = (self.to - self.from) / seconds;
            let root = (self.from * self.from + 2.0 * growth * count).max(0.0).sqrt();
            (root - self.from) / growth * NS_PER_SECOND
        };
        self.time.start.saturating_add(ns as u64).min(self.time.end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate::Rate;
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn schedule(rate: &str, seconds: u64, turn: usize, share: usize) -> Schedule {
        Schedule::new(rate.parse::<Rate>().unwrap().stretches(&(0..seconds * SECOND)), turn, share)
    }

    #[test]
    fn nothing_is_due_early() {
        let mut schedule = schedule("1000", 1, 0, 1);
        assert_eq!(schedule.take_due(0), Some(0));
        assert_eq!(schedule.take_due(999_999), None);
        assert_eq!(schedule.take_due(5_000_000), Some(1_000_000));
        assert_eq!(schedule.due_before(4_000_000).collect::<Vec<_>>(), [2_000_000, 3_000_000]);
    }

    #[test]
    fn a_ramp_s_halves_hold_what_its_triangles_do() {
        let times: Vec<u64> = schedule("1..999", 10, 0, 1).due_before(u64::MAX).collect();
        assert!((4990..=5010).contains(&times.len()), "{}", times.len());
        let early = times.iter().filter(|&&time| time < 5 * SECOND).count();
        assert!((1240..=1270).contains(&early), "{early}");
    }

    proptest! {
        #[test]
        fn a_second_holds_exactly_the_rate(rate in 1_u64..50_000) {
            let times: Vec<u64> = schedule(&rate.to_string(), 1, 0, 1).due_before(u64::MAX).collect();
            prop_assert_eq!(times.len() as u64, rate);
            prop_assert!(times.is_sorted() && times[times.len() - 1] < SECOND);
        }

        #[test]
        fn turns_add_up_to_the_whole(from in 1_u64..500, to in 1_u64..500, step in 1_u64..500, share in 1_usize..5) {
            let rate = format!("{from}..{to},{step}");
            let whole: Vec<u64> = schedule(&rate, 2, 0, 1).due_before(u64::MAX).collect();
            let mut parts: Vec<u64> = (0..share).flat_map(|turn| schedule(&rate, 2, turn, share).due_before(u64::MAX)).collect();
            parts.sort_unstable();
            prop_assert!(whole.is_sorted());
            prop_assert_eq!(parts, whole);
        }
    }
}
