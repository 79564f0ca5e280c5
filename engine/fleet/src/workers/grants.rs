//! Which buckets workers may use for functions, and for which they may submit jobs: what the
//! catalogues say of them.
//!
//! A worker may ask by the newest catalogue before connections are routed by it, and finishes
//! invocations that were routed by the one before. Owns no fds.

use std::sync::Arc;

use abi::catalogue::{ArchivedFunction, ArchivedSpec, CatalogueView};
use abi::function::ArchivedIsolation;
use arc_swap::ArcSwap;
use state::Quota;
use state::server::{Grants, Runs};

/// What the newest catalogue grants, and the one before.
#[derive(Debug)]
pub struct CatalogueGrants(ArcSwap<[Arc<CatalogueView>; 2]>);

impl CatalogueGrants {
    /// Begins with one catalogue.
    pub fn new(catalogue: &Arc<CatalogueView>) -> Self {
        Self(ArcSwap::from_pointee([Arc::clone(catalogue), Arc::clone(catalogue)]))
    }

    /// Another catalogue is the newest.
    pub(super) fn publish(&self, newest: &Arc<CatalogueView>) {
        let [before, _] = &**self.0.load();
        self.0.store(Arc::new([Arc::clone(newest), Arc::clone(before)]));
    }
}

impl Grants for CatalogueGrants {
    fn quota(&self, runs: &Runs, function: &str, bucket: Option<&str>) -> Option<Quota> {
        let catalogues = self.0.load();
        let quotas = catalogues.iter().filter_map(|catalogue| {
            let found = catalogue.find(function).and_then(|index| catalogue.function(index))?;
            may_run(runs, found).then(|| granted(catalogue, found, bucket)).flatten()
        });
        quotas.reduce(larger)
    }

    fn takes_jobs(&self, runs: &Runs, function: &str) -> bool {
        self.0.load().iter().any(|catalogue| {
            let found = catalogue.find(function).and_then(|index| catalogue.function(index));
            found.is_some_and(|found| {
                may_run(runs, found) && catalogue.specs_of(found).any(|spec| spec.respond_async)
            })
        })
    }
}

/// Returns whether a worker that runs `runs` runs `function`.
fn may_run(runs: &Runs, function: &ArchivedFunction) -> bool {
    match (runs, &function.isolation) {
        (Runs::Shared, ArchivedIsolation::Shared) => true,
        (Runs::Function(name), ArchivedIsolation::Process) => *name == *function.name,
        _ => false,
    }
}

/// Returns what the versions of `function` that were granted `bucket` may make of it. Which of them
/// asks, its worker alone knows; it runs all of them.
fn granted(
    catalogue: &CatalogueView,
    function: &ArchivedFunction,
    bucket: Option<&str>,
) -> Option<Quota> {
    let has = |spec: &&ArchivedSpec| {
        bucket.is_none_or(|bucket| spec.kv.iter().any(|grant| grant.1 == *bucket))
    };
    let quota = |spec: &ArchivedSpec| Quota {
        keys_max: spec.limits.kv_keys_max.to_native().into(),
        bytes_max: spec.limits.kv_bytes_max.to_native(),
    };
    catalogue.specs_of(function).filter(has).map(quota).reduce(larger)
}

fn larger(one: Quota, other: Quota) -> Quota {
    Quota {
        keys_max: one.keys_max.max(other.keys_max),
        bytes_max: one.bytes_max.max(other.bytes_max),
    }
}

