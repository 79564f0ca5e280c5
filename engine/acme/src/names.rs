//! Which host names can have a certificate by ACME. Pure; owns no fds.

use std::net::IpAddr;

use abi::limits::DOMAIN_HOST_BYTES_MAX;

/// Why no certificate is ordered for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{name:?} gets no certificate by ACME: one for a wildcard is only given to who changes the domain's DNS records, which sockhop does not; name a certificate's files for it"
    )]
    Wildcard { name: String },
    #[error(
        "{name:?} gets no certificate by ACME: it is an address, and not a domain; use the name that leads to it"
    )]
    Address { name: String },
    #[error(
        "{name:?} gets no certificate by ACME: each machine has its own localhost, so no CA can vouch for it"
    )]
    Localhost { name: String },
    #[error(
        "{name:?} gets no certificate by ACME: it is no host name (labels of letters, digits and hyphens, with dots between)"
    )]
    Malformed { name: String },
}

/// Returns the name as certificates have it: in lower case and without a dot at its end.
///
/// # Errors
/// [`NameError`] when no certificate can be ordered for it.
pub fn check(name: &str) -> Result<String, NameError> {
    let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = || name.to_owned();
    if plain.contains('*') {
        return Err(NameError::Wildcard { name: name() });
    }
    let address = plain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if address.unwrap_or(&plain).parse::<IpAddr>().is_ok() {
        return Err(NameError::Address { name: name() });
    }
    if plain == "localhost" || plain.ends_with(".localhost") {
        return Err(NameError::Localhost { name: name() });
    }
    let is_label = |label: &str| abi::name::check(label).is_ok();
    match plain.len() <= DOMAIN_HOST_BYTES_MAX && plain.split('.').all(is_label) {
        true => Ok(plain),
        false => Err(NameError::Malformed { name: name() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_taken_in_lower_case_and_what_is_none_is_told_why() {
        for (given, taken) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.Example.COM.", "shop.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("intranet", "intranet"),
        ] {
            assert_eq!(check(given).as_deref(), Ok(taken));
        }
        let refused = |name: &str| check(name).unwrap_err();
        assert!(matches!(refused("*.example.com"), NameError::Wildcard { .. }));
        assert!(refused("*.example.com").to_string().contains("certificate's files"));
        for name in ["127.0.0.1", "::1", "[::1]"] {
            assert!(matches!(refused(name), NameError::Address { .. }), "{name}");
        }
        for name in ["localhost", "a.localhost", "LOCALHOST."] {
            assert!(matches!(refused(name), NameError::Localhost { .. }), "{name}");
        }
        let long = ["a".repeat(64), format!("{}a", "a.".repeat(127))];
        for name in ["", ".", "a..b", "-a.b", "a-.b", "a_b.c", "a b", "../x", "é.fr"]
            .into_iter()
            .chain(long.iter().map(String::as_str))
        {
            assert!(matches!(refused(name), NameError::Malformed { .. }), "{name}");
        }
    }
}
