//! Paths of functions, as options have them.

/// Returns whether `text` can stand in a request line, behind a function's name.
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}
