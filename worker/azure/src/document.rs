//! The JSON of `host.json` and `function.json`: reading a file of a bounded size, and looking up
//! its keys in such a way that every error names file and key. Opens files and closes them before
//! it returns; owns no fds.
//!
//! The host reads these files with Json.NET, which takes more than JSON (RFC 8259): comments,
//! trailing commas, single quotes, names without quotes, and a byte order mark. Keys are looked up
//! regardless of case, as the host's configuration does it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use jsonc_parser::{ParseOptions, parse_to_serde_value};
use serde_json::Value;

/// The largest `host.json` or `function.json` that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Why a file of an app cannot be used. Paths are relative to the app's folder.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence, and the fields stand in it")]
pub enum DocumentError {
    #[error("{file} cannot be read: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file} is a link or no regular file; put the file itself there")]
    NotAFile { file: String },
    #[error("{file} is larger than {FILE_BYTES_MAX} bytes; is it the right file?")]
    TooLarge { file: String },
    #[error("{file} is no JSON that can be read: {message}")]
    Syntax { file: String, message: String },
    #[error("{file}: {key} should be {expected}, and is {found}")]
    Key { file: String, key: String, expected: &'static str, found: String },
}

/// What Json.NET takes, and no more.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// A file that has been read. Its name is relative to the app's folder.
#[derive(Debug)]
pub(crate) struct Document {
    file: String,
    root: Value,
}

impl Document {
    /// Reads `file`, which is relative to the folder `root`. Returns `None` if there is no such
    /// file.
    pub(crate) fn read(root: &Path, file: &str) -> Result<Option<Self>, DocumentError> {
        let path = root.join(file);
        let failed = |source| DocumentError::Read { file: file.to_owned(), source };
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            // A link could lead out of the folder, and a pipe would block.
            Ok(metadata) if !metadata.is_file() => {
                return Err(DocumentError::NotAFile { file: file.to_owned() });
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        let limit = FILE_BYTES_MAX as u64 + 1;
        File::open(&path)
            .and_then(|open| open.take(limit).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(DocumentError::TooLarge { file: file.to_owned() });
        }
        Self::parse(file, &bytes).map(Some)
    }

    /// Parses the contents of `file`.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let syntax = |message: String| DocumentError::Syntax { file: file.to_owned(), message };
        let text = std::str::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root: Value =
            parse_to_serde_value(text, &OPTIONS).map_err(|error| syntax(error.to_string()))?;
        if !root.is_object() {
            return Err(syntax("it is no JSON object".to_owned()));
        }
        Ok(Self { file: file.to_owned(), root })
    }

    /// Returns the whole document.
    pub(crate) fn root(&self) -> Node<'_> {
        Node { file: &self.file, key: String::new(), value: &self.root }
    }

    /// Sets what `path` leads to, as an app setting does it: objects and elements of arrays that
    /// are not there are made, and the value is text.
    pub(crate) fn set(&mut self, path: &[&str], text: &str) {
        let mut at = &mut self.root;
        for key in path {
            at = child(at, key);
        }
        *at = Value::String(text.to_owned());
    }
}

/// Returns the member or element `key` of `value`, which becomes an object if it has neither.
fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let index = key.parse::<usize>().ok();
    let is_element = matches!(
        (&*value, index),
        (Value::Array(elements), Some(index)) if index <= elements.len()
    );
    if !is_element && !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    match (value, index) {
        (Value::Array(elements), Some(index)) => {
            if index == elements.len() {
                elements.push(Value::Null);
            }
            // `is_element` has checked that there is one, or room for the next.
            &mut elements[index]
        }
        (Value::Object(members), _) => {
            let known = members.keys().find(|known| known.eq_ignore_ascii_case(key)).cloned();
            members.entry(known.unwrap_or_else(|| key.to_owned())).or_insert(Value::Null)
        }
        (other, _) => other,
    }
}

