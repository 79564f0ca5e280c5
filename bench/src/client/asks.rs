//! What is asked: one request or many, and which of them when. Holds no file descriptor.

/// One request, ready to be sent, and what its reply must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The bytes that go out on a connection that stays.
    pub keep: Vec<u8>,
    /// The same, saying that it is the connection's last.
    pub close: Vec<u8>,
    /// The body the reply must have, if it must.
    pub expected_body: Option<Vec<u8>>,
    /// Whether it is a HEAD, whose reply has no body whatever its head says.
    pub head_only: bool,
}

/// All that may be asked, the most popular first. Never empty.
#[derive(Debug, Clone)]
pub struct Asks {
    asks: Vec<Ask>,
    /// How much of all weight the first, the first two and so on have; empty when there is but one.
    cumulative: Vec<f64>,
}

impl Asks {
    /// The same all the time.
    pub fn one(ask: Ask) -> Self {
        Self { asks: vec![ask], cumulative: Vec::new() }
    }

    /// By Zipf's law: number i is asked in proportion to 1 / i^exponent. With 0 all are asked
    /// alike. Nothing of nothing.
    pub fn zipf(asks: Vec<Ask>, exponent: f64) -> Option<Self> {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=asks.len())
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|weight| *weight /= sum);
        (!asks.is_empty()).then_some(Self { asks, cumulative })
    }

    /// The next one's number.
    pub fn choose(&self, random: &mut fastrand::Rng) -> usize {
        if self.asks.len() == 1 {
            return 0;
        }
        let at = random.f64();
        self.cumulative.partition_point(|&weight| weight <= at).min(self.asks.len() - 1)
    }

    /// One by its number, which came from [`Asks::choose`].
    pub fn get(&self, number: usize) -> &Ask {
        &self.asks[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asks(count: usize) -> Vec<Ask> {
        vec![
            Ask { keep: Vec::new(), close: Vec::new(), expected_body: None, head_only: false };
            count
        ]
    }

    #[test]
    fn the_first_of_two_is_asked_twice_as_often() {
        let asks = Asks::zipf(asks(2), 1.0).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let first = (0..30_000).filter(|_| asks.choose(&mut random) == 0).count();
        assert!((19_600..20_400).contains(&first), "{first}");
        assert!(Asks::zipf(Vec::new(), 1.0).is_none());
    }

    proptest! {
        #[test]
        fn every_choice_is_there(count in 1_usize..50, exponent in 0.0_f64..3.0, seed: u64) {
            let asks = Asks::zipf(asks(count), exponent).unwrap();
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..100 {
                prop_assert!(asks.choose(&mut random) < count);
            }
        }
    }
}
