//! State of functions: keys and values of their buckets. Owns no fds.
//!
//! ```text
//! GET    /v1/functions/NAME/kv              a page of keys
//! GET    /v1/functions/NAME/kv/value?key=   a value, as it is
//! PUT    /v1/functions/NAME/kv/value?key=   the body is the value
//! DELETE /v1/functions/NAME/kv/value?key=
//! GET    /v1/functions/NAME/kv/entries      a page of keys and values
//! POST   /v1/functions/NAME/kv/entries      sets some
//! ```
//!
//! Each takes `bucket=` for one that the function shares.

use std::sync::Arc;

use abi::state::{Answer, DEFAULT_BUCKET, Failure, Operation, Position};
use api::endpoints::{
    GetStateValue, ListStateEntries, ListStateKeys, RemoveStateKey, SetStateEntries, SetStateValue,
};
use api::kv::{BucketQuery, EntriesPage, KeptEntry, KeyQuery, KeysPage, NewEntries, PageQuery};
use api::status::StateUse;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use host::fault::Fault;
use state::{Bucket, Quota, Request, Usage};

use super::read;
use crate::control::Control;
use crate::failed::{Failed, bad_request};
use crate::functions::ChangeError;
use crate::routes::{Answered, QueryOf};

pub(crate) async fn keys(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(PageQuery { bucket, after }): QueryOf<ListStateKeys>,
) -> Answered<ListStateKeys> {
    let bucket = control.bucket(&name, bucket.as_deref())?;
    let (keys, next) = control.page(&bucket, after).await?;
    let Usage { keys: keys_in_all, bytes: bytes_in_all } = control.usage(&bucket).await?;
    Ok(Json(KeysPage { keys, next, keys_in_all, bytes_in_all }))
}

pub(crate) async fn value(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(KeyQuery { key, bucket }): QueryOf<GetStateValue>,
) -> Result<impl IntoResponse, Failed> {
    let bucket = control.bucket(&name, bucket.as_deref())?;
    match control.perform(&bucket, Operation::Get { key: key.clone() }).await? {
        Answer::Entry(Some(entry)) => {
            Ok(([(CONTENT_TYPE, "application/octet-stream")], entry.value))
        }
        _ => Err(no_such_key(&bucket, &key)),
    }
}

