//! Stores of the first format, which are read, and brought to today's.
//!
//! ```text
//! format                                  "sockhop-store 1"
//! artefacts/<sha256>                      deployed files, as they are today
//! functions/<name>/versions/<id>.json     immutable versions, without numbers
//! functions/<name>/active                 the id of the version that is served
//! ```
//! Owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::limits::STORED_OBJECT_BYTES_MAX;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::alias::Alias;
use crate::contents::Contents;
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::objects::{Answer, Objects, REQUESTS_AT_ONCE};
use host::files;

const FOLDER: &str = "functions/";

/// An object that is being read, with its key.
type Reading<'a> = Answer<'a, (String, Vec<u8>)>;

/// Reads such a store, as it will be in today's format. A function that cannot be read is logged
/// and left out.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn read(objects: &dyn Objects) -> Result<Contents, StoreError> {
    let keys = objects.list(FOLDER, "").await?.into_iter().map(|listed| listed.key);
    let reads: Vec<Reading<'_>> = keys
        .map(|key| {
            let read = async move {
                let object = objects.get(&key, STORED_OBJECT_BYTES_MAX).await?;
                Ok((key, object.unwrap_or_default()))
            };
            Box::pin(read) as _
        })
        .collect();
    // In the order of their keys: the versions of a function come in the order of their ids.
    let read: BTreeMap<String, Vec<u8>> =
        stream::iter(reads).buffered(REQUESTS_AT_ONCE).try_collect().await?;
    let mut contents = Contents::new();
    for (key, object) in &read {
        let Some((name, id)) = version_key(key) else { continue };
        match manifest(name, id, object) {
            Ok(manifest) => {
                let function = Arc::make_mut(contents.entry(name.to_owned()).or_default());
                let number = function.next_number();
                function.put_version(Arc::new(Manifest { number, ..manifest }));
            }
            Err(reason) => tracing::error!("{}", StoreError::Unfit { key: key.clone(), reason }),
        }
    }
    for (name, function) in &mut contents {
        let active =
            read.get(&format!("{FOLDER}{name}/active")).map(|id| String::from_utf8_lossy(id));
        match active {
            Some(id) if function.version(&id).is_some() => {
                Arc::make_mut(function).put_alias(Arc::new(Alias::of(name, ACTIVE, &id)));
            }
            Some(id) => {
                tracing::error!("function {name:?} is not served: its version {id:?} is not there")
            }
            // It is left over from a deploy or a removal that was cut short.
            None => {}
        }
    }
    contents.retain(|_, function| function.active().is_some());
    Ok(contents)
}

/// Returns the name and the id in a version's key.
fn version_key(key: &str) -> Option<(&str, &str)> {
    let (name, rest) = key.strip_prefix(FOLDER)?.split_once('/')?;
    Some((name, rest.strip_prefix("versions/")?.strip_suffix(".json")?))
}

fn manifest(name: &str, id: &str, json: &[u8]) -> Result<Manifest, String> {
    let manifest = Manifest::read(json)?;
    let fits = manifest.name == name
        && manifest.version == id
        && files::unhex(&manifest.artefact).is_some();
    match fits && abi::name::check(name).is_ok() {
        true => Ok(manifest),
        false => Err("its contents do not belong there".to_owned()),
    }
}

/// Returns whether `key` is one of such a store.
fn is_ours(key: &str) -> bool {
    let active = || key.strip_prefix(FOLDER)?.strip_suffix("/active");
    match version_key(key) {
        Some((name, id)) => abi::name::check(name).is_ok() && uuid::Uuid::try_parse(id).is_ok(),
        None => active().is_some_and(|name| abi::name::check(name).is_ok()),
    }
}

/// Removes the objects that are left of the first format, and nothing else.
///
/// # Errors
/// When the store does not do it.
pub(super) async fn clear(objects: &dyn Objects) -> Result<(), StoreError> {
    for listed in objects.list(FOLDER, "").await? {
        if is_ours(&listed.key) {
            objects.delete(&listed.key).await?;
        }
    }
    Ok(())
}
