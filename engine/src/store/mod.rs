//! What nodes keep and share. [`objects`] is what keeps it, and all that is asked of that,
//! [`place`] says which and where; [`repository`] what of functions is there and how it changes,
//! each thing [`stored`] as an object, [`first_format`] how it once was, [`artefacts`] deployed
//! files where the compiler can read them, [`unused`] when they go, [`removed`] what can be
//! restored, [`retention`] when logs and old versions go. [`contents`] is what was read, [`known`]
//! what of it a node remembers, [`summary`] what it leaves for others, both as it is [`written`]
//! down, [`manifest`] what a version is, with its [`mod@limits`], [`inherit`] what it takes over of
//! the one before, [`alias`] what names versions, and [`options`] what a deployer may choose.
//! [`files`] is how files are written so that a crash leaves the old or the new.

pub(crate) mod alias;
pub(crate) mod artefacts;
pub(crate) mod contents;
pub(crate) mod error;
pub(crate) mod files;
mod first_format;
pub(crate) mod inherit;
pub(crate) mod known;
pub(crate) mod limits;
pub(crate) mod manifest;
pub(crate) mod objects;
pub(crate) mod options;
pub(crate) mod place;
pub(crate) mod removed;
pub(crate) mod repository;
pub(crate) mod retention;
mod stored;
mod summary;
mod unused;
mod written;
