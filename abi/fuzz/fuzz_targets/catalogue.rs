//! Catalogues: any memory, sealed or not, through `CatalogueView::new`, and then look-ups in what
//! it accepts.
//!
//! What is accepted keeps to every rule that look-ups rely on, all of it can be read, and every
//! function is found by its name; memory that is not sealed is never accepted; and no fd is leaked.
#![no_main]

use std::fs::File;
use std::io::Write;

use abi::catalogue::{
    Alias, Catalogue, CatalogueError, CatalogueView, Function, Host, HostRoute, Spec, Target,
    Version,
};
use abi::function::{
    ArchivedIsolation, FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode,
};
use abi::limits;
use abi::names::Names;
use abi::outbound::AllowList;
use abi::route::{Caller, NotFound, route};
use abi::sealed::{self, SealedError};
use abi::{domain, envelope, name, reference};
use fuzz::{FdWatch, Origin};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const FUNCTIONS_MAX: usize = 4;
const HOSTS_MAX: usize = 3;
const SPECS_MAX: usize = 3;
const VERSIONS_MAX: u8 = 4;

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
        let mut functions: Vec<_> = (0..input.int_in_range(0..=FUNCTIONS_MAX)?)
            .map(|_| function(input))
            .collect::<Result<_>>()?;
        // Out of order, or with a name twice, none is accepted.
        if !input.ratio(1, 8)? {
            functions.sort_by(|a: &Function, b| a.name.cmp(&b.name));
            functions.dedup_by(|a, b| a.name == b.name);
        }
        let specs =
            (0..input.int_in_range(1..=SPECS_MAX)?).map(|_| spec(input)).collect::<Result<_>>()?;
        let hosts = (0..input.int_in_range(0..=HOSTS_MAX)?)
            .map(|_| host(input))
            .collect::<Result<Vec<_>>>()?;
        let catalogue = Catalogue { generation: input.arbitrary()?, functions, specs, hosts };
        Ok(envelope::pack(&catalogue).expect("a catalogue can be packed"))
    })?;
    let mut memory = File::from(sealed::unsealed("fuzz").expect("there is memory left"));
    memory.write_all(&archive).expect("there is memory left");
    if !seal {
        let refused = CatalogueView::new(&memory);
        assert!(
            matches!(refused, Err(CatalogueError::Sealed(SealedError::NotSealed { .. }))),
            "{refused:?}"
        );
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
        assert!(
            usize::try_from(function.slot.to_native())
                .is_ok_and(|slot| slot < limits::FUNCTIONS_MAX)
        );
        for version in function.versions.iter() {
            // All are read here, whatever they are.
            assert_eq!((version.module.as_slice().len(), version.id_text().len()), (32, 36));
            let by_id = function.select(Some(&version.id_text()));
            let choice = by_id
                .and_then(|selector| view.choose(index, selector, 0))
                .expect("an id means its version");
            let (_, chosen, _) = view.chosen(choice).expect("which is there");
            assert_eq!(chosen.id, version.id);
        }
        for alias in function.aliases.iter() {
            assert!(reference::check_alias(&alias.name).is_ok());
            let selector = function.select(Some(&alias.name)).expect("an alias means something");
            for random in [0, u32::MAX / 3, u32::MAX] {
                let choice = view.choose(index, selector, random).expect("namely a version");
                assert!(
                    view.chosen(choice).is_some_and(|(chosen, ..)| std::ptr::eq(chosen, function))
                );
            }
        }
        assert!(matches!(
            function.isolation,
            ArchivedIsolation::Shared | ArchivedIsolation::Process
        ));
    }
    for spec in catalogue.specs.iter() {
        let env = spec.env.iter().map(|pair| pair.0.chars().count() + pair.1.chars().count());
        assert!(env.sum::<usize>() <= 2 * limits::ENV_BYTES_MAX);
        assert!(FunctionLimits::from(&spec.limits).check().is_ok());
        assert!(
            spec.args.len() <= limits::ARGS_MAX
                && spec.config.len() <= 2 * limits::ENV_VARIABLES_MAX
        );
        let patterns = spec.allow_outbound.iter().map(|pattern| pattern.as_str());
        if let Ok(allowed) = AllowList::new(patterns) {
            let allows = allowed.allows_address("example.test", [127, 0, 0, 1].into(), 80);
            assert!(!allows || !spec.allow_outbound.is_empty());
        }
        assert!(
            (1..=limits::REQUESTS_PER_INSTANCE_MAX)
                .contains(&spec.requests_per_instance_max.to_native())
        );
    }
    for host in catalogue.hosts.iter() {
        assert!(domain::is_host(&host.name) && !host.routes.is_empty());
        for taken in host.routes.iter() {
            let called = host.name.replacen('*', "any", 1);
            let target = format!("{}/", taken.prefix);
            match route(view, &Names::default(), Some(&called), &target, Caller::Public) {
                // A name goes before a wildcard, and an alias may be missing.
                Ok(found) => assert!(view.function(found.function).is_some()),
                Err(missing) => assert!(matches!(missing, NotFound::Target { .. }), "{missing:?}"),
            }
        }
    }
    assert!(view.function(functions.len()).is_none());
    let expected = functions.iter().position(|function| function.name.as_str() == needle);
    assert_eq!(view.find(needle), expected, "{needle:?}");
}