/// A value of a document, with the key that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    file: &'a str,
    key: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// Returns the member `name`. Returns `None` if there is none, or if it is `null`.
    pub(crate) fn get(&self, name: &str) -> Option<Node<'a>> {
        let members = self.value.as_object()?;
        let value = members.get(name).or_else(|| {
            members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })?;
        let key =
            if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        (!value.is_null()).then_some(Node { file: self.file, key, value })
    }

    /// Returns what `path` leads to, member by member.
    pub(crate) fn at(&self, path: &[&str]) -> Option<Node<'a>> {
        path.iter().try_fold(self.clone(), |node, name| node.get(name))
    }

    /// Returns the text. Numbers and booleans are text too, as in the host's configuration.
    pub(crate) fn text(&self) -> Result<String, DocumentError> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) => Ok(self.value.to_string()),
            _ => Err(self.expected("a string")),
        }
    }

    /// Returns the boolean, which can be written as text.
    pub(crate) fn boolean(&self) -> Result<bool, DocumentError> {
        match self.text()?.trim() {
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Returns the elements of an array. An object whose names are numbers is one too, as app
    /// settings make it.
    pub(crate) fn elements(&self) -> Result<Vec<Node<'a>>, DocumentError> {
        let element = |(index, value): (usize, &'a Value)| Node {
            file: self.file,
            key: format!("{}[{index}]", self.key),
            value,
        };
        match self.value {
            Value::Array(elements) => Ok(elements.iter().enumerate().map(element).collect()),
            Value::Object(members) if members.keys().all(|key| key.parse::<u32>().is_ok()) => {
                let mut numbered: Vec<_> = members.iter().collect();
                numbered.sort_by_key(|(key, _)| key.parse::<u32>().unwrap_or(u32::MAX));
                let values = numbered.into_iter().map(|(_, value)| value);
                Ok(values.enumerate().map(element).collect())
            }
            _ => Err(self.expected("an array")),
        }
    }

    /// Returns the texts of an array, which can itself be written as text, in JSON.
    pub(crate) fn texts(&self) -> Result<Vec<String>, DocumentError> {
        if let Value::String(text) = self.value {
            return serde_json::from_str(text).map_err(|_| self.expected("an array of strings"));
        }
        self.elements()?.iter().map(Node::text).collect()
    }

    /// Returns the error that says that `expected` should be here.
    pub(crate) fn expected(&self, expected: &'static str) -> DocumentError {
        let mut found = self.value.to_string();
        if found.chars().nth(60).is_some() {
            found = found.chars().take(60).chain("...".chars()).collect();
        }
        DocumentError::Key { file: self.file.to_owned(), key: self.key.clone(), expected, found }
    }

    /// Returns file and key, for errors that others make.
    pub(crate) fn place(&self) -> (String, String) {
        (self.file.to_owned(), self.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str) -> Document {
        Document::parse("host.json", text.as_bytes()).unwrap()
    }

    #[test]
    fn what_json_net_takes_is_taken() {
        let document = document(
            "\u{feff}// a comment\n{ /* another */ 'a': [1, 'two', true,], Version: \"2.0\", }",
        );
        assert_eq!(document.root().get("A").unwrap().texts().unwrap(), ["1", "two", "true"]);
        assert_eq!(document.root().get("version").unwrap().text().unwrap(), "2.0");
    }

    #[test]
    fn what_is_no_json_is_an_error_that_names_the_file() {
        for text in ["", "[]", "{", "{\"a\":1 \"b\":2}", "{} {}", "{\"a\":+1}", "null"] {
            let error = Document::parse("x/function.json", text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("x/function.json"), "{text}: {error}");
        }
        assert!(Document::parse("host.json", b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let text = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(Document::parse("host.json", text.as_bytes()).is_err());
    }

    #[test]
    fn settings_replace_values_and_make_what_is_missing() {
        let mut document = document(r#"{"Extensions":{"http":{"routePrefix":"api"}},"a":["x"]}"#);
        document.set(&["extensions", "HTTP", "routeprefix"], "v1");
        document.set(&["customHandler", "port"], "81");
        document.set(&["a", "0"], "y");
        document.set(&["a", "1"], "z");
        document.set(&["b", "0"], "first");
        let root = document.root();
        assert_eq!(root.at(&["extensions", "http", "routePrefix"]).unwrap().text().unwrap(), "v1");
        assert_eq!(root.at(&["customHandler", "port"]).unwrap().text().unwrap(), "81");
        assert_eq!(root.get("a").unwrap().texts().unwrap(), ["y", "z"]);
        assert_eq!(root.get("b").unwrap().texts().unwrap(), ["first"]);
    }

    #[test]
    fn errors_name_file_and_key() {
        let document = document(r#"{"a":{"b":[{"c":{}}]}}"#);
        let node = &document.root().at(&["a", "b"]).unwrap().elements().unwrap()[0];
        assert_eq!(
            node.get("c").unwrap().text().unwrap_err().to_string(),
            "host.json: a.b[0].c should be a string, and is {}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Document::parse("host.json", &bytes);
        }

        #[test]
        fn text_like_json_is_survived(text in "[\\[\\]{}:,'\"/*a0.\\\\ \n-]{0,64}") {
            let _ = Document::parse("host.json", text.as_bytes());
        }

        #[test]
        fn any_setting_is_survived(path in proptest::collection::vec("[a-c0-2]{0,2}", 0..4)) {
            let mut document = document(r#"{"a":[[1],{"0":2}],"b":{"1":[]},"0":null}"#);
            document.set(&path.iter().map(String::as_str).collect::<Vec<_>>(), "x");
            let root = document.root();
            let mut node = root.clone();
            for key in &path {
                let next = node.get(key).or_else(|| {
                    node.elements().ok()?.get(key.parse::<usize>().ok()?).cloned()
                });
                prop_assert!(next.is_some(), "{path:?}: {key:?} is not there");
                node = next.unwrap();
            }
        }
    }
}
