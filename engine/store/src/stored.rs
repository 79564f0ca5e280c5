//! What is kept of functions as objects of their own: versions and aliases, where each is and how
//! it is written. Pure; owns no fds.

use serde::Serialize;

use super::alias::Alias;
use super::contents::{Function, Objects};
use super::error::StoreError;
use super::manifest::Manifest;
use super::objects::checked;
use host::files;

/// What is kept as an object of its own.
pub(super) trait Stored: Serialize + Sized {
    /// Where all of this kind are.
    const FOLDER: &str;
    /// What was read once is as it was.
    const IMMUTABLE: bool;

    /// Reads it; `name` and `stem` are what its key says it is.
    fn read(name: &str, stem: &str, json: &[u8]) -> Result<Self, String>;

    fn of(function: &Function) -> &Objects<Self>;

    fn of_mut(function: &mut Function) -> &mut Objects<Self>;
}

impl Stored for Manifest {
    const FOLDER: &str = "versions";
    const IMMUTABLE: bool = true;

    fn read(name: &str, stem: &str, json: &[u8]) -> Result<Self, String> {
        let manifest = Self::read(json)?;
        let fits = manifest.name == name
            && manifest.version == stem
            && files::unhex(&manifest.artefact).is_some();
        fits.then_some(manifest).ok_or_else(|| "its contents do not belong there".to_owned())
    }

    fn of(function: &Function) -> &Objects<Self> {
        &function.versions
    }

    fn of_mut(function: &mut Function) -> &mut Objects<Self> {
        &mut function.versions
    }
}

impl Stored for Alias {
    const FOLDER: &str = "aliases";
    const IMMUTABLE: bool = false;

    fn read(name: &str, stem: &str, json: &[u8]) -> Result<Self, String> {
        let alias: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        alias.check().map_err(|error| error.to_string())?;
        let fits = alias.name == name && alias.alias == stem;
        fits.then_some(alias).ok_or_else(|| "its contents do not belong there".to_owned())
    }

    fn of(function: &Function) -> &Objects<Self> {
        &function.aliases
    }

    fn of_mut(function: &mut Function) -> &mut Objects<Self> {
        &mut function.aliases
    }
}

/// Where all of a function are.
pub(super) fn folder<T: Stored>(name: &str) -> String {
    format!("{}/{name}/", T::FOLDER)
}

/// Where one is.
pub(super) fn key<T: Stored>(name: &str, stem: &str) -> String {
    format!("{}/{name}/{stem}.json", T::FOLDER)
}

/// Function and stem of a key; none for what is no function's.
pub(super) fn parts(key: &str) -> Option<(&str, &str)> {
    let (_, rest) = key.split_once('/')?;
    let (name, file) = rest.split_once('/')?;
    let stem = file.strip_suffix(".json")?;
    (abi::name::check(name).is_ok() && !stem.contains('/')).then_some((name, stem))
}

/// The object that holds it.
///
/// # Errors
/// When it cannot be written down.
pub(super) fn sealed<T: Stored>(value: &T) -> Result<Vec<u8>, StoreError> {
    let unfit = |error: serde_json::Error| StoreError::Unfit {
        key: T::FOLDER.to_owned(),
        reason: error.to_string(),
    };
    Ok(checked::seal(&serde_json::to_vec_pretty(value).map_err(unfit)?))
}
