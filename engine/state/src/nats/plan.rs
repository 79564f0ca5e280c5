//! What operations change, given what the bucket has. Pure; owns no fds.

use std::collections::{BTreeMap, BTreeSet};

use abi::state::{Answer, Entry, Failure, Operation};

use crate::number::{add, digits};
use crate::{Quota, Request, Usage};

/// Keys that are changed, each with its new value, or none if it is removed.
pub(super) type Changes = Vec<(String, Option<Vec<u8>>)>;

/// The revision of what was changed and not written yet: nobody has read it.
const UNWRITTEN: u64 = u64::MAX;

/// What is known of a bucket: how full it is, and the keys that operations touch.
#[derive(Debug, Default)]
pub(super) struct View {
    usage: Usage,
    entries: BTreeMap<String, Option<Entry>>,
    changed: BTreeSet<String>,
}

/// Returns the keys that an operation reads or writes.
pub(super) fn keys(operation: &Operation) -> Vec<&str> {
    match operation {
        Operation::Get { key }
        | Operation::Exists { key }
        | Operation::Set { key, .. }
        | Operation::Swap { key, .. }
        | Operation::Increment { key, .. } => vec![key],
        Operation::GetMany { keys } | Operation::DeleteMany { keys } => {
            keys.iter().map(String::as_str).collect()
        }
        Operation::SetMany { entries } => entries.iter().map(|(key, _)| key.as_str()).collect(),
        Operation::List { .. } => Vec::new(),
    }
}

impl View {
    /// Returns a view of these, among which are all keys that will be touched.
    pub(super) fn new(usage: Usage, entries: BTreeMap<String, Option<Entry>>) -> Self {
        Self { usage, entries, changed: BTreeSet::new() }
    }

    /// Does what was asked for, or nothing of it.
    pub(super) fn apply(&mut self, request: &Request) -> Answer {
        let quota = request.quota;
        match &request.operation {
            Operation::Set { key, value } => self.put(quota, &BTreeMap::from([(&**key, &**value)])),
            // Of several values of a key the last one counts.
            Operation::SetMany { entries } => {
                self.put(quota, &entries.iter().map(|(key, value)| (&**key, &**value)).collect())
            }
            Operation::Swap { key, revision, value } => {
                if self.entry(key).map_or(0, |entry| entry.revision) != *revision {
                    return Answer::Swapped(false);
                }
                match self.put(quota, &BTreeMap::from([(&**key, &**value)])) {
                    Answer::Done => Answer::Swapped(true),
                    other => other,
                }
            }
            Operation::Increment { key, delta } => {
                let current = self.entry(key).map_or(&b"0"[..], |entry| &entry.value);
                let number = match add(current, *delta) {
                    Ok(number) => number,
                    Err(why) => return Answer::Failed(Failure::Refused(why.to_owned())),
                };
                let value = digits(number);
                match self.put(quota, &BTreeMap::from([(&**key, value.as_bytes())])) {
                    Answer::Done => Answer::Number(number),
                    other => other,
                }
            }
            Operation::DeleteMany { keys } => {
                keys.iter().for_each(|key| self.delete(key));
                Answer::Done
            }
            // Nothing that only reads is asked here.
            _ => Answer::Failed(Failure::Unavailable("it writes nothing".to_owned())),
        }
    }

