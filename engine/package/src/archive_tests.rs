//! Zips that are not as they should be, and what is said of them.

use std::io::Write as _;

use super::*;
use crate::samples::{Of, SCRIPT, zip};

fn list(bytes: &[u8]) -> Result<Vec<(String, Node)>, ArchiveError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let (_, entries) = read(&file)?;
    let (mut ranges, mut reader) = (Ranges::default(), &file);
    for entry in &entries {
        let mut contents = contents(entry, &mut reader, &mut ranges)?;
        io::copy(&mut contents, &mut io::sink()).map_err(ArchiveError::of_read)?;
    }
    Ok(entries.into_iter().map(|entry| (entry.path, entry.node)).collect())
}

fn why(bytes: &[u8]) -> String {
    let error = list(bytes).unwrap_err();
    assert_eq!(error.fault(), Fault::UNFIT);
    error.to_string()
}

/// Replaces bytes wherever they are.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = bytes.to_vec();
    let places = bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from);
    for (place, _) in places {
        replaced[place..place + to.len()].copy_from_slice(to);
    }
    replaced
}

#[test]
fn entries_have_kinds_and_modes() {
    let entries = list(&zip(&[
        ("./a/", Of::Folder),
        ("a/run", SCRIPT),
        ("a/data", Of::File(0o100_640, b"x")),
        ("a/plain", Of::File(0, b"x")),
        ("link", Of::Link("a/run")),
        ("a/setuid", Of::File(0o104_755, b"x")),
    ]))
    .unwrap();
    let file = |executable| Node::File { executable };
    let expected = [
        ("task/a", Node::Folder),
        ("task/a/run", file(true)),
        ("task/a/data", file(false)),
        ("task/a/plain", file(false)),
        ("task/link", Node::Link { target: "a/run".to_owned() }),
        ("task/a/setuid", file(true)),
    ];
    assert_eq!(entries, expected.map(|(path, node)| (path.to_owned(), node)));
}

#[test]
fn a_layout_is_the_first_entry_alone() {
    let layout = (LAYOUT_NAME, Of::File(0o644, LAYOUT_TEXT.as_bytes()));
    let entries = list(&zip(&[layout, ("opt/x", SCRIPT), ("task/y", SCRIPT)])).unwrap();
    assert_eq!(entries[0].0, "opt/x");
    let entries = list(&zip(&[("opt/x", SCRIPT), layout])).unwrap();
    assert_eq!(entries[0].0, "task/opt/x");
    assert_eq!(entries[1].0, format!("task/{LAYOUT_NAME}"));
    assert!(why(&zip(&[layout, ("etc/x", SCRIPT)])).contains("has no place in that layout"));
    let newer = (LAYOUT_NAME, Of::File(0o644, b"task+opt+data\n"));
    assert!(why(&zip(&[newer])).contains("newer sockhop"));
}

#[test]
fn special_files_are_refused_by_name() {
    for (mode, word) in [
        (0o010_644, "\"x\" is a FIFO"),
        (0o020_644, "\"x\" is a device"),
        (0o060_644, "\"x\" is a device"),
        (0o140_644, "\"x\" is a socket"),
        (0o150_644, "unknown type"),
    ] {
        let text = why(&zip(&[("x", Of::File(mode, b""))]));
        assert!(text.contains(word), "{text}");
    }
    let full_folder = why(&zip(&[("x", Of::File(0o040_755, b"contents"))]));
    assert!(full_folder.contains("\"x\" is a folder and has contents"), "{full_folder}");
}

#[test]
fn names_that_lead_out_are_refused() {
    for (name, word) in [
        ("../x", "leads out of its folder"),
        ("a/../../x", "leads out of its folder"),
        ("/x", "absolute name \"/x\""),
        ("a\\b", "backslash"),
    ] {
        // The library's writer mends some names itself.
        let stand_in = "_".repeat(name.len());
        let bytes = replaced(&zip(&[(&stand_in, SCRIPT)]), stand_in.as_bytes(), name.as_bytes());
        assert!(why(&bytes).contains(word), "{}", why(&bytes));
    }
}

