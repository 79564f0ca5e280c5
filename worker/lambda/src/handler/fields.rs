//! The fields of events that describe HTTP requests, and by which of them a service is known (AWS:
//! "Invoking Lambda function URLs", "Lambda proxy integrations in API Gateway", "Lambda functions
//! as targets for Application Load Balancers"). Pure. Owns no fds.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Form;

/// What of an event makes a request. Each service leaves out some of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventFields {
    pub(super) http_method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) raw_path: Option<String>,
    pub(super) raw_query_string: Option<String>,
    pub(super) query_string_parameters: Option<Members>,
    pub(super) multi_value_query_string_parameters: Option<Members>,
    pub(super) headers: Option<Members>,
    pub(super) multi_value_headers: Option<Members>,
    pub(super) cookies: Option<Vec<String>>,
    pub(super) body: Option<String>,
    pub(super) is_base64_encoded: Option<bool>,
    pub(super) request_context: Option<RequestContext>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestContext {
    pub(super) domain_name: Option<String>,
    pub(super) http: Option<Http>,
    pub(super) identity: Option<Identity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Http {
    pub(super) method: Option<String>,
    pub(super) source_ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) source_ip: Option<String>,
}

/// Returns which service `event` is from.
///
/// # Errors
///
/// Returns the parser's error if the event is not JSON.
pub(super) fn form(event: &[u8]) -> Result<Form, serde_json::Error> {
    /// Text and objects only: an event that uses these names for something else is no request.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marks {
        http_method: Option<String>,
        path: Option<String>,
        multi_value_headers: Option<Map<String, Value>>,
        request_context: Option<Map<String, Value>>,
    }
    // The parser would take an array for an object's fields in their order.
    let is_object = event.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let marks = if is_object { serde_json::from_slice::<Marks>(event).ok() } else { None };
    let Some(marks) = marks else {
        serde_json::from_slice::<IgnoredAny>(event)?;
        return Ok(Form::Direct);
    };
    let context = marks.request_context.unwrap_or_default();
    Ok(if context.get("http").is_some_and(Value::is_object) {
        Form::Http2
    } else if marks.http_method.is_none() || marks.path.is_none() {
        Form::Direct
    } else if context.get("elb").is_some_and(Value::is_object) {
        Form::LoadBalancer { multi_value_headers: marks.multi_value_headers.is_some() }
    } else {
        Form::Rest
    })
}

/// The members of an object in their order: each a name with one value or a list of values.
#[derive(Debug, Default)]
pub(super) struct Members(pub(super) Vec<(String, Vec<String>)>);

impl Members {
    /// Returns whether there is a member of this name, regardless of case.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of texts or of lists of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        let mut members = Vec::new();
        while let Some((name, values)) = map.next_entry::<String, Option<OneOrMore>>()? {
            let values = match values {
                Some(OneOrMore::One(value)) => vec![value],
                Some(OneOrMore::More(values)) => values,
                None => Vec::new(),
            };
            members.push((name, values));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_their_fields() {
        let multi = |multi_value_headers| Form::LoadBalancer { multi_value_headers };
        for (event, expected) in [
            (r#"{"requestContext":{"http":{"method":"GET"}}}"#, Form::Http2),
            (r#"{"httpMethod":"GET","path":"/","requestContext":{"stage":"x"}}"#, Form::Rest),
            (r#"{"httpMethod":"GET","path":"/"}"#, Form::Rest),
            (r#"{"httpMethod":"GET","path":"/","requestContext":{"elb":{}}}"#, multi(false)),
            (
                r#"{"httpMethod":"GET","path":"/","multiValueHeaders":{},
                    "requestContext":{"elb":{}}}"#,
                multi(true),
            ),
            (r#"{"httpMethod":"GET"}"#, Form::Direct),
            (r#"{"httpMethod":5,"path":"/"}"#, Form::Direct),
            (r#"{"httpMethod":"GET","path":"/","requestContext":5}"#, Form::Direct),
            (r#"{"requestContext":{"http":5}}"#, Form::Direct),
            (r#"{"requestContext":[[],{}]}"#, Form::Direct),
            (r#"["GET","/"]"#, Form::Direct),
            (r#" "text""#, Form::Direct),
            ("null", Form::Direct),
        ] {
            assert_eq!(form(event.as_bytes()).unwrap(), expected, "{event}");
        }
        for event in ["", "{", "{} {}", "text", "\u{0}"] {
            assert!(form(event.as_bytes()).is_err(), "{event}");
        }
    }

    #[test]
    fn members_keep_their_order() {
        let members: Members = serde_json::from_str(r#"{"b":"1","a":["2","3"],"c":null}"#).unwrap();
        let list = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
        let expected: [(String, Vec<String>); 3] = [
            ("b".to_owned(), list(&["1"])),
            ("a".to_owned(), list(&["2", "3"])),
            ("c".to_owned(), list(&[])),
        ];
        assert_eq!(members.0, expected);
        assert!(members.has("A") && !members.has("d"));
    }
}
