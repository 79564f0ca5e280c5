//! Catalogues: any memory, sealed or not, through `CatalogueView::new`, and then look-ups in what it accepts.
//!
//! What is accepted keeps to every rule that look-ups rely on, all of it can be read, and every function is found by
//! its name; memory that is not sealed is never accepted; and no fd is leaked.
#![no_main]

use std::fs::File;
use std::io::Write;

use abi::catalogue::{
    ArchivedIsolation, Catalogue, CatalogueError, CatalogueView, Function, FunctionLimits, Isolation, Kind, Output,
};
use abi::limits;
use abi::outbound::AllowList;
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
        let held_to = FunctionLimits::from(&function.limits);
        for millis in [held_to.timeout_ms, held_to.cpu_time_ms, held_to.queue_timeout_ms] {
            assert!(u128::from(millis) <= limits::TIMEOUT_MAX.as_millis());
        }
        assert!(held_to.memory_bytes_max <= limits::MEMORY_BYTES_MAX);
        assert!(usize::try_from(function.slot.to_native()).is_ok_and(|slot| slot < limits::FUNCTIONS_MAX));
        assert!(function.args.len() <= limits::ARGS_MAX && function.config.len() <= limits::ENV_VARIABLES_MAX);
        let patterns = function.allow_outbound.iter().map(|pattern| pattern.as_str());
        if let Ok(allowed) = AllowList::new(patterns) {
            assert!(
                !allowed.allows_address("example.test", [127, 0, 0, 1].into(), 80)
                    || !function.allow_outbound.is_empty()
            );
        }
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
        kind: *input.choose(&[Kind::Http02, Kind::Http03, Kind::Command])?,
        slot: if good { 7 } else { input.arbitrary()? },
        slot_life: if good { 1 } else { input.arbitrary()? },
        limits: if good {
            FunctionLimits::default()
        } else {
            FunctionLimits {
                memory_bytes_max: input.arbitrary()?,
                timeout_ms: input.arbitrary()?,
                cpu_time_ms: input.arbitrary()?,
                queue_timeout_ms: input.arbitrary()?,
                ..FunctionLimits::default()
            }
        },
        requests_per_instance_max: if good { 1 } else { input.arbitrary()? },
        env: input.arbitrary()?,
        config: input.arbitrary()?,
        args: input.arbitrary()?,
        output: if input.arbitrary()? { Output::Raw } else { Output::Cgi },
        allow_outbound: input.arbitrary()?,
        secrets: input.arbitrary()?,
    })
}
