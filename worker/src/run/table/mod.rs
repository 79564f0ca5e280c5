//! Functions that answer from a table. They show what a runtime looks like, and test the layers
//! above. Owns no fds.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use abi::function::Kind;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;

use super::body::GuestBody;
use super::failure::Failure;
use super::{Call, Code, Local, Runner, Runtime, Spec};

/// The answer to a path: a status, and the text before the body that the request had.
pub(crate) type Table = &'static [(&'static str, u16, &'static str)];

/// The status of an answer that never comes.
pub(crate) const NEVER: u16 = 0;

pub(crate) struct TableRuntime {
    pub(crate) table: Table,
    pub(crate) ready: Rc<Ready>,
}

/// Whether the next call finds something prepared, and how often it was prepared.
#[derive(Default)]
pub(crate) struct Ready {
    taken: Cell<bool>,
    pub(crate) prepared: Cell<u32>,
}

impl Runtime for TableRuntime {
    fn load(&self, _: Kind, _: &OwnedFd) -> Result<Rc<dyn Code>, String> {
        Ok(Rc::new(TableCode { table: self.table, ready: Rc::clone(&self.ready) }))
    }

    fn drop_retired(&self) {}

    fn end(&self) -> Local<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct TableCode {
    table: Table,
    ready: Rc<Ready>,
}

impl Code for TableCode {
    fn runner(&self, spec: Rc<Spec>) -> Rc<dyn Runner> {
        Rc::new(TableRunner { table: self.table, ready: Rc::clone(&self.ready), spec })
    }
}

struct TableRunner {
    table: Table,
    ready: Rc<Ready>,
    spec: Rc<Spec>,
}

impl Runner for TableRunner {
    fn call(self: Rc<Self>, call: Box<Call>) -> Local<'static, Result<(), Failure>> {
        self.ready.taken.set(true);
        Box::pin(async move {
            call.facts.ready();
            let (head, body) = call.request.into_parts();
            let function = || self.spec.name.to_string();
            let Some((_, status, text)) =
                self.table.iter().find(|(path, ..)| *path == head.uri.path())
            else {
                return Err(Failure::NoReply { function: function() });
            };
            if *status == NEVER {
                tokio::time::sleep(Duration::MAX).await;
            }
            let sent = body.collect().await.map(|sent| sent.to_bytes()).unwrap_or_default();
            let body = Bytes::from([text.as_bytes(), &sent].concat());
            let mut response =
                Response::new(GuestBody::new(Full::new(body).map_err(|never| match never {})));
            *response.status_mut() =
                (*status).try_into().map_err(|_| Failure::NoReply { function: function() })?;
            drop(call.reply.send(Ok(response)));
            call.facts.ended();
            Ok(())
        })
    }

    fn try_start(&self) -> Local<'_, Result<(), String>> {
        Box::pin(async {
            if self.table.is_empty() { Err("its table is empty".to_owned()) } else { Ok(()) }
        })
    }

    fn time_limit(&self) -> Duration {
        self.spec.timeout
    }

    fn weight(&self) -> u32 {
        1
    }

    fn needs_preparing(&self) -> bool {
        self.ready.taken.get()
    }

    fn prepare(&self) -> Local<'_, ()> {
        Box::pin(async {
            self.ready.taken.set(false);
            self.ready.prepared.set(self.ready.prepared.get() + 1);
        })
    }

    fn expire(&self, _: Instant) {}

    fn may_redirect(&self) -> bool {
        false
    }

    fn needs_local_address(&self) -> bool {
        false
    }
}
