//! How a zip with layers is told from one without. Pure; owns no fds.
//!
//! A zip as users make it is the content of `/var/task`. One that [`pack`](crate::pack()) made with
//! layers has the file [`LAYOUT_NAME`] as its first entry, and everything else under `task/` or
//! `opt/`.

use crate::limits::quoted;

/// The first entry of a zip with layers.
pub const LAYOUT_NAME: &str = ".sockhop-layout";

/// What is in that file.
pub const LAYOUT_TEXT: &str = "task+opt\n";
/// What is in it of a WebAssembly function with assets.
pub(crate) const ASSETS_TEXT: &str = "function+assets\n";
/// Where that function is, and the folder of its assets.
pub(crate) const FUNCTION_FILE: &str = "function.wasm";
pub(crate) const ASSETS_FOLDER: &str = "assets";

/// Which folders the entries of a zip are meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Everything is for `/var/task`.
    Task,
    /// The names begin with `task` or `opt`.
    TaskAndOpt,
    /// There is a [`FUNCTION_FILE`], and all else is in the [`ASSETS_FOLDER`].
    FunctionAndAssets,
}

/// Why a zip's layout is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// It is not one that this node knows.
    #[error(
        "the zip's file {LAYOUT_NAME} says {0:?}, and this node knows {LAYOUT_TEXT:?}; a newer sockhop has packed it: upgrade the node, or deploy again with the node's own version"
    )]
    Unknown(String),
    /// An entry has no place in it.
    #[error(
        "the zip has a file {LAYOUT_NAME} and the name {0:?}, which has no place in that layout; deploy the folder again, with its layers or assets"
    )]
    Outside(String),
}

impl Layout {
    /// Returns the layout that a zip has whose file [`LAYOUT_NAME`] has this text.
    ///
    /// # Errors
    /// [`LayoutError`] when it is another text.
    pub(crate) fn of_text(text: &[u8]) -> Result<Self, LayoutError> {
        if text == LAYOUT_TEXT.as_bytes() {
            return Ok(Self::TaskAndOpt);
        }
        if text == ASSETS_TEXT.as_bytes() {
            return Ok(Self::FunctionAndAssets);
        }
        Err(LayoutError::Unknown(quoted(&String::from_utf8_lossy(text))))
    }

    /// Returns where an entry with the normalised name `name` is unpacked, relative to the folder
    /// that has `task` and `opt`.
    ///
    /// # Errors
    /// [`LayoutError`] when the layout has no place for it.
    pub(crate) fn place(self, name: &str) -> Result<String, LayoutError> {
        match self {
            Self::Task if name.is_empty() => Ok("task".to_owned()),
            Self::Task => Ok(format!("task/{name}")),
            Self::TaskAndOpt => match name.split('/').next() {
                Some("task" | "opt") => Ok(name.to_owned()),
                _ => Err(LayoutError::Outside(quoted(name))),
            },
            Self::FunctionAndAssets => match name.split('/').next() {
                Some(ASSETS_FOLDER) => Ok(name.to_owned()),
                _ if name == FUNCTION_FILE => Ok(name.to_owned()),
                _ => Err(LayoutError::Outside(quoted(name))),
            },
        }
    }
}

/// Returns how a path that begins with `task` or `opt` is called inside a sandbox, shortened for a
/// message.
pub(crate) fn inside(path: &str) -> String {
    let path = quoted(path);
    if path == "task" || path.starts_with("task/") {
        format!("/var/{path}")
    } else {
        format!("/{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_places() {
        assert_eq!(Layout::Task.place("opt/x").as_deref(), Ok("task/opt/x"));
        assert_eq!(Layout::Task.place("").as_deref(), Ok("task"));
        assert_eq!(Layout::TaskAndOpt.place("opt/x").as_deref(), Ok("opt/x"));
        assert!(matches!(Layout::TaskAndOpt.place("etc/x"), Err(LayoutError::Outside(_))));
        assert!(matches!(Layout::TaskAndOpt.place("taskx"), Err(LayoutError::Outside(_))));
        assert_eq!(Layout::of_text(b"task+opt\n"), Ok(Layout::TaskAndOpt));
        assert_eq!(Layout::FunctionAndAssets.place("assets/a").as_deref(), Ok("assets/a"));
        assert_eq!(
            Layout::FunctionAndAssets.place("function.wasm").as_deref(),
            Ok("function.wasm")
        );
        assert!(matches!(Layout::FunctionAndAssets.place("a"), Err(LayoutError::Outside(_))));
        assert!(Layout::of_text(b"three\n").unwrap_err().to_string().contains("newer sockhop"));
    }
}
