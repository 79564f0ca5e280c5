//! The requests of a pull and of a push. Owns the connections.

use std::time::Duration;

use docker_credential::DockerCredential;
use http_auth::parse_challenges;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::manifest::{self, ACCEPTED, MANIFEST, Manifest, Next};
use crate::{Reference, RegistryError, credentials};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 5;
/// What the specification has registries take of a manifest, and what is read of a token.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// An index leads to a manifest, and that to the file.
const MANIFESTS_MAX: usize = 2;
/// Where Docker's own registry is.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How a registry is asked.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Without TLS, though it is not on this machine.
    pub insecure: bool,
    /// How large a file may be.
    pub file_bytes_max: u64,
}

/// What was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The WebAssembly file.
    pub file: Vec<u8>,
    /// Where it is from, with the digest of its manifest.
    pub origin: Reference,
}

/// Pulls a WebAssembly file.
///
/// # Errors
///
/// Returns a [`RegistryError`] if it cannot be had, or is not what its digest says.
pub async fn pull(reference: &Reference, access: Access) -> Result<Pulled, RegistryError> {
    let mut registry = Registry::new(reference, access, "pull")?;
    let mut wanted = reference.manifest().to_owned();
    let mut origin = None;
    for _ in 0..MANIFESTS_MAX {
        let bytes = registry.manifest(&wanted).await?;
        let digest = digest(&bytes);
        if wanted.contains(':') && wanted != digest {
            return Err(registry.wrong(format!("the manifest {wanted} has the digest {digest}")));
        }
        origin.get_or_insert_with(|| reference.pinned(&digest));
        let read = serde_json::from_slice::<Manifest>(&bytes)
            .map_err(|error| registry.wrong(format!("its manifest is not understood: {error}")))?;
        let not_wasm = |why| RegistryError::NotWasm { reference: reference.to_string(), why };
        match read.next().map_err(not_wasm)? {
            Next::Manifest(found) => wanted = found.digest,
            Next::File(found) if found.size > access.file_bytes_max => {
                let max = access.file_bytes_max;
                return Err(not_wasm(format!(
                    "it has {} bytes; at most {max} are taken",
                    found.size
                )));
            }
            Next::File(found) => {
                let file = registry.blob(&found.digest, found.size).await?;
                let origin = origin.unwrap_or_else(|| reference.clone());
                return Ok(Pulled { file, origin });
            }
        }
    }
    Err(registry.wrong("an index leads to an index".into()))
}

/// Pushes a WebAssembly file. Returns the reference with the digest that it has there.
///
/// # Errors
///
/// Returns a [`RegistryError`] if the registry does not take it.
pub async fn push(
    reference: &Reference,
    file: Vec<u8>,
    component: bool,
    access: Access,
) -> Result<Reference, RegistryError> {
    let mut registry = Registry::new(reference, access, "pull,push")?;
    let (file_digest, file_size) = (digest(&file), file.len());
    let config = manifest::config(&file_digest, component);
    let (config_digest, config_size) = (digest(&config), config.len());
    registry.upload(&file_digest, file).await?;
    registry.upload(&config_digest, config).await?;
    let manifest = manifest::manifest((&config_digest, config_size), (&file_digest, file_size));
    let manifest_digest = digest(&manifest);
    let path = format!("manifests/{}", reference.manifest());
    let url = registry.url(&path)?;
    let answer = registry
        .send(Method::PUT, url, |request| {
            request.header(CONTENT_TYPE, MANIFEST).body(manifest.clone())
        })
        .await?;
    registry.expect(&answer, &path)?;
    Ok(reference.pinned(&manifest_digest))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A registry that is asked about one repository.
struct Registry<'a> {
    reference: &'a Reference,
    http: Client,
    plain: bool,
    base: Url,
    /// What it is asked to allow, when it wants a token.
    actions: &'static str,
    authorization: Option<HeaderValue>,
}

