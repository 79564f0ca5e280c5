//! How an open loop's rate goes over time: steady, in steps, or rising and falling evenly.
//! Holds no file descriptor, and reads no clock.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

/// A ramp is reported in so many parts: one figure of all of it would say nothing of where it
/// broke.
const SECTIONS_PER_RAMP: u32 = 5;
const STEPS_MAX: usize = 100;
/// More than any client sends; it keeps times exact in an f64.
const PER_SECOND_MAX: u64 = 100_000_000;

/// What goes wrong here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no rate; want requests per second (5000), steps (1000,2000,4000), a ramp (1000..5000) or steps of ramps, each from 1 to {PER_SECOND_MAX} and at most {STEPS_MAX} of them"
)]
pub struct Error {
    text: String,
}

/// Requests per second over the window, which its sections share evenly by weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    sections: Vec<Section>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Section {
    /// Requests per second where it begins and where it ends.
    from: f64,
    to: f64,
    /// Of the window, in parts of all weights.
    weight: u32,
}

/// A stretch of time over which the rate changes evenly, in nanoseconds of the client's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// When.
    pub time: Range<u64>,
    /// Requests per second at its start.
    pub from: f64,
    /// And at its end.
    pub to: f64,
}

impl Rate {
    /// The same all the time.
    pub fn steady(per_second: u64) -> Self {
        Self {
            sections: vec![Section { from: per_second as f64, to: per_second as f64, weight: 1 }],
        }
    }

    /// Whether there is more than one section to report.
    pub fn is_steady(&self) -> bool {
        self.sections.len() == 1
    }

    /// The window's sections, in order and without gaps.
    pub fn stretches(&self, window: &Range<u64>) -> Vec<Stretch> {
        let all: u64 = self.sections.iter().map(|section| u64::from(section.weight)).sum();
        let length = window.end.saturating_sub(window.start);
        let at = |weights: u64| {
            let part = u128::from(length) * u128::from(weights) / u128::from(all.max(1));
            window.start + u64::try_from(part).unwrap_or(length)
        };
        let mut weights = 0;
        self.sections
            .iter()
            .map(|&Section { from, to, weight }| {
                let start = at(weights);
                weights += u64::from(weight);
                Stretch { time: start..at(weights), from, to }
            })
            .collect()
    }
}

impl Stretch {
    /// Before the window: the rate it begins with.
    pub fn warming(until: u64, first: &Self) -> Self {
        Self { time: 0..until, from: first.from, to: first.from }
    }

    /// What the report calls it.
    pub fn name(&self) -> String {
        if self.from == self.to {
            format!("{:.0}/s", self.from)
        } else {
            format!("{:.0}..{:.0}/s", self.from, self.to)
        }
    }

    /// Its length.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.time.end.saturating_sub(self.time.start))
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error { text: text.to_owned() };
        let number = |word: &str| match word.trim().parse::<u64>() {
            Ok(value) if (1..=PER_SECOND_MAX).contains(&value) => Ok(value as f64),
            _ => Err(error()),
        };
        let steps: Vec<&str> = text.split(',').collect();
        if steps.len() > STEPS_MAX {
            return Err(error());
        }
        let mut sections = Vec::new();
        for step in steps {
            match step.split_once("..") {
                None => {
                    let rate = number(step)?;
                    sections.push(Section { from: rate, to: rate, weight: SECTIONS_PER_RAMP });
                }
                Some((from, to)) => {
                    let (from, to) = (number(from)?, number(to)?);
                    let at = |part: u32| {
                        from + (to - from) * f64::from(part) / f64::from(SECTIONS_PER_RAMP)
                    };
                    let parts = 0..SECTIONS_PER_RAMP;
                    sections.extend(parts.map(|part| Section {
                        from: at(part),
                        to: at(part + 1),
                        weight: 1,
                    }));
                }
            }
        }
        Ok(Self { sections })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Section { from, to, .. }) in self.sections.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if from == to {
                write!(f, "{comma}{from:.0}")?
            } else {
                write!(f, "{comma}{from:.0}..{to:.0}")?
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_and_ramps_share_the_window() {
        let rate: Rate = "100,200..400".parse().unwrap();
        let stretches = rate.stretches(&(1000..2000));
        assert_eq!(stretches.len(), 6);
        assert_eq!(stretches[0], Stretch { time: 1000..1500, from: 100.0, to: 100.0 });
        assert_eq!(stretches[1], Stretch { time: 1500..1600, from: 200.0, to: 240.0 });
        assert_eq!((stretches[5].time.clone(), stretches[5].to), (1900..2000, 400.0));
        assert!("7".parse::<Rate>().unwrap().is_steady());
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for bad in ["", "0", "-1", "x", "1,,2", "1..", "..2", "1..2..3", "1e3", "100000001"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn sections_leave_no_gap(steps in prop::collection::vec((1_u64..1000, 1_u64..1000), 1..8), start in 0_u64..1_000_000, length in 0_u64..10_000_000_000) {
            let text: Vec<String> = steps.iter().map(|(from, to)| format!("{from}..{to}")).collect();
            let stretches = text.join(",").parse::<Rate>().unwrap().stretches(&(start..start + length));
            prop_assert_eq!((stretches[0].time.start, stretches[stretches.len() - 1].time.end), (start, start + length));
            prop_assert!(stretches.windows(2).all(|pair| pair[0].time.end == pair[1].time.start));
        }
    }
}
