//! Which variables a function's environment may have: the rules of "Using environment variables"
//! of AWS's developer guide, so that a configuration that is taken here is taken there. How much
//! they may be together is the node's limit. Pure; owns no fds.

use std::collections::BTreeMap;

/// What the platform sets itself. `PATH`, `LANG`, `TZ` and the like are not among them: functions
/// may have their own.
const RESERVED: [&str; 21] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Why variables are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence")]
pub enum EnvironmentError {
    #[error(
        "the environment variable {0:?} is not valid; expected a letter, and then letters, digits \
         and '_', two characters or more"
    )]
    Name(String),
    #[error(
        "the environment variable {0} is a reserved key that is currently not supported for \
         modification; leave it out, the function has it anyway"
    )]
    Reserved(String),
    #[error("the environment variable {0} has a zero byte in its value, which none can have")]
    Value(String),
}

/// Checks names and values of variables.
///
/// # Errors
/// Returns an [`EnvironmentError`] with the first that is not allowed.
pub fn check(variables: &BTreeMap<String, String>) -> Result<(), EnvironmentError> {
    for (name, value) in variables {
        if RESERVED.contains(&name.as_str()) {
            return Err(EnvironmentError::Reserved(name.clone()));
        }
        if !is_name(name) {
            return Err(EnvironmentError::Name(name.chars().take(64).collect()));
        }
        if value.contains('\0') {
            return Err(EnvironmentError::Value(name.clone()));
        }
    }
    Ok(())
}

/// Returns whether `name` is of the pattern `[a-zA-Z][a-zA-Z0-9_]+`.
fn is_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<(), EnvironmentError> {
        check(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn what_the_platform_sets_is_refused_and_the_rest_is_not() {
        for name in ["TZ", "PATH", "LD_LIBRARY_PATH", "aB_1", "AWS_LAMBDA_LOG_LEVEL"] {
            assert_eq!(one(name, "x"), Ok(()), "{name}");
        }
        for name in RESERVED {
            assert!(matches!(one(name, ""), Err(EnvironmentError::Reserved(_))), "{name}");
        }
        for name in ["", "a", "1a", "_a", "a-b", "a=b", "a\0", "é1"] {
            assert!(matches!(one(name, ""), Err(EnvironmentError::Name(_))), "{name}");
        }
        assert!(matches!(one("AB", "\0"), Err(EnvironmentError::Value(_))));
    }
}
