//! Which certificate a client gets, and by what terms. Made anew of each set of certificates; a
//! connection keeps those that it began with. Owns no fds.

use std::collections::HashMap;
use std::sync::Arc;

use abi::certificates::{Certificate, Certificates};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::tickets::Tickets;

/// The protocols that are spoken inside of TLS, the best one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2 over TLS (RFC 9113 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";
/// The protocol of those who look for the answer to a challenge, and of nobody else (RFC 8737 6.2).
const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";
/// One for each full handshake. Two would let a client open two connections at once that resume;
/// it gets another one with each of them anyway.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// What TLS connections are ended by.
#[derive(Debug)]
pub struct Configs {
    by_name: HashMap<String, Arc<ServerConfig>>,
    default: Option<Arc<ServerConfig>>,
    challenges: HashMap<String, Arc<ServerConfig>>,
}

/// Why a certificate is not used. The one who configured it can mend it; trying again does not.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Its private key is none, or of a kind that is not known.
    #[error(
        "the certificate for {names} is not used: its private key is none that can sign ({source}); ECDSA (P-256, P-384), Ed25519 and RSA from 2048 bits are known, in PKCS#8, SEC1 or PKCS#1"
    )]
    Key {
        /// The names that it is for.
        names: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// It is no certificate, or not that of the key.
    #[error(
        "the certificate for {names} is not used: it does not go with its private key ({source}); is it the first one of its chain, and was it made for this key?"
    )]
    Chain {
        /// The names that it is for.
        names: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
}

/// What a client is answered by.
#[derive(Debug)]
pub(crate) enum Choice<'a> {
    /// It is served.
    Serve(&'a Arc<ServerConfig>),
    /// It gets the answer to its challenge, and nothing more.
    Challenge(&'a Arc<ServerConfig>),
    /// There is nothing for the name that it asks for.
    Unknown,
}

/// What the configs of one set have in common.
struct Terms {
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Configs {
    /// Makes those of `certificates`, and says which of these cannot be used. The others are.
    #[must_use]
    pub fn new(certificates: &Certificates) -> (Self, Vec<CertificateError>) {
        let terms = Terms {
            provider: Arc::new(ring::default_provider()),
            tickets: Arc::new(Tickets::new(&certificates.ticket_keys)),
        };
        let mut refused = Vec::new();
        let mut config = |certificate: &Certificate, protocols: &[&[u8]]| {
            terms.config(certificate, protocols).map_err(|error| refused.push(error)).ok()
        };
        let mut by_name = HashMap::new();
        for certificate in &certificates.by_name {
            if let Some(config) = config(certificate, &PROTOCOLS) {
                add(&mut by_name, certificate, &config);
            }
        }
        let mut challenges = HashMap::new();
        for certificate in &certificates.challenges {
            if let Some(config) = config(certificate, &[CHALLENGE_PROTOCOL]) {
                add(&mut challenges, certificate, &config);
            }
        }
        let default = certificates.default.as_ref().and_then(|it| config(it, &PROTOCOLS));
        (Self { by_name, default, challenges }, refused)
    }

    /// Returns what a client is answered by.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>) -> Choice<'_> {
        let mut protocols = hello.alpn().into_iter().flatten();
        let is_challenge =
            protocols.next() == Some(CHALLENGE_PROTOCOL) && protocols.next().is_none();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        if is_challenge {
            let config = name.and_then(|name| self.challenges.get(&name));
            config.map_or(Choice::Unknown, Choice::Challenge)
        } else {
            let config = name.and_then(|name| find(&self.by_name, &name));
            config.or(self.default.as_ref()).map_or(Choice::Unknown, Choice::Serve)
        }
    }
}

/// Returns what there is for `name`: for itself, or for all names that have any other first label.
fn find<'a, T>(by_name: &'a HashMap<String, T>, name: &str) -> Option<&'a T> {
    by_name.get(name).or_else(|| {
        let (_, parent) = name.split_once('.').filter(|(first, _)| !first.is_empty())?;
        by_name.get(&format!("*.{parent}"))
    })
}

/// Adds a certificate's names. Of two certificates for a name the first one counts.
fn add(
    to: &mut HashMap<String, Arc<ServerConfig>>,
    certificate: &Certificate,
    config: &Arc<ServerConfig>,
) {
    for name in &certificate.names {
        to.entry(name.to_ascii_lowercase()).or_insert_with(|| Arc::clone(config));
    }
}