impl<'a> Registry<'a> {
    fn new(
        reference: &'a Reference,
        access: Access,
        actions: &'static str,
    ) -> Result<Self, RegistryError> {
        let plain = access.insecure || reference.is_local();
        let host = &*reference.host;
        let at = if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { host };
        let scheme = if plain { "http" } else { "https" };
        let base = format!("{scheme}://{at}/v2/{}/", reference.repository);
        let base = base.parse().map_err(|_| RegistryError::Reference {
            reference: reference.to_string(),
            why: "its host is no host",
        })?;
        let mut http = Client::builder()
            .user_agent(concat!("sockhop/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // reqwest takes the authorization off what goes to another host.
            .redirect(Policy::custom(|attempt| {
                let left_tls = attempt.url().scheme() != "https"
                    && attempt.previous().iter().any(|url| url.scheme() == "https");
                if left_tls || attempt.previous().len() > REDIRECTS_MAX {
                    attempt.error("it redirects too often, or away from TLS")
                } else {
                    attempt.follow()
                }
            }));
        if reference.is_local() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|source| RegistryError::Away {
            host: host.to_owned(),
            plain,
            source,
        })?;
        Ok(Self { reference, http, plain, base, actions, authorization: None })
    }

    fn host(&self) -> String {
        self.reference.host.clone()
    }

    fn wrong(&self, why: String) -> RegistryError {
        RegistryError::Wrong { host: self.host(), why }
    }

    fn away(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Away { host: self.host(), plain: self.plain, source: source.without_url() }
    }

    fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|error| self.wrong(error.to_string()))
    }

    /// Returns the answer as an error, unless it is a success.
    fn expect(&self, answer: &Response, what: &str) -> Result<(), RegistryError> {
        let host = self.host();
        match answer.status() {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(RegistryError::Refused { host, status: status.as_u16() })
            }
            StatusCode::NOT_FOUND => {
                let what =
                    format!("{} of {}", what.replacen('/', " ", 1), self.reference.repository);
                Err(RegistryError::NotFound { host, what })
            }
            status => Err(self.wrong(format!("{status} for {what}"))),
        }
    }

    async fn manifest(&mut self, wanted: &str) -> Result<Vec<u8>, RegistryError> {
        let path = format!("manifests/{wanted}");
        let url = self.url(&path)?;
        let accepted = ACCEPTED.join(", ");
        let answer =
            self.send(Method::GET, url, |request| request.header(ACCEPT, &accepted)).await?;
        self.expect(&answer, &path)?;
        self.read(answer, MANIFEST_BYTES_MAX).await
    }

    async fn blob(&mut self, wanted: &str, size: u64) -> Result<Vec<u8>, RegistryError> {
        let path = format!("blobs/{wanted}");
        let url = self.url(&path)?;
        let answer = self.send(Method::GET, url, |request| request).await?;
        self.expect(&answer, &path)?;
        let bytes = self.read(answer, size).await?;
        let digest = digest(&bytes);
        if digest != wanted {
            return Err(self.wrong(format!(
                "the file {wanted} has {} bytes and the digest {digest}",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// Sends a blob, unless the registry has it.
    async fn upload(&mut self, digest: &str, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        if self.send(Method::HEAD, url, |request| request).await?.status().is_success() {
            return Ok(());
        }
        let path = "blobs/uploads/";
        let url = self.url(path)?;
        let answer = self.send(Method::POST, url, |request| request).await?;
        self.expect(&answer, path)?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| answer.url().join(location).ok());
        let Some(mut location) = location else {
            return Err(self.wrong("it does not say where to upload".into()));
        };
        if location.scheme() != self.base.scheme() && location.scheme() != "https" {
            return Err(self.wrong("it would have a file uploaded without TLS".into()));
        }
        location.query_pairs_mut().append_pair("digest", digest);
        let answer = self
            .send(Method::PUT, location, |request| {
                request.header(CONTENT_TYPE, "application/octet-stream").body(bytes.clone())
            })
            .await?;
        self.expect(&answer, path)
    }

    /// Sends a request, with a token if the registry asks for one.
    async fn send(
        &mut self,
        method: Method,
        url: Url,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let answer = self.send_once(&method, &url, &with).await?;
        let challenged = answer.status() == StatusCode::UNAUTHORIZED;
        if challenged && self.is_own(&url) && self.authorize(&answer).await? {
            return self.send_once(&method, &url, &with).await;
        }
        Ok(answer)
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &Url,
        with: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut request = with(self.http.request(method.clone(), url.clone()));
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_own(url)) {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| self.away(error))
    }

    /// Returns whether a URL is the registry's own, and so may have its authorization.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Gets what the registry asks for. Returns whether there is something new to try.
    async fn authorize(&mut self, refusal: &Response) -> Result<bool, RegistryError> {
        let asked = refusal.headers().get_all(WWW_AUTHENTICATE).iter();
        let asked: Vec<_> = asked
            .filter_map(|value| parse_challenges(value.to_str().ok()?).ok())
            .flatten()
            .collect();
        let of = |scheme: &str| asked.iter().find(|it| it.scheme.eq_ignore_ascii_case(scheme));
        let parameter = |challenge: &http_auth::ChallengeRef<'_>, name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let credential = credentials::find(&self.reference.host)?;
        let authorization = if let Some(bearer) = of("bearer") {
            let realm = parameter(bearer, "realm").unwrap_or_default();
            let service = parameter(bearer, "service");
            let token = self.token(&realm, service, credential).await?;
            format!("Bearer {token}")
        } else if let (Some(_), Some(DockerCredential::UsernamePassword(user, password))) =
            (of("basic"), credential)
        {
            let request = self.http.get(self.base.clone()).basic_auth(user, Some(password));
            let request = request.build().map_err(|error| self.away(error))?;
            self.authorization = request.headers().get(AUTHORIZATION).cloned();
            return Ok(self.authorization.is_some());
        } else {
            return Ok(false);
        };
        let mut authorization = HeaderValue::from_str(&authorization)
            .map_err(|_| self.wrong("its token is no text".into()))?;
        authorization.set_sensitive(true);
        self.authorization = Some(authorization);
        Ok(true)
    }

    /// Asks for a token where the registry says (Docker's token authentication), as the user of the
    /// credential, or as anybody.
    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        credential: Option<DockerCredential>,
    ) -> Result<String, RegistryError> {
        let realm: Url = realm.parse().map_err(|_| self.wrong("its realm is no URL".into()))?;
        if realm.scheme() != "https" && !self.plain {
            return Err(self.wrong("it would have tokens asked for without TLS".into()));
        }
        let scope = format!("repository:{}:{}", self.reference.repository, self.actions);
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|service| ("service", service)));
        let request = match credential {
            Some(DockerCredential::IdentityToken(token)) => {
                fields.push(("grant_type", "refresh_token".into()));
                fields.push(("client_id", "sockhop".into()));
                fields.push(("refresh_token", token));
                self.http.post(realm).form(&fields)
            }
            Some(DockerCredential::UsernamePassword(user, password)) => {
                self.http.get(realm).query(&fields).basic_auth(user, Some(password))
            }
            None => self.http.get(realm).query(&fields),
        };
        let answer = request.send().await.map_err(|error| self.away(error))?;
        self.expect(&answer, "a token")?;
        let read = self.read(answer, MANIFEST_BYTES_MAX).await?;
        let granted: Granted = serde_json::from_slice(&read)
            .map_err(|error| self.wrong(format!("its token is not understood: {error}")))?;
        let token = granted.token.or(granted.access_token);
        token.ok_or_else(|| self.wrong("it gives no token".into()))
    }

    /// Reads a body, of so many bytes at most.
    async fn read(&self, mut answer: Response, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
        let mut read = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.away(error))? {
            if (read.len() + piece.len()) as u64 > bytes_max {
                return Err(self.wrong(format!("it sends more than {bytes_max} bytes")));
            }
            read.extend_from_slice(&piece);
        }
        Ok(read)
    }
}

/// A token; registries call it by either name.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}
