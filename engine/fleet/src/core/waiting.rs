//! Connections that wait for a worker, because one is being started or all queues are full. Pure;
//! owns no fds but those in what waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Pool;

/// How long a connection waits before it is refused. A worker may take as long to start.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The connections that wait. Within a pool, the first to come is the first to be placed.
#[derive(Debug)]
pub struct Waiting<C> {
    pools: BTreeMap<Pool, VecDeque<(Instant, C)>>,
}

impl<C> Default for Waiting<C> {
    fn default() -> Self {
        Self { pools: BTreeMap::new() }
    }
}

impl<C> Waiting<C> {
    /// Has `connection` wait from `now` on.
    pub fn push(&mut self, pool: Pool, connection: C, now: Instant) {
        self.pools.entry(pool).or_default().push_back((now + WAIT_TIMEOUT, connection));
    }

    /// Tries to `place` the connections that wait. Returns those that have waited too long. When
    /// one of a pool finds no place, the others of that pool would not either, and are not tried.
    pub fn retry(&mut self, now: Instant, mut place: impl FnMut(C) -> Result<(), C>) -> Vec<C> {
        let mut late = Vec::new();
        for waiting in self.pools.values_mut() {
            while let Some((deadline, connection)) = waiting.pop_front() {
                match place(connection) {
                    Ok(()) => {}
                    Err(connection) if now >= deadline => late.push(connection),
                    Err(connection) => {
                        waiting.push_front((deadline, connection));
                        break;
                    }
                }
            }
        }
        self.pools.retain(|_, waiting| !waiting.is_empty());
        late
    }

    /// Takes out all connections that wait.
    pub fn drain(&mut self) -> impl Iterator<Item = C> + use<C> {
        std::mem::take(&mut self.pools).into_values().flatten().map(|(_, connection)| connection)
    }

    /// Returns whether no connection waits.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.pools.values().flatten().map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_to_those_who_came_first_and_one_refusal_speaks_for_its_pool() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for number in 0..4 {
            waiting.push(Pool::Shared, number, now);
        }
        waiting.push(Pool::Function("own".into()), 9, now);
        let mut asked = Vec::new();
        let late = waiting.retry(now, |number| {
            asked.push(number);
            if number == 0 || number == 9 { Ok(()) } else { Err(number) }
        });
        assert_eq!((asked, late), (vec![0, 1, 9], vec![]));
        assert_eq!(waiting.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn whoever_has_waited_too_long_is_given_back() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.push(Pool::Shared, 1, now);
        waiting.push(Pool::Shared, 2, now + Duration::from_millis(1));
        assert_eq!(waiting.retry(now + WAIT_TIMEOUT, Err), [1]);
        assert!(!waiting.is_empty());
        assert_eq!(waiting.drain().collect::<Vec<_>>(), [2]);
        assert!(waiting.is_empty());
    }
}
