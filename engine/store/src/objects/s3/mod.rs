//! Objects in a bucket, through rust-s3: Amazon S3, Cloudflare R2, MinIO, Garage and others that
//! speak the same.
//!
//! Uses only what all of them have: put, get (also of a range), list and delete of whole objects;
//! nothing conditional and no multipart uploads. The signature of a request has the SHA-256 of its
//! body, so that a server refuses a body that was damaged on its way. [`request`] makes one attempt
//! after another with the [`credentials`], [`retry`] says when, [`reply`] what an answer means, and
//! [`listing`] parses a page. A thread of this backend makes the requests and owns their
//! connections, so that neither hashing nor TLS blocks the callers.

pub mod credentials;
mod listing;
mod reply;
mod request;
mod retry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use abi::limits::{ARTEFACT_BYTES_MAX, S3_KNOCK_BYTES_MIN, S3_REPLY_BYTES_MAX};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use s3::command::Command;
use s3::creds::Credentials as OfLibrary;
use s3::{Bucket, Region};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use self::credentials::Credentials;
use self::request::{Failure, Got, Requests};
use super::{Answer, Listed, Objects};
use crate::error::StoreError;
use settings::Settings;
use settings::store_location::{BucketLocation, StoreLocation};

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct Access {
    pub place: BucketLocation,
    /// The URL of the server, if it is not Amazon's.
    pub endpoint: Option<String>,
    pub region: String,
    /// Whether the bucket's name is in the path, and not in the host's name.
    pub path_style: bool,
    pub credentials: Credentials,
}

impl Access {
    /// Returns the access that the settings name. Returns `None` if the store is not a bucket.
    ///
    /// # Errors
    /// [`StoreError::Credentials`] when there are no credentials.
    pub fn of(settings: &Settings) -> Result<Option<Self>, StoreError> {
        let Some(StoreLocation::Bucket(place)) = &settings.store else { return Ok(None) };
        let credentials =
            Credentials::find(settings.s3_credentials.as_deref(), |name| std::env::var_os(name));
        let credentials = credentials
            .map_err(|source| StoreError::Credentials { name: place.to_string(), source })?;
        Ok(Some(Self {
            place: place.clone(),
            endpoint: settings.s3_endpoint.clone(),
            region: settings.s3_region.clone(),
            path_style: settings.s3_path_style,
            credentials,
        }))
    }
}

/// A job of the backend's thread. Its future stays on that thread, so it does not have to be
/// `Send`.
type Job = Box<dyn FnOnce(Arc<Requests>) -> LocalBoxFuture<'static, ()> + Send>;

/// A bucket of objects.
pub struct S3 {
    requests: Arc<Requests>,
    /// The queue of the thread, which ends when this is dropped.
    jobs: UnboundedSender<Job>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3").field(&self.requests.name).finish()
    }
}

/// Returns Amazon's own server of a region.
fn amazon(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{china}")
}

impl S3 {
    /// Opens a bucket. Sends no request yet.
    ///
    /// # Errors
    /// When the settings do not make an address, or the thread cannot be started.
    pub fn open(access: Access) -> Result<Self, StoreError> {
        // This is process-wide, and nothing else uses the library. `retry` decides when to try
        // again.
        s3::set_retries(0);
        let Access { place, endpoint, region, path_style, credentials } = access;
        let (name, endpoint) = (place.to_string(), endpoint.unwrap_or_else(|| amazon(&region)));
        let unfit = |reason: String| StoreError::Refused {
            name: name.clone(),
            endpoint: endpoint.clone(),
            reason,
            hint: "check --s3-endpoint and --s3-region".to_owned(),
        };
        let region = Region::Custom { region, endpoint: endpoint.clone() };
        let Credentials { key, secret, token } = &credentials;
        let credentials = OfLibrary::new(Some(key), Some(secret), token.as_deref(), None, None);
        let credentials = credentials.map_err(|error| unfit(error.to_string()))?;
        let mut bucket = Bucket::new(&place.bucket, region, credentials)
            .map_err(|error| unfit(error.to_string()))?;
        if path_style {
            bucket.set_path_style();
        }
        // One limit for all requests would be too long for a small one and too short for a large
        // one.
        bucket.set_request_timeout(None);
        let prefix =
            if place.prefix.is_empty() { String::new() } else { format!("{}/", place.prefix) };
        let requests = Arc::new(Requests { bucket, name, endpoint, prefix });
        let jobs = thread(Arc::clone(&requests))
            .map_err(|error| StoreError::Ended { reason: error.to_string() })?;
        Ok(Self { requests, jobs })
    }

