//! How many connections a worker has from each client address, in a fixed room: each address counts
//! in one place of two tables, and the smaller count is taken (a count-min sketch: Cormode and
//! Muthukrishnan, 2005). So it is never too low, and too high only for one that shares both its
//! places. Owns no fds.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Places in each table.
const PLACES: usize = 16 * 1024;
const TABLES: usize = 2;

/// Where an address is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Places([u16; TABLES]);

impl Places {
    /// Of one IPv4 address, or one IPv6 network of 64 bits, which is what one client has (RFC
    /// 6177). `seed` is the node's secret, so that nobody can choose an address that shares
    /// another's places.
    #[must_use]
    pub fn of(address: IpAddr, seed: u64) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(0) ^ 1 << 63,
        };
        let place = |table: u64| {
            u16::try_from(mixed(mixed(bits ^ seed) ^ table) % PLACES as u64).unwrap_or(0)
        };
        Self([place(1), place(2)])
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(bits: u64) -> u64 {
    let mut bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One worker's counts. Written by that worker alone.
#[derive(Debug)]
#[repr(C)]
pub struct Addresses([[AtomicU32; PLACES]; TABLES]);

impl Addresses {
    /// One more connection.
    pub fn add(&self, at: Places) {
        self.cells(at).for_each(|cell| _ = cell.fetch_add(1, Relaxed));
    }

    /// One less.
    pub fn remove(&self, at: Places) {
        self.cells(at).for_each(|cell| _ = cell.fetch_sub(1, Relaxed));
    }

    /// Connections from an address in all of these workers.
    #[must_use]
    pub fn sum<'a>(workers: impl Iterator<Item = &'a Self>, at: Places) -> u32 {
        let mut sums = [0u32; TABLES];
        for worker in workers {
            for (sum, cell) in sums.iter_mut().zip(worker.cells(at)) {
                *sum = sum.saturating_add(cell.load(Relaxed));
            }
        }
        sums.into_iter().min().unwrap_or(0)
    }

    fn cells(&self, at: Places) -> impl Iterator<Item = &AtomicU32> {
        self.0.iter().zip(at.0).filter_map(|(table, place)| table.get(usize::from(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn empty() -> Box<Addresses> {
        Box::new(Addresses(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0)))))
    }

    #[test]
    fn counts_are_never_too_low_and_rarely_much_too_high() {
        let workers = [empty(), empty()];
        let address = |number: u32| Places::of(Ipv4Addr::from_bits(number * 7919).into(), 42);
        for number in 0..20_000 {
            workers[number as usize % 2].add(address(number));
        }
        (0..500).for_each(|_| workers[0].add(address(3)));
        let count =
            |number| Addresses::sum(workers.iter().map(|worker| &**worker), address(number));
        assert!((501..=510).contains(&count(3)), "{}", count(3));
        let counts: Vec<u32> = (4..20_000).map(count).collect();
        assert!(counts.iter().all(|count| *count >= 1));
        assert!(counts.iter().filter(|count| **count > 10).count() < 20, "few share both places");
        (0..500).for_each(|_| workers[0].remove(address(3)));
        assert!(count(3) < 10);
    }

    #[test]
    fn a_network_of_64_bits_is_one_client_and_a_mapped_address_is_the_one_it_maps() {
        let v6 = |text: &str| Places::of(text.parse::<Ipv6Addr>().unwrap().into(), 7);
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:10.0.0.1"), Places::of(Ipv4Addr::new(10, 0, 0, 1).into(), 7));
        assert_ne!(
            Places::of(Ipv4Addr::LOCALHOST.into(), 7),
            Places::of(Ipv4Addr::LOCALHOST.into(), 8)
        );
    }
}
