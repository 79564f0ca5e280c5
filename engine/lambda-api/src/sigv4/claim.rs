//! What a request claims of its signature: read from `Authorization` or from the query, checked,
//! and taken out. Pure; owns no fds.

use std::time::SystemTime;

use hmac::Mac as _;
use http::header::{AUTHORIZATION, DATE, HOST};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::canonical::{self, SIGNATURE_PARAMETER};
use super::timestamp::Timestamp;
use super::{ALGORITHM, Credential, SERVICE, SignatureError, TERMINATOR, UNSIGNED_PAYLOAD};

/// The header with the body's hash. It may be absent.
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The header with the time of the signature. It goes before `Date`.
const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// The header of temporary credentials, which this node has not: it means nothing here.
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The parameters of a presigned request.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    SIGNATURE_PARAMETER,
    "X-Amz-Security-Token",
];

/// How many headers a signature may be of.
const SIGNED_HEADERS_MAX: usize = 64;
/// How much of what a client sent is told back to it.
const TOLD_CHARS_MAX: usize = 64;

/// What a request says of its signature, and that could be true.
#[derive(Debug)]
pub struct Claim {
    signed_headers: Vec<String>,
    signature: [u8; 32],
    time: Timestamp,
    region: String,
    payload: Option<String>,
}

/// The parts of a signature as they stand in a request.
struct Stated<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    /// Of a presigned request, when it was signed and for how many seconds it is good.
    presigned: Option<(&'a str, &'a str)>,
}

impl Claim {
    /// Reads the signature of a request and checks what can be without its body: the key's id, the
    /// scope, the time, and that all is signed that must be.
    ///
    /// # Errors
    /// Returns a [`SignatureError`] that says what is wrong, or what is missing.
    pub fn read(
        head: &Parts,
        credential: &Credential,
        now: SystemTime,
    ) -> Result<Self, SignatureError> {
        let key_id = credential.key_id();
        let parameters = parameters(head.uri.query().unwrap_or_default());
        let mut authorizations = head.headers.get_all(AUTHORIZATION).iter();
        let (authorization, second) = (authorizations.next(), authorizations.next());
        let presigned = parameters.iter().any(|(name, _)| name == "X-Amz-Algorithm");
        if second.is_some() || (presigned && authorization.is_some()) {
            return Err(incomplete("the request is signed more than once"));
        }
        let stated = match authorization {
            Some(value) => from_header(value.to_str().map_err(|_| incomplete("it is no text"))?)?,
            None if presigned => from_query(&parameters)?,
            None => return Err(SignatureError::Missing { key_id: key_id.to_owned() }),
        };

        let (given, day, region) = scope(stated.credential)?;
        if given != key_id {
            let given = given.chars().take(TOLD_CHARS_MAX).collect();
            return Err(SignatureError::UnknownKey { given, key_id: key_id.to_owned() });
        }
        let time = match stated.presigned {
            Some((date, _)) => Timestamp::from_basic(date)
                .ok_or_else(|| incomplete("X-Amz-Date is not of the form YYYYMMDDTHHMMSSZ"))?,
            None => time_of(&head.headers)?,
        };
        if time.day() != day {
            let day = shortened(day);
            return Err(SignatureError::Scope(format!(
                "its day is {day:?}, signed {}",
                time.text()
            )));
        }
        // Out of range if it is no number.
        let expires_s = stated.presigned.map(|(_, expires)| expires.parse().unwrap_or(0));
        time.check(now, expires_s)?;

        let signed_headers = signed_headers(stated.signed_headers)?;
        expect_signed(&head.headers, &signed_headers)?;
        let mut signature = [0; 32];
        hex::decode_to_slice(stated.signature, &mut signature)
            .map_err(|_| incomplete("Signature is not 64 hexadecimal digits"))?;
        let payload = payload(&head.headers)?;
        Ok(Self { signed_headers, signature, time, region: region.to_owned(), payload })
    }

    /// Returns what the request says its payload's hash is, which may be [`UNSIGNED_PAYLOAD`]. The
    /// signature can then be verified before the body has come. Returns `None` if the hash has to
    /// be made of the body.
    #[must_use]
    pub fn payload(&self) -> Option<&str> {
        self.payload.as_deref()
    }