impl Terms {
    fn config(
        &self,
        certificate: &Certificate,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let names = || certificate.names.join(", ");
        let bad_key = |source| CertificateError::Key { names: names(), source };
        let bad_chain = |source| CertificateError::Chain { names: names(), source };
        let key = PrivateKeyDer::try_from(certificate.key.as_slice());
        let key = key.map_err(|why| bad_key(rustls::Error::General(why.to_owned())))?;
        // Borrowed: the only copy is what ring makes of it.
        let key = ring::sign::any_supported_type(&key).map_err(bad_key)?;
        let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone()));
        let certified = CertifiedKey::new(chain.collect(), key);
        // The answer to a challenge has an extension that is critical and that webpki does not know
        // (RFC 8737 3), so it cannot be read there. The node has made it with its key.
        if protocols != [CHALLENGE_PROTOCOL] {
            certified.keys_match().map_err(bad_chain)?;
        }
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(bad_key)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A session that one process remembers is of no use to the others.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&self.tickets);
        config.send_tls13_tickets = if self.tickets.enabled() { TICKETS_PER_HANDSHAKE } else { 0 };
        // 0-RTT can be replayed, and functions do not expect that (RFC 8470).
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap();
        Certificate { names, chain: vec![made.der().to_vec()], key: key.serialize_der() }
    }

    #[test]
    fn a_bad_certificate_is_named_and_the_others_serve() {
        let (good, mut swapped) = (certificate(&["good.example"]), certificate(&["a.example"]));
        swapped.key.clone_from(&good.key);
        let mut garbage = certificate(&["b.example", "c.example"]);
        garbage.key = b"no key".to_vec();
        let mut cut = certificate(&["d.example"]);
        cut.chain[0].truncate(50);
        let mut none = certificate(&["e.example"]);
        none.chain.clear();
        let by_name = vec![swapped, garbage, cut, none, good];
        let (configs, refused) = Configs::new(&Certificates { by_name, ..Certificates::default() });
        let said: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("for a.example is not used: it does not go with"), "{said:#?}");
        assert!(said[1].contains("for b.example, c.example is not used: its private key"));
        assert!(said[2].contains("d.example") && said[3].contains("e.example"), "{said:#?}");
        assert_eq!(configs.by_name.keys().collect::<Vec<_>>(), ["good.example"]);
    }

    #[test]
    fn a_certificate_that_answers_a_challenge_is_used() {
        let (key, names) = (KeyPair::generate().unwrap(), vec!["a.example".to_owned()]);
        let mut params = CertificateParams::new(names.clone()).unwrap();
        // Critical, and known to nobody but certificate authorities (RFC 8737 3).
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
        let made = params.self_signed(&key).unwrap();
        let answer =
            Certificate { names, chain: vec![made.der().to_vec()], key: key.serialize_der() };
        let challenges = vec![answer];
        let (configs, refused) =
            Configs::new(&Certificates { challenges, ..Certificates::default() });
        assert!(refused.is_empty(), "{refused:?}");
        assert!(configs.challenges.contains_key("a.example"));
    }

    #[test]
    fn the_exact_name_comes_before_the_wildcard_whatever_the_case() {
        let by_name = vec![certificate(&["*.Example.com"]), certificate(&["shop.example.com"])];
        let (configs, refused) = Configs::new(&Certificates { by_name, ..Certificates::default() });
        assert!(refused.is_empty());
        let found = |name| find(&configs.by_name, name).map(Arc::as_ptr);
        assert_ne!(found("shop.example.com"), found("blog.example.com"));
        assert!(found("blog.example.com").is_some());
        for none in ["example.com", "a.b.example.com", ".example.com", "com", "", "."] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn a_wildcard_is_for_one_label(labels in prop::collection::vec("[a-z0-9-]{1,9}", 1..6)) {
            let by_name = HashMap::from([("*.b.c".to_owned(), ())]);
            let is_below = labels.len() == 3 && labels[1..] == ["b", "c"];
            prop_assert_eq!(find(&by_name, &labels.join(".")).is_some(), is_below);
            let below = format!("{}.b.c", labels[0]);
            prop_assert!(find(&by_name, &below).is_some());
        }

        #[test]
        fn any_name_is_survived(name in "\\PC*") {
            let _ = find(&HashMap::from([("*.b".to_owned(), ())]), &name);
        }
    }
}
