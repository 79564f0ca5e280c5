//! What a deployer may choose: one struct for the command line and for `sockhop.toml`.
//! `control::options` makes it the control API's JSON and back.
//!
//! So a flag and its key cannot come apart. Absent means what the active version has, or the
//! default. Pure; owns no fds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use abi::limits;
use abi::outbound::{AllowList, PatternError};
use bytesize::ByteSize;
use host::fault::Fault;
use serde::{Deserialize, Deserializer};

use super::inherit::unsettable;
use super::limits::{Limits, OutOfRange};
use super::manifest::{Instances, Isolation, Output};
use crate::kind::{Kind, Wanted};

/// The choices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The function's name (default: from sockhop.toml, or the file's name); of several in
    /// sockhop.toml, the only one to deploy
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The file to deploy, relative to `sockhop.toml`, which alone has it.
    #[arg(skip)]
    pub source: Option<PathBuf>,
    /// Start from the defaults, instead of from the options of the active version
    #[arg(long)]
    pub fresh_options: bool,
    /// An option to leave at its default, whatever sockhop.toml or the active version has: memory,
    /// allow-outbound, env, or one variable as env.NAME or config.NAME (repeatable)
    #[arg(long, value_name = "OPTION", value_parser = unsettable)]
    pub unset: Vec<String>,
    /// What the file is (default: what it exports; a handler if it exports both)
    #[arg(long, value_name = "KIND")]
    pub kind: Option<Wanted>,
    /// Give the function a worker process of its own
    #[arg(long, value_name = "WHERE")]
    pub isolation: Option<Isolation>,
    /// A fresh instance for every request, or reuse=N: one serves N requests, one after another
    /// (default fresh)
    #[arg(long, value_name = "POLICY")]
    pub instances: Option<Instances>,
    /// An environment variable for the function (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    #[serde(deserialize_with = "pairs")]
    pub env: Vec<(String, String)>,
    /// A value that the function reads through wasi:config/store (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    #[serde(deserialize_with = "pairs")]
    pub config: Vec<(String, String)>,
    /// An argument of a command, after its own name (repeatable)
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// What a command's stdout is: the reply's body, or headers as of CGI before it (default raw)
    #[arg(long, value_name = "FORM")]
    pub output: Option<Output>,
    /// Where its outgoing requests may go: host and port, *.example.com:443 for all below a domain
    /// (repeatable; default nowhere)
    #[arg(long, value_name = "HOST:PORT")]
    pub allow_outbound: Vec<String>,
    /// Memory of one instance (default 64MiB)
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Wall time of one invocation (default 30s)
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Time>,
    /// Processor time of one invocation (default: as --timeout)
    #[arg(long, value_name = "TIME")]
    pub cpu_time: Option<Time>,
    /// Elements of one instance's tables together (default 20000)
    #[arg(long, value_name = "N")]
    pub table_elements: Option<u32>,
    /// Core instances in one instance (default 30)
    #[arg(long, value_name = "N")]
    pub core_instances: Option<u32>,
    /// A request's body (default 10MiB)
    #[arg(long, value_name = "SIZE")]
    pub request_body: Option<ByteSize>,
    /// A reply's status line and headers (default 64KiB)
    #[arg(long, value_name = "SIZE")]
    pub reply_head: Option<ByteSize>,
    /// What one invocation may write to stdout and to stderr (default 256KiB)
    #[arg(long, value_name = "SIZE")]
    pub log_size: Option<ByteSize>,
    /// Invocations at a time, on all workers together (default 1000)
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Requests that may wait for one of them to end (default 1000)
    #[arg(long, value_name = "N")]
    pub queue: Option<u32>,
    /// How long each may wait (default 10s)
    #[arg(long, value_name = "TIME")]
    pub queue_timeout: Option<Time>,
    /// Outgoing requests at a time, in each worker (default 64)
    #[arg(long, value_name = "N")]
    pub outbound_requests: Option<u32>,
    /// Let anybody name versions and aliases in addresses: NAME@v12, NAME@staging (default: only
    /// `sockhop invoke` may)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub previews: Option<bool>,
    /// A path that must answer 2xx before the version becomes active (default: / must, with less
    /// than 500)
    #[arg(long, value_name = "PATH")]
    pub health_path: Option<String>,
}

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error(
        "--{option} is given {count} times with {bytes} bytes together; at most {} with {} bytes are allowed",
        limits::ENV_VARIABLES_MAX,
        limits::ENV_BYTES_MAX
    )]
    TooMuch { option: &'static str, count: usize, bytes: usize },
    #[error(
        "--{option} {name:?} has no name, or '=' or a zero byte in it; expected --{option} NAME=VALUE"
    )]
    Pair { option: &'static str, name: String },
    #[error("--arg {arg:?} has a zero byte in it, which no argument can have")]
    Arg { arg: String },
    #[error("--health-path {0:?} is no path; expected for example /health")]
    HealthPath(String),
    #[error(
        "--unset {0:?} names no option; expected for example memory, or a variable as env.NAME"
    )]
    Unset(String),
    #[error("--allow-outbound: {0}")]
    Outbound(#[from] PatternError),
    #[error(
        "--{option} is for commands, and this file handles requests itself (kind {kind}); leave it out"
    )]
    OnlyCommands { option: &'static str, kind: &'static str },
    #[error(
        "--instances {given}: a command runs from its start to its end for each request, and cannot be used again; leave it out"
    )]
    CommandReused { given: String },
}