pub(crate) async fn set(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(KeyQuery { key, bucket }): QueryOf<SetStateValue>,
    value: Bytes,
) -> Result<StatusCode, Failed> {
    let bucket = control.bucket(&name, bucket.as_deref())?;
    control.perform(&bucket, Operation::Set { key, value: value.into() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(KeyQuery { key, bucket }): QueryOf<RemoveStateKey>,
) -> Result<StatusCode, Failed> {
    let bucket = control.bucket(&name, bucket.as_deref())?;
    match control.perform(&bucket, Operation::Exists { key: key.clone() }).await? {
        Answer::Exists(true) => {
            control.perform(&bucket, Operation::DeleteMany { keys: vec![key] }).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        _ => Err(no_such_key(&bucket, &key)),
    }
}

pub(crate) async fn entries(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(PageQuery { bucket, after }): QueryOf<ListStateEntries>,
) -> Answered<ListStateEntries> {
    let bucket = control.bucket(&name, bucket.as_deref())?;
    let (keys, next) = control.page(&bucket, after).await?;
    let asked = keys[..keys.len().min(ENTRIES_MAX)].to_vec();
    let values = match control.perform(&bucket, Operation::GetMany { keys: asked }).await? {
        Answer::Entries(values) => values,
        _ => Vec::new(),
    };
    // As many as one answer has: the others are on the next page.
    let last = values.len().checked_sub(1).and_then(|at| keys.get(at)).cloned();
    let next = if values.len() < keys.len() { last } else { next };
    // A key that has gone since has no value.
    let entries = keys
        .into_iter()
        .zip(values)
        .filter_map(|(key, value)| Some(KeptEntry { key, value: BASE64_STANDARD.encode(value?) }));
    Ok(Json(EntriesPage { entries: entries.collect(), next }))
}

/// The most keys whose values are read at a time: their names alone fit into one question.
const ENTRIES_MAX: usize = 100;

pub(crate) async fn set_entries(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(BucketQuery { bucket }): QueryOf<SetStateEntries>,
    body: Bytes,
) -> Result<StatusCode, Failed> {
    let NewEntries { entries } = read(&body)?;
    let bucket = control.bucket(&name, bucket.as_deref())?;
    let decoded = entries.into_iter().map(|KeptEntry { key, value }| {
        let refused = |error| bad_request(format!("the value of {key:?} is not base64: {error}"));
        let value = BASE64_STANDARD.decode(value).map_err(refused)?;
        Ok((key, value))
    });
    let entries = decoded.collect::<Result<_, Failed>>()?;
    control.perform(&bucket, Operation::SetMany { entries }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_key(bucket: &Bucket, key: &str) -> Failed {
    Failed::new(Fault::NOT_FOUND, format_args!("{bucket} has no key {key:?}"))
}

impl Control {
    /// Returns the bucket that the function `name` opens as `opened`, by its active version.
    fn bucket(&self, name: &str, opened: Option<&str>) -> Result<Bucket, Failed> {
        abi::name::check(name).map_err(ChangeError::from)?;
        let opened = match opened {
            None | Some("" | DEFAULT_BUCKET) => return Ok(Bucket::Function(name.to_owned())),
            Some(opened) => opened,
        };
        let function = self.functions.listing.function(name)?;
        let versions = function.active().into_iter().flat_map(|alias| &alias.targets);
        let granted = versions.filter_map(|target| function.version(&target.version));
        let found = granted.filter_map(|version| version.kv.get(opened)).next();
        match found {
            Some(bucket) => Ok(Bucket::Shared(bucket.clone())),
            None => Err(Failed::new(
                Fault::NOT_FOUND,
                format_args!(
                    "{name} has no bucket that it opens as {opened:?}; `sockhop inspect {name}` shows those that it has"
                ),
            )),
        }
    }

    /// Does something as the operator, whom no quota holds.
    async fn perform(&self, bucket: &Bucket, operation: Operation) -> Result<Answer, Failed> {
        operation.check().map_err(bad_request)?;
        let request = Request { bucket: bucket.clone(), quota: Quota::NONE, operation };
        let answer = self.state.call(request).await.map_err(|_| ChangeError::Stopping)?;
        succeeded(answer)
    }

    /// Returns a page of keys, and what the next one begins behind.
    async fn page(
        &self,
        bucket: &Bucket,
        after: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), Failed> {
        let from = Position::After(after.unwrap_or_default());
        match self.perform(bucket, Operation::List { from }).await? {
            Answer::Keys { keys, more } => {
                let next = keys.last().filter(|_| more).cloned();
                Ok((keys, next))
            }
            _ => Ok((Vec::new(), None)),
        }
    }

    /// Returns how full a bucket is.
    pub(super) async fn usage(&self, bucket: &Bucket) -> Result<Usage, Failed> {
        let buckets = self.state.buckets().await;
        let buckets = buckets.map_err(|why| Failed::new(Fault::UNAVAILABLE, why))?;
        let found = buckets.into_iter().find(|(known, _)| known == bucket);
        Ok(found.map(|(_, usage)| usage).unwrap_or_default())
    }

    /// Returns how much functions keep. Returns `None` if they keep nothing.
    pub(super) async fn state_use(&self) -> Option<StateUse> {
        let buckets = match self.state.buckets().await {
            Ok(buckets) => buckets,
            Err(why) => return Some(StateUse { error: Some(why), ..StateUse::default() }),
        };
        let sum = |of: fn(&Usage) -> u64| buckets.iter().map(|(_, usage)| of(usage)).sum();
        let (keys, bytes) = (sum(|usage| usage.keys), sum(|usage| usage.bytes));
        let state = StateUse { buckets: buckets.len(), keys, bytes, error: None };
        (state.buckets > 0).then_some(state)
    }

    /// Removes all that a function has in the bucket of its own. Returns whether there was
    /// anything.
    pub(super) async fn clear_state(&self, name: &str) -> Result<bool, Failed> {
        let bucket = Bucket::Function(name.to_owned());
        let before = self.usage(&bucket).await?;
        let cleared = self.state.clear(bucket).await.map_err(|_| ChangeError::Stopping)?;
        succeeded(cleared)?;
        Ok(before != Usage::default())
    }
}

/// Returns the answer, unless it is a failure.
fn succeeded(answer: Answer) -> Result<Answer, Failed> {
    match answer {
        Answer::Failed(Failure::Unavailable(why)) => Err(Failed::new(Fault::UNAVAILABLE, why)),
        Answer::Failed(Failure::Refused(why) | Failure::Full(why)) => {
            Err(Failed::new(Fault::CONFLICT, why))
        }
        Answer::Failed(Failure::Denied) => Err(Failed::new(Fault::NOT_FOUND, "no such bucket")),
        answer => Ok(answer),
    }
}
