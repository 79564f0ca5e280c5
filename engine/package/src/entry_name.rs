//! Names in a zip, and targets of links, held to what stays inside. Pure; owns no fds.

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, quoted};

/// Why a name in a zip cannot be unpacked. The names are as they stand in the zip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It begins with a slash.
    #[error(
        "the zip has the absolute name {0:?}; names in it must be relative: zip the folder from within, with `cd FOLDER && zip -r ../function.zip .`"
    )]
    Absolute(String),
    /// It has a component `..`.
    #[error(
        "the zip has the name {0:?}, which leads out of its folder by \"..\"; zip the folder from within, with `cd FOLDER && zip -r ../function.zip .`"
    )]
    Parent(String),
    /// It has a backslash.
    #[error(
        "the zip has the name {0:?} with a backslash, as some Windows tools write instead of a slash; zip it with `tar -a -cf function.zip *`, or deploy the folder itself"
    )]
    Backslash(String),
    /// It has a NUL byte.
    #[error("the zip has the name {0:?} with a NUL byte; it is damaged, zip the folder again")]
    Nul(String),
    /// It is longer than a file system takes.
    #[error(
        "the zip has the name {0:?}, which is too long; a name may have {NAME_BYTES_MAX} bytes, with the folders above it {PATH_BYTES_MAX}"
    )]
    TooLong(String),
}

/// Returns `name` without empty components and without `.`, so that each file has one name.
/// Returns an empty text for the top folder.
///
/// # Errors
/// [`NameError`] when it may lead out of its folder, or cannot be a file's name.
pub(crate) fn normalise(name: &str) -> Result<String, NameError> {
    let quote = || quoted(name);
    if name.contains('\0') {
        return Err(NameError::Nul(quote()));
    }
    if name.contains('\\') {
        return Err(NameError::Backslash(quote()));
    }
    if name.starts_with('/') {
        return Err(NameError::Absolute(quote()));
    }
    let components: Vec<&str> =
        name.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    if components.contains(&"..") {
        return Err(NameError::Parent(quote()));
    }
    let path = components.join("/");
    if path.len() > PATH_BYTES_MAX
        || components.iter().any(|component| component.len() > NAME_BYTES_MAX)
    {
        return Err(NameError::TooLong(quote()));
    }
    Ok(path)
}

/// Returns whether a link at `path`, which begins with `task` or `opt`, stays inside that folder.
///
/// The target may go up at its beginning only, as often as there are folders above the link. Those
/// are real folders, as nothing is ever unpacked below a link; so what remains of the target begins
/// at a real folder inside and goes down, through links of which the same is true. A `..` behind a
/// name would go up from wherever a link of that name leads.
pub(crate) fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains('\0') {
        return false;
    }
    if target.starts_with('/') {
        return false;
    }
    // Neither `task` or `opt` nor the link's own name counts.
    let mut folders_above = path.split('/').count().saturating_sub(2);
    let mut has_gone_down = false;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if has_gone_down || folders_above == 0 => return false,
            ".." => folders_above -= 1,
            _ => has_gone_down = true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_has_one_name() {
        assert_eq!(normalise("a/b").as_deref(), Ok("a/b"));
        assert_eq!(normalise("./a//b/./").as_deref(), Ok("a/b"));
        assert_eq!(normalise("./").as_deref(), Ok(""));
        assert_eq!(normalise("...").as_deref(), Ok("..."));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        assert!(matches!(normalise("/etc/passwd"), Err(NameError::Absolute(_))));
        assert!(matches!(normalise("a/../../b"), Err(NameError::Parent(_))));
        assert!(matches!(normalise("a/../b"), Err(NameError::Parent(_))));
        assert!(matches!(normalise("..\\b"), Err(NameError::Backslash(_))));
        assert!(matches!(normalise("C:\\b"), Err(NameError::Backslash(_))));
        assert!(matches!(normalise("a\0b"), Err(NameError::Nul(_))));
        assert!(matches!(normalise(&"a".repeat(256)), Err(NameError::TooLong(_))));
        assert!(matches!(normalise(&"a/".repeat(600)), Err(NameError::TooLong(_))));
    }

    #[test]
    fn links_stay_in_their_folder() {
        for (path, target) in [
            ("task/lib.so", "lib.so.1"),
            ("task/bin/tool", "../modules/tool/tool.js"),
            ("task/a/b/l", "../../x/y"),
            ("task/l", "./a//b"),
            ("task/a/l", ".."),
        ] {
            assert!(stays_inside(path, target), "{path} -> {target}");
        }
        for (path, target) in [
            ("task/l", ".."),
            ("task/l", "../opt/x"),
            ("task/a/l", "../../x"),
            ("task/l", "/etc/passwd"),
            ("task/l", "a/../b"),
            ("task/a/l", "../b/.."),
            ("task/l", ""),
            ("task/l", "a\0"),
        ] {
            assert!(!stays_inside(path, target), "{path} -> {target}");
        }
    }

    proptest! {
        #[test]
        fn what_is_normalised_stays_so(name in ".{0,40}") {
            if let Ok(path) = normalise(&name) {
                prop_assert!(path.split('/').all(|component| !matches!(component, "." | "..")));
                prop_assert!(!path.starts_with('/') && !path.ends_with('/'));
                prop_assert_eq!(normalise(&path), Ok(path.clone()));
            }
        }

        #[test]
        fn a_link_that_stays_inside_never_climbs_above(
            depth in 0_usize..4,
            target in "(\\.\\./|\\./|a/|/){0,6}",
        ) {
            let path = format!("task/{}link", "d/".repeat(depth));
            if stays_inside(&path, &target) {
                let climbed = target.split('/').filter(|part| *part == "..").count();
                prop_assert!(climbed <= depth);
            }
        }
    }
}
