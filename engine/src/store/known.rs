//! What a node knows of its store, kept in its own folder: it starts with that while the store is away, and reads no more
//! than what has changed when it is there. Never the truth, and may be lost. Owns no fds between calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alias::Alias;
use super::contents::{Contents, Objects, Seen};
use super::error::StoreError;
use super::files;
use super::manifest::Manifest;
use super::objects::checked;

/// The file that this is kept in.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    path: PathBuf,
    /// The store that it is about.
    store: String,
}

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    store: String,
    functions: BTreeMap<String, OfFunction>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct OfFunction {
    /// As JSON of their own, so that one of another build's is left out and not all.
    versions: BTreeMap<String, (String, serde_json::Value)>,
    aliases: BTreeMap<String, (String, serde_json::Value)>,
}

impl Known {
    /// That of `store`, in `folder`.
    pub(crate) fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join("known"), store }
    }

    /// What was known; none when nothing was, or of another store.
    pub(crate) fn read(&self) -> Option<Contents> {
        let object = std::fs::read(&self.path).ok()?;
        let read = checked::open(&self.path.to_string_lossy(), object).map_err(|error| error.to_string());
        let read = read.and_then(|json| serde_json::from_slice::<Written>(&json).map_err(|error| error.to_string()));
        match read {
            Ok(written) => (written.store == self.store).then(|| contents(written)),
            Err(error) => {
                tracing::warn!("what this node knew of its store is set aside: {error}");
                None
            }
        }
    }

    /// Remembers `contents` instead.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, contents: &Contents) -> Result<(), StoreError> {
        let functions = contents.iter().map(|(name, function)| {
            let of = OfFunction { versions: written(&function.versions), aliases: written(&function.aliases) };
            (name.clone(), of)
        });
        let written = Written { store: self.store.clone(), functions: functions.collect() };
        let failed = |error: serde_json::Error| StoreError::io("write", &self.path)(error.into());
        let object = checked::seal(&serde_json::to_vec(&written).map_err(failed)?);
        files::write(&self.path, &object).map_err(StoreError::io("write", &self.path))
    }
}

fn written<T: Serialize>(objects: &Objects<T>) -> BTreeMap<String, (String, serde_json::Value)> {
    let one = |(stem, seen): (&String, &Seen<T>)| {
        let value = serde_json::to_value(seen.value.as_deref()?).ok()?;
        Some((stem.clone(), (seen.tag.clone(), value)))
    };
    objects.iter().filter_map(one).collect()
}

fn read<T>(
    objects: BTreeMap<String, (String, serde_json::Value)>,
    value: impl Fn(serde_json::Value) -> Option<T>,
) -> Objects<T> {
    let one = |(stem, (tag, json))| Some((stem, Seen { tag, value: Some(Arc::new(value(json)?)) }));
    objects.into_iter().filter_map(one).collect()
}

fn contents(written: Written) -> Contents {
    let manifest = |json: serde_json::Value| Manifest::read(json.to_string().as_bytes()).ok();
    let alias = |json| serde_json::from_value::<Alias>(json).ok().filter(|alias| alias.check().is_ok());
    let function = |(name, of): (String, OfFunction)| {
        let function =
            super::contents::Function { versions: read(of.versions, manifest), aliases: read(of.aliases, alias) };
        (name, Arc::new(function))
    };
    written.functions.into_iter().map(function).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::choice::ACTIVE;

    use crate::compile::inspect::Kind;
    use crate::store::options::Options;

    fn some() -> Contents {
        let version = Manifest::new("a", Kind::Http02, Options::default(), files::hex(&[7; 32]), 3);
        let mut contents = Contents::new();
        let function = Arc::make_mut(contents.entry("a".to_owned()).or_default());
        function.put_alias(Arc::new(Alias::of("a", ACTIVE, &version.version)));
        function.put_version(Arc::new(version));
        contents
    }

    #[test]
    fn what_is_known_is_read_back_for_the_same_store_and_not_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known::new(folder.path(), "one".into());
        assert_eq!(known.read(), None);
        known.write(&some()).unwrap();
        let contents = known.read().unwrap();
        assert_eq!(
            contents["a"].active().unwrap().targets[0].version,
            contents["a"].versions().next().unwrap().version
        );
        assert_eq!(Known::new(folder.path(), "other".into()).read(), None);
    }

    #[test]
    fn damage_is_survived_and_nothing_is_known_then() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known::new(folder.path(), "one".into());
        known.write(&some()).unwrap();
        let mut bytes = std::fs::read(folder.path().join("known")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(folder.path().join("known"), bytes).unwrap();
        assert_eq!(known.read(), None);
    }
}
