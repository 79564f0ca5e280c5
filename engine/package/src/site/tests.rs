//! Sites as folders, as zips, and as workers read them.

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;

use abi::site::{ArchivedContents, SiteView};
use proptest::prelude::*;

use super::*;
use crate::samples::{Of, zip};

/// Returns what is made of a zip, and the file that it is in.
fn made(artefact: &[u8]) -> Result<(SiteView, File), SiteError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(artefact).unwrap();
    let mut output = tempfile::tempfile().unwrap();
    make_site(&file, &mut output)?;
    Ok((SiteView::read(&output).unwrap(), output))
}

fn why(files: &[(&str, Of<'_>)]) -> String {
    made(&zip(files)).map(|_| ()).unwrap_err().to_string()
}

fn text(file: &File, contents: &ArchivedContents) -> Vec<u8> {
    let (offset, bytes) = contents.range();
    let mut text = vec![0; usize::try_from(bytes).unwrap()];
    file.read_exact_at(&mut text, offset).unwrap();
    text
}

/// Packs a folder.
fn packed(folder: &Path, is_single_page: bool) -> Result<Vec<u8>, SitePackError> {
    let mut output = tempfile::tempfile().unwrap();
    pack_site(folder, is_single_page, &mut output)?;
    let mut bytes = vec![0; usize::try_from(output.metadata().unwrap().len()).unwrap()];
    output.read_exact_at(&mut bytes, 0).unwrap();
    Ok(bytes)
}

#[test]
fn a_folder_becomes_a_site() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    };
    let page = "<p>hello</p>".repeat(100).into_bytes();
    write("index.html", &page);
    write("docs/index.html", b"docs");
    write("app.js", b"let a;");
    write("app.js.br", b"as Brotli");
    write(".git/config", b"secret");
    write("docs/.env", b"secret");
    write(".well-known/security.txt", b"mail me");
    write("sockhop.toml", b"name = \"x\"");
    write("_headers", b"/*\n  x-a: b\n");
    let artefact = packed(folder.path(), true).unwrap();
    assert_eq!(artefact, packed(folder.path(), true).unwrap(), "it is always the same");
    let (view, file) = made(&artefact).unwrap();
    let site = view.get();
    let paths: Vec<_> = site.files.iter().map(|file| file.path.as_str()).collect();
    let expected =
        [".well-known/security.txt", "app.js", "app.js.br", "docs/index.html", "index.html"];
    assert_eq!(paths, expected);
    let index = site.find("index.html").unwrap();
    assert_eq!(text(&file, &index.contents), page);
    assert_eq!(index.media_type.as_str(), "text/html; charset=utf-8");
    let codings: Vec<_> = index.variants.iter().map(|it| Coding::from(&it.coding)).collect();
    assert_eq!(codings, [Coding::Zstandard, Coding::Gzip]);
    let zstandard = text(&file, &index.variants[0].contents);
    assert_eq!(zstd::bulk::decompress(&zstandard, page.len()).unwrap(), page);
    let script = site.find("app.js").unwrap();
    assert_eq!(script.variants.len(), 1, "it is too small to be compressed here");
    assert_eq!(text(&file, &script.variants[0].contents), b"as Brotli");
    assert_eq!(site.headers.len(), 1);
    let fallback = &site.redirects[0];
    assert_eq!((fallback.to.as_str(), fallback.status.to_native()), ("/index.html", 200));
}

#[test]
fn the_fallback_comes_behind_the_redirects_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "x").unwrap();
    fs::write(folder.path().join("_redirects"), "/a /b").unwrap();
    let (view, _) = made(&packed(folder.path(), true).unwrap()).unwrap();
    let from: Vec<_> = view.get().redirects.iter().map(|it| it.from.as_str()).collect();
    assert_eq!(from, ["/a", "/*"]);
}

#[test]
fn links_and_what_is_no_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "x").unwrap();
    symlink("/etc/passwd", folder.path().join("passwd")).unwrap();
    let why_not = packed(folder.path(), false).unwrap_err().to_string();
    assert!(why_not.contains("passwd") && why_not.contains("link"), "{why_not}");
    let link = [("index.html", Of::File(0o644, b"x")), ("a", Of::Link("index.html"))];
    assert!(why(&link).contains("symbolic link \"a\""));
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join(".hidden"), "x").unwrap();
    assert!(matches!(packed(empty.path(), false), Err(SitePackError::Empty(_))));
    assert!(matches!(packed(Path::new("/dev/null"), false), Err(SitePackError::NoFolder(_))));
}

#[test]
fn a_function_has_its_assets_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.css"), "red").unwrap();
    let mut artefact = tempfile::tempfile().unwrap();
    pack_with_assets(b"\0asm code", folder.path(), &mut artefact).unwrap();
    assert_eq!(function_in(&artefact).unwrap().as_deref(), Some(&b"\0asm code"[..]));
    let mut output = tempfile::tempfile().unwrap();
    make_site(&artefact, &mut output).unwrap();
    let view = SiteView::read(&output).unwrap();
    let paths: Vec<_> = view.get().files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a.css"], "the function is not among them");
    for other in [zip(&[("function.wasm", Of::File(0o644, b"x"))]), b"\0asm".to_vec(), vec![]] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&other).unwrap();
        assert_eq!(function_in(&file).unwrap(), None);
    }
}

#[test]
fn a_hostile_zip_is_refused() {
    let file = || Of::File(0o644, b"x");
    assert!(why(&[("../a", file())]).contains(".."));
    assert!(why(&[("/a", file())]).contains("absolute"));
    assert!(why(&[("a", file()), ("a/b", file())]).contains('a'));
    assert!(why(&[(".git/config", file())]).contains("no file that is served"));
    assert!(why(&[("a", file()), ("_headers", file())]).contains("_headers, line 1"));
    let binary = [("a", file()), ("_redirects", Of::File(0o644, &[0xff]))];
    assert!(why(&binary).contains("not UTF-8"));
    assert!(made(b"no zip").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever becomes of a zip on its way: it is refused, or it is a site whose index holds.
    #[test]
    fn no_zip_does_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let files = [("index.html", Of::File(0o644, &b"hello"[..])), ("a/b.js", Of::File(0o644, b"x"))];
        let mut artefact = zip(&files);
        for (at, to) in changes {
            let at = at.index(artefact.len());
            artefact[at] = to;
        }
        let _ = made(&artefact);
    }
}
