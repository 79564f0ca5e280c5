//! From what is served to the catalogue that workers read. Pure; owns no fds.
//!
//! How a version is run is written once for all versions, and aliases, that are run alike: most
//! functions keep their options from one version to the next, and most have none of their own.

use std::collections::{BTreeMap, HashMap};

use abi::catalogue::{self, Catalogue, Host, HostRoute, Spec, Target, Version};
use abi::function::{Isolation, Kind};
use abi::limits::DOMAINS_MAX;
use abi::message::Digest;

use super::slots::{Slot, Slots};
use host::files;
use store::alias::Alias;
use store::contents::{Contents, Function};
use store::domains::{DomainRoute, Routes};
use store::manifest::Manifest;

/// Returns the key of an artefact's module.
type Key<'a> = &'a dyn Fn(&Digest, Kind) -> Digest;
/// Returns the revision of a function's secrets.
type Revision<'a> = &'a dyn Fn(&str) -> u64;

/// Specifications, each once.
#[derive(Default)]
struct Specs {
    positions: HashMap<Spec, u32>,
}

impl Specs {
    fn position(&mut self, spec: Spec) -> u32 {
        let next = u32::try_from(self.positions.len()).unwrap_or(u32::MAX);
        *self.positions.entry(spec).or_insert(next)
    }

    fn in_order(self) -> Vec<Spec> {
        let mut specs: Vec<(Spec, u32)> = self.positions.into_iter().collect();
        specs.sort_unstable_by_key(|(_, position)| *position);
        specs.into_iter().map(|(spec, _)| spec).collect()
    }
}

/// Returns the catalogue of all functions that are served and have a slot.
pub(super) fn catalogue(
    generation: u64,
    served: &Contents,
    slots: &Slots,
    (key, revision): (Key<'_>, Revision<'_>),
) -> Catalogue {
    let mut specs = Specs::default();
    let functions = served.iter().filter_map(|(name, function)| {
        let entry = entry(name, function, slots.of(name)?, &mut specs, key);
        (!entry.versions.is_empty())
            .then(|| catalogue::Function { secrets: revision(name), ..entry })
    });
    let functions = functions.collect();
    Catalogue { generation, functions, specs: specs.in_order(), hosts: Vec::new() }
}

/// Returns the hosts of all domains with their routes. A catalogue has only so many; nodes that add
/// at once may have made more.
pub(super) fn hosts(routes: &Routes) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    // They are in the order of their hosts.
    for DomainRoute { domain, target, .. } in routes.values().take(DOMAINS_MAX).map(AsRef::as_ref) {
        let route = HostRoute {
            prefix: domain.prefix().to_owned(),
            function: target.function.clone(),
            alias: target.alias.clone().unwrap_or_default(),
        };
        match hosts.last_mut().filter(|host| host.name == domain.host()) {
            Some(host) => host.routes.push(route),
            None => hosts.push(Host { name: domain.host().to_owned(), routes: vec![route] }),
        }
    }
    hosts
}

/// Returns a catalogue of one version alone, with what `alias` lays over it. It is for a trial,
/// which has no secrets.
pub(super) fn of_one(version: &Manifest, alias: Option<&Alias>, key: Key<'_>) -> Catalogue {
    let mut specs = Specs::default();
    let spec = specs.position(spec(version, alias));
    let versions = self::version(version, spec, key).into_iter().collect();
    let function = catalogue::Function {
        name: version.name.clone(),
        isolation: Isolation::Shared,
        slot: 0,
        slot_incarnation: 1,
        secrets: 0,
        previews: false,
        aliases: Vec::new(),
        versions,
    };
    Catalogue { functions: vec![function], specs: specs.in_order(), ..Catalogue::default() }
}

fn entry(
    name: &str,
    function: &Function,
    slot: Slot,
    specs: &mut Specs,
    key: Key<'_>,
) -> catalogue::Function {
    let versions: Vec<(&str, Version)> = function
        .versions()
        .filter(|version| runs_here(function, version))
        .filter_map(|version| {
            let position = specs.position(spec(version, None));
            Some((version.version.as_str(), self::version(version, position, key)?))
        })
        .collect();
    let mut aliases = Vec::new();
    for alias in function.aliases() {
        let targets = alias.targets.iter().filter_map(|target| {
            let position = versions.binary_search_by(|(id, _)| (*id).cmp(&target.version)).ok()?;
            let spec = specs.position(spec(function.version(&target.version)?, Some(alias)));
            Some(Target { version: u32::try_from(position).ok()?, spec, weight: target.weight })
        });
        let targets: Vec<Target> = targets.collect();
        if !targets.is_empty() {
            aliases.push(catalogue::Alias { name: alias.alias.clone(), targets });
        }
    }
    catalogue::Function {
        name: name.to_owned(),
        isolation: isolation(function),
        slot: slot.number,
        slot_incarnation: slot.incarnation,
        secrets: 0,
        previews: function.foremost().is_some_and(|version| version.previews),
        aliases,
        versions: versions.into_iter().map(|(_, version)| version).collect(),
    }
}

/// Returns where all of a function runs. It has a worker of its own if that is an option of the
/// newest version, or of one that an alias names.
pub(super) fn isolation(function: &Function) -> Isolation {
    let named = function.aliases().flat_map(|alias| &alias.targets);
    let named = named.filter_map(|target| function.version(&target.version));
    let mut counted = named.chain(function.versions().next_back());
    let own = counted.any(|version| version.isolation == Isolation::Process);
    if own { Isolation::Process } else { Isolation::Shared }
}

