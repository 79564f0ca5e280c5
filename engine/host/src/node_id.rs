//! What a node is called by in its store: a UUID in a file of the data folder, made at the first
//! start. Owns no fds between calls.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// The file in the data folder.
const FILE: &str = "node-id";

/// Returns the file with the id of the node with this data folder.
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Returns the id of the node with this data folder, and makes one if it has none.
///
/// # Errors
/// When the file cannot be written.
pub fn get_or_make(data: &Path) -> io::Result<String> {
    let path = path(data);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if let Ok(id) = uuid::Uuid::try_parse(kept.trim()) {
        return Ok(id.to_string());
    }
    let id = uuid::Uuid::now_v7().to_string();
    files::write(&path, id.as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_again_when_it_is_none() {
        let data = tempfile::tempdir().unwrap();
        let id = get_or_make(data.path()).unwrap();
        assert_eq!(get_or_make(data.path()).unwrap(), id);
        std::fs::write(path(data.path()), "no id").unwrap();
        assert_ne!(get_or_make(data.path()).unwrap(), id);
    }
}
