//! What can be wrong with settings, each with its place and what was expected. Owns no fds.

use std::fmt;
use std::io;
use std::path::PathBuf;

use abi::function::nearest::nearest;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};
use host::userinfo;

use super::layer::{Given, Place, definition, variable_of};
use super::spelling::{as_arguments, as_toml, defaults};

/// One mistake in the settings.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    #[error("the configuration {path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{place}: this is no TOML: {message}")]
    Syntax { place: Place, message: String },
    #[error("{place}: there is no key {key:?}; {hint}")]
    Unknown { place: Place, key: String, hint: String },
    #[error("{given}: {reason}; write for example {example}")]
    Value { given: String, reason: String, example: String },
    #[error("the settings do not go together: {0}")]
    Together(String),
}

impl Mistake {
    pub(super) fn unknown(place: Place, key: &str, settings: &Command) -> Self {
        let hint = match nearest(key, keys(settings)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("the keys are {}", keys(settings).collect::<Vec<_>>().join(", ")),
        };
        Self::Unknown { place, key: key.to_owned(), hint }
    }

    /// Returns the mistake that `given` is no value of `setting`, for the `reason`.
    pub(super) fn value(given: &Given, setting: &Arg, reason: impl Into<String>) -> Self {
        let defaults = defaults(setting);
        let name = || {
            setting
                .get_value_names()
                .into_iter()
                .flatten()
                .map(|name| name.as_str().into())
                .collect()
        };
        let values = if defaults.is_empty() { name() } else { defaults };
        let example = format!("{} = {}", given.key, as_toml(setting, &values));
        Self::Value { given: given.to_string(), reason: reason.into(), example }
    }
}

pub(super) fn keys(settings: &Command) -> impl Iterator<Item = &str> {
    settings.get_arguments().map(|setting| setting.get_id().as_str())
}

/// Returns those of `variables` that are misspelt settings, each with the variable that it most
/// likely stands for.
pub fn misspelt(variables: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let settings = definition();
    let near_miss = |variable: &String| {
        let key = variable.strip_prefix("SOCKHOP_")?;
        nearest(key, keys(&settings)).map(variable_of).filter(|near| near != variable)
    };
    variables.filter_map(|variable| near_miss(&variable).map(|near| (variable, near))).collect()
}

/// Checks `given` by the definition of the command line.
pub(super) fn check(given: &Given, setting: &Arg, settings: &Command) -> Result<(), Mistake> {
    match settings.clone().try_get_matches_from(as_arguments(&given.key, &given.values)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text: Vec<_> =
                given.values.iter().map(|value| shown(&value.to_string_lossy())).collect();
            Err(Mistake::value(
                given,
                setting,
                format!(
                    "{} is not understood: {}",
                    text.join(", "),
                    userinfo::hide_in_value(&reason(&error))
                ),
            ))
        }
    }
}

/// Returns a value as a message quotes it.
fn shown(value: &str) -> String {
    format!("{:?}", userinfo::hide_in_value(value))
}

fn reason(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("expected {}", valid.join(" or ")),
        _ => error.kind().to_string(),
    }
}

/// All mistakes of one reading.
#[derive(Debug)]
pub struct Mistakes(pub(super) Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [only] => only.fmt(f),
            several => {
                write!(f, "the configuration has {} mistakes", several.len())?;
                several.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}
