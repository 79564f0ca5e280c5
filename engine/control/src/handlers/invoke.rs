//! A call of a function through the control API. Owns no fds.
//!
//! ```text
//! ANY    /v1/functions/NAME/invoke/PATH?QUERY      NAME may be NAME@ALIAS or NAME@VERSION
//! ```

use std::sync::Arc;

use abi::message::Awaits;
use abi::reference::split;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;

use crate::call::call;
use crate::control::Control;
use crate::failed::{Failed, bad_request};
use crate::names;

pub(crate) async fn invoke(
    State(control): State<Arc<Control>>,
    request: Request<Body>,
) -> Result<Response, Failed> {
    // The path as it came: what is behind the name is the function's, percent-encoded or not.
    let whole = request.uri().path_and_query().map_or("", |path| path.as_str());
    let unfit = || bad_request("expected /v1/functions/NAME/invoke/PATH");
    let (name, rest) = whole
        .strip_prefix("/v1/functions/")
        .and_then(|rest| rest.split_once("/invoke"))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .ok_or_else(unfit)?;
    names::check_called(&name).map_err(bad_request)?;
    let (function, reference) = split(&name);
    control.functions.listing.find(function, reference).await?;
    let called = call(&control.supervisor, &name, &rest, request, Awaits::Admin).await;
    called.map_err(|error| Failed::new(error.fault(), error))
}
