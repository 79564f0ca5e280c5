//! The artefacts that no version needs any more, which a node deletes without a word with others.
//!
//! Every deploy uploads its artefact under a key of its own, so no later deploy can need an unused
//! one. An artefact that no version has may be about to get one: from the deploy that uploaded it,
//! or from a version that is written again. So it is marked, and deleted if it is still there,
//! unchanged and unused, after longer than any change takes. Marks are in memory: a node that
//! restarts begins anew. Owns no fds.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::Repository;
use super::removal::AllRemoved;
use crate::artefacts::{SHARED, UPLOADS};
use crate::contents::Contents;
use crate::error::StoreError;
use crate::objects::Listed;
use host::files;

/// Longer than any change of a function takes.
pub(super) const CHANGE_MAX: Duration = Duration::from_secs(55 * 60);

/// The ids of all versions, and their artefacts.
#[derive(Debug, Default)]
pub(super) struct Named<'a> {
    pub(super) versions: HashSet<&'a str>,
    pub(super) artefacts: HashSet<&'a str>,
}

impl Named<'_> {
    /// Returns whether the object under `key` is an artefact of sockhop that no version has.
    pub(super) fn is_unused(&self, key: &str) -> bool {
        let digest = |text: &str| files::unhex(text).is_some();
        let upload = key.strip_prefix(UPLOADS).and_then(|rest| rest.split_once('/'));
        match (upload, key.strip_prefix(SHARED)) {
            (Some((of, id)), _) => {
                digest(of) && uuid::Uuid::try_parse(id).is_ok() && !self.versions.contains(id)
            }
            (None, Some(of)) => digest(of) && !self.artefacts.contains(of),
            (None, None) => false,
        }
    }
}

/// Objects that are to be deleted, unless they change.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// By key: the tag, and since when it has been marked.
    marked: BTreeMap<String, (String, Instant)>,
}

impl Marks {
    /// Marks the objects of `listed`, and drops the marks of all others. Returns the keys of those
    /// that were marked, unchanged, in every call for at least `after`.
    pub(super) fn update(
        &mut self,
        listed: &[Listed],
        after: Duration,
        now: Instant,
    ) -> Vec<String> {
        let mut marked = BTreeMap::new();
        for listed in listed {
            let before = self.marked.get(&listed.key).filter(|(tag, _)| *tag == listed.tag);
            let since = before.map_or(now, |(_, since)| *since);
            marked.insert(listed.key.clone(), (listed.tag.clone(), since));
        }
        self.marked = marked;
        let ripe = |(_, since): &(String, Instant)| now.duration_since(*since) >= after;
        self.marked.iter().filter(|(_, mark)| ripe(mark)).map(|(key, _)| key.clone()).collect()
    }
}

impl Repository {
    /// Deletes the artefacts that no version has had in all calls for longer than any change takes.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove_unused_artefacts(
        &self,
        before: &Contents,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut marks = self.marks.lock().await;
        let mut listed = self.objects.list(UPLOADS, "").await?;
        listed.extend(self.objects.list(SHARED, "").await?);
        // Versions are read after artefacts were listed, so each listed artefact that has a version
        // is found. Removals are read before and after: a removal writes its object before it
        // removes versions, and a restore writes versions before the object is deleted. So one of
        // these reads has them, whatever is under way.
        let removed = self.read_removed(None, AllRemoved::new()).await?;
        let contents = self.read_all(before).await?;
        let removed = self.read_removed(None, removed).await?;
        if contents
            .values()
            .any(|function| function.versions.values().any(|seen| seen.value.is_none()))
        {
            tracing::warn!(
                "a version in the store cannot be read: artefacts stay, as one may be its"
            );
            return Ok(());
        }
        let mut named = Named::default();
        let kept = removed.values().flat_map(|(_, removed)| removed.function.versions());
        for version in contents.values().flat_map(|function| function.versions()).chain(kept) {
            named.versions.insert(&version.version);
            named.artefacts.insert(&version.artefact);
        }
        listed.retain(|listed| named.is_unused(&listed.key));
        for key in marks.update(&listed, CHANGE_MAX, now) {
            self.objects.delete(&key).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::artefacts::upload_key;

    fn listed(key: String, tag: &str) -> Listed {
        Listed { key, bytes: 1, tag: tag.to_owned(), modified: SystemTime::UNIX_EPOCH }
    }

    /// Looks at those artefacts that nothing names.
    fn look(marks: &mut Marks, listed: &[Listed], named: &Named<'_>, now: Instant) -> Vec<String> {
        let unnamed: Vec<Listed> =
            listed.iter().filter(|listed| named.is_unused(&listed.key)).cloned().collect();
        marks.update(&unnamed, CHANGE_MAX, now)
    }

    #[test]
    fn what_nothing_names_goes_at_the_second_look_if_it_is_the_same() {
        let (digest, now) = (files::hex(&[7; 32]), Instant::now());
        let id = uuid::Uuid::from_u128(7).to_string();
        let key = upload_key(&digest, &id);
        let later = now + CHANGE_MAX;
        let [none, versions] =
            [Named::default(), Named { versions: [id.as_str()].into(), ..Named::default() }];
        let mut marks = Marks::default();
        // Old as it may be: by its first look nobody knows for how long nothing has named it.
        assert!(look(&mut marks, &[listed(key.clone(), "1")], &none, now).is_empty());
        assert!(
            look(&mut marks, &[listed(key.clone(), "1")], &none, later - Duration::from_secs(1))
                .is_empty()
        );
        assert!(
            look(&mut marks, &[listed(key.clone(), "2")], &none, later).is_empty(),
            "written anew"
        );
        assert!(
            look(&mut marks, &[listed(key.clone(), "2")], &versions, later + CHANGE_MAX).is_empty()
        );
        assert!(
            look(&mut marks, &[listed(key.clone(), "2")], &none, later + CHANGE_MAX).is_empty(),
            "named meanwhile"
        );
        assert_eq!(
            look(&mut marks, &[listed(key.clone(), "2")], &none, later + 2 * CHANGE_MAX),
            [key]
        );
    }

    #[test]
    fn what_is_not_ours_is_never_marked() {
        let (digest, now) = (files::hex(&[7; 32]), Instant::now());
        let keys = [
            "artefacts/readme".to_owned(),
            format!("uploads/{digest}"),
            format!("uploads/{digest}/readme"),
            format!("uploads/x/{}", uuid::Uuid::nil()),
            format!("else/{digest}"),
        ];
        let all = keys.map(|key| listed(key, "1"));
        let mut marks = Marks::default();
        look(&mut marks, &all, &Named::default(), now);
        assert!(look(&mut marks, &all, &Named::default(), now + 2 * CHANGE_MAX).is_empty());
    }

    #[test]
    fn a_shared_artefact_is_named_by_any_version_that_has_it() {
        let (digest, now) = (files::hex(&[7; 32]), Instant::now());
        let key = format!("{SHARED}{digest}");
        let named = Named { artefacts: [digest.as_str()].into(), ..Named::default() };
        let mut marks = Marks::default();
        for (round, named, gone) in [
            (0, &named, false),
            (1, &named, false),
            (2, &Named::default(), false),
            (3, &Named::default(), true),
        ] {
            let looked =
                look(&mut marks, &[listed(key.clone(), "1")], named, now + round * CHANGE_MAX);
            assert_eq!(!looked.is_empty(), gone, "{round}");
        }
    }
}
