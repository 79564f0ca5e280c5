//! The format of a store: the object that says it, and the formats that this build knows. Pure;
//! owns no fds.

/// The key of the object that says a store's format.
pub(crate) const FORMAT_KEY: &str = "format";
/// The format that this build writes.
pub(crate) const FORMAT: &str = "sockhop-store 2\n";
/// The format of the first build, which this one reads and replaces.
pub(crate) const FIRST_FORMAT: &str = "sockhop-store 1\n";
/// The most bytes that the object may have.
pub(crate) const FORMAT_BYTES_MAX: usize = 1024;
