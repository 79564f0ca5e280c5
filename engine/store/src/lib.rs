//! What nodes keep and share: deployed functions, their files, and how long all of it stays.
//!
//! | module | what it has |
//! |---|---|
//! | [`objects`] | what keeps a store: a folder or a bucket, as whole objects by key |
//! | [`repository`] | the functions in a store: how they are read, changed, removed and restored |
//! | [`domains`] | which hosts and paths are for which function |
//! | [`schedules`] | which functions are rung when, and which nodes ring |
//! | [`retention`] | which logs and old versions are removed, as all nodes agree |
//! | [`manifest`], [`alias`], [`contents`] | a version, a name for versions, a whole function |
//! | [`inherit`] | which options a version takes over of the one before it |
//! | [`artefacts`] | deployed files, where the compiler of this node can read them |
//! | [`removed`] | removed functions, which can be restored for a day |
//! | [`known`] | what this node remembers of its store while that is away |
//! | [`segment`] | how the segments of the log are named |
//! | [`error`] | why a store cannot be read or written |
//!
//! `stored` says where a version or an alias is as an object, `written` how everything that was
//! read is written in one, and `format` what the store as a whole says of itself. Imports lead
//! from `repository`, `domains`, `schedules` and `retention` to what is below them in this table, and to
//! `objects`.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod alias;
pub mod artefacts;
pub mod contents;
pub mod domains;
pub mod error;
mod format;
pub mod inherit;
pub mod known;
pub mod manifest;
mod node_copy;
pub mod objects;
pub mod removed;
pub mod repository;
pub mod retention;
pub mod schedules;
pub mod segment;
mod stored;
mod written;