/// Mostly one that is accepted.
fn function(input: &mut Unstructured<'_>) -> Result<Function> {
    let good = !input.ratio(1, 8)?;
    let versions = input.int_in_range(0..=VERSIONS_MAX)?;
    let version = |number: u8| Version {
        number: number.into(),
        id: [number; 16],
        module: [number; 32],
        assets: None,
        spec: 0,
    };
    let mut function = Function {
        name: if good { (*input.choose(&NAMES)?).to_owned() } else { input.arbitrary()? },
        isolation: if input.arbitrary()? { Isolation::Shared } else { Isolation::Process },
        slot: if good { 7 } else { input.arbitrary()? },
        slot_incarnation: if good { 1 } else { input.arbitrary()? },
        secrets: input.arbitrary()?,
        previews: input.arbitrary()?,
        aliases: Vec::new(),
        versions: (0..versions).map(version).collect(),
    };
    if versions > 0 {
        let weighted = |input: &mut Unstructured<'_>| {
            let version = input.int_in_range(0..=versions - 1)?.into();
            Ok(Target {
                version,
                spec: 0,
                weight: input.int_in_range(1..=limits::ALIAS_WEIGHT_MAX)?,
            })
        };
        for name in ["active", "canary"] {
            let targets =
                (0..input.int_in_range(1..=3)?).map(|_| weighted(input)).collect::<Result<_>>()?;
            function.aliases.push(Alias { name: name.to_owned(), targets });
        }
        if !good {
            function.versions[0] = Version {
                number: input.arbitrary()?,
                id: input.arbitrary()?,
                module: input.arbitrary()?,
                assets: input.arbitrary()?,
                spec: input.arbitrary()?,
            };
            let target = Target {
                version: input.arbitrary()?,
                spec: input.arbitrary()?,
                weight: input.arbitrary()?,
            };
            function.aliases[1] = Alias { name: input.arbitrary()?, targets: vec![target] };
        }
    }
    Ok(function)
}

/// The same.
fn host(input: &mut Unstructured<'_>) -> Result<Host> {
    let good = !input.ratio(1, 8)?;
    let hosts = ["a.example", "*.example", "b.example"];
    let name = if good { (*input.choose(&hosts)?).to_owned() } else { input.arbitrary()? };
    let route = |input: &mut Unstructured<'_>, prefix: &str| {
        let good = !input.ratio(1, 8)?;
        let function =
            if good { (*input.choose(&NAMES)?).to_owned() } else { input.arbitrary()? };
        let alias = if input.arbitrary()? { "active".to_owned() } else { String::new() };
        Ok(HostRoute { prefix: prefix.to_owned(), function, alias })
    };
    let routes = ["", "/x", "/x/y"].into_iter().map(|prefix| route(input, prefix));
    Ok(Host { name, routes: routes.collect::<Result<_>>()? })
}

/// The same.
fn spec(input: &mut Unstructured<'_>) -> Result<Spec> {
    let good = !input.ratio(1, 8)?;
    Ok(Spec {
        kind: *input.choose(&[Kind::Http02, Kind::Http03, Kind::Command])?,
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
        kv: input.arbitrary()?,
        handler: input.arbitrary()?,
        report_lines: input.arbitrary()?,
        network: *input.choose(&[NetworkMode::Isolated, NetworkMode::Host])?,
        websocket: *input.choose(&[WebSocketMode::Off, WebSocketMode::Messages])?,
        respond_async: input.arbitrary()?,
    })
}
