//! What the compile child gives up before it reads a file: all other files and the network
//! (landlock(7)), as far as this kernel can take them. It keeps the files that it has open. Owns fds
//! only while a ruleset is made.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetError, Scope,
};

/// The newest version of landlock whose rights are handled, and so denied.
const NEWEST: ABI = ABI::V6;

/// Confines this thread for good, and those that it starts from now on. Sets `no_new_privs`.
///
/// # Errors
/// When no ruleset can be made, for another reason than an older kernel.
pub(super) fn confine() -> Result<(), RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    ruleset.create().and_then(RulesetCreated::restrict_self).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Runs alone in its process (nextest), which is confined from then on.
    #[test]
    fn what_is_open_stays_so_and_nothing_else_opens() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("input"), folder.path().join("output"));
        std::fs::write(&input, "text").unwrap();
        let (mut input, mut written) = (File::open(input).unwrap(), File::create(&output).unwrap());
        confine().unwrap();
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        written.write_all(text.as_bytes()).unwrap();
        assert_eq!(text, "text");
        let denied = std::io::ErrorKind::PermissionDenied;
        let opened = std::thread::spawn(move || File::open(output).map(drop)).join().unwrap();
        assert_eq!(opened.unwrap_err().kind(), denied, "threads are confined, too");
        let created = File::create(folder.path().join("another")).map(drop);
        assert_eq!(created.unwrap_err().kind(), denied);
        assert!(std::process::Command::new("/bin/true").spawn().is_err());
    }
}
