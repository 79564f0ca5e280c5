//! The limits that a deployer chooses: options on the command line, keys in `sockhop.toml` and in
//! the control API's JSON. Owns no fds.

use super::amount::{Amount, Size, Time};
use super::kind::Kind;
use super::limits::FunctionLimits;
use super::table::for_each_limit;

/// Makes [`LimitOptions`] of the table.
macro_rules! limit_options {
    ($(
        #[doc = $doc:tt]
        $field:ident: $type:ident,
            option $name:literal = $option:ident: $value:ident,
            default $default:expr,
            range $range:expr
            $(, follows $leader:ident)?;
    )*) => {
        /// The limits that a deployer chooses. The others are as they would be without a choice.
        // It is read as a part of a larger struct: see `fields`.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[cfg_attr(feature = "clap", derive(clap::Args))]
        #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schemars", schemars(default))]
        pub struct LimitOptions {
            $(
                #[doc = $doc]
                #[cfg_attr(feature = "clap", arg(
                    long = $name,
                    value_name = <$value as Amount>::VALUE_NAME,
                    help = describe::help($doc, $name, None$(.or(Some(stringify!($leader))))?),
                ))]
                #[cfg_attr(feature = "schemars", schemars(
                    description =
                        describe::schema($doc, $name, None$(.or(Some(stringify!($leader))))?),
                ))]
                pub $option: Option<$value>,
            )*
        }

        impl LimitOptions {
            /// The keys of the options, in the order in which they are shown.
            pub const KEYS: [&'static str; FunctionLimits::COUNT] = [$(stringify!($option)),*];

            /// Returns the limits that were chosen, and the others by default.
            #[must_use]
            pub fn limits(&self) -> FunctionLimits {
                let mut limits = FunctionLimits::default();
                $(if let Some(chosen) = self.$option$(.or(self.$leader))? {
                    limits.$field = <$type>::try_from(chosen.get()).unwrap_or(<$type>::MAX);
                })*
                limits
            }

            /// Returns these options, and where one is absent, that of `other`.
            #[must_use]
            pub fn over(self, other: Self) -> Self {
                Self { $($option: self.$option.or(other.$option),)* }
            }

            /// Returns the names of the options that were chosen.
            #[must_use]
            pub fn chosen(&self) -> Vec<&'static str> {
                let all = [$(self.$option.is_some().then_some($name)),*];
                all.into_iter().flatten().collect()
            }

            /// Removes the option called `name`, for example `cpu-time`. Returns whether there is
            /// such an option, chosen or not.
            pub fn unset(&mut self, name: &str) -> bool {
                match name {
                    $($name => self.$option = None,)*
                    _ => return false,
                }
                true
            }

            /// Reads the value of the option with the key `key`. Does nothing if there is no such
            /// key.
            ///
            /// # Errors
            /// Returns an error if the value cannot be read, or was read before.
            #[cfg(feature = "serde")]
            pub(super) fn read<'de, D: serde::Deserializer<'de>>(
                &mut self,
                key: &str,
                value: D,
            ) -> Result<(), D::Error> {
                use serde::{Deserialize as _, de::Error as _};
                match key {
                    $(stringify!($option) if self.$option.is_some() => {
                        return Err(D::Error::duplicate_field(stringify!($option)));
                    }
                    stringify!($option) => self.$option = Option::deserialize(value)?,)*
                    _ => {}
                }
                Ok(())
            }
        }

        impl From<&FunctionLimits> for LimitOptions {
            /// Returns the fewest options that make these limits: what is as it would be without a
            /// choice is left out, so that it goes on following what it depends on.
            fn from(limits: &FunctionLimits) -> Self {
                let mut options = Self::default();
                $(if options.limits().$field != limits.$field {
                    options.$option = Some(<$value as Amount>::of(limits.$field.into()));
                })*
                options
            }
        }
    };
}

for_each_limit!(limit_options);

/// The limits that only native functions have.
const NATIVE: [&str; 8] = [
    "processes",
    "processes-min",
    "process-requests",
    "init-timeout",
    "process-idle",
    "process-grace",
    "threads",
    "tmp",
];
/// The limits that only WebAssembly has.
const WASM: [&str; 6] =
    ["cpu-time", "table-elements", "core-instances", "kv-keys", "kv-size", "kv-calls"];

/// The limits that static sites have.
const STATIC: [&str; 6] =
    ["timeout", "request-body", "reply-head", "concurrency", "queue", "queue-timeout"];

/// Returns whether functions of `kind` have the limit called `name`.
#[must_use]
pub fn has_limit(kind: Kind, name: &str) -> bool {
    if kind == Kind::Static {
        return STATIC.contains(&name);
    }
    let others = if kind.is_native() { &WASM[..] } else { &NATIVE };
    !others.contains(&name)
}

impl LimitOptions {
    /// Returns whether no option was chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns those of these options that functions of `kind` have.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        for name in self.chosen().into_iter().filter(|name| !has_limit(kind, name)) {
            self.unset(name);
        }
        self
    }
}

/// What is said of an option: made of its limit's documentation and default.
#[cfg(any(feature = "clap", feature = "schemars"))]
mod describe {
    use super::super::amount::Unit;
    use super::super::limits::FunctionLimits;

    /// Returns the help of the option `name`, which has the documentation `doc` and by default is
    /// like the option `leader`.
    #[cfg(feature = "clap")]
    pub(super) fn help(doc: &str, name: &str, leader: Option<&str>) -> String {
        let what = doc.trim().trim_end_matches('.');
        match leader {
            Some(leader) => format!("{what} (default: as --{})", leader.replace('_', "-")),
            None => format!("{what} (default {})", default(name).1),
        }
    }

    /// Returns the same for a schema.
    #[cfg(feature = "schemars")]
    pub(super) fn schema(doc: &str, name: &str, leader: Option<&str>) -> String {
        let what = doc.trim().trim_end_matches('.');
        let what = match default(name) {
            (Unit::Milliseconds, example) => format!("{what}, as `{example}`."),
            (Unit::Bytes | Unit::Number, _) => format!("{what}."),
        };
        match leader {
            Some(leader) => format!("{what} By default, as `{leader}`."),
            None => what,
        }
    }

    /// Returns the default of the option `name` as it would be given, with its unit.
    fn default(name: &str) -> (Unit, String) {
        let all = FunctionLimits::default().describe();
        let limit = all.into_iter().find(|limit| limit.option == name);
        limit.map_or((Unit::Number, String::new()), |limit| {
            (limit.unit, limit.unit.option_text(limit.amount))
        })
    }
}
