//! What was tried for a name, or with the CA as a whole: the record that stands in the store, so
//! that a crash loop and other nodes keep to the same pauses. Pure; owns no fds.

use serde::{Deserialize, Serialize};

/// How a CA sees that a name leads to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Challenge {
    /// A request to port 80 (RFC 8555 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A TLS handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Challenge {
    /// Returns its name in ACME.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// Returns the port that the CA connects to.
    pub fn port(self) -> u16 {
        match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
        }
    }
}

/// Which challenges this node's listeners can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Possible {
    /// A listener for HTTP that port 80 leads to.
    pub http01: bool,
    /// A listener for TLS that port 443 leads to.
    pub tls_alpn01: bool,
    /// The one to begin with, if it is possible; without it HTTP-01.
    pub preferred: Option<Challenge>,
}

impl Possible {
    pub(crate) fn has(self, challenge: Challenge) -> bool {
        match challenge {
            Challenge::Http01 => self.http01,
            Challenge::TlsAlpn01 => self.tls_alpn01,
        }
    }

    pub(crate) fn preferred(self) -> Option<Challenge> {
        let all = [Challenge::Http01, Challenge::TlsAlpn01];
        let mut possible = self.preferred.into_iter().chain(all);
        possible.find(|challenge| self.has(*challenge))
    }

    pub(crate) fn other(self, than: Challenge) -> Option<Challenge> {
        let other = match than {
            Challenge::Http01 => Challenge::TlsAlpn01,
            Challenge::TlsAlpn01 => Challenge::Http01,
        };
        self.has(other).then_some(other)
    }
}

/// What was tried. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempts {
    /// How many attempts in a row have not succeeded. One that begins is counted before it does.
    pub failures: u32,
    /// When the last one began.
    pub began_ms: u64,
    /// The next one does not begin before this.
    pub not_before_ms: u64,
    /// Up to when the allowance is used up; see `plan::Allowance`.
    pub allowance_ms: u64,
    /// The challenge that was tried last.
    pub challenge: Option<Challenge>,
    /// Whether it was the challenge that failed.
    pub challenge_failed: bool,
    /// The URL of an order that may be open yet, which the next attempt goes on with.
    pub order: Option<String>,
    /// Why the last attempt failed, in a sentence.
    pub error: Option<String>,
}

impl Attempts {
    /// Returns the challenge to try next: after a failure the other one, if both are possible;
    /// otherwise the one that is preferred, or that was tried last. Returns `None` if none is
    /// possible.
    pub fn next_challenge(&self, possible: Possible) -> Option<Challenge> {
        let other = self.challenge.filter(|_| self.challenge_failed);
        let other = other.and_then(|tried| possible.other(tried));
        let last = self.challenge.filter(|tried| {
            !self.challenge_failed && possible.preferred.is_none() && possible.has(*tried)
        });
        other.or(last).or_else(|| possible.preferred())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_challenge_is_tried_after_one_has_failed() {
        let both = Possible { http01: true, tls_alpn01: true, preferred: None };
        let tls = Possible { http01: false, ..both };
        let tried = |challenge, challenge_failed| Attempts {
            challenge: Some(challenge),
            challenge_failed,
            ..Attempts::default()
        };
        let (http01, tls_alpn01) = (Challenge::Http01, Challenge::TlsAlpn01);
        assert_eq!(Attempts::default().next_challenge(both), Some(http01));
        assert_eq!(Attempts::default().next_challenge(tls), Some(tls_alpn01));
        let prefers_tls = Possible { preferred: Some(tls_alpn01), ..both };
        assert_eq!(Attempts::default().next_challenge(prefers_tls), Some(tls_alpn01));
        assert_eq!(tried(http01, true).next_challenge(both), Some(tls_alpn01));
        assert_eq!(tried(tls_alpn01, true).next_challenge(both), Some(http01));
        assert_eq!(tried(tls_alpn01, true).next_challenge(tls), Some(tls_alpn01));
        // One that has succeeded is gone on with, unless another is asked for.
        assert_eq!(tried(tls_alpn01, false).next_challenge(both), Some(tls_alpn01));
        assert_eq!(tried(http01, false).next_challenge(prefers_tls), Some(tls_alpn01));
        assert_eq!(tried(http01, false).next_challenge(tls), Some(tls_alpn01));
        let none = Possible { tls_alpn01: false, ..tls };
        assert_eq!(tried(http01, true).next_challenge(none), None);
    }
}