    /// Verifies the signature. `payload` is what [`Self::payload`] returns, or else the body's
    /// SHA-256 in hexadecimal. How long this takes does not depend on how much of it is right.
    ///
    /// # Errors
    /// Returns [`SignatureError::Mismatch`] if it is not the signature of this request.
    pub fn verify(
        &self,
        head: &Parts,
        credential: &Credential,
        payload: &str,
    ) -> Result<(), SignatureError> {
        let canonical = canonical::request(head, &self.signed_headers, payload)?;
        let hash = hex::encode(Sha256::digest(canonical));
        let (day, region) = (self.time.day(), &self.region);
        let mut signer = credential.signer(day, region);
        let time = self.time.text();
        let signed = format!("{ALGORITHM}\n{time}\n{day}/{region}/{SERVICE}/{TERMINATOR}\n{hash}");
        signer.update(signed.as_bytes());
        let expected: [u8; 32] = signer.finalize().into_bytes().into();
        match bool::from(expected.ct_eq(&self.signature)) {
            true => Ok(()),
            false => Err(SignatureError::Mismatch),
        }
    }

    /// Checks the body, whose SHA-256 in hexadecimal is `sha256`, against what the request said
    /// before it came.
    ///
    /// # Errors
    /// Returns [`SignatureError::Payload`] if it is another body.
    pub fn check_body(&self, sha256: &str) -> Result<(), SignatureError> {
        match self.payload() {
            Some(UNSIGNED_PAYLOAD) | None => Ok(()),
            Some(stated) if stated.eq_ignore_ascii_case(sha256) => Ok(()),
            Some(_) => Err(SignatureError::Payload),
        }
    }
}

/// Takes out of a request's head what belongs to its signature, so that nothing behind the check
/// has it: `Authorization`, session tokens, and the parameters of a presigned request.
pub fn strip(head: &mut Parts) {
    for name in [AUTHORIZATION, SECURITY_TOKEN, CONTENT_SHA256, AMZ_DATE] {
        head.headers.remove(name);
    }
    let Some(query) = head.uri.query() else { return };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            let name = percent_decode_str(name).decode_utf8_lossy();
            !PRESIGNED.iter().any(|presigned| *presigned == name)
        })
        .collect();
    let mut path = head.uri.path().to_owned();
    if !kept.is_empty() {
        path.push('?');
        path.push_str(&kept.join("&"));
    }
    // It was a path and a query before, of which a part is left.
    if let Ok(path) = path.parse::<PathAndQuery>() {
        head.uri = Uri::from(path);
    }
}

fn incomplete(what: &str) -> SignatureError {
    SignatureError::Incomplete(what.to_owned())
}

fn shortened(text: &str) -> String {
    text.chars().take(TOLD_CHARS_MAX).collect()
}

/// Returns the decoded parameters of a query. Those that are no text are left out.
fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .filter_map(|(name, value)| Some((decode(name)?, decode(value)?)))
        .collect()
}

/// Reads the value of `Authorization`.
fn from_header(value: &str) -> Result<Stated<'_>, SignatureError> {
    let (algorithm, rest) = value.trim().split_once(' ').unwrap_or((value, ""));
    if algorithm != ALGORITHM {
        let algorithm = shortened(algorithm);
        return Err(SignatureError::Incomplete(format!(
            "the algorithm is {algorithm:?}; expected {ALGORITHM}"
        )));
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=').unwrap_or((part, ""));
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(incomplete("Authorization has a part that is no part of a signature")),
        };
        if place.replace(value).is_some() {
            return Err(incomplete("Authorization has a part twice"));
        }
    }
    let lacks = |name: &str| SignatureError::Incomplete(format!("Authorization has no {name}"));
    Ok(Stated {
        credential: credential.ok_or_else(|| lacks("Credential"))?,
        signed_headers: signed_headers.ok_or_else(|| lacks("SignedHeaders"))?,
        signature: signature.ok_or_else(|| lacks("Signature"))?,
        presigned: None,
    })
}