    /// Runs `attempt` on the backend's thread until it succeeds or has no chance to, or until the
    /// caller is gone.
    fn ask<'a, T: Send + 'static>(
        &self,
        attempt: impl AsyncFn(&Requests) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<'a, T> {
        let (mut answer, asked) = oneshot::channel();
        let job = async move |requests: Arc<Requests>| {
            let done = tokio::select! {
                done = requests.again(|| attempt(&requests)) => done,
                () = answer.closed() => return,
            };
            // A caller that is gone is no failure.
            let _ = answer.send(done);
        };
        let sent = self.jobs.send(Box::new(move |requests| Box::pin(job(requests))));
        Box::pin(async move {
            let ended =
                |_| Err(StoreError::Ended { reason: "it takes no requests any more".into() });
            match sent {
                Ok(()) => asked.await.unwrap_or_else(ended),
                Err(_) => Err(StoreError::Ended { reason: "it takes no requests any more".into() }),
            }
        })
    }

    fn put_bytes<'a>(&self, key: &str, contents: Bytes) -> Answer<'a, ()> {
        let path = self.requests.path(key);
        self.ask(async move |requests| {
            if contents.len() >= S3_KNOCK_BYTES_MIN {
                // A small request first: it takes less time to find out that the server is away.
                requests
                    .attempt(&path, Command::GetObjectRange { start: 0, end: Some(0) }, 0)
                    .await?;
            }
            let content_type = "application/octet-stream";
            let put = Command::PutObject {
                content: &contents,
                content_type,
                custom_headers: None,
                multipart: None,
            };
            match requests.attempt(&path, put, contents.len()).await? {
                Got::Reply(response) => requests.expect_object(&response),
                Got::Absent | Got::BeyondEnd => {
                    Err(requests.foreign("it found no object to write".into()))
                }
            }
        })
    }

    /// Reads one page of a listing.
    fn page<'a>(
        &self,
        prefix: &str,
        after: &str,
        token: Option<String>,
    ) -> Answer<'a, listing::Page> {
        let prefix = format!("{}{prefix}", self.requests.prefix);
        let start_after = (!after.is_empty()).then(|| format!("{}{after}", self.requests.prefix));
        self.ask(async move |requests| {
            let list = Command::ListObjectsV2 {
                prefix: prefix.clone(),
                delimiter: None,
                continuation_token: token.clone(),
                start_after: start_after.clone(),
                max_keys: None,
            };
            let Got::Reply(response) = requests.attempt("/", list, 0).await? else {
                return Err(requests.foreign("it has no listing of the bucket".into()));
            };
            let came = request::came(&response);
            let body = requests.body(response, "listing", S3_REPLY_BYTES_MAX).await?;
            let page = std::str::from_utf8(&body).map_err(|error| error.to_string());
            let page = page.and_then(|text| listing::read(text, &requests.prefix));
            page.map_err(|reason| {
                requests.foreign(format!("{came}, which is no listing: {reason}"))
            })
        })
    }
}

