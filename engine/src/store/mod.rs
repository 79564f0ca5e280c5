//! What a node keeps: artefacts and versions of functions. [`directory`] is the store on disk, [`files`] how files are
//! written so that a crash leaves the old or the new, [`manifest`] what a version is, with its [`mod@limits`], and
//! [`options`] what a deployer may choose of it.

pub(crate) mod directory;
pub(crate) mod files;
pub(crate) mod limits;
pub(crate) mod manifest;
pub(crate) mod options;
