//! What nodes keep and share. [`objects`] is what keeps it, and all that is asked of that,
//! [`place`] says which and where; [`repository`] what of functions is there and how it changes,
//! each thing [`stored`] as an object, [`first_format`] how it once was, [`artefacts`] deployed
//! files where the compiler can read them, [`unused`] when they go, [`removed`] what can be
//! restored, [`retention`] when logs and old versions go. [`contents`] is what was read, [`known`]
//! what of it a node remembers, [`summary`] what it leaves for others, both as it is [`written`]
//! down, [`manifest`] what a version is, [`inherit`] what it takes over of the one before, and
//! [`alias`] what names versions. [`files`] is how files are written so that a crash leaves the old
//! or the new.

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
pub mod known;
pub mod manifest;
pub mod objects;
pub mod removed;
pub mod repository;
pub mod retention;
pub mod segment;
mod stored;
mod summary;
mod unused;
mod written;
