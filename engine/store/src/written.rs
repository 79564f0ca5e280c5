//! What was read of a store, written down as JSON: for the next start of a node, and for other
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

/// A tag, and what was read with it: as JSON of its own, so that one of another build's is left out
/// and not all.
pub(super) type Object = (String, serde_json::Value);

/// Writes down what was read of `store`.
///
/// # Errors
/// When something of it has no JSON.
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

/// What was written down, and of which store. What is not understood of it was not read.
///
/// # Errors
/// When nothing of it is understood.
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
