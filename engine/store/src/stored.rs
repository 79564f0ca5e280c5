//! How versions and aliases are objects of a store: the key and the contents of each. Pure; owns no
//! fds.

use serde::Serialize;

use super::alias::Alias;
use super::contents::{Function, Objects};
use super::error::StoreError;
use super::manifest::Manifest;
use super::objects::checked;
use host::files;

/// A part of a function that is an object of its own.
pub(super) trait Stored: Serialize + Sized {
    /// What the keys of this kind begin with.
    const FOLDER: &str;
    /// Whether an object of this kind never changes, so that it is read once.
    const IMMUTABLE: bool;

    /// Parses an object. `name` and `stem` are the function and the last part of its key.
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

/// Returns what the keys of a function's objects of this kind begin with.
pub(super) fn folder<T: Stored>(name: &str) -> String {
    format!("{}/{name}/", T::FOLDER)
}

/// Returns the key of one object.
pub(super) fn key<T: Stored>(name: &str, stem: &str) -> String {
    format!("{}/{name}/{stem}.json", T::FOLDER)
}

/// Returns the function and the last part of a key. Returns `None` if `key` is not one of a
/// function.
pub(super) fn parts(key: &str) -> Option<(&str, &str)> {
    let (_, rest) = key.split_once('/')?;
    let (name, file) = rest.split_once('/')?;
    let stem = file.strip_suffix(".json")?;
    (abi::name::check(name).is_ok() && !stem.contains('/')).then_some((name, stem))
}

/// Returns the contents of the object that holds `value`.
///
/// # Errors
/// When `value` cannot be JSON.
pub(super) fn sealed<T: Stored>(value: &T) -> Result<Vec<u8>, StoreError> {
    let unfit = |error: serde_json::Error| StoreError::Unfit {
        key: T::FOLDER.to_owned(),
        reason: error.to_string(),
    };
    Ok(checked::seal(&serde_json::to_vec_pretty(value).map_err(unfit)?))
}
