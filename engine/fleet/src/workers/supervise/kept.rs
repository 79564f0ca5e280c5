//! What the supervisor looks up of functions with workers of their own: which of these are kept
//! although nothing calls them, and which run nothing but native programs. Pure; owns no fds.

use std::collections::BTreeSet;

use abi::catalogue::{ArchivedTarget, CatalogueView};
use abi::function::{ArchivedIsolation, Kind};

use crate::core::Pool;

/// Returns whether all that the workers of `pool` run is native: their memory is then not worth huge
/// pages.
pub(super) fn is_native(view: &CatalogueView, pool: &Pool) -> bool {
    let Pool::Function(name) = pool else { return false };
    let Some(function) = view.find(name).and_then(|at| view.function(at)) else { return false };
    let kinds = function.versions.iter().filter_map(|version| {
        let spec = usize::try_from(version.spec.to_native()).ok()?;
        Some(Kind::from(&view.get().specs.get(spec)?.kind))
    });
    let kinds: Vec<Kind> = kinds.collect();
    !kinds.is_empty() && kinds.into_iter().all(Kind::is_native)
}

/// Returns the pools of the functions of which an alias names a version that keeps processes.
pub(super) fn kept(view: &CatalogueView) -> BTreeSet<Pool> {
    let catalogue = view.get();
    let keeps = |target: &ArchivedTarget| {
        let spec = usize::try_from(target.spec.to_native()).ok();
        let spec = spec.and_then(|at| catalogue.specs.get(at));
        spec.is_some_and(|spec| {
            Kind::from(&spec.kind).is_native() && spec.limits.processes_min.to_native() > 0
        })
    };
    let keeping = catalogue.functions.iter().filter(|function| {
        let mut targets = function.aliases.iter().flat_map(|alias| alias.targets.iter());
        function.isolation == ArchivedIsolation::Process && targets.any(keeps)
    });
    keeping.map(|function| Pool::Function(function.name.as_str().to_owned())).collect()
}
