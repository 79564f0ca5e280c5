//! What the library says went wrong, as one of our errors. Pure; owns no fds.

use instant_acme::{Error, Problem};

use crate::client::{CaClient, HttpError, POLL_TIMEOUT};
use crate::error::AcmeError;

/// The most characters of what a CA says that are passed on.
const DETAIL_MAX: usize = 400;
const PREFIX: &str = "urn:ietf:params:acme:error:";

/// What was asked for when it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Account,
    Order,
}

/// Returns what went wrong with `name`, or with the account.
pub(crate) fn of_library(client: &CaClient, name: &str, stage: Stage, error: Error) -> AcmeError {
    let directory = client.directory().to_owned();
    let error = match error {
        Error::Other(other) => match other.downcast::<HttpError>() {
            Ok(http) => {
                return match *http {
                    HttpError::Away(reason) => {
                        AcmeError::Away { directory, reason: plain(&reason) }
                    }
                    HttpError::Foreign(reason) => {
                        AcmeError::Foreign { directory, reason: plain(&reason) }
                    }
                };
            }
            Err(other) => Error::Other(other),
        },
        other => other,
    };
    match error {
        Error::Api(problem) => of_problem(directory, name, stage, &problem),
        Error::Timeout(_) => {
            AcmeError::Slow { directory, name: name.to_owned(), seconds: POLL_TIMEOUT.as_secs() }
        }
        Error::Crypto | Error::KeyRejected => AcmeError::Crypto {
            what: "the private key of the account with the CA".to_owned(),
            reason: error.to_string(),
        },
        other => AcmeError::Foreign { directory, reason: plain(&other.to_string()) },
    }
}

fn of_problem(directory: String, name: &str, stage: Stage, problem: &Problem) -> AcmeError {
    let detail = detail(problem);
    match kind(problem) {
        "rateLimited" => AcmeError::RateLimited { directory, detail },
        "badNonce" => AcmeError::Away { directory, reason: "it refuses its own nonces".to_owned() },
        "serverInternal" => AcmeError::Away { directory, reason: detail },
        "accountDoesNotExist" => AcmeError::Account { directory, detail },
        _ if problem.status.is_some_and(|status| status >= 500) => {
            AcmeError::Away { directory, reason: detail }
        }
        _ if stage == Stage::Account => AcmeError::Account { directory, detail },
        _ => AcmeError::Refused { directory, name: name.to_owned(), detail },
    }
}

/// Returns whether the CA says that it does not know the account.
pub(crate) fn has_no_account(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if kind(problem) == "accountDoesNotExist")
}

fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(PREFIX).unwrap_or(kind)
}

/// Returns what a CA says, in one line of bounded length.
pub(crate) fn detail(problem: &Problem) -> String {
    let of = |detail: &Option<String>, kind: Option<&str>| match detail {
        Some(detail) => detail.clone(),
        None => kind.unwrap_or("it says no more").to_owned(),
    };
    let mut text = of(&problem.detail, problem.r#type.as_deref());
    for sub in problem.subproblems.iter().take(3) {
        text.push_str("; ");
        text.push_str(&of(&sub.detail, sub.r#type.as_deref()));
    }
    plain(&text)
}

/// Returns foreign text without what a terminal or a log would act on, and no more than is useful.
fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(DETAIL_MAX)
        .collect();
    if text.chars().nth(DETAIL_MAX).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        let json = serde_json::json!({"type": format!("{PREFIX}{kind}"), "detail": detail});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_problem_is_whose_it_is() {
        let client = CaClient::new("https://ca.example/dir", None).unwrap();
        let of = |kind: &str, stage| {
            of_library(&client, "a.example", stage, Error::Api(problem(kind, "why")))
        };
        assert!(matches!(of("rateLimited", Stage::Account), AcmeError::RateLimited { .. }));
        assert!(matches!(of("badNonce", Stage::Order), AcmeError::Away { .. }));
        assert!(matches!(of("serverInternal", Stage::Order), AcmeError::Away { .. }));
        let external = of("externalAccountRequired", Stage::Account);
        assert!(matches!(external, AcmeError::Account { .. }), "{external}");
        assert!(external.to_string().contains("--acme-eab-key-id"));
        let refused = of("rejectedIdentifier", Stage::Order);
        assert!(matches!(&refused, AcmeError::Refused { name, .. } if name == "a.example"));
        let json = serde_json::from_str::<u8>("<html>").unwrap_err();
        let foreign = of_library(&client, "a.example", Stage::Order, Error::Json(json));
        assert!(matches!(foreign, AcmeError::Foreign { .. }));
    }

    #[test]
    fn what_a_ca_says_is_one_bounded_line() {
        let said = detail(&problem("x", &format!("a\n\x1b[31m{}", "é".repeat(1000))));
        assert!(said.starts_with("a  [31mé") && said.ends_with('…'), "{said}");
        assert_eq!(said.chars().count(), DETAIL_MAX + 1);
        let json = serde_json::json!({"type": "t", "subproblems": [{"detail": "s"}]});
        assert_eq!(detail(&serde_json::from_value(json).unwrap()), "t; s");
    }
}
