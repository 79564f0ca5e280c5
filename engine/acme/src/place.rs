//! The keys of everything in the store that is about certificates. Pure; owns no fds.
//!
//! ```text
//! acme/<CA>/accounts/<id>               the account's private key, sealed
//! acme/<CA>/certificates/<name>/<id>    a private key and its chain, sealed
//! acme/<CA>/attempts/<name>             what was tried for a name
//! acme/<CA>/authority                   what was tried with the CA, whichever the name
//! acme/<CA>/leases/<name>/<node>        who orders just now
//! acme/challenges/http/<token>          the answer to a challenge by HTTP
//! acme/challenges/tls/<name>            the answer to one by TLS
//! ```
//!
//! `<CA>` is of the directory's URL, so that certificates of a CA for tests are never taken for
//! others.

use sha2::{Digest as _, Sha256};

pub(crate) const FOLDER: &str = "acme/";
const CHALLENGES: &str = "challenges";
const TOKEN_BYTES_MAX: usize = 128;

/// What an object is, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Account { ca: &'a str, id: &'a str },
    Certificate { ca: &'a str, name: &'a str, id: &'a str },
    Attempts { ca: &'a str, name: &'a str },
    Authority { ca: &'a str },
    Lease { ca: &'a str, name: &'a str, node: &'a str },
    HttpChallenge { token: &'a str },
    TlsChallenge { name: &'a str },
}

impl<'a> Place<'a> {
    /// Returns what the object with this key is. Returns `None` if it is none of these.
    pub(crate) fn of(key: &'a str) -> Option<Self> {
        let mut parts = key.strip_prefix(FOLDER)?.split('/');
        let is_id = |id: &&str| uuid::Uuid::try_parse(id).is_ok();
        let is_name = |name: &&str| crate::names::check(name).is_ok_and(|plain| plain == *name);
        let ca = parts.next()?;
        let place = match (ca, parts.next()?) {
            (CHALLENGES, "http") => {
                Self::HttpChallenge { token: parts.next().filter(|token| is_token(token))? }
            }
            (CHALLENGES, "tls") => Self::TlsChallenge { name: parts.next().filter(is_name)? },
            (_, "authority") => Self::Authority { ca },
            (_, "accounts") => Self::Account { ca, id: parts.next().filter(is_id)? },
            (_, "attempts") => Self::Attempts { ca, name: parts.next().filter(is_name)? },
            (_, "certificates") => {
                let name = parts.next().filter(is_name)?;
                Self::Certificate { ca, name, id: parts.next().filter(is_id)? }
            }
            (_, "leases") => {
                let name = parts.next().filter(is_name)?;
                Self::Lease { ca, name, node: parts.next().filter(is_id)? }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(place)
    }

    /// Returns the key of the object.
    pub(crate) fn key(self) -> String {
        match self {
            Self::Account { ca, id } => format!("{FOLDER}{ca}/accounts/{id}"),
            Self::Certificate { ca, name, id } => format!("{FOLDER}{ca}/certificates/{name}/{id}"),
            Self::Attempts { ca, name } => format!("{FOLDER}{ca}/attempts/{name}"),
            Self::Authority { ca } => format!("{FOLDER}{ca}/authority"),
            Self::Lease { ca, name, node } => format!("{FOLDER}{ca}/leases/{name}/{node}"),
            Self::HttpChallenge { token } => format!("{FOLDER}{CHALLENGES}/http/{token}"),
            Self::TlsChallenge { name } => format!("{FOLDER}{CHALLENGES}/tls/{name}"),
        }
    }
}

/// Returns whether a text can be a challenge's token (RFC 8555 8.3: the alphabet of base64url).
pub(crate) fn is_token(text: &str) -> bool {
    let is_of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_alphabet)
}

/// Returns what keys call the CA with this directory: its host, and some digits of the URL.
pub(crate) fn ca_of(directory: &str) -> String {
    let host = directory.split("://").nth(1).unwrap_or_default();
    let host = host.split(['/', ':', '?']).next().unwrap_or_default();
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    let host: String = host.chars().filter(is_plain).take(100).collect();
    let digest = hex::encode(&Sha256::digest(directory)[..4]);
    format!("ca-{host}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_known_again_by_its_key_and_nothing_else_is_one() {
        let id = "0190f5e0-0000-7000-8000-000000000000";
        let (ca, name) = ("ca-a.example-01234567", "shop.example.com");
        for place in [
            Place::Account { ca, id },
            Place::Certificate { ca, name, id },
            Place::Attempts { ca, name },
            Place::Authority { ca },
            Place::Lease { ca, name, node: id },
            Place::HttpChallenge { token: "-_aZ9" },
            Place::TlsChallenge { name },
        ] {
            let key = place.key();
            assert_eq!(Place::of(&key), Some(place), "{key}");
            assert_eq!(Place::of(&format!("{key}/x")), None);
            assert_eq!(Place::of(&key[1..]), None);
        }
        for key in [
            "acme/x",
            "acme/challenges/http/a.b",
            "acme/challenges/http/",
            "acme/challenges/tls/NO.example",
            "acme/ca/certificates/a.example/7",
            "acme/ca/attempts/*.example",
        ] {
            assert_eq!(Place::of(key), None, "{key}");
        }
    }

    #[test]
    fn each_directory_has_keys_of_its_own() {
        let [one, other] = ["https://ca.example:14000/dir", "https://ca.example:14000/staging"];
        assert_ne!(ca_of(one), ca_of(other));
        assert!(ca_of(one).starts_with("ca-ca.example-"));
        assert!(ca_of("https://[::1]:14000/dir?x=/../").starts_with("ca--"), "{}", ca_of(one));
    }
}
