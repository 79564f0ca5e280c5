//! What a function is: its kind, where it runs, what it may use, and the options that choose it.
//!
//! Each type is defined here once. The catalogue archives it with rkyv; the engine turns on the
//! features `serde`, `clap` and `schemars` for its manifests, its command line and the control API.
//! Owns no fds.

pub mod amount;
#[cfg(feature = "serde")]
pub mod fields;
mod instances;
mod isolation;
mod kind;
pub mod limits;
#[cfg(feature = "serde")]
pub mod nearest;
mod network_mode;
pub mod options;
mod output;
mod table;
mod websocket;

pub use amount::{Size, Time, Unit};
pub use instances::{Instances, InstancesError};
pub use isolation::{ArchivedIsolation, Isolation};
pub use kind::{ArchivedKind, FileKind, Kind};
pub use limits::{ArchivedFunctionLimits, FunctionLimits, Limit, OutOfRange};
pub use network_mode::{ArchivedNetworkMode, NetworkMode};
pub use options::{LimitOptions, has_limit};
pub use output::{ArchivedOutput, Output, exit_code, exit_line};
pub use websocket::{ArchivedWebSocketMode, WebSocketMode};

#[cfg(all(test, feature = "clap", feature = "schemars"))]
mod tests;
