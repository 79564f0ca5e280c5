//! What nodes keep and share. [`objects`] is what keeps it, and all that is asked of that,
//! [`place`] says which and where; [`repository`] what of functions is there and how it changes,
//! each thing [`stored`] as an object, [`first_format`] how it once was, [`artefacts`] deployed
//! files where the compiler can read them, [`unused`] when they go, [`removed`] what can be
//! restored, [`retention`] when logs and old versions go. [`contents`] is what was read, [`known`]
//! what of it a node remembers, [`summary`] what it leaves for others, both as it is [`written`]
//! down, [`manifest`] what a version is, with its [`mod@limits`], [`inherit`] what it takes over of
//! the one before, [`alias`] what names versions, and [`options`] what a deployer may choose.
//! [`files`] is how files are written so that a crash leaves the old or the new.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod alias;
pub mod artefacts;
pub mod contents;
pub mod error;
mod first_format;
pub mod inherit;
pub mod kind;
pub mod known;
pub mod limits;
pub mod manifest;
pub mod objects;
pub mod options;
pub mod removed;
pub mod repository;
pub mod retention;
pub mod segment;
mod stored;
mod summary;
mod unused;
pub mod wire;
mod written;
