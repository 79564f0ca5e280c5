//! Which files, folders and links a package has: no name twice, nothing below a file or a link.
//! Pure; owns no fds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::entry_name::stays_inside;
use crate::layout::inside;
use crate::limits::{ENTRIES_MAX, quoted};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A folder.
    Folder,
    /// A file, and whether somebody may execute it.
    File { executable: bool },
    /// A symbolic link.
    Link { target: String },
}

/// Why something cannot be in a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Two entries have one name.
    #[error(
        "the name {0:?} is there twice; which of the two is meant cannot be told: zip the folder again"
    )]
    Twice(String),
    /// Something is below what is no folder.
    #[error(
        "{below:?} is below {above:?}, which is no folder; zip the folder again, without following or mixing links"
    )]
    BelowNoFolder {
        /// The path of the entry.
        below: String,
        /// The path above it that is a file or a link.
        above: String,
    },
    /// A link leads out of the package.
    #[error(
        "the link {path:?} points to {target:?}, which may be outside of the package; only relative targets inside are kept, with \"..\" at their beginning alone: put the file itself there (`cp -L`, `zip` without -y)"
    )]
    LeadsOut {
        /// The path of the link.
        path: String,
        /// Its target.
        target: String,
    },
    /// There are too many entries.
    #[error(
        "there are more than {ENTRIES_MAX} files, folders and links; leave out what the function does not need, or put it into one file"
    )]
    TooMany,
}

/// Files, folders and links by their path, which begins with `task` or `opt`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds what is at `path`, with the folders above it. A folder may be added twice.
    ///
    /// # Errors
    /// [`TreeError`] when it does not fit with what is there already, or leads out.
    pub(crate) fn add(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        if let Node::Link { target } = &node
            && !stays_inside(path, target)
        {
            return Err(TreeError::LeadsOut { path: inside(path), target: quoted(target) });
        }
        let ends = path.match_indices('/').map(|(end, _)| end);
        for above in ends.filter_map(|end| path.get(..end)) {
            match self.nodes.get(above) {
                Some(Node::Folder) => {}
                Some(_) => {
                    return Err(TreeError::BelowNoFolder {
                        below: inside(path),
                        above: inside(above),
                    });
                }
                None => {
                    self.nodes.insert(above.to_owned(), Node::Folder);
                }
            }
        }
        match self.nodes.entry(path.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(node);
            }
            Entry::Occupied(there) if *there.get() == Node::Folder && node == Node::Folder => {}
            Entry::Occupied(_) => return Err(TreeError::Twice(inside(path))),
        }
        if self.nodes.len() > ENTRIES_MAX { Err(TreeError::TooMany) } else { Ok(()) }
    }

    /// Removes a file or a link. Leaves folders where they are.
    pub(crate) fn remove_file(&mut self, path: &str) {
        if self.nodes.get(path).is_some_and(|node| *node != Node::Folder) {
            self.nodes.remove(path);
        }
    }

    /// Returns everything there is, folders before what is in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Node = Node::File { executable: false };

    #[test]
    fn nothing_is_there_twice_or_below_a_file() {
        let mut tree = Tree::default();
        tree.add("task/a/b", FILE).unwrap();
        tree.add("task/a", Node::Folder).unwrap();
        tree.add("task/a", Node::Folder).unwrap();
        assert_eq!(tree.add("task/a/b", FILE), Err(TreeError::Twice("/var/task/a/b".to_owned())));
        assert_eq!(tree.add("task/a", FILE), Err(TreeError::Twice("/var/task/a".to_owned())));
        assert!(matches!(tree.add("task/a/b/c", FILE), Err(TreeError::BelowNoFolder { .. })));
        tree.add("task/l", Node::Link { target: "a".to_owned() }).unwrap();
        assert!(matches!(tree.add("task/l/c", FILE), Err(TreeError::BelowNoFolder { .. })));
        let out = Node::Link { target: "../..".to_owned() };
        assert!(matches!(tree.add("task/m", out), Err(TreeError::LeadsOut { .. })));
        let names: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(names, ["task", "task/a", "task/a/b", "task/l"]);
    }

    #[test]
    fn folders_count_as_well() {
        let mut tree = Tree::default();
        let deep = "a/".repeat(400);
        let all = (0..300).try_for_each(|n| tree.add(&format!("task/{n}/{deep}f"), FILE));
        assert_eq!(all, Err(TreeError::TooMany));
    }
}
