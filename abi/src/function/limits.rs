//! The limits of a function as they are stored, sent and enforced, and the range of each. Owns no
//! fds.

#![expect(missing_debug_implementations, reason = "of what rkyv derives")]

use std::ops::RangeInclusive;

use super::amount::{Amount, Size, Time, Unit};
use super::kind::Kind;
use super::table::for_each_limit;
use crate::limits;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Milliseconds in a second.
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
/// Requests that one process of a server or an Azure handler has at a time, as Cloud Run has it.
const SERVER_REQUESTS_DEFAULT: u32 = 80;

/// Makes [`FunctionLimits`] of the table.
macro_rules! function_limits {
    ($(
        #[doc = $doc:tt]
        $field:ident: $type:ident,
            option $name:literal = $option:ident: $value:ident,
            default $default:expr,
            range $range:expr
            $(, follows $leader:ident)?;
    )*) => {
        /// What a version may use.
        // All of it is enforced by the worker. What a manifest of an earlier build does not have is
        // the default.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
        #[rkyv(derive(PartialEq))]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(default))]
        #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schemars", schemars(rename = "Limits", !default))]
        pub struct FunctionLimits {
            $(#[doc = $doc] pub $field: $type,)*
        }

        impl Default for FunctionLimits {
            fn default() -> Self {
                Self { $($field: <$type>::try_from($default).unwrap_or(<$type>::MAX),)* }
            }
        }

        impl From<&ArchivedFunctionLimits> for FunctionLimits {
            fn from(archived: &ArchivedFunctionLimits) -> Self {
                Self { $($field: archived.$field.to_native(),)* }
            }
        }

        impl FunctionLimits {
            /// How many limits there are.
            pub const COUNT: usize = [$($name),*].len();

            /// Returns every limit, in the order in which they are shown.
            #[must_use]
            pub fn describe(&self) -> [Limit; Self::COUNT] {
                [$(Limit {
                    option: $name,
                    unit: <$value as Amount>::UNIT,
                    amount: self.$field.into(),
                    range: $range,
                },)*]
            }
        }
    };
}

for_each_limit!(function_limits);

/// One limit of a function, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The name of its option, without the hyphens before it.
    pub option: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// How much it is.
    pub amount: u64,
    /// How much it may be.
    pub range: RangeInclusive<u64>,
}

impl Limit {
    /// Returns whether the limit is in its range.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        self.range.contains(&self.amount)
    }

    /// Returns the amount as people read it: `64.0 MiB`, `1m 30s`.
    #[cfg(feature = "text")]
    #[must_use]
    pub fn text(&self) -> String {
        self.unit.text(self.amount)
    }
}

/// A limit that is not in its range.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "text", derive(thiserror::Error))]
#[cfg_attr(
    feature = "text",
    error(
        "--{} is {}; expected {} to {}",
        .0.option,
        .0.text(),
        .0.unit.text(*.0.range.start()),
        .0.unit.text(*.0.range.end())
    )
)]
pub struct OutOfRange(pub Limit);

impl FunctionLimits {
    /// Checks every limit against its range.
    ///
    /// # Errors
    /// Returns [`OutOfRange`] with the first limit that is not in its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        match self.describe().into_iter().find(|limit| !limit.is_in_range()) {
            Some(limit) => Err(OutOfRange(limit)),
            None => Ok(()),
        }
    }

    /// Returns how many requests one process of a native function has at a time.
    #[must_use]
    pub fn process_requests(&self, kind: Kind) -> u32 {
        match (self.process_requests_max, kind) {
            (0, Kind::Server | Kind::Azure) => SERVER_REQUESTS_DEFAULT,
            (0, _) => 1,
            (chosen, _) => chosen,
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests;
