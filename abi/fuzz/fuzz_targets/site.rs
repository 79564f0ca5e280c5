//! The index of a static site: any bytes in its file.
//!
//! They are refused, or whatever a look-up finds lies in the file, and every rule of the site can be
//! matched with any path.
#![no_main]

use abi::envelope;
use abi::site::pattern::{Pattern, filled};
use abi::site::{Coding, Contents, HeaderRule, Redirect, Site, SiteFile, SiteView, Variant};
use fuzz::Origin;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // An error is an input too short to say what is to happen.
    let _ = run(&mut Unstructured::new(bytes));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let (contents_end, path): (u64, String) = input.arbitrary()?;
    let path = format!("/{path}");
    let archive = Origin::choose(input)?
        .archive(input, |input| Ok(envelope::pack(&site(input)?).expect("a site can be packed")))?;
    let Ok(view) = SiteView::new(archive, contents_end) else { return Ok(()) };
    let site = view.get();
    for file in site.files.iter() {
        let variants = file.variants.iter().map(|variant| &variant.contents);
        for contents in variants.chain([&file.contents]) {
            let (offset, bytes) = contents.range();
            assert!(
                offset >= 16 && offset.checked_add(bytes).is_some_and(|end| end <= contents_end)
            );
        }
        let found = site.find(&file.path).expect("it is sorted");
        assert_eq!(found.path.as_str(), file.path.as_str());
    }
    for rule in site.headers.iter() {
        let _ = Pattern::new(&rule.path).expect("it was checked").matches(&path);
    }
    for redirect in site.redirects.iter() {
        if let Some(names) = Pattern::new(&redirect.from).expect("it was checked").matches(&path) {
            let _ = filled(&redirect.to, &names);
        }
    }
    Ok(())
}

fn site(input: &mut Unstructured<'_>) -> Result<Site> {
    let mut files =
        (0..input.int_in_range(0..=4)?).map(|_| file(input)).collect::<Result<Vec<_>>>()?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let text = |input: &mut Unstructured<'_>| {
        let texts = ["/*", "/a/:b", "/a/*", "/", "x-a", "b", "/a/:splat", "*", ""];
        Ok((*input.choose(&texts)?).to_owned())
    };
    let headers = (0..input.int_in_range(0..=2)?)
        .map(|_| {
            let set = vec![(text(input)?, text(input)?)];
            Ok(HeaderRule { path: text(input)?, removed: vec![text(input)?], set })
        })
        .collect::<Result<_>>()?;
    let redirects = (0..input.int_in_range(0..=2)?)
        .map(|_| {
            let status = *input.choose(&[200, 301, 404, 500])?;
            let (from, to, forced) = (text(input)?, text(input)?, input.arbitrary()?);
            Ok(Redirect { from, to, status, forced })
        })
        .collect::<Result<_>>()?;
    Ok(Site { files, headers, redirects })
}

fn file(input: &mut Unstructured<'_>) -> Result<SiteFile> {
    let contents = |input: &mut Unstructured<'_>| {
        let (offset, bytes, digest) = input.arbitrary()?;
        Ok(Contents { offset, bytes, digest })
    };
    let coding = *input.choose(&Coding::ALL)?;
    let variants = match input.arbitrary()? {
        true => vec![Variant { coding, contents: contents(input)? }],
        false => Vec::new(),
    };
    let (path, media_type) = (input.arbitrary()?, "text/html".to_owned());
    Ok(SiteFile { path, media_type, contents: contents(input)?, variants })
}
