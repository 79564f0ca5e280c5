//! Names in the control API's paths, checked before any handler sees them, in whatever way they
//! were percent-encoded. Owns no fds.

use abi::domain::Domain;
use abi::name::NameError;
use abi::reference::{Reference, check_alias, split};
use axum::extract::{RawPathParams, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::failed::Failed;
use crate::functions::ChangeError;
use secrets::{SecretError, check_key};

/// Why a text calls no function, whatever is deployed.
#[derive(Debug, thiserror::Error)]
pub enum NotCalled {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0:?} calls nothing; expected NAME, NAME@ALIAS or NAME@VERSION")]
    Reference(String),
}

/// Refuses a request whose path has something else where a name belongs.
pub(crate) async fn check(parameters: RawPathParams, request: Request, next: Next) -> Response {
    let checked = parameters.iter().try_for_each(|(parameter, text)| check_one(parameter, text));
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => Failed::from(error).into_response(),
    }
}

/// Checks the text, percent-decoded, that stands in a path for `parameter`.
fn check_one(parameter: &str, text: &str) -> Result<(), ChangeError> {
    match parameter {
        "name" => Ok(abi::name::check(text)?),
        "alias" => Ok(check_alias(text)?),
        "host" => Ok(Domain::new(text, "").map(drop)?),
        "key" => Ok(check_key(text).map_err(SecretError::from)?),
        // Its handler reads it.
        _ => Ok(()),
    }
}

/// Checks what a function is called by: its name, perhaps with an alias or a version behind an `@`.
///
/// # Errors
/// [`NotCalled`] with what was expected.
pub fn check_called(text: &str) -> Result<(), NotCalled> {
    let (name, reference) = split(text);
    abi::name::check(name)?;
    match reference.map(Reference::read) {
        Some(None) => Err(NotCalled::Reference(text.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failed;

    const BAD: [&str; 7] = ["", ".", "..", "../../usr", "a/b", "a\0", "A b"];

    #[test]
    fn no_parameter_that_is_a_name_is_anything_else() {
        for bad in BAD {
            for parameter in ["name", "alias", "key", "host"] {
                assert!(
                    check_one(parameter, bad)
                        .is_err_and(|error| failed::status(error.fault()) == 400),
                    "{parameter} {bad:?}"
                );
            }
            assert!(check_called(bad).is_err(), "{bad:?}");
            assert!(check_called(&format!("hello@{bad}")).is_err(), "{bad:?}");
        }
        for (parameter, good) in [
            ("name", "hello"),
            ("alias", "staging"),
            ("key", "API_KEY"),
            ("id", "../x"),
            ("host", "*.Example.com"),
        ] {
            assert!(check_one(parameter, good).is_ok(), "{parameter} {good}");
        }
        assert!(check_one("name", "hello@v1").is_err() && check_one("alias", "v1").is_err());
        for called in ["hello", "hello@v12", "hello@staging", "hello@01a2b3c4"] {
            assert!(check_called(called).is_ok(), "{called}");
        }
    }
}
