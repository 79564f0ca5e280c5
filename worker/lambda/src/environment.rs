//! The environment of a function's process (AWS: "Using Lambda environment variables").
//!
//! Pure: the worker gives what it knows and gets the variables. Owns no fds.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use crate::timestamp;

/// Where a function's code is, and its working directory.
pub const TASK_ROOT: &str = "/var/task";

/// Where a runtime is when it comes apart from the code.
pub const RUNTIME_DIR: &str = "/var/runtime";

/// Credentials for AWS.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: &'a str,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: &'a str,
    /// `AWS_SESSION_TOKEN`, if the credentials are temporary.
    pub session_token: Option<&'a str>,
}

impl std::fmt::Debug for Credentials<'_> {
    /// Writes nothing that is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// How a process writes its log (`AWS_LAMBDA_LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// As lines of text.
    Text,
    /// As a JSON object a line.
    Json,
}

/// What the environment is made of.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Where the Runtime API listens: `host:port`, without a scheme and a slash at the end.
    pub runtime_api: &'a str,
    /// The function's name.
    pub function_name: &'a str,
    /// Its version: `$LATEST` or a number.
    pub function_version: &'a str,
    /// Its handler, such as `bootstrap` or `index.handler`.
    pub handler: &'a str,
    /// How much memory it may use, in MB.
    pub memory_size_mb: u64,
    /// The region that it believes to be in.
    pub region: &'a str,
    /// The name of its log stream, as [`log_stream_name`] makes it.
    pub log_stream_name: &'a str,
    /// How it writes its log.
    pub log_format: LogFormat,
    /// The lowest level that it is to log, such as `INFO`, if the user chose one.
    pub log_level: Option<&'a str>,
    /// How many invocations the process may run at a time.
    pub concurrency: NonZeroUsize,
    /// Credentials, if the node has any for it. Without them the user's own variables count.
    pub credentials: Option<Credentials<'a>>,
    /// The user's variables.
    pub user_variables: &'a [(String, String)],
}

/// Why a variable of the user's is not in the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RejectedVariable {
    /// The platform sets it.
    #[error("the name is reserved by AWS Lambda; choose another")]
    Reserved,
    /// The name is not what Lambda allows.
    #[error("a name is a letter, followed by letters, digits and underscores, of two or more")]
    Name,
    /// The value cannot be in an environment.
    #[error("a value may not contain a NUL")]
    Value,
}

/// The environment of a process.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    /// Names and values, in the order of the names, each name once.
    pub variables: Vec<(String, String)>,
    /// The user's variables that are not among them, by name.
    pub rejected: Vec<(String, RejectedVariable)>,
}

impl std::fmt::Debug for Environment {
    /// Writes names only, because values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Environment")
            .field("names", &names)
            .field("rejected", &self.rejected)
            .finish()
    }
}

impl Environment {
    /// Returns the environment. What the user may override comes first, then the user's variables,
    /// then what is reserved. How much they may be is the node's limit, which is above Lambda's own
    /// of 4 KB. `AWS_EXECUTION_ENV` and `_X_AMZN_TRACE_ID` are not set, as for the
    /// runtimes `provided.*`: the runtime sets the latter for each invocation.
    #[must_use]
    pub fn new(settings: &Settings<'_>) -> Self {
        let mut variables = BTreeMap::new();
        let mut rejected = Vec::new();
        for (name, value) in overridable(settings) {
            variables.insert(name.to_owned(), value);
        }
        for (name, value) in settings.user_variables {
            match check(name, value, settings.credentials.is_some()) {
                Ok(()) => {
                    variables.insert(name.clone(), value.clone());
                }
                Err(reason) => rejected.push((name.clone(), reason)),
            }
        }
        for (name, value) in reserved(settings) {
            variables.insert(name.to_owned(), value);
        }
        Self { variables: variables.into_iter().collect(), rejected }
    }
}

/// Returns why a user may not set a variable of this name and value.
fn check(name: &str, value: &str, has_credentials: bool) -> Result<(), RejectedVariable> {
    let is_credential = CREDENTIALS.contains(&name);
    if name.starts_with('_') || RESERVED.contains(&name) || (is_credential && has_credentials) {
        return Err(RejectedVariable::Reserved);
    }
    let mut characters = name.bytes();
    let starts_well = characters.next().is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on_well = characters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !starts_well || !goes_on_well || name.len() < 2 {
        return Err(RejectedVariable::Name);
    }
    if value.contains('\0') {
        return Err(RejectedVariable::Value);
    }
    Ok(())
}

/// Names that only the platform sets.
const RESERVED: [&str; 15] = [
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
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Names that the platform sets if it has credentials. Lambda always has; a node has no role to
/// take them from, so that users bring their own.
const CREDENTIALS: [&str; 4] =
    ["AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

fn overridable(settings: &Settings<'_>) -> Vec<(&'static str, String)> {
    let libraries = format!(
        "/lib64:/usr/lib64:{RUNTIME_DIR}:{RUNTIME_DIR}/lib:{TASK_ROOT}:{TASK_ROOT}/lib:/opt/lib"
    );
    let format = match settings.log_format {
        LogFormat::Text => "Text",
        LogFormat::Json => "JSON",
    };
    let mut variables = vec![
        ("AWS_LAMBDA_LOG_FORMAT", format.to_owned()),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("LD_LIBRARY_PATH", libraries),
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ];
    if let Some(level) = settings.log_level {
        variables.push(("AWS_LAMBDA_LOG_LEVEL", level.to_owned()));
    }
    variables
}

fn reserved(settings: &Settings<'_>) -> Vec<(&'static str, String)> {
    let concurrency = settings.concurrency.get();
    let initialization = if concurrency > 1 { "lambda-managed-instances" } else { "on-demand" };
    let mut variables = vec![
        ("AWS_DEFAULT_REGION", settings.region.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", settings.memory_size_mb.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", settings.function_name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", settings.function_version.to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", settings.function_name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", settings.log_stream_name.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", settings.runtime_api.to_owned()),
        ("AWS_REGION", settings.region.to_owned()),
        ("LAMBDA_RUNTIME_DIR", RUNTIME_DIR.to_owned()),
        ("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned()),
        ("_HANDLER", settings.handler.to_owned()),
    ];
    if concurrency > 1 {
        variables.push(("AWS_LAMBDA_MAX_CONCURRENCY", concurrency.to_string()));
    }
    if let Some(credentials) = settings.credentials {
        variables.push(("AWS_ACCESS_KEY_ID", credentials.access_key_id.to_owned()));
        variables.push(("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key.to_owned()));
        let token = credentials.session_token.map(str::to_owned);
        variables.extend(token.map(|token| ("AWS_SESSION_TOKEN", token)));
    }
    variables
}

/// Returns the name of the log stream of a process that starts `now`, such as
/// `2024/01/31/[$LATEST]` and `random` as 32 hexadecimal digits.
#[must_use]
pub fn log_stream_name(now: SystemTime, function_version: &str, random: u128) -> String {
    format!("{}/[{function_version}]{random:032x}", timestamp::log_stream_date(now))
}

#[cfg(test)]
mod tests;
