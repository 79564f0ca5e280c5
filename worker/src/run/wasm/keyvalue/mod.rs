//! Buckets for guests: two drafts of `wasi:keyvalue` ([`draft`], [`draft2`]) and what Spin had before
//! them ([`spin`]), over what is here.
//!
//! A bucket is the function's own, or one that it was granted. Each operation is a question to the
//! engine, for whose answer the guest waits without holding the thread; the engine knows for itself
//! what the function may use. Limits are checked here first, so that a guest is told of them. Owns
//! no fds.

mod draft;
mod draft2;
mod spin;

use std::sync::Arc;

use abi::limits::{STATE_BATCH_BYTES_MAX, STATE_BATCH_KEYS_MAX, STATE_CALL_BYTES_MAX};
use abi::state::{Answer, DEFAULT_BUCKET, Delta, Entry, Failure, Operation, Position};
use wasmtime::component::{Linker, Resource, ResourceTable, ResourceTableError, types};
use wasmtime::{Engine, Result};

use crate::guest_log::GuestStream;
use crate::run::Spec;
use crate::state::State;

/// Adds all of them to a linker. `view` returns what they work on.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> Result<()> {
    draft::add_to_linker(linker, view)?;
    draft2::add_to_linker(linker, view)?;
    spin::add_to_linker(linker, view)
}

/// Returns whether a component imports any of it.
pub(super) fn is_imported(component: &types::Component, engine: &Engine) -> bool {
    let prefixes = ["wasi:keyvalue/", "fermyon:spin/key-value@"];
    let is_one = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    component.imports(engine).any(|(name, _)| is_one(name))
}

/// What a function may use. Cheap to clone; there is one for each runner whose code imports it.
#[derive(Clone)]
pub(super) struct Granted(Arc<Grants>);

struct Grants {
    state: Arc<State>,
    function: Arc<str>,
    /// The shared buckets: by which name the function opens each, and the bucket's own.
    shared: Vec<(String, String)>,
    calls_max: u32,
}

impl Granted {
    pub(super) fn new(state: &Arc<State>, spec: &Spec) -> Self {
        Self(Arc::new(Grants {
            state: Arc::clone(state),
            function: Arc::clone(&spec.name),
            shared: spec.kv.clone(),
            calls_max: spec.limits.kv_calls_max,
        }))
    }
}

/// A guest's part: what it may use, and how often it has.
pub(super) struct Keyvalue {
    granted: Granted,
    calls: u32,
}

impl Keyvalue {
    pub(super) fn new(granted: Granted) -> Self {
        Self { granted, calls: 0 }
    }

    /// Begins another invocation.
    pub(super) fn begin(&mut self) {
        self.calls = 0;
    }
}

/// A bucket that a guest has opened: a shared one, or its function's own.
pub struct Bucket(Option<Arc<str>>);

/// A value that a guest is about to change, as it has seen it.
pub struct Cas {
    bucket: Option<Arc<str>>,
    key: String,
    revision: u64,
}

/// Why an operation failed.
#[derive(Debug)]
pub enum Error {
    NoSuchStore,
    AccessDenied,
    Other(String),
    /// The guest is ended.
    Trap(wasmtime::Error),
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<&str> for Error {
    fn from(why: &str) -> Self {
        Self::Other(why.to_owned())
    }
}

/// What the engine answers to another question.
const MISPLACED: &str = "the engine has answered something else";

/// What the operations of a guest work on.
pub(super) struct View<'a> {
    /// `None` for a guest that does not import it.
    pub(super) keyvalue: Option<&'a mut Keyvalue>,
    pub(super) table: &'a mut ResourceTable,
    pub(super) stderr: &'a GuestStream,
}

