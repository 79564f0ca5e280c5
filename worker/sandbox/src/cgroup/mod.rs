//! Control groups: which limits this host lets the node set, and one group for each program.
//!
//! Hosts differ: cgroup v2 delegated to the node, v1 as root, both side by side, or neither. So it
//! is decided by controller: for `memory` and for `pids` a [`Parent`] folder is looked for, below
//! the node's own cgroup. The init of a sandbox is not in its group: it outlives a program that
//! the kernel kills for its memory, and tells.
//!
//! A [`Group`] owns the open files of its folders until the init has them.

mod group;
mod leftovers;
mod membership;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use group::{Group, Limits};
pub(crate) use leftovers::remove_leftovers;
pub(crate) use membership::Version;
use membership::{Membership, memberships};

/// The name of the cgroup that holds the node's own processes where the node manages a delegated
/// cgroup v2: a cgroup with processes in it cannot give controllers to its children.
pub const NODE_LEAF: &str = "node";

/// What the names of programs' cgroups begin with.
pub(crate) const PREFIX: &str = "sockhop-native-";

/// A controller that limits programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// A folder in which groups are made, and what they can limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) version: Version,
    pub(crate) folder: PathBuf,
    pub(crate) controllers: Vec<Controller>,
}

/// Returns the parents that this process has. Those that cannot be used are left out: `reasons`
/// gets a sentence for each controller.
pub(crate) fn parents(reasons: &mut Vec<(Controller, String)>) -> Vec<Parent> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memberships = memberships(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    let mut parents: Vec<Parent> = Vec::new();
    for controller in [Controller::Memory, Controller::Pids] {
        match parent_of(&memberships, controller) {
            Ok((version, folder)) => match parents.iter_mut().find(|p| p.folder == folder) {
                Some(parent) => parent.controllers.push(controller),
                None => parents.push(Parent { version, folder, controllers: vec![controller] }),
            },
            Err(reason) => reasons.push((controller, reason)),
        }
    }
    parents
}

/// Returns where groups with this controller can be made.
fn parent_of(
    memberships: &[Membership],
    controller: Controller,
) -> Result<(Version, PathBuf), String> {
    let name = controller.name();
    let has = |m: &&Membership| m.version == Version::V1 && m.controllers.iter().any(|c| c == name);
    if let Some(v1) = memberships.iter().find(has) {
        return if may_create(&v1.folder) {
            Ok((Version::V1, v1.folder.clone()))
        } else {
            Err(format!(
                "the cgroup {} belongs to another user; only root may limit {name} with cgroup v1",
                v1.folder.display()
            ))
        };
    }
    let Some(v2) = memberships.iter().find(|m| m.version == Version::V2) else {
        return Err(format!("no cgroup file system with the controller {name} is mounted"));
    };
    if gives(&v2.folder, name) && may_create(&v2.folder) {
        // Only the root cgroup has processes and gives controllers at a time.
        return Ok((Version::V2, v2.folder.clone()));
    }
    let parent = v2.folder.parent().unwrap_or(&v2.folder);
    if is_the_nodes(parent, &v2.folder) && gives(parent, name) && may_create(parent) {
        return Ok((Version::V2, parent.to_owned()));
    }
    Err(format!(
        "the cgroup {} gives no controller {name} to the node; in the systemd unit, set Delegate=yes and DelegateSubgroup={NODE_LEAF}",
        v2.folder.display()
    ))
}

/// Returns whether a v2 cgroup gives the controller `name` to its children.
fn gives(folder: &Path, name: &str) -> bool {
    let given = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    given.split_ascii_whitespace().any(|controller| controller == name)
}

/// Returns whether groups may be made in `folder`.
fn may_create(folder: &Path) -> bool {
    nix::unistd::eaccess(folder, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// Returns whether the cgroup `parent` is the node's and not, say, a slice of systemd's: the node
/// is in the leaf that is called so, or systemd has marked `parent` as delegated.
fn is_the_nodes(parent: &Path, leaf: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(parent, name, &mut value[..])
            .is_ok_and(|length| value[..length] == *b"1")
    };
    leaf.ends_with(NODE_LEAF) || marked("trusted.delegate") || marked("user.delegate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(folder: &Path) -> Vec<Membership> {
        vec![Membership {
            version: Version::V2,
            controllers: Vec::new(),
            folder: folder.to_owned(),
        }]
    }

    #[test]
    fn a_delegated_v2_cgroup_is_used_beside_the_nodes_leaf() {
        let root = tempfile::tempdir().unwrap();
        let leaf = root.path().join("sockhop.service").join(NODE_LEAF);
        fs::create_dir_all(&leaf).unwrap();
        let service = leaf.parent().unwrap();
        fs::write(service.join("cgroup.subtree_control"), "cpu memory\n").unwrap();
        let memory = parent_of(&v2(&leaf), Controller::Memory);
        assert_eq!(memory, Ok((Version::V2, service.to_owned())));
        assert!(parent_of(&v2(&leaf), Controller::Pids).unwrap_err().contains("Delegate=yes"));
    }

    #[test]
    fn a_slice_that_is_not_the_nodes_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("system.slice").join("sockhop.service");
        fs::create_dir_all(&own).unwrap();
        let slice = own.parent().unwrap();
        fs::write(slice.join("cgroup.subtree_control"), "memory pids\n").unwrap();
        assert!(parent_of(&v2(&own), Controller::Memory).is_err());
    }

    #[test]
    fn without_cgroups_there_is_a_sentence_for_each() {
        for controller in [Controller::Memory, Controller::Pids] {
            assert!(parent_of(&[], controller).unwrap_err().contains(controller.name()));
        }
    }
}
