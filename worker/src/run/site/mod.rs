//! Static sites: functions that are files, and run nowhere.
//!
//! [`answer`] decides by the index alone, which [`abi::site`] has validated, and so no request names
//! a file of the disk. [`SiteCode`] owns the fd of the site's one file, which replies share while
//! they are sent.

mod answer;
mod conditional;
mod encoding;
mod lookup;
mod range;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::site::{ArchivedSite, SiteView};
use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;

use self::answer::{Answer, Asked, Body};
use super::body::{FilePart, GuestBody, RequestBody};
use super::failure::Failure;
use super::{BarePrefix, Call, Code, Local, Runner, Spec};
use crate::origin::FORWARDED_PREFIX;

/// Files up to this size are read, and sent with their heads in one call. Of larger ones the kernel
/// sends its own copy.
const READ_BYTES_MAX: u64 = 16 * 1024;

/// Loads a site from its file.
///
/// # Errors
/// A sentence for the log.
pub(super) fn load(fd: &OwnedFd) -> Result<Rc<dyn Code>, String> {
    let file = fd.try_clone().map_err(|error| error.to_string())?;
    let file = Arc::new(File::from(file));
    let view = SiteView::read(&file).map_err(|error| error.to_string())?;
    Ok(Rc::new(SiteCode(Rc::new(Site { view, file }))))
}

struct Site {
    view: SiteView,
    file: Arc<File>,
}

struct SiteCode(Rc<Site>);

impl Code for SiteCode {
    fn runner(&self, spec: Rc<Spec>) -> Rc<dyn Runner> {
        Rc::new(SiteRunner { site: Rc::clone(&self.0), spec })
    }

    fn before(&self, runner: Rc<dyn Runner>) -> Rc<dyn Runner> {
        Rc::new(AssetsRunner { site: Rc::clone(&self.0), runner })
    }
}

impl Site {
    /// Returns what `answer` makes of a request.
    fn asked<T>(
        &self,
        request: &http::Request<RequestBody>,
        answer: impl FnOnce(&ArchivedSite, &Asked<'_>) -> T,
    ) -> T {
        let prefix = request.headers().get(&FORWARDED_PREFIX);
        let asked = Asked {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query(),
            prefix: prefix.map_or("", |prefix| prefix.to_str().unwrap_or_default()),
            is_bare: request.extensions().get::<BarePrefix>().is_some(),
            headers: request.headers(),
        };
        answer(self.view.get(), &asked)
    }

    /// Makes a reply of an answer.
    fn response(&self, answer: Answer) -> Result<Response<GuestBody>, Failure> {
        let Answer { status, headers, body } = answer;
        let whole = |bytes: Bytes| GuestBody::new(Full::new(bytes).map_err(|never| match never {}));
        let body = match body {
            Body::None => whole(Bytes::new()),
            Body::Text(text) => whole(Bytes::from_static(text.as_bytes())),
            Body::Part { offset, bytes } if bytes <= READ_BYTES_MAX => {
                let mut read = vec![0; usize::try_from(bytes).unwrap_or_default()];
                let done = self.file.read_exact_at(&mut read, offset);
                done.map_err(|error| Failure::FileUnread { reason: error.to_string() })?;
                whole(read.into())
            }
            Body::Part { offset, bytes } => {
                GuestBody::File(FilePart { file: Arc::clone(&self.file), offset, bytes })
            }
        };
        let mut reply = Response::new(body);
        (*reply.status_mut(), *reply.headers_mut()) = (status, headers);
        Ok(reply)
    }

    /// Answers a call.
    fn end(&self, call: Box<Call>, answer: Answer) -> Result<(), Failure> {
        call.facts.ready();
        let reply = self.response(answer)?;
        // Nobody waits for it any more if the client has gone.
        drop(call.reply.send(Ok(reply)));
        call.facts.ended();
        Ok(())
    }
}

struct SiteRunner {
    site: Rc<Site>,
    spec: Rc<Spec>,
}

impl Runner for SiteRunner {
    fn call(self: Rc<Self>, call: Box<Call>) -> Local<'static, Result<(), Failure>> {
        Box::pin(async move {
            let answer = self.site.asked(&call.request, answer::answer);
            self.site.end(call, answer)
        })
    }

    fn try_start(&self) -> Local<'_, Result<(), String>> {
        // Its index was read and validated when it was loaded.
        Box::pin(std::future::ready(Ok(())))
    }

    fn time_limit(&self) -> Duration {
        self.spec.timeout
    }

    fn weight(&self) -> u32 {
        1
    }

    fn needs_preparing(&self) -> bool {
        false
    }

    fn prepare(&self) -> Local<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn expire(&self, _: Instant) {}

    fn may_redirect(&self) -> bool {
        false
    }

    fn needs_local_address(&self) -> bool {
        false
    }
}

/// The runner of a function with assets: its files are there without it.
struct AssetsRunner {
    site: Rc<Site>,
    runner: Rc<dyn Runner>,
}

impl Runner for AssetsRunner {
    fn call(self: Rc<Self>, call: Box<Call>) -> Local<'static, Result<(), Failure>> {
        match self.site.asked(&call.request, answer::answer_if_found) {
            Some(answer) => Box::pin(async move { self.site.end(call, answer) }),
            None => Rc::clone(&self.runner).call(call),
        }
    }

    fn try_start(&self) -> Local<'_, Result<(), String>> {
        self.runner.try_start()
    }

    fn time_limit(&self) -> Duration {
        self.runner.time_limit()
    }

    fn weight(&self) -> u32 {
        self.runner.weight()
    }

    fn needs_preparing(&self) -> bool {
        self.runner.needs_preparing()
    }

    fn prepare(&self) -> Local<'_, ()> {
        self.runner.prepare()
    }

    fn expire(&self, now: Instant) {
        self.runner.expire(now);
    }

    fn retire(&self) {
        self.runner.retire();
    }

    fn may_redirect(&self) -> bool {
        self.runner.may_redirect()
    }

    fn needs_local_address(&self) -> bool {
        self.runner.needs_local_address()
    }
}

/// Returns a header's value of a text that has only characters which one may have.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
