//! The module-cache index: any bytes through `CacheIndexView::new`, and then look-ups in what it accepts.
//!
//! What this build packed is accepted and every entry found again; anything else is refused or read without harm, and
//! packing it anew makes a good index of it.
#![no_main]

use abi::cache_index::{CacheIndex, CacheIndexView, Entry};
use abi::message::Digest;
use fuzz::Origin;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const ENTRIES_MAX: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    // An error is an input too short to say what is to happen.
    let _ = run(&mut Unstructured::new(bytes));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let needle = key(input)?;
    let origin = Origin::choose(input)?;
    let archive = origin.archive(input, |input| {
        let entries = (0..input.int_in_range(0..=ENTRIES_MAX)?).map(|_| entry(input)).collect::<Result<_>>()?;
        Ok(CacheIndex { entries }.pack().expect("an index can be packed"))
    })?;
    match CacheIndexView::new(archive) {
        Ok(view) => look_up(&view, &needle, origin == Origin::Good),
        Err(error) => assert!(origin != Origin::Good, "this build's own index was refused: {error}"),
    }
    Ok(())
}

/// `sorted`: by this build's `pack`. A damaged index may be out of order; then a look-up misses, and no more.
fn look_up(view: &CacheIndexView, needle: &Digest, sorted: bool) {
    let mut index = view.to_owned();
    if let Some(found) = view.find(needle) {
        assert_eq!(found.key, *needle);
    } else if sorted {
        assert!(index.entries.iter().all(|entry| entry.key != *needle), "{needle:?}");
    }
    let again = CacheIndexView::new(index.pack().expect("an index can be packed")).expect("what was packed is good");
    assert_eq!(again.to_owned(), index);
    if sorted {
        assert_eq!(view.to_owned(), index);
    }
    for entry in &index.entries {
        let found = again.find(&entry.key).expect("every entry is found");
        assert_eq!(found.module_digest, entry.module_digest);
        assert_eq!(found.module_bytes.to_native(), entry.module_bytes);
    }
}

/// From few enough keys that some are there twice, and some are looked for in vain.
fn key(input: &mut Unstructured<'_>) -> Result<Digest> {
    let mut key = [0; 32];
    key[0] = input.int_in_range(0..=3)?;
    key[31] = input.int_in_range(0..=3)?;
    Ok(key)
}

fn entry(input: &mut Unstructured<'_>) -> Result<Entry> {
    Ok(Entry { key: key(input)?, module_digest: input.arbitrary()?, module_bytes: input.arbitrary()? })
}
