//! A message of WebSocket, and which kind of message a body becomes. Pure; owns no fds.

use bytes::Bytes;
use http::HeaderValue;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Whether it is text, and so UTF-8.
    pub(crate) is_text: bool,
    pub(crate) bytes: Bytes,
}

/// The type of the bodies that text comes in.
const TEXT: &str = "text/plain; charset=utf-8";
/// The type of those of other messages. A body that says it has is no text.
const BINARY: &str = "application/octet-stream";

impl Message {
    /// Returns the message that a body becomes: text if it can be, unless its type says otherwise.
    pub(crate) fn of_body(content_type: Option<&HeaderValue>, bytes: Bytes) -> Self {
        let essence = content_type.and_then(|value| value.to_str().ok());
        let essence = essence.and_then(|value| value.split(';').next()).unwrap_or_default();
        let says_binary = essence.trim().eq_ignore_ascii_case(BINARY);
        Self { is_text: !says_binary && std::str::from_utf8(&bytes).is_ok(), bytes }
    }

    /// Returns the type of the body that the message is given to its function as.
    pub(crate) fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(if self.is_text { TEXT } else { BINARY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_if_it_can_be_and_does_not_say_otherwise() {
        for (content_type, bytes, is_text) in [
            (None, &b"abc"[..], true),
            (None, b"\xff", false),
            (Some("application/json"), b"{}", true),
            (Some("text/plain"), b"\xff", false),
            (Some("application/octet-stream"), b"abc", false),
            (Some("Application/Octet-Stream; a=b"), b"abc", false),
            (Some("application/octet-streams"), b"abc", true),
        ] {
            let value = content_type.map(HeaderValue::from_static);
            let message = Message::of_body(value.as_ref(), Bytes::from_static(bytes));
            assert_eq!(message.is_text, is_text, "{content_type:?} {bytes:?}");
        }
    }

    #[test]
    fn a_message_that_is_answered_with_itself_stays_of_its_kind() {
        for is_text in [true, false] {
            let message = Message { is_text, bytes: "abc".into() };
            let content_type = message.content_type();
            assert_eq!(Message::of_body(Some(&content_type), message.bytes.clone()), message);
        }
    }
}
