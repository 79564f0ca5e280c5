//! Catalogues: any memory, sealed or not, through `CatalogueView::new`, and then look-ups in what it accepts.
//!
//! What is accepted keeps to every rule that look-ups rely on, all of it can be read, and every function is found by
//! its name; memory that is not sealed is never accepted; and no fd is leaked.
#![no_main]

use std::fs::File;
use std::io::Write;

use abi::catalogue::{ArchivedIsolation, Catalogue, CatalogueError, CatalogueView, Function, Isolation};
use abi::limits;
use abi::sealed::{self, SealedError};
use abi::{envelope, name};
use fuzz::{FdWatch, Origin};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const FUNCTIONS_MAX: usize = 4;

const NAMES: [&str; 6] = ["a", "b-1", "b-12", "hello", "longer-than-what-rkyv-stores-inline", "zz"];

fuzz_target!(|bytes: &[u8]| {
    let watch = FdWatch::start();
    // An error is an input too short to say what is to happen.
    let _ = run(&mut Unstructured::new(bytes));
    watch.end();
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let needle = if input.arbitrary()? { *input.choose(&NAMES)? } else { input.arbitrary()? };
    let seal = !input.ratio(1, 16)?;
    let archive = Origin::choose(input)?.archive(input, |input| {
        let mut functions: Vec<_> =
            (0..input.int_in_range(0..=FUNCTIONS_MAX)?).map(|_| function(input)).collect::<Result<_>>()?;
        // Out of order, or with a name twice, none is accepted.
        if !input.ratio(1, 8)? {
            functions.sort_by(|a: &Function, b| a.name.cmp(&b.name));
            functions.dedup_by(|a, b| a.name == b.name);
        }
        let catalogue = Catalogue { generation: input.arbitrary()?, functions };
        Ok(envelope::pack(&catalogue).expect("a catalogue can be packed"))
    })?;
    let mut memory = File::from(sealed::unsealed("fuzz").expect("there is memory left"));
    memory.write_all(&archive).expect("there is memory left");
    if !seal {
        let refused = CatalogueView::new(&memory);
        assert!(matches!(refused, Err(CatalogueError::Sealed(SealedError::NotSealed { .. }))), "{refused:?}");
        return Ok(());
    }
    let memory = sealed::seal("fuzz", memory.into()).expect("nobody has it mapped");
    if let Ok(view) = CatalogueView::new(memory) {
        look_up(&view, needle);
    }
    Ok(())
}

/// Reads all of an accepted catalogue; `needle` is some name to look for.
fn look_up(view: &CatalogueView, needle: &str) {
    let catalogue = view.get();
    assert_eq!(catalogue.generation.to_native(), view.generation());
    let functions = catalogue.functions.as_slice();
    for (index, function) in functions.iter().enumerate() {
        let called = function.name.as_str();
        assert_eq!(name::check(called), Ok(()));
        assert_eq!(view.find(called), Some(index), "{called:?}");
        assert!(std::ptr::eq(view.function(index).expect("it was found"), function));
        let env = function.env.iter().map(|pair| pair.0.chars().count() + pair.1.chars().count());
        assert!(env.sum::<usize>() <= limits::ENV_BYTES_MAX);
        assert!(u128::from(function.timeout_ms.to_native()) <= limits::TIMEOUT_MAX.as_millis());
        assert!(function.memory_bytes_max.to_native() <= limits::MEMORY_BYTES_MAX);
        let requests = function.requests_per_instance_max.to_native();
        assert!((1..=limits::REQUESTS_PER_INSTANCE_MAX).contains(&requests));
        assert_eq!(function.version.chars().map(char::len_utf8).sum::<usize>(), function.version.len());
        // Both are read here, whatever they are.
        assert_eq!(function.module.as_slice().len(), 32);
        assert!(matches!(function.isolation, ArchivedIsolation::Shared | ArchivedIsolation::Process));
    }
    assert!(view.function(functions.len()).is_none());
    let expected = functions.iter().position(|function| function.name.as_str() == needle);
    assert_eq!(view.find(needle), expected, "{needle:?}");
}

/// Mostly one that is accepted.
fn function(input: &mut Unstructured<'_>) -> Result<Function> {
    let good = !input.ratio(1, 8)?;
    Ok(Function {
        name: if good { (*input.choose(&NAMES)?).to_owned() } else { input.arbitrary()? },
        version: input.arbitrary()?,
        module: input.arbitrary()?,
        isolation: if input.arbitrary()? { Isolation::Shared } else { Isolation::Process },
        memory_bytes_max: if good { limits::MEMORY_BYTES_DEFAULT } else { input.arbitrary()? },
        timeout_ms: if good { 1000 } else { input.arbitrary()? },
        requests_per_instance_max: if good { 1 } else { input.arbitrary()? },
        env: input.arbitrary()?,
    })
}
