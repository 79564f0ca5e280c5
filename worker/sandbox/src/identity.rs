//! Which users of the host a sandbox's init and its program are, and the maps that say so
//! (user_namespaces(7)). Pure, but for [`Identity::of_this_process`]. Owns no fds.
//!
//! A spawner that may set ids (root) takes two of its own from a range that nobody else uses, so
//! that programs of different functions are different users, and none is the node. An ordinary user
//! can map only itself.

use std::fs;

use nix::unistd::{Pid, getegid, geteuid, getpid};
use rustix::thread::{CapabilitySet, capabilities};

/// The user that a program finds itself to be, as on AWS Lambda.
pub(crate) const PROGRAM_UID: u32 = 993;
/// Its group.
pub(crate) const PROGRAM_GID: u32 = 990;
/// The first id of the range. From 1,879,048,192 to 2,147,352,575 systemd's table of uids has
/// nobody (systemd.io/UIDS-GIDS).
const FIRST_ID: u32 = 1_900_000_000;
/// Of ids that must come out of another range, these and those above are left out: 65534 is nobody.
const NOBODY: u32 = 65_534;

/// A row of `/proc/self/uid_map` or `gid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    first: u32,
    count: u32,
}

/// Who a sandbox's processes are on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Init is the first user and group, its program the next.
    Own {
        /// Init's user.
        uid: u32,
        /// Init's group.
        gid: u32,
    },
    /// Both are the user and the group of the spawner.
    Same {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

/// Why a sandbox would have no user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error(
        "the node runs as root but without CAP_SETUID and CAP_SETGID, so that a program would be root too; give it both capabilities, or run it as an ordinary user"
    )]
    RootWithoutPowers,
}

/// Reads a map; rows that are none are left out.
fn extents(text: &str) -> Vec<Extent> {
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(str::parse);
        let (first, _outside, count) =
            (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
        Some(Extent { first, count })
    };
    text.lines().filter_map(row).collect()
}

/// Returns the first of two ids for the spawner with this pid, or `None` if there are none.
fn two_of(extents: &[Extent], pid: u32) -> Option<u32> {
    let wanted = FIRST_ID.checked_add(pid.checked_mul(2)?)?;
    let has = |extent: &Extent| {
        wanted >= extent.first && wanted - extent.first < extent.count.saturating_sub(1)
    };
    if extents.iter().any(has) {
        return Some(wanted);
    }
    // In a container with fewer ids: the upper half of those that it has, away from its own users.
    let largest = extents.iter().max_by_key(|extent| extent.count)?;
    let end = largest.first.saturating_add(largest.count);
    let end = if (NOBODY..=NOBODY + 2).contains(&end) { NOBODY } else { end };
    let middle = largest.first.saturating_add(largest.count / 2);
    let pairs = end.checked_sub(middle)? / 2;
    (pairs > 0 && middle > 0).then(|| middle + 2 * (pid % pairs))
}

impl Identity {
    /// Chooses by what the spawner is, has and may.
    fn choose(
        (uid, gid): (u32, u32),
        may_set_ids: bool,
        (uids, gids): (&[Extent], &[Extent]),
        pid: u32,
    ) -> Result<Self, IdentityError> {
        let own = may_set_ids.then(|| Some((two_of(uids, pid)?, two_of(gids, pid)?))).flatten();
        match own {
            Some((uid, gid)) => Ok(Self::Own { uid, gid }),
            // Alone in its namespace, uid 0 is an ordinary user outside.
            None if uid != 0 || uids.iter().all(|extent| extent.count == 1) => {
                Ok(Self::Same { uid, gid })
            }
            None => Err(IdentityError::RootWithoutPowers),
        }
    }

    /// Returns that of the sandboxes of this process, a spawner.
    pub(crate) fn of_this_process() -> Result<Self, IdentityError> {
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
        let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
        let map = |name: &str| {
            extents(&fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default())
        };
        let pid = getpid().as_raw().unsigned_abs();
        let own = (geteuid().as_raw(), getegid().as_raw());
        Self::choose(own, may, (&map("uid_map"), &map("gid_map")), pid)
    }

