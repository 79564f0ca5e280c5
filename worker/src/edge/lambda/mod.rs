//! The way in from AWS Lambda: events from its Runtime API, one after another, each answered as the
//! HTTP request that it stands for.
//!
//! [`lambda::handler`] says what an event means and what a result looks like; [`api`] is the
//! connection to the Runtime API, which it owns.

mod api;

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderValue;
use lambda::error_body::message_and_type;
use lambda::handler::{self, Incoming};
use lambda::limits::RESPONSE_BYTES_MAX;

use self::api::{Event, RuntimeApi};
use super::memory;
use crate::origin::Client;
use crate::serve::Pipeline;

/// The types of errors that have none of their own: the function cannot be run here, or a reply did
/// not come to its end.
const INIT_ERROR: &str = "Runtime.InitError";
const REPLY_ERROR: &str = "Function.ReplyFailed";

/// Why an event has no result.
struct Failure {
    error_type: &'static str,
    body: Bytes,
}

impl Failure {
    fn new(error_type: &'static str, error: &impl ToString) -> Self {
        Self { error_type, body: message_and_type(&error.to_string(), error_type) }
    }
}

/// Answers the events of the Runtime API at `address`, for ever. `loaded` says whether the function
/// can be run.
///
/// # Errors
/// If it cannot be run, which Lambda is told first, or if the Runtime API does not answer.
pub(crate) async fn run(
    pipeline: &Rc<Pipeline>,
    address: &str,
    loaded: anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut api = RuntimeApi::new(address)?;
    if let Err(error) = loaded {
        let Failure { error_type, body } = Failure::new(INIT_ERROR, &format!("{error:#}"));
        api.init_error(error_type, body).await.context("reporting that")?;
        return Err(error);
    }
    loop {
        let event = api.next().await.context("asking for the next event")?;
        let id = event.about.request_id.clone();
        match answer(pipeline, event).await {
            Ok(result) => api.response(&id, result).await.context("sending a result")?,
            Err(Failure { error_type, body }) => {
                api.error(&id, error_type, body).await.context("sending an error")?;
            }
        }
    }
}

/// Has an event answered. Returns the result, or the reason why there is none.
async fn answer(pipeline: &Rc<Pipeline>, event: Event) -> Result<Bytes, Failure> {
    let Incoming { mut request, form, client, https } = handler::incoming(&event.body)
        .map_err(|error| Failure { error_type: error.error_type(), body: error.body() })?;
    let trace = event.about.trace_id.map(HeaderValue::try_from);
    if let Some(Ok(trace)) = trace {
        request.headers_mut().insert(&api::TRACE_HEADER, trace);
    }
    let address = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let client = Client { address, port: None, https };
    let reply = memory::request(pipeline, request, client, RESPONSE_BYTES_MAX).await;
    let reply = reply.map_err(|error| Failure::new(REPLY_ERROR, &error))?;
    let result = handler::result(form, &reply);
    result.map_err(|error| Failure { error_type: error.error_type(), body: error.body() })
}