/// Starts the thread. It ends when the last sender is dropped, and drops its jobs then.
fn thread(requests: Arc<Requests>) -> std::io::Result<UnboundedSender<Job>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (jobs, mut received) = unbounded_channel::<Job>();
    std::thread::Builder::new().name("store".into()).spawn(move || {
        tokio::task::LocalSet::new().block_on(&runtime, async {
            while let Some(job) = received.recv().await {
                tokio::task::spawn_local(job(Arc::clone(&requests)));
            }
        });
    })?;
    Ok(jobs)
}

impl Objects for S3 {
    fn name(&self) -> String {
        self.requests.name.clone()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>> {
        let (path, key) = (self.requests.path(key), key.to_owned());
        self.ask(async move |requests| {
            let Got::Reply(response) = requests.attempt(&path, Command::GetObject, 0).await? else {
                return Ok(None);
            };
            requests.expect_object(&response)?;
            requests.body(response, &key, bytes_max).await.map(Some)
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>> {
        let (path, key) = (self.requests.path(key), key.to_owned());
        self.ask(async move |requests| {
            // A range has at least one byte, and includes its end.
            let end = start.saturating_add(bytes.max(1) as u64 - 1);
            let ranged = Command::GetObjectRange { start, end: Some(end) };
            let response = match requests.attempt(&path, ranged, 0).await? {
                Got::Reply(response) => response,
                Got::Absent => return Ok(None),
                Got::BeyondEnd => return Ok(Some(Vec::new())),
            };
            requests.expect_object(&response)?;
            if response.status() != reqwest::StatusCode::PARTIAL_CONTENT {
                return Err(
                    requests.foreign("it sends a whole object where a part was asked for".into())
                );
            }
            let mut contents = requests.body(response, &key, bytes.max(1)).await?;
            contents.truncate(bytes);
            Ok(Some(contents))
        })
    }

    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        self.put_bytes(key, contents.into())
    }

    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        let (path, key, to) = (self.requests.path(key), key.to_owned(), to.to_owned());
        self.ask(async move |requests| {
            let Got::Reply(response) = requests.attempt(&path, Command::GetObject, 0).await? else {
                return Ok(false);
            };
            requests.expect_object(&response)?;
            let failed = |error| Failure::permanent(StoreError::io("write", &to)(error));
            // An earlier attempt may have written a part.
            let opened = tokio::fs::OpenOptions::new().write(true).truncate(true).open(&to).await;
            let mut file = opened.map_err(failed)?;
            let written = async |piece: Bytes| file.write_all(&piece).await.map_err(failed);
            requests.pieces(response, &key, ARTEFACT_BYTES_MAX, written).await?;
            file.flush().await.map_err(failed)?;
            file.sync_all().await.map_err(failed)?;
            Ok(true)
        })
    }

    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        Box::pin(async move {
            let contents = tokio::fs::read(from).await.map_err(StoreError::io("read", from))?;
            self.put_bytes(key, contents.into()).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>> {
        Box::pin(async move {
            let (mut listed, mut token): (Vec<Listed>, _) = (Vec::new(), None);
            loop {
                let page = self.page(prefix, after, token.clone()).await?;
                // Pages are in the order of keys. A server that repeats a page would make this loop
                // endless.
                let before = listed.last().map_or(after, |last| last.key.as_str());
                let forward = page.objects.first().is_none_or(|first| first.key.as_str() > before);
                if !forward || (page.next.is_some() && page.next == token) {
                    return Err(self
                        .requests
                        .foreign("its listing does not come to an end".into())
                        .error);
                }
                listed.extend(page.objects);
                match page.next {
                    None => return Ok(listed),
                    next => token = next,
                }
            }
        })
    }

    fn occupant(&self) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            // The first page is enough: a bucket without a prefix may have millions of others'
            // objects.
            let page = self.page("", "", None).await?;
            let more = page.next.map(|_| "objects that sockhop does not name".to_owned());
            Ok(page.objects.into_iter().next().map(|listed| listed.key).or(more))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        let path = self.requests.path(key);
        self.ask(async move |requests| {
            requests.attempt(&path, Command::DeleteObject, 0).await.map(|_| ())
        })
    }
}