#[test]
fn what_cannot_be_read_is_told_so() {
    assert!(why(b"PK\x03\x04 not at all").contains("damaged or cut off"));
    assert!(why(&zip(&[])).contains("empty"));
    let whole = zip(&[("a", SCRIPT), ("b", SCRIPT)]);
    assert!(why(&whole[..whole.len() - 30]).contains("damaged or cut off"));
    let flipped = replaced(&zip(&[("a", Of::File(0, b"abcdefgh"))]), b"abc", b"abX");
    let stored = zip_stored(b"abcdefgh");
    assert_ne!(stored, flipped);
    let flipped = replaced(&stored, b"abcdefgh", b"abcdefgX");
    assert!(why(&flipped).contains("damaged or cut off: Invalid checksum"), "{}", why(&flipped));
}

fn zip_stored(bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("a", options.compression_method(CompressionMethod::Stored)).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn encryption_and_other_methods_are_refused_by_name() {
    let mut encrypted = zip(&[("a", SCRIPT)]);
    let directory = central_directory(&encrypted);
    encrypted[directory + 8] |= 1;
    assert!(why(&encrypted).contains("\"a\" is encrypted"), "{}", why(&encrypted));
    let mut other = zip(&[("a", SCRIPT)]);
    other[directory + 10] = 12;
    assert!(why(&other).contains("\"a\" is compressed by"), "{}", why(&other));
}

fn central_directory(zip: &[u8]) -> usize {
    zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap()
}

#[test]
fn entries_that_share_bytes_are_refused() {
    let mut shared = zip(&[("a", SCRIPT)]);
    // A second entry of the directory, of another name, for the same data.
    let directory = central_directory(&shared);
    let end = shared.windows(4).position(|window| window == b"PK\x05\x06").unwrap();
    let mut second = shared[directory..end].to_vec();
    second[46] = b'b';
    let bytes = u32::try_from(2 * second.len()).unwrap();
    shared.splice(end..end, second);
    let end = shared.windows(4).position(|window| window == b"PK\x05\x06").unwrap();
    (shared[end + 8], shared[end + 10]) = (2, 2);
    shared[end + 12..end + 16].copy_from_slice(&bytes.to_le_bytes());
    assert!(why(&shared).contains("\"/var/task/b\" shares its bytes"), "{}", why(&shared));
}

#[test]
fn a_zip_that_claims_too_many_entries_is_refused_before_they_are_read() {
    // One record of the directory is 46 bytes and a name; zip64 has room for their number.
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for number in 0..=ENTRIES_MAX {
        zip.add_directory(format!("{number}"), zip::write::SimpleFileOptions::default()).unwrap();
    }
    let text = why(&zip.finish().unwrap().into_inner());
    assert!(text.contains("has 100001 entries; up to 100000"), "{text}");
}

#[test]
fn a_directory_of_comments_is_refused() {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let comment = "x".repeat(65_000);
    for number in 0..=DIRECTORY_BYTES_MAX / 65_000 + 2 {
        let options = zip::write::SimpleFileOptions::default().into_full_options();
        zip.start_file(number.to_string(), options.with_file_comment(comment.as_str())).unwrap();
    }
    let text = why(&zip.finish().unwrap().into_inner());
    assert!(text.contains("directory has more than 64 MiB"), "{text}");
}

#[test]
fn ranges_are_each_their_own() {
    let mut ranges = Ranges::default();
    assert!(ranges.add(10, 20));
    assert!(ranges.add(20, 30));
    assert!(ranges.add(0, 10));
    assert!(!ranges.add(5, 6));
    assert!(!ranges.add(29, 31));
    assert!(!ranges.add(40, u64::MAX) || !ranges.add(50, 51));
    assert!(!ranges.add(10, 20));
}
