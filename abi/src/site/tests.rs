//! What an index must be like, and that nothing else is taken.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

fn file(path: &str, offset: u64, bytes: u64) -> SiteFile {
    let contents = Contents { offset, bytes, digest: [7; 16] };
    SiteFile {
        path: path.to_owned(),
        media_type: "text/html".to_owned(),
        contents,
        variants: vec![],
    }
}

fn site() -> Site {
    let set = vec![("x-a".to_owned(), "b".to_owned())];
    let rule = HeaderRule { path: "/*".to_owned(), removed: vec!["x-b".to_owned()], set };
    let redirect =
        Redirect { from: "/old".to_owned(), to: "/new".to_owned(), status: 301, forced: false };
    Site {
        files: vec![file("a", 16, 4), file("b/c", 20, 0)],
        headers: vec![rule],
        redirects: vec![redirect],
    }
}

/// The file of a site with these contents.
fn written(site: &Site, contents: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let index = site.pack().unwrap();
    let offset = CONTENTS_START + contents.len() as u64;
    file.write_all(&start(offset, index.len() as u64)).unwrap();
    file.write_all(contents).unwrap();
    file.write_all(&index).unwrap();
    file
}

fn why(change: impl FnOnce(&mut Site)) -> String {
    let mut changed = site();
    change(&mut changed);
    SiteView::read(&written(&changed, b"text")).unwrap_err().to_string()
}

#[test]
fn a_site_is_read_as_it_was_written() {
    let view = SiteView::read(&written(&site(), b"text")).unwrap();
    let found = view.get().find("a").unwrap();
    assert_eq!(found.contents.range(), (16, 4));
    assert_eq!(view.get().find("b/c").unwrap().path.as_str(), "b/c");
    assert!(view.get().find("b").is_none() && view.get().find("").is_none());
    let again = rkyv::deserialize::<Site, rkyv::rancor::Error>(view.get()).unwrap();
    assert_eq!(again, site());
}

#[test]
fn what_look_ups_rely_on_is_checked() {
    assert!(why(|site| site.files.swap(0, 1)).contains("out of order"));
    assert!(why(|site| site.files[1].path = "a".to_owned()).contains("out of order"));
    assert!(why(|site| site.files[0].contents.bytes = 5).contains("\"a\" cannot be served"));
    assert!(why(|site| site.files[0].contents.bytes = u64::MAX).contains("\"a\""));
    assert!(why(|site| site.files[0].contents.offset = 0).contains("\"a\""));
    assert!(why(|site| site.files[0].media_type = "a\nb".to_owned()).contains("\"a\""));
    let twice = Variant { coding: Coding::Gzip, contents: site().files[0].contents };
    assert!(why(|site| site.files[0].variants = vec![twice, twice]).contains("\"a\""));
    let outside = Contents { offset: 18, bytes: 4, digest: [0; 16] };
    let outside = Variant { coding: Coding::Gzip, contents: outside };
    assert!(why(|site| site.files[0].variants = vec![outside]).contains("\"a\""));
    assert!(why(|site| site.headers[0].set[0].0 = "a b".to_owned()).contains("headers of"));
    assert!(why(|site| site.headers[0].path = "x".to_owned()).contains("headers of"));
    assert!(why(|site| site.redirects[0].status = 500).contains("a redirect"));
    assert!(why(|site| site.redirects[0].to = "/\r\nx: y".to_owned()).contains("a redirect"));
}

#[test]
fn a_file_that_is_cut_off_is_no_site() {
    let whole = written(&site(), b"text");
    let length = whole.metadata().unwrap().len();
    for length in [0, 3, 16, 17, length - 1, length + 1] {
        whole.set_len(length).unwrap();
        assert!(SiteView::read(&whole).is_err(), "{length}");
    }
}

proptest! {
    /// Whatever is in an index: it is refused, or all that it names lies in the file.
    #[test]
    fn no_bytes_are_trusted(at in 0_usize..2000, to: u8, contents_end in 16_u64..64) {
        let mut index = site().pack().unwrap();
        let length = index.len();
        index[at % length] = to;
        if let Ok(view) = SiteView::new(index, contents_end) {
            for file in view.get().files.iter() {
                let (offset, bytes) = file.contents.range();
                prop_assert!(offset >= 16 && offset + bytes <= contents_end);
            }
        }
    }
}
