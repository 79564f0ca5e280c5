//! The layers of settings: flags, environment, file and defaults; and the names of a setting in
//! each.
//!
//! A layer holds values as text. The definition of the command line parses each value, whichever
//! layer it comes from. Pure; owns no fds.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::Settings;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    Environment,
    File(Place),
    Default,
}

/// A place in a file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: Arc<PathBuf>,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} line {} column {}", self.path, self.line, self.column)
    }
}

/// A setting that a layer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) key: String,
    /// One value, except for settings that are lists.
    pub(super) values: Vec<OsString>,
    pub(super) origin: Origin,
}

/// Where to find the setting: `head_timeout in "/etc/sockhop.toml" line 3 column 16`.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Flag => f.write_str(&flag_of(&self.key)),
            Origin::Environment => f.write_str(&variable_of(&self.key)),
            Origin::File(place) => write!(f, "{} in {place}", self.key),
            Origin::Default => write!(f, "the default of {}", self.key),
        }
    }
}

fn flag_of(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// Returns the environment variable of a setting.
pub(super) fn variable_of(key: &str) -> String {
    format!("SOCKHOP_{}", key.to_ascii_uppercase())
}

/// Returns the definition of the command line, with every setting.
pub(super) fn definition() -> Command {
    Settings::augment_args(Command::new("serve").no_binary_name(true).disable_help_flag(true))
}

pub(super) fn is_list(setting: &Arg) -> bool {
    matches!(setting.get_action(), ArgAction::Append)
}

/// The settings of the command line, without defaults: a file takes precedence over those.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub(super) Vec<Given>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let named = |setting: &Arg| {
            let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
            let variable = variable_of(setting.get_id().as_str());
            setting.clone().help(format!("{help} [env: {variable}]"))
        };
        command.args(definition().get_arguments().map(named))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Arg| {
            let key = setting.get_id().as_str();
            let values =
                || matches.get_raw(key).into_iter().flatten().map(OsStr::to_owned).collect();
            (matches.value_source(key)? == ValueSource::CommandLine).then(|| Given {
                key: key.to_owned(),
                values: values(),
                origin: Origin::Flag,
            })
        };
        Ok(Self(definition().get_arguments().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the settings of the environment. An empty variable counts as not set: many a service
/// file unsets a variable so.
pub(super) fn environment(get: impl Fn(&str) -> Option<OsString>) -> Vec<Given> {
    let given = |setting: &Arg| {
        let key = setting.get_id().as_str();
        let text = get(&variable_of(key)).filter(|text| !text.is_empty())?;
        let values = match text.to_str() {
            Some(text) if is_list(setting) => {
                text.split(',').map(|part| part.trim().into()).collect()
            }
            _ => vec![text],
        };
        Some(Given { key: key.to_owned(), values, origin: Origin::Environment })
    };
    definition().get_arguments().filter_map(given).collect()
}
