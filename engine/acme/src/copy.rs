//! The node's copy of its certificates, as they stand in the store, for a start while that is away.
//! It may be lost. Owns no fds between calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use host::files;
use serde::{Deserialize, Serialize};
use store::error::StoreError;
use store::objects::checked;

use crate::place::Place;
use crate::shelf::{Content, Shelf, View};

/// The name of the file in the cache folder.
const FILE: &str = "certificates";

#[derive(Serialize, Deserialize)]
struct Written {
    /// The store that they are of.
    store: String,
    /// Each object in hexadecimal digits, by its key.
    objects: BTreeMap<String, String>,
}

/// The file of the copy.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    path: PathBuf,
    store: String,
}

impl Copy {
    pub(crate) fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join(FILE), store }
    }

    /// Reads the copy: what the node knew last. It is empty if there is none that can be used.
    pub(crate) fn read(&self, shelf: &Shelf) -> View {
        let mut view = View::default();
        let Some(read) = checked::read_file::<Written>(&self.path).transpose() else { return view };
        let Some(written) = read.ok().filter(|written| written.store == self.store) else {
            tracing::warn!("this node's copy of its certificates is set aside: {:?}", self.path);
            return view;
        };
        for (key, digits) in written.objects {
            if let (Some(Place::Certificate { name, .. }), Ok(object)) =
                (Place::of(&key), hex::decode(digits))
            {
                let content = shelf.certificate(&key, name, object);
                view.put(key, content);
            }
        }
        view
    }

    /// Returns the contents of a copy, to be written if they differ from the last.
    pub(crate) fn contents(&self, view: &View) -> Vec<u8> {
        let objects = view.objects.iter().filter_map(|(key, (_, content))| match content {
            Content::Certificate { object, .. } => Some((key.clone(), hex::encode(&**object))),
            _ => None,
        });
        let written = Written { store: self.store.clone(), objects: objects.collect() };
        // JSON of strings cannot fail.
        checked::seal(&serde_json::to_vec(&written).unwrap_or_default())
    }

    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, contents: &[u8]) -> Result<(), StoreError> {
        files::write(&self.path, contents).map_err(StoreError::io("write", &self.path))
    }
}