/// Reads the parameters of a presigned request.
fn from_query(parameters: &[(String, String)]) -> Result<Stated<'_>, SignatureError> {
    let find = |wanted: &str| {
        let mut found = parameters.iter().filter(|(name, _)| name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value.as_str()),
            (None, _) => Err(SignatureError::Incomplete(format!("the query has no {wanted}"))),
            _ => Err(SignatureError::Incomplete(format!("the query has {wanted} twice"))),
        }
    };
    if find("X-Amz-Algorithm")? != ALGORITHM {
        return Err(SignatureError::Incomplete(format!("X-Amz-Algorithm must be {ALGORITHM}")));
    }
    Ok(Stated {
        credential: find("X-Amz-Credential")?,
        signed_headers: find("X-Amz-SignedHeaders")?,
        signature: find(SIGNATURE_PARAMETER)?,
        presigned: Some((find("X-Amz-Date")?, find("X-Amz-Expires")?)),
    })
}

/// Returns the key's id, the day and the region of KEY/DAY/REGION/SERVICE/aws4_request. A key's id
/// may have slashes.
fn scope(credential: &str) -> Result<(&str, &str, &str), SignatureError> {
    let mut parts = credential.rsplitn(5, '/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(terminator), Some(service), Some(region), Some(day), Some(key_id)) => {
            if terminator != TERMINATOR || service != SERVICE || region.is_empty() {
                let stated = shortened(&format!("{day}/{region}/{service}/{terminator}"));
                return Err(SignatureError::Scope(format!("it is {stated:?}")));
            }
            Ok((key_id, day, region))
        }
        _ => Err(incomplete("Credential must be KEY/YYYYMMDD/REGION/lambda/aws4_request")),
    }
}

/// Returns when a request with a header was signed.
fn time_of(headers: &HeaderMap) -> Result<Timestamp, SignatureError> {
    let read = |name: &HeaderName, read: fn(&str) -> Option<Timestamp>| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        let time = value.to_str().ok().and_then(read).filter(|_| values.next().is_none());
        Some(time.ok_or_else(|| {
            SignatureError::Incomplete(format!(
                "the header {name} is not one time, YYYYMMDDTHHMMSSZ"
            ))
        }))
    };
    read(&AMZ_DATE, Timestamp::from_basic)
        .or_else(|| read(&DATE, Timestamp::from_date_header))
        .unwrap_or_else(|| Err(incomplete("there is no header x-amz-date, nor one called Date")))
}

/// Reads the list of the signed headers' names.
fn signed_headers(text: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let is_name = |name: &str| {
        // In lower case, as the canonical request has them.
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    let sorted = names.windows(2).all(|pair| matches!(pair, [before, after] if before < after));
    if names.len() > SIGNED_HEADERS_MAX || !sorted || !names.iter().all(|name| is_name(name)) {
        return Err(incomplete("SignedHeaders must be names in lower case, sorted, each once"));
    }
    Ok(names)
}

/// Checks that the headers which change what a request means are signed: `Host`, and whatever
/// begins with `x-amz-`. A session token may be added later, as some clients do.
fn expect_signed(headers: &HeaderMap, signed: &[String]) -> Result<(), SignatureError> {
    let needed = |name: &str| name.starts_with("x-amz-") && name != SECURITY_TOKEN.as_str();
    let left_out = std::iter::once(HOST.as_str())
        .chain(headers.keys().map(HeaderName::as_str).filter(|name| needed(name)))
        .find(|name| !signed.iter().any(|signed| signed == name));
    match left_out {
        Some(name) => Err(SignatureError::NotSigned(name.to_owned())),
        None => Ok(()),
    }
}

/// Returns what the request says of its payload.
fn payload(headers: &HeaderMap) -> Result<Option<String>, SignatureError> {
    let Some(value) = headers.get(CONTENT_SHA256) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default();
    let is_hash = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash || value == UNSIGNED_PAYLOAD {
        Ok(Some(value.to_owned()))
    } else {
        Err(SignatureError::PayloadKind(shortened(value)))
    }
}
