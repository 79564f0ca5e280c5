//! A domain's route as an object of a store: its key and its contents. Pure; owns no fds.
//!
//! ```text
//! domains/<host>/<sha256 of the prefix>-<id>.json    a checked object, never changed
//! ```
//! The `*` of a wildcard is a `_` there.

use std::fmt;

use abi::domain::Domain;
use host::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What the keys of all domains begin with.
pub(super) const FOLDER: &str = "domains/";

/// What the requests of a domain are for: a function, by its bare name or by one of its aliases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// `NAME` or `NAME@ALIAS`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(alias) => write!(f, "{}@{alias}", self.function),
            None => f.write_str(&self.function),
        }
    }
}

/// A route of a domain, which never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRoute {
    pub domain: Domain,
    pub target: Target,
    /// When it was added, in milliseconds since 1970.
    pub added_ms: u64,
}

/// The same, as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    host: String,
    /// What the paths begin with, or nothing.
    #[serde(default)]
    prefix: String,
    #[serde(flatten)]
    target: Target,
    added_ms: u64,
}

impl DomainRoute {
    /// Returns it as JSON.
    ///
    /// # Errors
    /// When it cannot be JSON.
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Written {
            host: self.domain.host().to_owned(),
            prefix: self.domain.prefix().to_owned(),
            target: self.target.clone(),
            added_ms: self.added_ms,
        })
    }

    /// Parses the object at `place`.
    pub(super) fn read(place: &Place, json: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let Written { host, prefix, target, added_ms } = written;
        let domain = Domain::new(&host, &prefix).map_err(|error| error.to_string())?;
        let alias_is_good =
            target.alias.as_deref().is_none_or(|alias| abi::reference::check_alias(alias).is_ok());
        let fits = abi::name::check(&target.function).is_ok()
            && alias_is_good
            && domain.host() == host
            && folder_of(&domain) == place.of;
        let route = Self { domain, target, added_ms };
        fits.then_some(route).ok_or_else(|| "its contents do not belong there".to_owned())
    }
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The host and the digest of the prefix, as they are in the key.
    pub(super) of: String,
    /// What tells apart the objects of one domain: of the time when it was added.
    pub(super) id: String,
}

impl Place {
    /// Returns a place for a route of `domain` that no other has.
    pub(super) fn new(domain: &Domain) -> Self {
        Self { of: folder_of(domain), id: Uuid::now_v7().to_string() }
    }

    /// Returns the place of the object under `key`. Returns `None` if it is not one of a domain's.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let (host, file) = key.strip_prefix(FOLDER)?.split_once('/')?;
        let (digest, id) = file.strip_suffix(".json")?.split_once('-')?;
        let name = host.strip_prefix("_.").map(|below| format!("*.{below}"));
        let is_ours = abi::domain::is_host(name.as_deref().unwrap_or(host))
            && files::unhex(digest).is_some()
            && Uuid::try_parse(id).is_ok();
        is_ours.then(|| Self { of: format!("{host}/{digest}"), id: id.to_owned() })
    }

    /// Returns the key of the object.
    pub(super) fn key(&self) -> String {
        format!("{FOLDER}{}-{}.json", self.of, self.id)
    }
}

/// Returns what the keys of a domain's objects have in common.
pub(super) fn folder_of(domain: &Domain) -> String {
    let digest = files::hex(&Sha256::digest(domain.prefix()));
    format!("{}/{digest}", domain.host().replacen('*', "_", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_says_whose_it_is() {
        for text in ["example.com", "*.example.com", "example.com/api/*"] {
            let place = Place::new(&text.parse().unwrap());
            assert_eq!(Place::of_key(&place.key()), Some(place), "{text}");
        }
        let (digest, id) = (files::hex(&[7; 32]), Uuid::nil());
        for key in [
            format!("domains/example.com/{digest}-{id}"),
            format!("domains/example.com/{digest}-readme.json"),
            format!("domains/example.com/readme-{id}.json"),
            format!("domains/Example.com/{digest}-{id}.json"),
            format!("domains/_/{digest}-{id}.json"),
            format!("domains/{digest}-{id}.json"),
            format!("domains/a.example/b/{digest}-{id}.json"),
            format!("else/example.com/{digest}-{id}.json"),
            "domains/readme".to_owned(),
        ] {
            assert_eq!(Place::of_key(&key), None, "{key}");
        }
    }

    #[test]
    fn an_object_of_another_place_is_not_taken() {
        let (domain, other): (Domain, Domain) =
            ("example.com/api/*".parse().unwrap(), "example.com".parse().unwrap());
        let target = Target { function: "api".to_owned(), alias: Some("beta".to_owned()) };
        let route = DomainRoute { domain: domain.clone(), target, added_ms: 7 };
        let json = route.to_json().unwrap();
        assert_eq!(DomainRoute::read(&Place::new(&domain), &json), Ok(route));
        assert!(DomainRoute::read(&Place::new(&other), &json).is_err());
        // Fields of a later build are passed over, and names that could be none are not taken.
        let place = Place::new(&other);
        let read = |json: &str| DomainRoute::read(&place, json.as_bytes());
        let written = r#"{"host":"example.com","function":"web","added_ms":1,"later":[]}"#;
        assert_eq!(read(written).unwrap().target.to_string(), "web");
        for (from, to) in [
            ("\"web\"", "\"../web\""),
            ("example", "EXAMPLE"),
            ("\"later\":[]", "\"alias\":\"v1\""),
        ] {
            assert!(read(&written.replace(from, to)).is_err(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_key_and_any_object_is_survived(key in ".{0,60}", json in ".{0,60}") {
            prop_assert_eq!(Place::of_key(&format!("{FOLDER}{key}")).filter(|place| place.key() != format!("{FOLDER}{key}")), None);
            let place = Place::new(&Domain::new("a.example", "").unwrap());
            let _ = DomainRoute::read(&place, json.as_bytes());
        }
    }
}
