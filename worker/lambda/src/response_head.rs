//! The head of an HTTP response, as a function describes it in JSON: in its result, or in the
//! prelude of a streamed one. Owns no fds.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::hop_by_hop;

/// Status and header fields of a response to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, from 200 to 599.
    pub status: StatusCode,
    /// The header fields, without those that concern one connection. The body's length is not
    /// among them.
    pub headers: HeaderMap,
}

impl Default for ResponseHead {
    /// Returns status 200 without header fields.
    fn default() -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new() }
    }
}

/// Why a function's description of a head cannot be used. The client is to get status 502.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The status is no number from 200 to 599.
    #[error("the function answered with statusCode {0}; a number from 200 to 599 is expected")]
    Status(String),
    /// A header field's name has characters that HTTP forbids.
    #[error("the function answered with a header named {0:?}, which is not a name by RFC 9110")]
    HeaderName(String),
    /// A header field's value is an object, or has characters that HTTP forbids.
    #[error(
        "the function answered with a value of the header {0:?} that is neither text, number nor \
         boolean, or contains a line break"
    )]
    HeaderValue(String),
    /// A cookie has characters that HTTP forbids.
    #[error("the function answered with a cookie that contains a line break or control character")]
    Cookie,
    /// There are more header fields than can be held.
    #[error("the function answered with too many headers")]
    TooMany,
}

/// The fields that describe a head.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadFields {
    pub(crate) status_code: Option<Value>,
    headers: Option<Map<String, Value>>,
    multi_value_headers: Option<Map<String, Value>>,
    cookies: Option<Vec<String>>,
}

impl HeadFields {
    /// Returns the head, with `content_type` if the function names none. Without a status it is
    /// 200. A status that is text (`"200"`) is taken as if it were a number, and so are lists of
    /// values, which Lambda would refuse.
    pub(crate) fn into_head(self, content_type: &'static str) -> Result<ResponseHead, HeadError> {
        let status = match &self.status_code {
            None | Some(Value::Null) => StatusCode::OK,
            Some(status_code) => status(status_code)?,
        };
        let mut fields = HeaderMap::new();
        let multi_value_headers = self.multi_value_headers.unwrap_or_default();
        // Where both name a field, API Gateway takes the list of values.
        let single = self.headers.unwrap_or_default().into_iter();
        let single = single.filter(|(name, _)| !has_name(&multi_value_headers, name));
        let single: Vec<(String, Value)> = single.collect();
        for (name, value) in single.into_iter().chain(multi_value_headers) {
            append(&mut fields, &name, value)?;
        }
        for cookie in self.cookies.unwrap_or_default() {
            let value =
                HeaderValue::from_bytes(cookie.as_bytes()).map_err(|_| HeadError::Cookie)?;
            fields.try_append(header::SET_COOKIE, value).map_err(|_| HeadError::TooMany)?;
        }
        let mut headers = hop_by_hop::removed(&fields);
        if !headers.contains_key(header::CONTENT_TYPE) {
            headers
                .try_insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
                .map_err(|_| HeadError::TooMany)?;
        }
        Ok(ResponseHead { status, headers })
    }
}

fn has_name(headers: &Map<String, Value>, name: &str) -> bool {
    headers.keys().any(|other| other.eq_ignore_ascii_case(name))
}

fn status(status_code: &Value) -> Result<StatusCode, HeadError> {
    let number = match status_code {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // A response of the 1xx class is none: the client would wait for another.
    let number = number.and_then(|number| u16::try_from(number).ok());
    let number = number.filter(|number| (200..600).contains(number));
    number
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| HeadError::Status(status_code.to_string()))
}

fn append(fields: &mut HeaderMap, name: &str, value: Value) -> Result<(), HeadError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| HeadError::HeaderName(name.to_owned()))?;
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    for value in values {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(HeadError::HeaderValue(name.to_owned()));
            }
        };
        let value = HeaderValue::from_bytes(text.as_bytes())
            .map_err(|_| HeadError::HeaderValue(name.to_owned()))?;
        fields.try_append(parsed.clone(), value).map_err(|_| HeadError::TooMany)?;
    }
    Ok(())
}
