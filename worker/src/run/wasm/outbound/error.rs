//! The errors of an exchange, and which of WASI's error codes stands for each.
//!
//! The codes are those of wasmtime's own `default_send_request`, except where WASI has a more exact
//! one: a server that goes away or cannot be reached is not reported as a protocol error. Owns no
//! fds.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use abi::limits::OUTBOUND_REPLY_HEAD_BYTES_MAX;
use hyper_util::client::legacy;
use tokio_rustls::rustls;
use wasmtime_wasi_http::Error;

use super::target::Target;

/// A destination that the function may not reach.
#[derive(Debug, thiserror::Error)]
#[error(
    "[outgoing request to {target} denied: {reason}; deploy with --allow-outbound {allow} to allow it]"
)]
pub(crate) struct Denied {
    target: String,
    reason: String,
    allow: String,
}

impl Denied {
    pub(super) fn host(target: Target) -> Self {
        let target = target.name();
        Self {
            allow: target.clone(),
            target,
            reason: "it is not among the function's allowed destinations".into(),
        }
    }

    pub(super) fn address(target: &Target, address: IpAddr) -> Self {
        Self {
            target: target.name(),
            reason: format!(
                "its name resolves to {address}, which is not a public address and not allowed itself"
            ),
            allow: SocketAddr::new(address, target.port).to_string(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the URL names no host and port")]
    Uri,
    #[error("the name cannot be resolved: {0}")]
    Lookup(io::Error),
    #[error("too many connections of this function")]
    Limit,
    #[error("it took too long")]
    TimedOut,
    #[error("no connection: {0}")]
    Tcp(io::Error),
    #[error("the host is no name that a certificate could have")]
    ServerName,
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Trust(String),
}

/// The server took none of a request's bytes for too long.
#[derive(Debug, thiserror::Error)]
#[error("the server has stopped reading")]
pub(super) struct WriteStalled;

/// The phase of an exchange that an error happened in.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Head,
    Body,
}

pub(super) fn from_client(error: &legacy::Error) -> Error {
    let Some(source) = error.source() else { return Error::HttpProtocolError };
    if let Some(error) = source.downcast_ref::<ConnectError>() {
        return from_connect(error);
    }
    source.downcast_ref().map_or(Error::HttpProtocolError, |error| from_hyper(error, Phase::Head))
}

pub(super) fn head_too_large() -> Error {
    Error::HttpResponseHeaderSectionSize(u32::try_from(OUTBOUND_REPLY_HEAD_BYTES_MAX).ok())
}

/// A GET's body began after the request had been sent without one.
pub(super) fn body_too_late() -> Error {
    let why = "the body began too late and was not sent: write it sooner, or give a Content-Length";
    Error::InternalError(Some(why.to_owned()))
}

pub(super) fn from_hyper(error: &hyper::Error, phase: Phase) -> Error {
    if error.is_parse_too_large() {
        return head_too_large();
    }
    let cut = match phase {
        Phase::Head => Error::ConnectionTerminated,
        Phase::Body => Error::HttpResponseIncomplete,
    };
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return from_io(io, cut);
        }
        source = cause.source();
    }
    // A request that is closed or canceled here never reached the server, or the server has closed
    // the connection.
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        cut
    } else {
        Error::HttpProtocolError
    }
}

fn from_io(error: &io::Error, cut: Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<WriteStalled>()) {
        return Error::ConnectionWriteTimeout;
    }
    match error.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => cut,
        ErrorKind::TimedOut => Error::HttpResponseTimeout,
        _ => from_tls(error).unwrap_or(Error::HttpProtocolError),
    }
}

fn from_connect(error: &ConnectError) -> Error {
    let dns = |rcode: &str| Error::DnsError { rcode: Some(rcode.to_owned()), info_code: None };
    match error {
        ConnectError::Denied(_) => Error::HttpRequestDenied,
        ConnectError::Uri => Error::HttpRequestUriInvalid,
        ConnectError::Lookup(_) => dns("address not available"),
        ConnectError::Limit => Error::ConnectionLimitReached,
        ConnectError::TimedOut => Error::ConnectionTimeout,
        ConnectError::Tcp(error) => match error.kind() {
            ErrorKind::AddrNotAvailable => dns("address not available"),
            ErrorKind::TimedOut => Error::ConnectionTimeout,
            ErrorKind::HostUnreachable => Error::DestinationUnavailable,
            ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
            _ => Error::ConnectionRefused,
        },
        ConnectError::ServerName => dns("invalid dns name"),
        ConnectError::Tls(error) => from_tls(error).unwrap_or(Error::TlsProtocolError),
        ConnectError::Trust(reason) => Error::InternalError(Some(reason.clone())),
    }
}

/// Returns the code of rustls's error, if that is the cause.
fn from_tls(error: &io::Error) -> Option<Error> {
    Some(match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Error::TlsCertificateError
        }
        rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        _ => Error::TlsProtocolError,
    })
}

/// Returns the sentence for the function's log, if the destination is not allowed.
pub(super) fn denied(error: &legacy::Error) -> Option<String> {
    match error.source()?.downcast_ref()? {
        ConnectError::Denied(denied) => Some(denied.to_string()),
        _ => None,
    }
}