    /// Returns the text for `uid_map`.
    fn uid_map(self) -> String {
        match self {
            Self::Own { uid, .. } => format!("0 {uid} 1\n{PROGRAM_UID} {} 1\n", uid + 1),
            Self::Same { uid, .. } => format!("{PROGRAM_UID} {uid} 1\n"),
        }
    }

    /// Returns the text for `gid_map`.
    fn gid_map(self) -> String {
        match self {
            Self::Own { gid, .. } => format!("0 {gid} 1\n{PROGRAM_GID} {} 1\n", gid + 1),
            Self::Same { gid, .. } => format!("{PROGRAM_GID} {gid} 1\n"),
        }
    }

    /// Writes the maps of a process in a new user namespace.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn write_maps(self, pid: Pid) -> std::io::Result<()> {
        fs::write(format!("/proc/{pid}/uid_map"), self.uid_map())?;
        if matches!(self, Self::Same { .. }) {
            // Without CAP_SETGID the kernel wants this before the map of groups.
            fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
        }
        fs::write(format!("/proc/{pid}/gid_map"), self.gid_map())
    }

    /// Returns the program's user and group on the host.
    pub(crate) fn program_on_host(self) -> (u32, u32) {
        match self {
            Self::Own { uid, gid } => (uid + 1, gid + 1),
            Self::Same { uid, gid } => (uid, gid),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Extent; 1] = [Extent { first: 0, count: u32::MAX }];
    const CONTAINER: [Extent; 1] = [Extent { first: 0, count: 65_536 }];
    const ROOTLESS: [Extent; 1] = [Extent { first: 0, count: 1 }];

    #[test]
    fn root_gives_each_spawner_users_of_its_own() {
        let of = |pid| Identity::choose((0, 0), true, (&ALL, &ALL), pid).unwrap();
        assert_eq!(of(7), Identity::Own { uid: FIRST_ID + 14, gid: FIRST_ID + 14 });
        assert_eq!(of(7).uid_map(), "0 1900000014 1\n993 1900000015 1\n");
        assert_eq!(of(7).gid_map(), "0 1900000014 1\n990 1900000015 1\n");
        assert_ne!(of(7).program_on_host(), of(8).program_on_host());
    }

    #[test]
    fn an_ordinary_user_maps_itself() {
        let same = Identity::choose((1000, 100), false, (&ALL, &ALL), 7).unwrap();
        assert_eq!(
            (same.uid_map().as_str(), same.gid_map().as_str()),
            ("993 1000 1\n", "990 100 1\n")
        );
    }

    #[test]
    fn root_that_cannot_set_ids_is_refused_unless_it_is_an_ordinary_user_outside() {
        assert!(Identity::choose((0, 0), false, (&ALL, &ALL), 7).is_err());
        assert!(Identity::choose((0, 0), false, (&CONTAINER, &CONTAINER), 7).is_err());
        let rootless = Identity::choose((0, 0), true, (&ROOTLESS, &ROOTLESS), 7);
        assert_eq!(rootless.unwrap(), Identity::Same { uid: 0, gid: 0 });
    }

    proptest! {
        #[test]
        fn two_ids_are_mapped_and_neither_root_nor_nobody(
            pid in 1u32..4_194_304,
            count in 2u32..100_000,
        ) {
            for extents in [vec![Extent { first: 0, count }], CONTAINER.to_vec(), ALL.to_vec()] {
                let Some(id) = two_of(&extents, pid) else { continue };
                let has = |e: &Extent, id: u32| id >= e.first && id - e.first < e.count;
                let mapped = |id: u32| extents.iter().any(|extent| has(extent, id));
                prop_assert!(id > 0 && mapped(id) && mapped(id + 1), "{id}");
                prop_assert!(id != NOBODY || count != 65_536);
            }
        }

        #[test]
        fn any_map_is_read(text in "\\PC*") {
            let _ = two_of(&extents(&text), 7);
        }
    }
}