impl OptionsError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OutOfRange(_)
            | Self::TooMuch { .. }
            | Self::Pair { .. }
            | Self::Arg { .. }
            | Self::HealthPath(_)
            | Self::Unset(_)
            | Self::Outbound(_)
            | Self::OnlyCommands { .. }
            | Self::CommandReused { .. } => Fault::INVALID,
        }
    }
}

impl Options {
    /// These, and where they say nothing, those of `file`. Single variables too: each from where it
    /// is first found.
    pub fn over(self, file: Self) -> Self {
        let pairs = |ours: Vec<(String, String)>, theirs: Vec<_>| {
            theirs.into_iter().chain(ours).collect::<BTreeMap<_, _>>().into_iter().collect()
        };
        let list = |ours: Vec<String>, theirs| if ours.is_empty() { theirs } else { ours };
        Self {
            name: self.name.or(file.name),
            source: self.source.or(file.source),
            fresh_options: self.fresh_options || file.fresh_options,
            unset: list(self.unset, file.unset),
            kind: self.kind.or(file.kind),
            isolation: self.isolation.or(file.isolation),
            instances: self.instances.or(file.instances),
            // Of two with one name the later counts.
            env: pairs(self.env, file.env),
            config: pairs(self.config, file.config),
            args: list(self.args, file.args),
            output: self.output.or(file.output),
            allow_outbound: list(self.allow_outbound, file.allow_outbound),
            memory: self.memory.or(file.memory),
            timeout: self.timeout.or(file.timeout),
            cpu_time: self.cpu_time.or(file.cpu_time),
            table_elements: self.table_elements.or(file.table_elements),
            core_instances: self.core_instances.or(file.core_instances),
            request_body: self.request_body.or(file.request_body),
            reply_head: self.reply_head.or(file.reply_head),
            log_size: self.log_size.or(file.log_size),
            concurrency: self.concurrency.or(file.concurrency),
            queue: self.queue.or(file.queue),
            queue_timeout: self.queue_timeout.or(file.queue_timeout),
            outbound_requests: self.outbound_requests.or(file.outbound_requests),
            previews: self.previews.or(file.previews),
            health_path: self.health_path.or(file.health_path),
        }
    }

