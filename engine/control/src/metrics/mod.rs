//! The node's counts as Prometheus reads them: [`text`] writes what [`fleet::metrics`] and the log
//! have counted as [`families`], in the [`format`](mod@format) that a scraper asks for; [`memory`]
//! reads what this process takes. Owns no fds.

mod families;
pub mod format;
pub mod memory;
pub mod text;
