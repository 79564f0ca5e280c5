//! An invocation on its way to the runtime: the response to its `next` (Runtime API, "Next
//! invocation"). Owns no fds.

use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The id of an invocation, shared by all who keep it.
pub(crate) type Id = Rc<str>;

/// An invocation, as the runtime gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its id, a UUID. No other invocation of the process has it.
    pub id: String,
    /// The event. It has to be valid JSON, which most runtimes rely on.
    pub event: Bytes,
    /// The event's content type. `application/json` if `None`.
    pub content_type: Option<String>,
    /// When its time is up, in milliseconds since 1970.
    pub deadline_unix_ms: u64,
    /// The alias or version that the caller named, which the function's ARN then ends in.
    pub qualifier: Option<String>,
    /// The trace that it belongs to, as `X-Amzn-Trace-Id` writes it.
    pub trace_id: Option<String>,
    /// What the caller sent in `X-Amz-Client-Context`, as JSON.
    pub client_context: Option<String>,
    /// The identity of a mobile application's user.
    pub cognito: Option<CognitoIdentity>,
    /// The tenant for whom it runs.
    pub tenant_id: Option<String>,
}

/// The identity of a mobile application's user.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CognitoIdentity {
    /// The user's id.
    #[serde(rename = "cognitoIdentityId")]
    pub identity_id: String,
    /// The pool that the id is of.
    #[serde(rename = "cognitoIdentityPoolId")]
    pub identity_pool_id: String,
}

/// Returns the header fields of the response that gives `invocation` to the runtime. What is absent
/// or empty has no field: Rust's runtime reads every field of JSON that there is.
pub(crate) fn next_headers(invocation: &Invocation, function_arn: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    let mut insert = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty());
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert("lambda-runtime-aws-request-id", &invocation.id);
    insert("lambda-runtime-deadline-ms", &invocation.deadline_unix_ms.to_string());
    insert("lambda-runtime-invoked-function-arn", function_arn);
    insert("lambda-runtime-trace-id", invocation.trace_id.as_deref().unwrap_or_default());
    insert("lambda-runtime-aws-tenant-id", invocation.tenant_id.as_deref().unwrap_or_default());
    let client_context = invocation.client_context.as_deref();
    let client_context = client_context.and_then(|text| serde_json::from_str(text).ok());
    if let Some(client_context) = client_context {
        insert("lambda-runtime-client-context", &ascii_json(&client_context));
    }
    let cognito = invocation.cognito.as_ref();
    if let Some(cognito) = cognito.and_then(|cognito| serde_json::to_value(cognito).ok()) {
        insert("lambda-runtime-cognito-identity", &ascii_json(&cognito));
    }
    insert("content-type", invocation.content_type.as_deref().unwrap_or_default());
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers
}

/// Returns `value` as JSON on one line and in ASCII, as it may stand in a header: other characters
/// are escaped as UTF-16 (RFC 8259 7).
fn ascii_json(value: &serde_json::Value) -> String {
    let json = value.to_string();
    if json.is_ascii() {
        return json;
    }
    let mut ascii = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation() -> Invocation {
        Invocation {
            id: "42".into(),
            event: "{}".into(),
            content_type: None,
            deadline_unix_ms: 1_681_837_306_806,
            qualifier: None,
            trace_id: None,
            client_context: None,
            cognito: None,
            tenant_id: None,
        }
    }

    #[test]
    fn what_there_is_not_has_no_field() {
        let headers = next_headers(&invocation(), "arn");
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "content-type",
            "lambda-runtime-aws-request-id",
            "lambda-runtime-deadline-ms",
            "lambda-runtime-invoked-function-arn",
        ];
        assert_eq!(names, expected);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["lambda-runtime-deadline-ms"], "1681837306806");
    }

    #[test]
    fn json_in_a_field_is_ascii_on_one_line() {
        let invocation = Invocation {
            client_context: Some("{\n\"a\": \"ü😀\"}".into()),
            cognito: Some(CognitoIdentity {
                identity_id: "i".into(),
                identity_pool_id: "p".into(),
            }),
            trace_id: Some("Root=1".into()),
            tenant_id: Some("line\nbreak".into()),
            content_type: Some("text/plain".into()),
            ..invocation()
        };
        let headers = next_headers(&invocation, "arn");
        assert_eq!(headers["lambda-runtime-client-context"], r#"{"a":"\u00fc\ud83d\ude00"}"#);
        assert_eq!(
            headers["lambda-runtime-cognito-identity"],
            r#"{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}"#
        );
        assert_eq!(headers["lambda-runtime-trace-id"], "Root=1");
        assert!(!headers.contains_key("lambda-runtime-aws-tenant-id"));
        assert_eq!(headers["content-type"], "text/plain");
        let invalid = Invocation { client_context: Some("{".into()), ..invocation };
        let headers = next_headers(&invalid, "arn");
        assert!(!headers.contains_key("lambda-runtime-client-context"));
    }
}
