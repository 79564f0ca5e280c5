//! What a standalone program finds in its environment: the platform it is on, the function's
//! variables, and the proxies that are believed. Pure; owns no fds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::network::Network;

/// Set by AWS Lambda to the address of its Runtime API.
const LAMBDA: &str = "AWS_LAMBDA_RUNTIME_API";
/// Set by Azure Functions to the port that a custom handler listens on, on loopback.
const AZURE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// Set by Cloud Run, and most others who run containers, to the port that the program listens on.
const PORT: &str = "PORT";
/// The port where no platform names one; Cloud Run's own default.
const PORT_DEFAULT: u16 = 8080;
/// Variables of the program's own begin like this. The function does not get them.
const OWN: &str = "SOCKHOP_";
/// The proxies that are believed whom a request is from, separated by commas.
const PROXIES: &str = "SOCKHOP_TRUSTED_PROXIES";
/// Those if nothing is said: loopback, link-local and private addresses (RFC 6890). A platform's
/// own proxy is in front of the program, and has one of these.
const PROXIES_DEFAULT: &str =
    "127.0.0.0/8,169.254.0.0/16,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7,fe80::/10";

/// The variables of a process.
pub(super) type Variables = BTreeMap<String, String>;

/// Where requests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// From Lambda's Runtime API.
    Lambda { address: String },
    /// From connections to a port.
    Port { address: SocketAddr },
}

/// What in the environment cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvironmentError {
    #[error("{name}={value:?} is no port: a number up to 65535 is")]
    Port { name: &'static str, value: String },
    #[error("{PROXIES} has {value:?}, which is no address or network, for example 10.0.0.0/8")]
    Network { value: String },
}

impl Place {
    /// Finds out the platform by the variables that it sets.
    ///
    /// # Errors
    /// [`EnvironmentError::Port`] if the port is none.
    pub(super) fn of(variables: &Variables) -> Result<Self, EnvironmentError> {
        if let Some(address) = variables.get(LAMBDA) {
            return Ok(Self::Lambda { address: address.clone() });
        }
        let port = |name: &'static str| {
            let Some(value) = variables.get(name) else { return Ok(None) };
            match value.trim().parse::<u16>() {
                Ok(port) => Ok(Some(port)),
                _ => Err(EnvironmentError::Port { name, value: value.clone() }),
            }
        };
        let (ip, port): (IpAddr, u16) = match port(AZURE)? {
            Some(port) => (Ipv4Addr::LOCALHOST.into(), port),
            None => (Ipv6Addr::UNSPECIFIED.into(), port(PORT)?.unwrap_or(PORT_DEFAULT)),
        };
        Ok(Self::Port { address: SocketAddr::new(ip, port) })
    }
}

/// Returns the networks of the proxies that are believed.
///
/// # Errors
/// [`EnvironmentError::Network`] if one is not written like an address or a network.
pub(super) fn trusted_proxies(variables: &Variables) -> Result<Vec<Network>, EnvironmentError> {
    let text = variables.get(PROXIES).map_or(PROXIES_DEFAULT, String::as_str);
    let named = text.split(',').map(str::trim).filter(|network| !network.is_empty());
    named
        .map(|value| {
            value.parse().map_err(|_| EnvironmentError::Network { value: value.to_owned() })
        })
        .collect()
}

/// Returns the function's variables: those it was deployed with, and over them those of the
/// process, so that a platform's settings and secrets count.
pub(super) fn laid_over(
    deployed: &[(String, String)],
    variables: Variables,
) -> Vec<(String, String)> {
    let mut all: Variables = deployed.iter().cloned().collect();
    all.extend(variables.into_iter().filter(|(name, _)| !name.starts_with(OWN)));
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_platform_is_known_by_what_it_sets() {
        let place = |pairs: &[(&str, &str)]| Place::of(&variables(pairs));
        let port = |address: &str| Ok(Place::Port { address: address.parse().unwrap() });
        assert_eq!(place(&[]), port("[::]:8080"));
        assert_eq!(place(&[(PORT, "80")]), port("[::]:80"));
        assert_eq!(place(&[(PORT, "80"), (AZURE, "7071")]), port("127.0.0.1:7071"));
        let lambda = Place::Lambda { address: "127.0.0.1:9001".to_owned() };
        assert_eq!(place(&[(PORT, "x"), (LAMBDA, "127.0.0.1:9001")]), Ok(lambda));
        for value in ["", "65536", "-1", "http"] {
            assert!(place(&[(PORT, value)]).is_err(), "{value:?}");
        }
    }

    #[test]
    fn the_platforms_variables_are_laid_over_the_deployed_ones() {
        let deployed = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        let set = variables(&[("B", "3"), ("C", "4"), ("SOCKHOP_LOG", "debug")]);
        let all = laid_over(&deployed, set);
        let all: Vec<_> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(all, [("A", "1"), ("B", "3"), ("C", "4")]);
    }

    #[test]
    fn proxies_are_those_that_are_named_or_near() {
        assert_eq!(trusted_proxies(&variables(&[])).unwrap().len(), 8);
        let named = |value| trusted_proxies(&variables(&[(PROXIES, value)]));
        assert_eq!(named("").unwrap().len(), 0);
        assert_eq!(named(" 10.0.0.0/8 , 1.2.3.4/32").unwrap().len(), 2);
        assert!(named("everybody").unwrap_err().to_string().contains("everybody"));
    }
}
