//! Amounts of bytes, of time, and plain numbers: what a limit is counted in, and how its option is
//! written. Owns no fds.

use std::time::Duration;

/// What a limit is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, written for example as `64MiB`.
    Bytes,
    /// Milliseconds, written for example as `1m 30s`.
    Milliseconds,
    /// A plain number.
    Number,
}

/// An option's value that becomes a limit.
pub trait Amount {
    /// What [`Self::get`] is counted in.
    const UNIT: Unit;
    /// What `--help` calls the value.
    const VALUE_NAME: &'static str;

    /// Returns the amount in [`Self::UNIT`].
    fn get(self) -> u64;

    /// Makes the value of an amount in [`Self::UNIT`]. What is too large becomes the largest value.
    fn of(amount: u64) -> Self;
}

/// A size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "json::SizeForm", into = "u64"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Size(
    /// In bytes.
    pub u64,
);

impl Amount for Size {
    const UNIT: Unit = Unit::Bytes;
    const VALUE_NAME: &'static str = "SIZE";

    fn get(self) -> u64 {
        self.0
    }

    fn of(amount: u64) -> Self {
        Self(amount)
    }
}

/// A time, kept as it was given. A limit has no more of it than milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schemars", schemars(inline))]
pub struct Time(pub Duration);

impl Amount for Time {
    const UNIT: Unit = Unit::Milliseconds;
    const VALUE_NAME: &'static str = "TIME";

    fn get(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    fn of(amount: u64) -> Self {
        Self(Duration::from_millis(amount))
    }
}

impl Amount for u32 {
    const UNIT: Unit = Unit::Number;
    const VALUE_NAME: &'static str = "N";

    fn get(self) -> u64 {
        self.into()
    }

    fn of(amount: u64) -> Self {
        Self::try_from(amount).unwrap_or(Self::MAX)
    }
}

#[cfg(feature = "text")]
mod text {
    use std::str::FromStr;
    use std::time::Duration;

    use bytesize::ByteSize;

    use super::{Size, Time, Unit};

    impl Unit {
        /// Returns an amount as people read it: `64.0 MiB`, `1m 30s`.
        #[must_use]
        pub fn text(self, amount: u64) -> String {
            match self {
                // A size that is no round number of a unit stands as it was given.
                Self::Bytes if !amount.is_multiple_of(1024) => format!("{amount} B"),
                Self::Bytes => ByteSize(amount).display().iec().to_string(),
                Self::Milliseconds => {
                    humantime::format_duration(Duration::from_millis(amount)).to_string()
                }
                Self::Number => amount.to_string(),
            }
        }

        /// Returns an amount as an option is given: `64MiB`, `1m 30s`.
        #[must_use]
        pub fn option_text(self, amount: u64) -> String {
            let text = self.text(amount);
            match self {
                Self::Bytes => text.replace(".0 ", " ").replace(' ', ""),
                Self::Milliseconds | Self::Number => text,
            }
        }
    }

    impl FromStr for Size {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            text.parse().map(|ByteSize(bytes)| Self(bytes))
        }
    }

    impl FromStr for Time {
        type Err = humantime::DurationError;

        fn from_str(text: &str) -> Result<Self, Self::Err> {
            humantime::parse_duration(text).map(Self)
        }
    }
}

#[cfg(feature = "serde")]
mod json {
    use super::{Size, Time};

    /// A size.
    // As JSON and TOML may have it.
    #[derive(Debug, serde::Deserialize)]
    #[serde(untagged, expecting = "expected a size, in bytes or for example as \"64MiB\"")]
    #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
    #[cfg_attr(feature = "schemars", schemars(rename = "Size"))]
    pub(super) enum SizeForm {
        /// In bytes.
        Bytes(u64),
        /// As people write it: `64MiB`.
        Text(String),
    }

    impl TryFrom<SizeForm> for Size {
        type Error = String;

        fn try_from(form: SizeForm) -> Result<Self, String> {
            let text = match form {
                SizeForm::Bytes(bytes) => return Ok(Self(bytes)),
                SizeForm::Text(text) => text,
            };
            text.parse().map_err(|reason| {
                format!("{text:?} is no size: {reason}; expected for example \"64MiB\"")
            })
        }
    }

    impl From<Size> for u64 {
        fn from(size: Size) -> Self {
            size.0
        }
    }

    impl TryFrom<String> for Time {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            text.parse().map_err(|error| {
                format!("{text:?} is no time: {error}; expected for example \"5s\"")
            })
        }
    }

    impl From<Time> for String {
        fn from(time: Time) -> Self {
            humantime::format_duration(time.0).to_string()
        }
    }
}
