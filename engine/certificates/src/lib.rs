//! The certificates that the node ends TLS with, and the keys of its session tickets.
//!
//! Certificates are the operator's files, which are read again when they change ([`files`]), or one
//! for localhost that the node makes and signs itself ([`own`]). [`tickets`] has the keys of
//! session tickets. [`Keeper`] puts them together for the processes that end TLS. No private key is
//! ever in a message, a log or a `Debug`. Owns no fds beyond a call.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod error;
pub mod files;
mod keeper;
pub mod own;
mod pair;
pub mod tickets;

pub use self::error::CertificateError;
pub use self::keeper::{Keeper, Sources};
pub use self::pair::host_names;
