//! `invoke`: a call of a function by way of the control API. Owns no fds.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use api::endpoints;
use api::jobs::{CALLBACK_HEADER, METHOD_HEADER, Submitted};
use bytes::Bytes;
use clap::Args;
use control::names::check_called;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response};

use super::Target;
use super::client::{Node, OTHER_BUILD, reason};
use super::print::Bytes as Printed;

#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// The function; NAME@ALIAS or NAME@VERSION for one of its versions
    name: String,
    /// Path and query
    #[arg(long, default_value = "/", value_name = "PATH")]
    path: String,
    /// Method (default GET, or POST with a body)
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<Method>,
    /// A header (repeatable)
    #[arg(long, short = 'H', value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The body; @FILE for what is in a file, @- for what stdin gives
    #[arg(long, short = 'd', value_name = "BODY|@FILE|@-")]
    body: Option<String>,
    /// Print the reply's status and headers too, the invocation's id among them
    #[arg(long, short)]
    include: bool,
    /// Have the node call it later, at least once, until it succeeds; print the id, by which
    /// `sockhop jobs show` says what came of it
    #[arg(long = "async", conflicts_with = "include")]
    later: bool,
    /// With --async: have this URL told, by a POST, what came of it
    #[arg(long, value_name = "URL", requires = "later")]
    callback: Option<String>,
    #[command(flatten)]
    target: Target,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    let name = name.trim().parse::<HeaderName>().map_err(|error| error.to_string())?;
    let value = value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?;
    Ok((name, value))
}

pub(super) async fn run(invoke: Invoke) -> anyhow::Result<()> {
    check_called(&invoke.name)?;
    let body = body(invoke.body.as_deref())?;
    let usual = if invoke.body.is_some() || invoke.later { Method::POST } else { Method::GET };
    let method = invoke.method.clone().unwrap_or(usual);
    if invoke.later {
        return submit(invoke, &method, body).await;
    }
    let call =
        endpoints::Invoke::at(&invoke.name, invoke.path.strip_prefix('/').unwrap_or(&invoke.path));
    let node = Node::new(&invoke.target)?;
    let response = node.request(method, call.path(), &invoke.header, body).await?;
    let status = response.status();
    // Without the mark of an invocation it is the control API that answers: there was no call.
    let id = response.headers().get(abi::problem::INVOCATION_ID_HEADER).cloned();
    let Some(id) = id.as_ref().and_then(|id| id.to_str().ok()) else {
        let bytes = response.into_body().collect().await?.to_bytes();
        let why = reason(&bytes).unwrap_or_else(|| "the node gave no answer".to_owned());
        return Err(node.asked(anyhow!(why)));
    };
    let mut printed = Printed::new();
    if invoke.include {
        printed.print(&head(&response));
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the reply was cut short")?;
        if let Some(data) = frame.data_ref() {
            printed.print(data);
        }
    }
    if status.is_client_error() || status.is_server_error() {
        bail!("HTTP {}; `sockhop logs {id}` shows what the function has written", status.as_u16());
    }
    Ok(())
}

/// Has the node call a function later, and prints the id.
async fn submit(mut invoke: Invoke, method: &Method, body: Bytes) -> anyhow::Result<()> {
    let path = invoke.path.strip_prefix('/').unwrap_or(&invoke.path);
    let call = endpoints::SubmitJob::at(&invoke.name, path);
    let name = HeaderName::from_static(METHOD_HEADER);
    invoke.header.push((name, HeaderValue::from_str(method.as_str())?));
    if let Some(url) = &invoke.callback {
        let name = HeaderName::from_static(CALLBACK_HEADER);
        invoke.header.push((name, HeaderValue::from_str(url).context("--callback is no URL")?));
    }
    let node = Node::new(&invoke.target)?;
    let response = node.request(Method::POST, call.path(), &invoke.header, body).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        let why = reason(&bytes).unwrap_or_else(|| format!("the node answered {status}"));
        return Err(node.asked(anyhow!(why)));
    }
    let submitted: Submitted = serde_json::from_slice(&bytes).context(OTHER_BUILD)?;
    say!("{}", submitted.id);
    Ok(())
}

/// What is given as a body, or where it is.
fn body(given: Option<&str>) -> anyhow::Result<Bytes> {
    Ok(match given.map(|given| (given, given.strip_prefix('@'))) {
        None => Bytes::new(),
        Some((_, Some("-"))) => {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).context("stdin cannot be read")?;
            body.into()
        }
        Some((_, Some(file))) => {
            let file = PathBuf::from(file);
            std::fs::read(&file).with_context(|| format!("{file:?} cannot be read"))?.into()
        }
        Some((body, None)) => body.to_owned().into(),
    })
}

/// A reply's head, as it came.
fn head(response: &Response<Incoming>) -> Vec<u8> {
    let mut head = format!("{:?} {}\n", response.version(), response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    head.push(b'\n');
    head
}