    /// The limits that were chosen, the others by default.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        let small =
            |size: Option<ByteSize>, default| size.map_or(default, |size| saturated(size.as_u64()));
        let timeout_ms = self.timeout.map_or(default.timeout_ms, Time::millis);
        Limits {
            memory_bytes_max: self.memory.map_or(default.memory_bytes_max, |size| size.as_u64()),
            table_elements_max: self.table_elements.unwrap_or(default.table_elements_max),
            core_instances_max: self.core_instances.unwrap_or(default.core_instances_max),
            timeout_ms,
            cpu_time_ms: self.cpu_time.map_or(timeout_ms, Time::millis),
            request_body_bytes_max: self
                .request_body
                .map_or(default.request_body_bytes_max, |size| size.as_u64()),
            reply_head_bytes_max: small(self.reply_head, default.reply_head_bytes_max),
            log_bytes_max: small(self.log_size, default.log_bytes_max),
            concurrency_max: self.concurrency.unwrap_or(default.concurrency_max),
            queue_max: self.queue.unwrap_or(default.queue_max),
            queue_timeout_ms: self.queue_timeout.map_or(default.queue_timeout_ms, Time::millis),
            outbound_requests_max: self.outbound_requests.unwrap_or(default.outbound_requests_max),
        }
    }

    /// Checks every option against its limits, and against what the file is.
    ///
    /// # Errors
    /// [`OptionsError`] naming the option, what was given and what is expected.
    pub fn check(&self, kind: Kind) -> Result<(), OptionsError> {
        self.limits().check()?;
        for (option, pairs) in [("env", &self.env), ("config", &self.config)] {
            check_pairs(option, pairs.iter().map(|(name, value)| (name, value)))?;
        }
        let size = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        check_size("arg", self.args.len(), size(&self.args), limits::ARGS_MAX)?;
        if let Some(arg) = self.args.iter().find(|arg| arg.contains('\0')) {
            return Err(OptionsError::Arg { arg: arg.clone() });
        }
        AllowList::new(self.allow_outbound.iter().map(String::as_str))?;
        if let Some(path) = self.health_path.as_ref().filter(|path| !is_path(path)) {
            return Err(OptionsError::HealthPath(path.clone()));
        }
        let command = kind == Kind::Command;
        match self.instances {
            Some(given) if command && given.requests_max() > 1 => {
                return Err(OptionsError::CommandReused { given: given.into() });
            }
            _ => {}
        }
        if !command && !self.args.is_empty() {
            Err(OptionsError::OnlyCommands { option: "arg", kind: kind.name() })
        } else if !command && self.output.is_some() {
            Err(OptionsError::OnlyCommands { option: "output", kind: kind.name() })
        } else {
            Ok(())
        }
    }
}

/// Whether it can stand in a request line, behind a function's name.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn check_size(
    option: &'static str,
    count: usize,
    bytes: usize,
    count_max: usize,
) -> Result<(), OptionsError> {
    if count > count_max || bytes > limits::ENV_BYTES_MAX {
        return Err(OptionsError::TooMuch { option, count, bytes });
    }
    Ok(())
}

/// Checks names and values of variables.
///
/// # Errors
/// [`OptionsError`] naming the option and what is wrong.
pub fn check_pairs<'a, T: AsRef<str> + 'a>(
    option: &'static str,
    pairs: impl IntoIterator<Item = (&'a T, &'a T)>,
) -> Result<(), OptionsError> {
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in pairs {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(OptionsError::Pair { option, name: name.to_owned() });
        }
        (count, bytes) = (count + 1, bytes + name.len() + value.len());
    }
    check_size(option, count, bytes, limits::ENV_VARIABLES_MAX)
}

fn saturated(amount: u64) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX)
}

/// A time as people write it ("1m 30s").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(Duration);

impl Time {
    pub(super) fn of_millis(millis: u32) -> Self {
        Self(Duration::from_millis(millis.into()))
    }

    fn millis(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl FromStr for Time {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map_err(|error| format!("{text:?} is no time: {error}; expected for example \"5s\""))
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        humantime::format_duration(time.0).to_string()
    }
}

/// NAME=VALUE on the command line.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// Reads pairs from a map, which is what they are in TOML.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