/// Returns whether the function's workers may run a version of it. A version that is to have a
/// worker of its own runs in no shared one.
pub(super) fn runs_here(function: &Function, version: &Manifest) -> bool {
    version.isolation == Isolation::Shared || isolation(function) == Isolation::Process
}

fn version(version: &Manifest, spec: u32, key: Key<'_>) -> Option<Version> {
    let artefact = files::unhex(&version.artefact)?;
    let module = key(&artefact, version.kind);
    let assets = version.has_assets.then(|| Box::new(key(&artefact, Kind::Static)));
    let id = uuid::Uuid::parse_str(&version.version).ok()?.into_bytes();
    Some(Version { number: version.number, id, module, assets, spec })
}

/// Returns how a version is run, with what `alias` lays over it.
pub(super) fn spec(version: &Manifest, alias: Option<&Alias>) -> Spec {
    let over = |own: &BTreeMap<String, String>, laid: Option<&BTreeMap<String, String>>| {
        let mut pairs = own.clone();
        pairs.extend(laid.cloned().unwrap_or_default());
        pairs.into_iter().collect()
    };
    Spec {
        kind: version.kind,
        limits: version.limits.clone(),
        requests_per_instance_max: version.instances.requests_max(),
        env: over(&version.env, alias.map(|alias| &alias.env)),
        config: over(&version.config, alias.map(|alias| &alias.config)),
        args: version.args.clone(),
        output: version.output,
        allow_outbound: version.allow_outbound.clone(),
        kv: version.kv.clone().into_iter().collect(),
        handler: version.handler.clone().unwrap_or_default(),
        report_lines: version.report_lines,
        network: version.network,
        websocket: version.websocket,
        respond_async: version.respond_async,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use abi::catalogue::CatalogueView;
    use abi::choice::ACTIVE;
    use api::options::Options;

    use super::*;

    fn key(artefact: &Digest, _: Kind) -> Digest {
        *artefact
    }

    fn made(name: &str, number: u32, isolation: Isolation) -> Arc<Manifest> {
        let options = Options { isolation: Some(isolation), ..Options::default() };
        let version = Manifest::new(name, Kind::Http02, options, files::hex(&[1; 32]), 1);
        Arc::new(Manifest { number, ..version })
    }

    /// `functions` functions of `versions` versions each, the last one active.
    fn contents(functions: usize, versions: u32) -> Contents {
        let function = |at: usize| {
            let (name, mut function) = (format!("function-{at}"), Function::default());
            for number in 1..=versions {
                function.put_version(made(&name, number, Isolation::Shared));
            }
            let newest = function.foremost().unwrap().version.clone();
            function.put_alias(Arc::new(Alias::of(&name, ACTIVE, &newest)));
            (name, Arc::new(function))
        };
        (0..functions).map(function).collect()
    }

    fn slots(contents: &Contents) -> Slots {
        let mut slots = Slots::default();
        slots.assign(contents.keys().map(String::as_str));
        slots
    }

    #[test]
    fn an_alias_runs_a_version_in_an_environment_of_its_own() {
        let mut contents = contents(1, 2);
        let function = Arc::make_mut(contents.get_mut("function-0").unwrap());
        let newest = function.foremost().unwrap().version.clone();
        let staging = Alias::of("function-0", "staging", &newest);
        function.put_alias(Arc::new(Alias {
            env: [("A".to_owned(), "1".to_owned())].into(),
            ..staging
        }));
        let fd = catalogue(1, &contents, &slots(&contents), (&key, &|_| 0)).seal().unwrap();
        let view = CatalogueView::new(fd).unwrap();
        let function = view.function(0).unwrap();
        let chosen = |reference| view.choose(0, function.select(reference).unwrap(), 0).unwrap();
        assert_eq!(chosen(None), chosen(Some("v2")));
        let (active, staging) =
            (view.chosen(chosen(None)).unwrap(), view.chosen(chosen(Some("staging"))).unwrap());
        assert_eq!(active.1.id, staging.1.id);
        assert_eq!((active.2.env.len(), staging.2.env.len()), (0, 1));
    }

    #[test]
    fn one_version_with_a_process_takes_all_that_are_named_along() {
        let mut function = Function::default();
        let (shared, own) = (made("a", 1, Isolation::Shared), made("a", 2, Isolation::Process));
        function.put_version(Arc::clone(&shared));
        function.put_version(Arc::clone(&own));
        // Nothing is named: the newest is all there is to go by.
        assert_eq!(isolation(&function), Isolation::Process);
        function.put_alias(Arc::new(Alias::of("a", ACTIVE, &shared.version)));
        assert_eq!(
            isolation(&function),
            Isolation::Process,
            "it may be called, or be about to become active"
        );
        function.put_version(made("a", 3, Isolation::Shared));
        assert_eq!(isolation(&function), Isolation::Shared);
        assert!(runs_here(&function, &shared) && !runs_here(&function, &own));
        function.put_alias(Arc::new(Alias::of("a", "staging", &own.version)));
        assert_eq!(isolation(&function), Isolation::Process);
    }

    #[test]
    fn a_version_that_is_run_like_others_takes_little_room() {
        let contents = contents(1000, 10);
        let catalogue = catalogue(1, &contents, &slots(&contents), (&key, &|_| 0));
        assert_eq!(catalogue.specs.len(), 1);
        let bytes = abi::envelope::pack(&catalogue).unwrap().len();
        assert!(bytes < 1000 * (10 * 72 + 128), "{bytes}");
        assert!(CatalogueView::new(catalogue.seal().unwrap()).is_ok());
    }
}
