//! What a node keeps: artefacts and versions of functions. [`directory`] is the store on disk, [`files`] how files are
//! written so that a crash leaves the old or the new, and [`manifest`] what a version is.

pub(crate) mod directory;
pub(crate) mod files;
pub(crate) mod manifest;
