//! The identity of a function, which its secrets belong to: from its first deploy or first secret
//! to its removal. A later function of the same name has another one.
//!
//! It is the key of an object, `identities/<name>/<id>`: `id` is a UUID, or the name itself for a
//! function that earlier builds gave secrets. If two nodes made one at once, the first by the
//! store's clock counts. Owns no fds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::object::PREFIX;
use store::error::StoreError;
use store::objects::{Listed, Objects};

const FOLDER: &str = "identities/";

/// The identity of each function that has one, by name.
pub(super) type Identities = BTreeMap<String, String>;

/// Returns the function and the identity in a key. Returns `None` if `key` is none of an identity.
fn parts(key: &str) -> Option<(&str, &str)> {
    let (name, id) = key.strip_prefix(FOLDER)?.split_once('/')?;
    let fits = id == name || uuid::Uuid::try_parse(id).is_ok();
    (abi::name::check(name).is_ok() && fits).then_some((name, id))
}

/// Returns which identity counts for each function.
fn chosen(listed: &[Listed]) -> Identities {
    let mut first: BTreeMap<&str, (SystemTime, &str)> = BTreeMap::new();
    for listed in listed {
        let Some((name, id)) = parts(&listed.key) else { continue };
        let this = (listed.modified, id);
        first.entry(name).and_modify(|first| *first = this.min(*first)).or_insert(this);
    }
    first.into_iter().map(|(name, (_, id))| (name.to_owned(), id.to_owned())).collect()
}

/// Reads all identities.
pub(super) async fn read_all(objects: &dyn Objects) -> Result<Identities, StoreError> {
    Ok(chosen(&objects.list(FOLDER, "").await?))
}

/// Reads the identity of one function. Returns `None` if it has none.
pub(super) async fn get(objects: &dyn Objects, name: &str) -> Result<Option<String>, StoreError> {
    Ok(chosen(&objects.list(&format!("{FOLDER}{name}/"), "").await?).remove(name))
}

/// Reads the identity of one function, and makes one if it has none. The new one is the name if an
/// earlier build has deployed the function, as `is_there` says, or has given it secrets.
pub(super) async fn get_or_create(
    objects: &dyn Objects,
    name: &str,
    is_there: bool,
) -> Result<String, StoreError> {
    if let Some(id) = get(objects, name).await? {
        return Ok(id);
    }
    let earlier = is_there || !objects.list(&format!("{PREFIX}{name}/"), "").await?.is_empty();
    let id = if earlier { name.to_owned() } else { uuid::Uuid::now_v7().to_string() };
    objects.put(&format!("{FOLDER}{name}/{id}"), Vec::new()).await?;
    Ok(get(objects, name).await?.unwrap_or(id))
}

/// Reads all identities of a function, those that do not count, too.
pub(super) async fn get_all(objects: &dyn Objects, name: &str) -> Result<Vec<String>, StoreError> {
    let listed = objects.list(&format!("{FOLDER}{name}/"), "").await?;
    Ok(listed.iter().filter_map(|listed| Some(parts(&listed.key)?.1.to_owned())).collect())
}

/// Writes an identity that the function had before.
pub(super) async fn put(objects: &dyn Objects, name: &str, id: &str) -> Result<(), StoreError> {
    objects.put(&format!("{FOLDER}{name}/{id}"), Vec::new()).await
}

/// Removes one of a function's identities.
pub(super) async fn delete(objects: &dyn Objects, name: &str, id: &str) -> Result<(), StoreError> {
    objects.delete(&format!("{FOLDER}{name}/{id}")).await
}

/// Removes all identities of a function. Returns them.
pub(super) async fn delete_all(
    objects: &dyn Objects,
    name: &str,
) -> Result<Vec<String>, StoreError> {
    let ids = get_all(objects, name).await?;
    for id in &ids {
        delete(objects, name, id).await?;
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_first_of_several_counts_and_what_is_none_is_passed_over() {
        let listed = |key: &str, second| {
            let modified = UNIX_EPOCH + Duration::from_secs(second);
            Listed { key: format!("{FOLDER}{key}"), bytes: 0, tag: String::new(), modified }
        };
        let [one, two] = [1, 2].map(|id| uuid::Uuid::from_u128(id).to_string());
        let all = [
            listed(&format!("a/{one}"), 2),
            listed(&format!("a/{two}"), 1),
            listed("b/b", 5),
            listed("c/b", 1),
            listed("d", 1),
            listed(&format!("No/{one}"), 1),
            listed(&format!("e/{one}/x"), 1),
        ];
        let expected =
            [("a", two.as_str()), ("b", "b")].map(|(name, id)| (name.to_owned(), id.to_owned()));
        assert_eq!(chosen(&all), Identities::from(expected));
    }
}
