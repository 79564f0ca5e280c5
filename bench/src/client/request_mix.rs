//! The requests of a load: one or many, and how often each is sent. Holds no file descriptor.

use bytes::Bytes;

/// A request that is ready to be sent, and the reply that it must have.
#[derive(Debug, Clone)]
pub struct PreparedRequest {
    /// The request on a connection that stays open.
    pub keep: Vec<u8>,
    /// The same as the last request of its connection.
    pub close: Vec<u8>,
    /// The same as HTTP/2 has it. `None` if its URL is none there.
    pub message: Option<http::Request<Bytes>>,
    /// The body that the reply must have. `None` if any will do.
    pub expected_body: Option<Vec<u8>>,
    /// Whether it is a HEAD, whose reply has no body whatever its head says.
    pub head_only: bool,
}

/// The requests of a load, the most popular first. Never empty.
#[derive(Debug, Clone)]
pub struct RequestMix {
    mix: Vec<PreparedRequest>,
    /// The cumulative share of the requests, in order. Empty if there is only one.
    cumulative: Vec<f64>,
}

impl RequestMix {
    /// Returns a load of one request.
    pub fn one(prepared: PreparedRequest) -> Self {
        Self { mix: vec![prepared], cumulative: Vec::new() }
    }

    /// Returns a load by Zipf's law: number i is sent in proportion to 1 / i^exponent. With 0 all
    /// are equally frequent. Returns `None` without a request.
    pub fn zipf(mix: Vec<PreparedRequest>, exponent: f64) -> Option<Self> {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=mix.len())
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|weight| *weight /= sum);
        (!mix.is_empty()).then_some(Self { mix, cumulative })
    }

    /// Chooses the number of the next request.
    pub fn choose(&self, random: &mut fastrand::Rng) -> usize {
        if self.mix.len() == 1 {
            return 0;
        }
        let at = random.f64();
        self.cumulative.partition_point(|&weight| weight <= at).min(self.mix.len() - 1)
    }

    /// Returns a request by its number, which [`RequestMix::choose`] has returned.
    pub fn get(&self, number: usize) -> &PreparedRequest {
        &self.mix[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mix(count: usize) -> Vec<PreparedRequest> {
        vec![
            PreparedRequest {
                keep: Vec::new(),
                close: Vec::new(),
                message: None,
                expected_body: None,
                head_only: false
            };
            count
        ]
    }

    #[test]
    fn the_first_of_two_is_asked_twice_as_often() {
        let mix = RequestMix::zipf(mix(2), 1.0).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let first = (0..30_000).filter(|_| mix.choose(&mut random) == 0).count();
        assert!((19_600..20_400).contains(&first), "{first}");
        assert!(RequestMix::zipf(Vec::new(), 1.0).is_none());
    }

    proptest! {
        #[test]
        fn every_choice_is_there(count in 1_usize..50, exponent in 0.0_f64..3.0, seed: u64) {
            let mix = RequestMix::zipf(mix(count), exponent).unwrap();
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..100 {
                prop_assert!(mix.choose(&mut random) < count);
            }
        }
    }
}
