//! Whose secrets they are: a function's, from its first deploy or first secret to its removal, and
//! not those of whoever has the name afterwards.
//!
//! `identities/<name>/<id>`, where `id` is a UUID, or the name itself for a function that earlier
//! builds gave secrets. Of several, which two nodes made at once, the first by the store's clock
//! counts. Owns no fds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::PREFIX;
use store::error::StoreError;
use store::objects::{Listed, Objects};

const FOLDER: &str = "identities/";

/// The identity of each function that has one, by name.
pub(super) type Identities = BTreeMap<String, String>;

/// Function and identity of an object; none when it is not one of these.
fn parts(key: &str) -> Option<(&str, &str)> {
    let (name, id) = key.strip_prefix(FOLDER)?.split_once('/')?;
    let fits = id == name || uuid::Uuid::try_parse(id).is_ok();
    (abi::name::check(name).is_ok() && fits).then_some((name, id))
}

/// Which identity counts of each function.
fn chosen(listed: &[Listed]) -> Identities {
    let mut first: BTreeMap<&str, (SystemTime, &str)> = BTreeMap::new();
    for listed in listed {
        let Some((name, id)) = parts(&listed.key) else { continue };
        let this = (listed.modified, id);
        first.entry(name).and_modify(|first| *first = this.min(*first)).or_insert(this);
    }
    first.into_iter().map(|(name, (_, id))| (name.to_owned(), id.to_owned())).collect()
}

/// All identities.
pub(super) async fn read(objects: &dyn Objects) -> Result<Identities, StoreError> {
    Ok(chosen(&objects.list(FOLDER, "").await?))
}

/// That of one function.
pub(super) async fn of(objects: &dyn Objects, name: &str) -> Result<Option<String>, StoreError> {
    Ok(chosen(&objects.list(&format!("{FOLDER}{name}/"), "").await?).remove(name))
}

/// The same, which is made if need be. It is the name where an earlier build knows the function, as
/// `is_there` says, or has given it secrets.
pub(super) async fn of_or_made(
    objects: &dyn Objects,
    name: &str,
    is_there: bool,
) -> Result<String, StoreError> {
    if let Some(id) = of(objects, name).await? {
        return Ok(id);
    }
    let earlier = is_there || !objects.list(&format!("{PREFIX}{name}/"), "").await?.is_empty();
    let id = if earlier { name.to_owned() } else { uuid::Uuid::now_v7().to_string() };
    objects.put(&format!("{FOLDER}{name}/{id}"), Vec::new()).await?;
    Ok(of(objects, name).await?.unwrap_or(id))
}

/// All that a function has.
pub(super) async fn all_of(objects: &dyn Objects, name: &str) -> Result<Vec<String>, StoreError> {
    let listed = objects.list(&format!("{FOLDER}{name}/"), "").await?;
    Ok(listed.iter().filter_map(|listed| Some(parts(&listed.key)?.1.to_owned())).collect())
}

/// Gives a function an identity that it had before.
pub(super) async fn give(objects: &dyn Objects, name: &str, id: &str) -> Result<(), StoreError> {
    objects.put(&format!("{FOLDER}{name}/{id}"), Vec::new()).await
}

/// Takes one of several from it.
pub(super) async fn take_one(
    objects: &dyn Objects,
    name: &str,
    id: &str,
) -> Result<(), StoreError> {
    objects.delete(&format!("{FOLDER}{name}/{id}")).await
}

/// Takes a function's identity from it; the ids that it had.
pub(super) async fn take(objects: &dyn Objects, name: &str) -> Result<Vec<String>, StoreError> {
    let ids = all_of(objects, name).await?;
    for id in &ids {
        take_one(objects, name, id).await?;
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
