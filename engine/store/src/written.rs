//! All functions of a store as one JSON document: for the next start of a node, and for other
//! nodes. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::contents::{Contents, Function, Objects, Seen};
use super::stored::Stored;

#[derive(Serialize, Deserialize)]
struct Written {
    store: String,
    functions: BTreeMap<String, OfFunction>,
}

#[derive(Default, Serialize, Deserialize)]
struct OfFunction {
    versions: BTreeMap<String, Object>,
    aliases: BTreeMap<String, Object>,
}

/// A tag, and the object that was read with it, as any JSON: if one object is another build's, only
/// that one is left out.
pub(super) type Object = (String, serde_json::Value);

/// Returns `contents`, which were read of `store`, as JSON.
///
/// # Errors
/// When a part of it cannot be JSON.
pub(super) fn write(store: &str, contents: &Contents) -> serde_json::Result<Vec<u8>> {
    let functions = contents.iter().map(|(name, function)| {
        let of = OfFunction {
            versions: objects(&function.versions),
            aliases: objects(&function.aliases),
        };
        (name.clone(), of)
    });
    serde_json::to_vec(&Written { store: store.to_owned(), functions: functions.collect() })
}

/// Parses the JSON. Returns the name of its store and its contents, without the objects that cannot
/// be parsed.
///
/// # Errors
/// When the document as a whole cannot be parsed.
pub(super) fn read(json: &[u8]) -> serde_json::Result<(String, Contents)> {
    let written: Written = serde_json::from_slice(json)?;
    let function = |(name, of): (String, OfFunction)| {
        let function =
            Function { versions: seen(&name, of.versions), aliases: seen(&name, of.aliases) };
        (name, Arc::new(function))
    };
    Ok((written.store, written.functions.into_iter().map(function).collect()))
}

pub(super) fn objects<T: Stored>(objects: &Objects<T>) -> BTreeMap<String, Object> {
    let one = |(stem, seen): (&String, &Seen<T>)| {
        let value = serde_json::to_value(seen.value.as_deref()?).ok()?;
        Some((stem.clone(), (seen.tag.clone(), value)))
    };
    objects.iter().filter_map(one).collect()
}

pub(super) fn seen<T: Stored>(name: &str, objects: BTreeMap<String, Object>) -> Objects<T> {
    let one = |(stem, (tag, json)): (String, Object)| {
        let value = T::read(name, &stem, json.to_string().as_bytes()).ok()?;
        Some((stem, Seen { tag, modified: None, value: Some(Arc::new(value)) }))
    };
    objects.into_iter().filter_map(one).collect()
}