impl View<'_> {
    fn open(&mut self, identifier: &str) -> Result<Resource<Bucket>, Error> {
        let granted = self.keyvalue.as_ref().map(|keyvalue| &keyvalue.granted.0.shared[..]);
        let name = match identifier {
            "" | DEFAULT_BUCKET => None,
            _ => {
                let find = |of: &&(String, String)| of.0 == identifier;
                let Some((_, bucket)) = granted.unwrap_or_default().iter().find(find) else {
                    self.note(&format!(
                        "[a store called {identifier:?} was not opened: the function was deployed without --kv {identifier}=BUCKET]"
                    ));
                    return Err(Error::NoSuchStore);
                };
                Some(bucket.as_str().into())
            }
        };
        Ok(self.table.push(Bucket(name))?)
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> Result<Option<Arc<str>>, Error> {
        Ok(self.table.get(bucket)?.0.clone())
    }

    fn note(&self, line: &str) {
        self.stderr.note(line);
    }

    /// Has the engine do something.
    async fn ask(&mut self, bucket: Option<&str>, operation: Operation) -> Result<Answer, Error> {
        operation.check()?;
        let Some(keyvalue) = &mut self.keyvalue else { return Err(Error::AccessDenied) };
        let Grants { state, function, calls_max, .. } = &*keyvalue.granted.0;
        if keyvalue.calls >= *calls_max {
            let why = format!("an invocation may use its buckets {calls_max} times (--kv-calls)");
            self.note(&format!("[{why}]"));
            return Err(Error::Other(why));
        }
        keyvalue.calls += 1;
        match state.ask(function, bucket, operation).await {
            Answer::Failed(Failure::Denied) => {
                self.note("[the function has no access to its bucket now]");
                Err(Error::AccessDenied)
            }
            Answer::Failed(Failure::Refused(why)) => Err(Error::Other(why)),
            Answer::Failed(Failure::Full(why)) => {
                self.note(&format!("[nothing was set: {why} (--kv-keys, --kv-size)]"));
                Err(Error::Other(why))
            }
            Answer::Failed(Failure::Unavailable(why)) => {
                self.note(&format!("[its bucket cannot be used: {why}]"));
                Err(Error::Other(why))
            }
            answer => Ok(answer),
        }
    }

    async fn entry(&mut self, bucket: Option<&str>, key: String) -> Result<Option<Entry>, Error> {
        match self.ask(bucket, Operation::Get { key }).await? {
            Answer::Entry(entry) => Ok(entry),
            _ => Err(MISPLACED.into()),
        }
    }

    async fn get(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        let bucket = self.bucket(bucket)?;
        Ok(self.entry(bucket.as_deref(), key).await?.map(|entry| entry.value))
    }

    async fn exists(&mut self, bucket: &Resource<Bucket>, key: String) -> Result<bool, Error> {
        let bucket = self.bucket(bucket)?;
        match self.ask(bucket.as_deref(), Operation::Exists { key }).await? {
            Answer::Exists(exists) => Ok(exists),
            _ => Err(MISPLACED.into()),
        }
    }

    async fn list(
        &mut self,
        bucket: &Resource<Bucket>,
        from: Position,
    ) -> Result<(Vec<String>, bool), Error> {
        let bucket = self.bucket(bucket)?;
        match self.ask(bucket.as_deref(), Operation::List { from }).await? {
            Answer::Keys { keys, more } => Ok((keys, more)),
            _ => Err(MISPLACED.into()),
        }
    }

    /// Does something that is answered with nothing but that it is done.
    async fn change(
        &mut self,
        bucket: &Resource<Bucket>,
        operation: Operation,
    ) -> Result<(), Error> {
        let bucket = self.bucket(bucket)?;
        match self.ask(bucket.as_deref(), operation).await? {
            Answer::Done => Ok(()),
            _ => Err(MISPLACED.into()),
        }
    }

    async fn increment(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
        delta: Delta,
    ) -> Result<Delta, Error> {
        let bucket = self.bucket(bucket)?;
        match self.ask(bucket.as_deref(), Operation::Increment { key, delta }).await? {
            Answer::Number(number) => Ok(number),
            _ => Err(MISPLACED.into()),
        }
    }

    async fn get_many(
        &mut self,
        bucket: &Resource<Bucket>,
        mut keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        check_batch(keys.len())?;
        let bucket = self.bucket(bucket)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while !keys.is_empty() {
            let fits = fitting(keys.iter().map(String::len));
            let asked = keys[..fits].to_vec();
            let values =
                match self.ask(bucket.as_deref(), Operation::GetMany { keys: asked }).await? {
                    Answer::Entries(values) if (1..=fits).contains(&values.len()) => values,
                    _ => return Err(MISPLACED.into()),
                };
            bytes += values.iter().flatten().map(Vec::len).sum::<usize>();
            if bytes > STATE_BATCH_BYTES_MAX {
                return Err("the values of one batch are more than 1 MiB".into());
            }
            let asked = keys.drain(..values.len());
            found.extend(asked.zip(values).map(|(key, value)| value.map(|value| (key, value))));
        }
        Ok(found)
    }

    async fn set_many(
        &mut self,
        bucket: &Resource<Bucket>,
        mut entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        check_batch(entries.len())?;
        while !entries.is_empty() {
            let fits = fitting(entries.iter().map(|(key, value)| key.len() + value.len()));
            let part = entries.drain(..fits).collect();
            self.change(bucket, Operation::SetMany { entries: part }).await?;
        }
        Ok(())
    }

    async fn delete_many(
        &mut self,
        bucket: &Resource<Bucket>,
        mut keys: Vec<String>,
    ) -> Result<(), Error> {
        check_batch(keys.len())?;
        while !keys.is_empty() {
            let fits = fitting(keys.iter().map(String::len));
            let part = keys.drain(..fits).collect();
            self.change(bucket, Operation::DeleteMany { keys: part }).await?;
        }
        Ok(())
    }

    async fn new_cas(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> Result<Resource<Cas>, Error> {
        let bucket = self.bucket(bucket)?;
        self.cas_of(bucket, key).await
    }

    async fn cas_of(
        &mut self,
        bucket: Option<Arc<str>>,
        key: String,
    ) -> Result<Resource<Cas>, Error> {
        let entry = self.entry(bucket.as_deref(), key.clone()).await?;
        let revision = entry.map_or(0, |entry| entry.revision);
        Ok(self.table.push(Cas { bucket, key, revision })?)
    }

    /// Returns the value as it is now, and has a swap find out whether it changes from now on.
    async fn current(&mut self, cas: &Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        let Cas { bucket, key, .. } = self.table.get(cas)?;
        let (bucket, key) = (bucket.clone(), key.clone());
        let entry = self.entry(bucket.as_deref(), key).await?;
        self.table.get_mut(cas)?.revision = entry.as_ref().map_or(0, |entry| entry.revision);
        Ok(entry.map(|entry| entry.value))
    }

    /// Swaps the value. If it has changed meanwhile, returns another handle, as of now.
    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<Option<Resource<Cas>>, Error> {
        let Cas { bucket, key, revision } = self.table.delete(cas)?;
        let operation = Operation::Swap { key: key.clone(), revision, value };
        match self.ask(bucket.as_deref(), operation).await? {
            Answer::Swapped(true) => Ok(None),
            Answer::Swapped(false) => Ok(Some(self.cas_of(bucket, key).await?)),
            _ => Err(MISPLACED.into()),
        }
    }
}

fn check_batch(count: usize) -> Result<(), Error> {
    if count > STATE_BATCH_KEYS_MAX {
        Err("a batch has more than 1000 keys".into())
    } else {
        Ok(())
    }
}

/// Returns how many of the first things of these lengths fit into one question. The first goes alone
/// however long it is: it is refused then.
fn fitting(lengths: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0_usize;
    let fit = lengths.take_while(|length| {
        sum = sum.saturating_add(*length);
        sum <= STATE_CALL_BYTES_MAX
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_asked_for_in_parts_that_fit() {
        let half = STATE_CALL_BYTES_MAX / 2;
        assert_eq!(fitting([half, half, 1].into_iter()), 2);
        assert_eq!(fitting([usize::MAX, 1].into_iter()), 1);
        assert_eq!(fitting([1, usize::MAX].into_iter()), 1);
        assert_eq!(fitting([1; 5].into_iter()), 5);
    }
}
