//! The comparison of two readings of the settings: what a running node takes over, and what waits
//! for a restart. Pure; owns no fds.

use std::fmt;

use clap::Arg;
use toml::Value;

use super::RELOADED;
use super::layer::definition;
use super::mistake::Mistakes;
use super::resolve::Resolved;

/// What has changed between two readings.
#[derive(Debug, Default)]
pub struct Change {
    taken_over: Vec<Changed>,
    waiting: Vec<Changed>,
}

#[derive(Debug)]
struct Changed {
    key: String,
    from: Option<Value>,
    to: Option<Value>,
}

impl Change {
    /// Returns whether a setting has changed that needs a restart.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |value: &Option<Value>| match value {
            None => "none".to_owned(),
            Some(Value::String(text)) if !text.contains(char::is_control) => text.clone(),
            Some(other) => other.to_string(),
        };
        write!(f, "{} {} -> {}", self.key, bare(&self.from), bare(&self.to))
    }
}

/// `head_timeout 10s -> 5s; cores 0 -> 0-3 needs a restart or a take-over`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken_over = self.taken_over.iter().map(ToString::to_string);
        let waiting =
            self.waiting.iter().map(|changed| format!("{changed} needs a restart or a take-over"));
        match taken_over.chain(waiting).collect::<Vec<_>>() {
            none if none.is_empty() => f.write_str("nothing has changed"),
            some => f.write_str(&some.join("; ")),
        }
    }
}

impl Resolved {
    /// Returns these settings with those of `newer` that a running node can take over, and what has
    /// changed.
    ///
    /// # Errors
    /// When old and new settings contradict each other.
    pub fn take_over(&self, newer: &Self) -> Result<(Self, Change), Mistakes> {
        let (mut given, mut change) = (self.given.clone(), Change::default());
        for setting in definition().get_arguments() {
            let key = setting.get_id().as_str();
            let can_change = can_change(setting);
            if can_change {
                // An equal value is replaced, too: it may come from another layer now.
                given.remove(key);
                given.extend(newer.given.get(key).map(|given| (key.to_owned(), given.clone())));
            }
            let (from, to) = (self.value(setting), newer.value(setting));
            if from != to {
                let list = if can_change { &mut change.taken_over } else { &mut change.waiting };
                list.push(Changed { key: key.to_owned(), from, to });
            }
        }
        Ok((Self::new(given)?, change))
    }
}

fn can_change(setting: &Arg) -> bool {
    setting.get_help_heading() == Some(RELOADED)
}