    /// Returns what has become of the keys that were changed, and of the usage.
    pub(super) fn changes(mut self) -> (Changes, Usage) {
        let entries = &mut self.entries;
        let value = |key: String| {
            let value = entries.remove(&key).flatten().map(|entry| entry.value);
            (key, value)
        };
        (self.changed.into_iter().map(value).collect(), self.usage)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).and_then(Option::as_ref)
    }

    fn put(&mut self, quota: Quota, values: &BTreeMap<&str, &[u8]>) -> Answer {
        let mut after = self.usage;
        for (key, value) in values {
            if let Some(old) = self.entry(key) {
                after.bytes = after.bytes.saturating_sub(old.value.len() as u64);
            } else {
                after.keys += 1;
                after.bytes += key.len() as u64;
            }
            after.bytes += value.len() as u64;
        }
        if let Some(full) = quota.exceeded(self.usage, after) {
            return Answer::Failed(Failure::Full(full));
        }
        for (key, value) in values {
            self.change(key, Some(Entry { revision: UNWRITTEN, value: value.to_vec() }));
        }
        self.usage = after;
        Answer::Done
    }

    fn delete(&mut self, key: &str) {
        let Some(old) = self.entry(key) else { return };
        let bytes = (key.len() + old.value.len()) as u64;
        self.usage = Usage {
            keys: self.usage.keys.saturating_sub(1),
            bytes: self.usage.bytes.saturating_sub(bytes),
        };
        self.change(key, None);
    }

    fn change(&mut self, key: &str, entry: Option<Entry>) {
        self.entries.insert(key.to_owned(), entry);
        self.changed.insert(key.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bucket;
    use crate::Store as _;
    use crate::local::{Local, Mode};
    use abi::state::Delta;
    use proptest::prelude::*;
    use std::sync::mpsc::channel;

    fn operations() -> impl Strategy<Value = Vec<(Operation, bool)>> {
        let key = || "[a-d]";
        let value = || prop::collection::vec(b'0'..b'3', 0..6);
        let operation = prop_oneof![
            (key(), value()).prop_map(|(key, value)| Operation::Set { key, value }),
            (key(), value(), 0u64..3).prop_map(|(key, value, revision)| Operation::Swap {
                key,
                value,
                revision
            }),
            (key(), -3i64..3)
                .prop_map(|(key, by)| Operation::Increment { key, delta: Delta::Signed(by) }),
            prop::collection::vec((key(), value()), 0..5)
                .prop_map(|entries| Operation::SetMany { entries }),
            prop::collection::vec(key(), 0..3).prop_map(|keys| Operation::DeleteMany { keys }),
        ];
        prop::collection::vec((operation, any::<bool>()), 1..40)
    }

    /// What NATS has.
    #[derive(Debug, Default)]
    struct Kept {
        revision: u64,
        usage: Usage,
        entries: BTreeMap<String, Entry>,
    }

    impl Kept {
        /// Does all of this in one batch.
        fn perform(&mut self, requests: &[Request]) -> Vec<Answer> {
            let touched = requests.iter().flat_map(|request| keys(&request.operation));
            let touched = touched.map(|key| (key.to_owned(), self.entries.get(key).cloned()));
            let mut view = View::new(self.usage, touched.collect());
            let answers = requests.iter().map(|request| view.apply(request)).collect();
            let (changes, usage) = view.changes();
            for (key, value) in changes {
                self.revision += 1;
                match value {
                    Some(value) => {
                        self.entries.insert(key, Entry { revision: self.revision, value });
                    }
                    None => drop(self.entries.remove(&key)),
                }
            }
            self.usage = usage;
            answers
        }
    }

    proptest! {
        /// Whatever is done at once, and what one by one. A swap's revision is here 0 or one that no
        /// key has, or (2) that of the key.
        #[test]
        fn it_does_what_the_database_does(operations in operations()) {
            let folder = tempfile::tempdir().unwrap();
            let local = Local::start(folder.path().join("x.redb"), Mode::Owned).unwrap();
            let ask = |request: Request| {
                let (done, answer) = channel();
                local.submit(request, Box::new(move |answer| drop(done.send(answer))));
                answer.recv().unwrap()
            };
            let quota = Quota { keys_max: 3, bytes_max: 14 };
            let bucket = Bucket::Function("a".to_owned());
            let request =
                |operation| Request { bucket: bucket.clone(), quota, operation };
            let (mut kept, mut waiting, mut expected) = (Kept::default(), Vec::new(), Vec::new());
            for (mut operation, is_last) in operations {
                let mut of_local = operation.clone();
                if let (
                    Operation::Swap { key, revision, .. },
                    Operation::Swap { revision: of_local, .. },
                ) = (&mut operation, &mut of_local)
                {
                    match *revision {
                        // Each has read it just now.
                        2 => {
                            kept.perform(&waiting).into_iter().zip(expected.drain(..)).for_each(
                                |(found, expected)| assert_eq!(found, expected),
                            );
                            waiting.clear();
                            *revision = kept.entries.get(key).map_or(0, |entry| entry.revision);
                            *of_local = match ask(request(Operation::Get { key: key.clone() })) {
                                Answer::Entry(entry) => entry.map_or(0, |entry| entry.revision),
                                other => panic!("{other:?}"),
                            };
                        }
                        1 => (*revision, *of_local) = (u64::MAX - 1, u64::MAX - 1),
                        _ => {}
                    }
                }
                waiting.push(request(operation));
                expected.push(ask(request(of_local)));
                if is_last {
                    let found = kept.perform(&waiting);
                    prop_assert_eq!(found, std::mem::take(&mut expected));
                    waiting.clear();
                }
            }
            kept.perform(&waiting);
            let usage = local.buckets().unwrap().first().map_or(Usage::default(), |(_, of)| *of);
            prop_assert_eq!(kept.usage, usage);
            for (key, entry) in &kept.entries {
                let found = ask(request(Operation::Get { key: key.clone() }));
                let Answer::Entry(Some(found)) = found else { panic!("{found:?}") };
                prop_assert_eq!(&found.value, &entry.value);
            }
        }
    }
}
