//! HTTP to the CA: over TLS alone, each request with a deadline, each answer of a bounded length,
//! and with nothing in it that its reader would stumble over. Owns the client's connections.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use host::fault::chain_of;
use http::header::{HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::{Certificate, Client};

use crate::error::AcmeError;

/// How long the CA has for each answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to look at a challenge, and again to issue.
pub(crate) const POLL_TIMEOUT: Duration = Duration::from_secs(3 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer; a chain has some 5 KB.
const ANSWER_BYTES_MAX: usize = 512 * 1024;
/// The longest `Retry-After` while an order goes on. Longer ones end it.
const RETRY_AFTER_MAX_S: u64 = 60 * 60;
/// The most bytes of a file of root certificates.
const ROOTS_BYTES_MAX: u64 = 1024 * 1024;

/// Why a request got no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Away(String),
    #[error("{0}")]
    Foreign(String),
}

/// The client of one CA. Clones share its connections.
#[derive(Clone)]
pub(crate) struct CaClient {
    client: Client,
    directory: Arc<str>,
    /// What the last refusal said of when to come again.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl fmt::Debug for CaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaClient").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl CaClient {
    /// Makes the client of the CA with this directory. With `root`, a file of root certificates in
    /// PEM, only those are trusted.
    ///
    /// # Errors
    /// When the URL or the file cannot be used.
    pub(crate) fn new(directory: &str, root: Option<&Path>) -> Result<Self, AcmeError> {
        let wrong = |reason: String| AcmeError::Directory { url: directory.to_owned(), reason };
        let url = directory.parse::<Uri>().map_err(|error| wrong(error.to_string()))?;
        if url.scheme_str() != Some("https") {
            return Err(wrong("it must begin with https://".to_owned()));
        }
        let mut builder = Client::builder()
            .https_only(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = root {
            let unusable = |reason: String| AcmeError::Root { path: path.to_owned(), reason };
            let pem = read(path).map_err(|error| unusable(error.to_string()))?;
            let roots =
                Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
            if roots.is_empty() {
                return Err(unusable("it has no certificate in PEM".to_owned()));
            }
            builder = builder.tls_built_in_root_certs(false);
            builder =
                roots.into_iter().fold(builder, |builder, root| builder.add_root_certificate(root));
        }
        let client = builder.build().map_err(|error| AcmeError::Client {
            directory: directory.to_owned(),
            reason: chain_of(&error),
        })?;
        Ok(Self { client, directory: directory.into(), retry_after: Arc::default() })
    }

    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    /// Returns what the last refusal said of when to come again, once.
    pub(crate) fn take_retry_after(&self) -> Option<Duration> {
        self.retry_after.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let away = |error: reqwest::Error| HttpError::Away(chain_of(&error.without_url()));
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut headers = parts.headers;
        let agent = concat!("sockhop/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let request = self.client.request(parts.method.clone(), &url).headers(headers).body(body);
        let mut answer = request.send().await.map_err(away)?;
        let mut contents = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(away)? {
            if contents.len() + part.len() > ANSWER_BYTES_MAX {
                let reason = format!("an answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(HttpError::Foreign(reason));
            }
            contents.extend_from_slice(&part);
        }
        let status = answer.status();
        if parts.method == Method::GET && url == *self.directory {
            if !status.is_success() {
                return Err(HttpError::Away(format!("its directory is answered with {status}")));
            }
            check_directory(&contents).map_err(HttpError::Foreign)?;
        }
        let mut response = Response::new(Full::new(Bytes::from(contents)));
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let after = response.headers_mut().remove(RETRY_AFTER);
        if let Some(after) = after.as_ref().and_then(seconds_of) {
            if status.is_client_error() || status.is_server_error() {
                let mut kept = self.retry_after.lock().unwrap_or_else(PoisonError::into_inner);
                *kept = Some(Duration::from_secs(after));
            }
            // The library adds it to a time, which a large one would not survive.
            let bounded = HeaderValue::from(after.min(RETRY_AFTER_MAX_S));
            response.headers_mut().insert(RETRY_AFTER, bounded);
        }
        Ok(BytesResponse::from(response))
    }
}

impl HttpClient for CaClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            client.send(request).await.map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(ROOTS_BYTES_MAX).read_to_end(&mut pem)?;
    Ok(pem)
}

/// Returns how many seconds a `Retry-After` says.
fn seconds_of(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    text.parse().ok().or_else(|| {
        let time = httpdate::parse_http_date(text).ok()?;
        Some(time.duration_since(SystemTime::now()).unwrap_or_default().as_secs())
    })
}

/// Checks that a directory has the URLs that the library takes for such.
fn check_directory(json: &[u8]) -> Result<(), String> {
    let directory: serde_json::Value = serde_json::from_slice(json)
        .map_err(|error| format!("its directory is no JSON: {error}"))?;
    for field in ["newNonce", "newAccount", "newOrder"] {
        let url = directory.get(field).and_then(|url| url.as_str()).unwrap_or_default();
        let is_good = url.parse::<Uri>().is_ok_and(|url| url.scheme_str() == Some("https"));
        if !is_good {
            return Err(format!("the {field:?} of its directory is no URL with https"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let seconds = |text: &str| seconds_of(&HeaderValue::from_str(text).unwrap());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("18446744073709551615"), Some(u64::MAX));
        assert_eq!(seconds("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0));
        assert!(seconds("Thu, 01 Jan 2099 00:00:00 GMT") > Some(1_000_000));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn a_directory_without_the_urls_is_refused() {
        let directory = |nonce: &str| {
            format!(r#"{{"newNonce":{nonce},"newAccount":"https://a/b","newOrder":"https://a/c"}}"#)
        };
        assert_eq!(check_directory(directory(r#""https://a/n""#).as_bytes()), Ok(()));
        for nonce in ["\"\"", "\"http://a/n\"", "\"https://[\"", "7", "null", "\"https://a b\""] {
            assert!(check_directory(directory(nonce).as_bytes()).is_err(), "{nonce}");
        }
        assert!(check_directory(b"<html>").is_err());
    }

    #[test]
    fn a_url_without_tls_and_a_root_that_is_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        let new = |root| CaClient::new("https://ca.example/dir", root).map(drop);
        assert!(matches!(new(Some(&path)), Err(AcmeError::Root { .. })));
        std::fs::write(&path, "no PEM").unwrap();
        assert!(matches!(new(Some(&path)), Err(AcmeError::Root { .. })));
        assert!(new(None).is_ok());
        for url in ["http://ca.example/dir", "ca.example", ""] {
            let refused = CaClient::new(url, None).map(drop);
            assert!(matches!(refused, Err(AcmeError::Directory { .. })), "{url}");
        }
    }
}