#[cfg(test)]
mod tests {
    use abi::catalogue::{Alias, Catalogue, Function, Spec, Target, Version};
    use abi::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};

    use super::*;

    fn spec(kv: &[(&str, &str)], keys: u32, respond_async: bool) -> Spec {
        let limits = FunctionLimits { kv_keys_max: keys, ..FunctionLimits::default() };
        Spec {
            kind: Kind::Http02,
            limits,
            requests_per_instance_max: 1,
            env: Vec::new(),
            config: Vec::new(),
            args: Vec::new(),
            output: Output::Raw,
            allow_outbound: Vec::new(),
            kv: kv.iter().map(|(name, of)| (name.to_string(), of.to_string())).collect(),
            handler: String::new(),
            report_lines: false,
            network: NetworkMode::default(),
            websocket: WebSocketMode::default(),
            respond_async,
        }
    }

    fn function(name: &str, isolation: Isolation, specs: &[u32]) -> Function {
        let version = |(at, spec): (usize, &u32)| Version {
            number: u32::try_from(at).unwrap() + 1,
            id: [u8::try_from(at).unwrap(); 16],
            module: [0; 32],
            assets: None,
            spec: *spec,
        };
        let targets = vec![Target { version: 0, spec: specs[0], weight: 1 }];
        Function {
            name: name.to_owned(),
            isolation,
            slot: 0,
            slot_incarnation: 1,
            secrets: 0,
            previews: false,
            aliases: vec![Alias { name: "active".to_owned(), targets }],
            versions: specs.iter().enumerate().map(version).collect(),
        }
    }

    fn view(generation: u64, functions: Vec<Function>) -> Arc<CatalogueView> {
        let specs = vec![spec(&[], 10, false), spec(&[("mine", "orders")], 20, true)];
        let catalogue = Catalogue { generation, functions, specs, hosts: Vec::new() };
        Arc::new(CatalogueView::new(catalogue.seal().unwrap()).unwrap())
    }

    #[test]
    fn a_worker_uses_what_functions_that_it_runs_were_granted_and_nothing_else() {
        let mut functions = vec![
            function("plain", Isolation::Shared, &[0]),
            function("shop", Isolation::Shared, &[0, 1]),
            function("own", Isolation::Process, &[1]),
        ];
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        let grants = CatalogueGrants::new(&view(1, functions));
        let keys = |runs: &Runs, function: &str, bucket| {
            grants.quota(runs, function, bucket).map(|quota| quota.keys_max)
        };
        let (shared, own) = (Runs::Shared, Runs::Function("own".to_owned()));
        assert_eq!(keys(&shared, "plain", None), Some(10));
        assert_eq!(keys(&shared, "plain", Some("orders")), None);
        assert_eq!(keys(&shared, "shop", None), Some(20), "the larger of its versions");
        assert_eq!(keys(&shared, "shop", Some("orders")), Some(20));
        assert_eq!(keys(&shared, "shop", Some("mine")), None, "the name is the guest's alone");
        assert_eq!(keys(&own, "own", Some("orders")), Some(20));
        for foreign in ["own", "nobody", "../own", ""] {
            assert_eq!(keys(&shared, foreign, None), None, "{foreign:?}");
        }
        for foreign in ["plain", "shop", "nobody"] {
            assert_eq!(keys(&own, foreign, None), None, "{foreign:?}");
        }
        let other = Runs::Function("other".to_owned());
        assert_eq!(keys(&other, "own", None), None);
        for (runs, function, takes) in [
            (&shared, "plain", false),
            (&shared, "shop", true),
            (&own, "own", true),
            (&shared, "own", false),
            (&own, "shop", false),
            (&other, "own", false),
            (&shared, "nobody", false),
        ] {
            assert_eq!(grants.takes_jobs(runs, function), takes, "{runs:?} {function}");
        }
    }

    #[test]
    fn the_catalogue_before_the_newest_still_counts_and_none_before_that() {
        let of = |generation, name| view(generation, vec![function(name, Isolation::Shared, &[0])]);
        let grants = CatalogueGrants::new(&of(1, "a"));
        let has = |name| grants.quota(&Runs::Shared, name, None).is_some();
        grants.publish(&of(2, "b"));
        assert!(has("a") && has("b"));
        grants.publish(&of(3, "c"));
        assert!(!has("a") && has("b") && has("c"));
    }
}
