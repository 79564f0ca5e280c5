//! The members of JSON objects, as they are written. Pure; owns no fds.
//!
//! Values stay text (`RawValue`), so that a body is passed on with its order of names and its
//! numbers as the handler wrote them.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in order. Names can stand in it twice.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads `json`. Returns `None` if it is a value other than an object.
    pub(super) fn of(json: &'a RawValue) -> Option<Self> {
        Self::parse(json.get()).ok()
    }

    /// Reads `text`, which must be an object.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(MembersVisitor)?;
        deserializer.end()?;
        Ok(members)
    }

    /// Returns the member `name`: the last that is written so, or else the last that differs only
    /// in the case of ASCII letters, which is how Json.NET takes them. Returns `None` if there is
    /// none, or if it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let last = |is: &dyn Fn(&str) -> bool| self.0.iter().rev().find(|(key, _)| is(key));
        let found =
            last(&|key| key == name).or_else(|| last(&|key| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// Returns whether there is a member `name`, be it `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    /// Returns all members.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.0.into_iter()
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// Returns the text of a JSON string. Returns `None` for other values.
pub(super) fn string(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case_and_the_last_one_counts() {
        let members = Members::parse(r#"{"a":1,"A":2,"b":null,"c":[1.0, 2e3],"c":"x"}"#).unwrap();
        assert_eq!(members.get("a").unwrap().get(), "1");
        assert_eq!(members.get("A").unwrap().get(), "2");
        assert_eq!(members.get("C").and_then(string).unwrap(), "x");
        assert!(members.get("b").is_none());
        assert!(members.has("B"));
        assert!(!members.has("d"));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["", "[]", "1", "{", "{} {}", "{\"a\"}", "null"] {
            assert!(Members::parse(text).is_err(), "{text}");
        }
    }
}
