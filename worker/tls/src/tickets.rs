//! Session tickets (RFC 8446 4.6.1), sealed with keys that all edges of all nodes have. Owns no
//! fds.
//!
//! A ticket is the key's name, a random nonce, and what rustls wants to be sealed, with its tag. A
//! ticket that was sealed by one edge resumes its session in any other, and after a restart.

use std::fmt;

use abi::certificates::TicketKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

/// How long a client may keep a ticket. The keys are replaced by those who hand them out, so that a
/// ticket opens no longer than that.
const LIFETIME_S: u32 = 12 * 60 * 60;
/// No ticket of ours is longer: a session's values are a few hundred bytes, and the longest name of
/// a host. Longer ones are not tried.
const TICKET_BYTES_MAX: usize = 2048;
/// The length of a key's name.
const NAME_BYTES: usize = 16;

/// Seals and opens tickets.
pub(crate) struct Tickets {
    /// The first one seals.
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl Tickets {
    /// Makes those of `keys`: the first seals, all open. With none there are no tickets.
    pub(crate) fn new(keys: &[TicketKey]) -> Self {
        let key = |from: &TicketKey| {
            // The only error is a key of another length than the algorithm has.
            let unbound = UnboundKey::new(&CHACHA20_POLY1305, &from.key).ok()?;
            Some(Key { name: from.name, key: LessSafeKey::new(unbound) })
        };
        Self { keys: keys.iter().filter_map(key).collect() }
    }
}

/// Without the keys.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys.len()).finish()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let Key { name, key } = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        // Nodes that share a key share no counter. A key that seals a billion tickets in its time
        // repeats a random nonce with a chance of less than one in 10^11.
        SystemRandom::new().fill(&mut nonce).ok()?;
        let start = NAME_BYTES + NONCE_LEN;
        let mut ticket = Vec::with_capacity(start + plain.len() + key.algorithm().tag_len());
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(name), ticket.get_mut(start..)?)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        (ticket.len() <= TICKET_BYTES_MAX).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // Names are no secret: they stand in every ticket.
        let Key { name, key } = self.keys.iter().find(|key| key.name == *name)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut opened = sealed.to_vec();
        let length = key.open_in_place(nonce, Aad::from(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(of: u8) -> TicketKey {
        TicketKey { name: [of; 16], key: [of; 32] }
    }

    #[test]
    fn an_old_key_still_opens_and_the_first_seals() {
        let (old, new) = (Tickets::new(&[key(1)]), Tickets::new(&[key(2), key(1)]));
        let ticket = old.encrypt(b"session").unwrap();
        assert_eq!(new.decrypt(&ticket).unwrap(), b"session");
        let ticket = new.encrypt(b"session").unwrap();
        assert_eq!(ticket[..16], [2; 16]);
        assert_eq!(old.decrypt(&ticket), None);
        assert_ne!(new.encrypt(b"session"), Some(ticket), "the nonce is another one");
    }

    #[test]
    fn without_keys_there_are_none() {
        let none = Tickets::new(&[]);
        assert!(!none.enabled() && none.encrypt(b"session").is_none());
        assert_eq!(none.decrypt(&Tickets::new(&[key(1)]).encrypt(b"session").unwrap()), None);
    }

    #[test]
    fn no_key_is_printed() {
        assert_eq!(format!("{:?}", Tickets::new(&[key(1)])), "Tickets { keys: 1 }");
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened_and_nothing_else_is(
            plain in prop::collection::vec(any::<u8>(), 0..1500),
            at: prop::sample::Index,
            bit in 0_u8..8,
            cut: prop::sample::Index,
        ) {
            let tickets = Tickets::new(&[key(1), key(2)]);
            let mut ticket = tickets.encrypt(&plain).unwrap();
            prop_assert_eq!(tickets.decrypt(&ticket).unwrap(), plain);
            prop_assert_eq!(tickets.decrypt(&ticket[..cut.index(ticket.len())]), None);
            let at = at.index(ticket.len());
            ticket[at] ^= 1 << bit;
            prop_assert_eq!(tickets.decrypt(&ticket), None);
        }

        #[test]
        fn any_bytes_are_survived(ticket in prop::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert_eq!(Tickets::new(&[key(1)]).decrypt(&ticket), None);
        }
    }
}
