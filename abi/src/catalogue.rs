//! The catalogue: every function of the node, as one archive that shards and workers read in place.
//!
//! The engine builds a new one at each change, under the next generation, and passes it as a sealed
//! memfd. It is validated once when mapped; a look-up is then a binary search over archived names,
//! without parsing or locks. A version is some 60 bytes in it: how versions are run is written once
//! for all that are run alike. A [`CatalogueView`] owns its mapping and no fd.

use std::os::fd::{AsFd, OwnedFd};

use rkyv::{Archive, Deserialize, Serialize};

use crate::domain;
use crate::envelope::{self, EnvelopeError};
use crate::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};
use crate::limits;
use crate::message::Digest;
use crate::name;
use crate::reference;
use crate::sealed::{self, Mapping, SealedError};

const WHAT: &str = "catalogue";

/// How a version is run, apart from its code. Versions and aliases that are run alike share one.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Hash)]
#[rkyv(derive(PartialEq))]
pub struct Spec {
    /// What its code is.
    pub kind: Kind,
    /// What it may use.
    pub limits: FunctionLimits,
    /// Requests that one instance serves, one after another: 1 is a fresh instance for each.
    pub requests_per_instance_max: u32,
    /// Environment variables, in the order given.
    pub env: Vec<(String, String)>,
    /// What `wasi:config/store` tells it, in the order given.
    pub config: Vec<(String, String)>,
    /// A command's arguments, without its own name.
    pub args: Vec<String>,
    /// What a command's stdout is.
    pub output: Output,
    /// Where its outgoing requests may go, as [`crate::outbound`] reads it.
    pub allow_outbound: Vec<String>,
    /// The shared buckets it may use: by which name it opens each, and the bucket's own.
    pub kv: Vec<(String, String)>,
    /// The name of its entry, which a lambda finds in `_HANDLER`; empty if none was chosen.
    pub handler: String,
    /// Whether START, END and REPORT lines are around each invocation of a lambda in its log.
    pub report_lines: bool,
    /// Which network the processes of a native function have.
    pub network: NetworkMode,
    /// What becomes of a request that asks to speak WebSocket.
    pub websocket: WebSocketMode,
    /// Whether clients may have their requests run later, as jobs.
    pub respond_async: bool,
}

/// A version of a function.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What people call it by.
    pub number: u32,
    /// What it is called by: no other version has it.
    pub id: [u8; 16],
    /// Key of its compiled module.
    pub module: Digest,
    /// Key of the site of its assets, which are served before it is called. Elsewhere, as few have
    /// any.
    pub assets: Option<Box<Digest>>,
    /// The position of its own specification.
    pub spec: u32,
}

/// A version that an alias means.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its position among the function's versions.
    pub version: u32,
    /// The position of its specification, with what the alias lays over it.
    pub spec: u32,
    /// Its share of the requests.
    pub weight: u32,
}

/// What a name behind a function's `@` means.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// One label.
    pub name: String,
    /// At least one.
    pub targets: Vec<Target>,
}

/// One function as shards and workers need it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// One DNS label.
    pub name: String,
    /// Where it runs, whichever of its versions.
    pub isolation: Isolation,
    /// Its place among the board's counters; no other function has it.
    pub slot: u32,
    /// Which of those that have had the slot it is: what they count is told apart by it. Greater
    /// than those before, never 0.
    pub slot_incarnation: u32,
    /// Names what its secrets are ([`crate::secrets`]) and tells nothing of them; 0 when there are
    /// none.
    pub secrets: u64,
    /// Anybody may name its versions and aliases; otherwise only the control API.
    pub previews: bool,
    /// Sorted by name; names are unique.
    pub aliases: Vec<Alias>,
    /// Sorted by id; ids are unique.
    pub versions: Vec<Version>,
}

/// Which requests to a host are for a function.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// What their paths begin with: whole segments ([`crate::domain`]), or nothing.
    pub prefix: String,
    /// The function's name. There need not be one.
    pub function: String,
    /// One of its aliases; empty for what its bare name means.
    pub alias: String,
}

/// A host that is a domain of the node.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// In small letters; `*.` at its beginning stands for one label.
    pub name: String,
    /// Sorted by prefix; prefixes are unique. At least one.
    pub routes: Vec<HostRoute>,
}

/// The whole catalogue.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Grows by one at each change.
    pub generation: u64,
    /// Sorted by name; names are unique.
    pub functions: Vec<Function>,
    /// What versions and targets point at.
    pub specs: Vec<Spec>,
    /// Sorted by name; names are unique.
    pub hosts: Vec<Host>,
}

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The memory is not what it should be.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The archive is not what it should be.
    #[error("the catalogue is unreadable: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Its contents break a rule that look-ups rely on.
    #[error("the catalogue breaks a rule: {0}")]
    Rule(String),
}

impl Catalogue {
    /// Archives the catalogue into sealed memory, sorted. The caller owns the fd.
    ///
    /// # Errors
    /// [`CatalogueError`] when a limit is passed, two functions share a name, or memory runs out.
    pub fn seal(mut self) -> Result<OwnedFd, CatalogueError> {
        self.functions.sort_by(|a, b| a.name.cmp(&b.name));
        self.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let routes = self.hosts.iter_mut().map(|host| &mut host.routes);
        routes.for_each(|routes| routes.sort_by(|a, b| a.prefix.cmp(&b.prefix)));
        Ok(sealed::create(WHAT, &envelope::pack(&self)?)?)
    }
}

/// A mapped, validated catalogue.
#[derive(Debug)]
pub struct CatalogueView {
    mapping: Mapping,
}

impl CatalogueView {
    /// Maps and validates the catalogue behind `fd`.
    ///
    /// # Errors
    /// [`CatalogueError`] when it is not sealed, not an archive of this build, or breaks a rule.
    pub fn new(fd: impl AsFd) -> Result<Self, CatalogueError> {
        let mapping = Mapping::new(WHAT, fd, limits::CATALOGUE_BYTES_MAX)?;
        let catalogue = envelope::open::<ArchivedCatalogue>(mapping.bytes())?;
        check(catalogue)?;
        Ok(Self { mapping })
    }

    /// The archive, in place.
    #[must_use]
    pub fn get(&self) -> &ArchivedCatalogue {
        let archive = &self.mapping.bytes()[envelope::HEADER_BYTES..];
        // SAFETY: `new` validated exactly these bytes as an `ArchivedCatalogue`, and the memory is
        // sealed: they have not changed since.
        unsafe { rkyv::access_unchecked::<ArchivedCatalogue>(archive) }
    }

    /// The catalogue's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.get().generation.to_native()
    }

    /// The position of the function called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.get().functions.binary_search_by(|function| function.name.as_str().cmp(name)).ok()
    }

    /// The host called `name`, in small letters.
    #[must_use]
    pub(crate) fn host(&self, name: &[u8]) -> Option<&ArchivedHost> {
        let hosts = &self.get().hosts;
        let found = hosts.binary_search_by(|host| host.name.as_bytes().cmp(name)).ok()?;
        hosts.get(found)
    }

    /// The function at `index`, as [`Self::find`] gave it for this same catalogue.
    #[must_use]
    pub fn function(&self, index: usize) -> Option<&ArchivedFunction> {
        self.get().functions.get(index)
    }

    /// The specifications that versions of `function` are run by, which is one of this catalogue.
    pub fn specs_of(&self, function: &ArchivedFunction) -> impl Iterator<Item = &ArchivedSpec> {
        let versions = function.versions.iter().map(|version| version.spec);
        let targets = function.aliases.iter().flat_map(|alias| alias.targets.iter());
        let indices = versions.chain(targets.map(|target| target.spec));
        indices.filter_map(|index| self.get().specs.get(usize::try_from(index.to_native()).ok()?))
    }
}

fn check(catalogue: &ArchivedCatalogue) -> Result<(), CatalogueError> {
    let (functions, specs) = (&catalogue.functions, catalogue.specs.len());
    if functions.len() > limits::FUNCTIONS_MAX {
        return Err(CatalogueError::Rule(format!(
            "{} functions, at most {}",
            functions.len(),
            limits::FUNCTIONS_MAX
        )));
    }
    for pair in functions.windows(2) {
        if pair[0].name.as_str() >= pair[1].name.as_str() {
            return Err(CatalogueError::Rule(format!(
                "the functions {:?} and {:?} are out of order or share a name",
                pair[0].name.as_str(),
                pair[1].name.as_str()
            )));
        }
    }
    for function in functions.iter() {
        name::check(&function.name).map_err(|error| CatalogueError::Rule(error.to_string()))?;
        let breaks = |what: &str| {
            CatalogueError::Rule(format!("the function {:?} {what}", function.name.as_str()))
        };
        if !function_fits(function) {
            return Err(breaks("passes a limit"));
        }
        if !versions_fit(function, specs) {
            return Err(breaks(
                "has versions or aliases that are out of order, or point at nothing",
            ));
        }
    }
    check_hosts(&catalogue.hosts)?;
    match catalogue.specs.iter().all(spec_fits) {
        true => Ok(()),
        false => Err(CatalogueError::Rule("a specification passes a limit".to_owned())),
    }
}

fn check_hosts(hosts: &[ArchivedHost]) -> Result<(), CatalogueError> {
    let routes: usize = hosts.iter().map(|host| host.routes.len()).sum();
    if routes > limits::DOMAINS_MAX {
        let (most, what) = (limits::DOMAINS_MAX, "routes of domains, at most");
        return Err(CatalogueError::Rule(format!("{routes} {what} {most}")));
    }
    let is_good = |route: &ArchivedHostRoute| {
        domain::check_prefix(&route.prefix).is_ok()
            && name::check(&route.function).is_ok()
            && (route.alias.is_empty() || reference::check_alias(&route.alias).is_ok())
    };
    let in_order = |routes: &[ArchivedHostRoute]| {
        routes.windows(2).all(|pair| pair[0].prefix.as_str() < pair[1].prefix.as_str())
    };
    let bad = |host: &&ArchivedHost| {
        !domain::is_host(&host.name)
            || host.routes.is_empty()
            || !host.routes.iter().all(is_good)
            || !in_order(&host.routes)
    };
    let out_of_order = hosts.windows(2).find(|pair| pair[0].name.as_str() >= pair[1].name.as_str());
    match hosts.iter().find(bad).or_else(|| out_of_order.map(|pair| &pair[1])) {
        None => Ok(()),
        Some(host) => Err(CatalogueError::Rule(format!(
            "the domain {:?} is no host, is out of order, or has a route that is none",
            host.name.as_str()
        ))),
    }
}

fn function_fits(function: &ArchivedFunction) -> bool {
    usize::try_from(function.slot.to_native()).is_ok_and(|slot| slot < limits::FUNCTIONS_MAX)
        && function.slot_incarnation != 0
        && function.versions.len() <= limits::VERSIONS_PER_FUNCTION_MAX
        && function.aliases.len() <= limits::ALIASES_PER_FUNCTION_MAX
}

fn versions_fit(function: &ArchivedFunction, specs: usize) -> bool {
    let within = |position: u32, length: usize| {
        usize::try_from(position).is_ok_and(|position| position < length)
    };
    let target = |target: &ArchivedTarget| {
        within(target.version.to_native(), function.versions.len())
            && within(target.spec.to_native(), specs)
            && (1..=limits::ALIAS_WEIGHT_MAX).contains(&target.weight.to_native())
    };
    let alias = |alias: &ArchivedAlias| {
        (1..=limits::ALIAS_TARGETS_MAX).contains(&alias.targets.len())
            && reference::check_alias(&alias.name).is_ok()
            && alias.targets.iter().all(target)
    };
    function.versions.iter().all(|version| within(version.spec.to_native(), specs))
        && function.versions.windows(2).all(|pair| pair[0].id < pair[1].id)
        && function.aliases.iter().all(alias)
        && function.aliases.windows(2).all(|pair| pair[0].name.as_str() < pair[1].name.as_str())
}

fn spec_fits(spec: &ArchivedSpec) -> bool {
    let pairs = |pairs: &ArchivedPairs| {
        let bytes: usize = pairs.iter().map(pair_bytes).sum();
        // An alias may lay as much over what a version has.
        pairs.len() <= 2 * limits::ENV_VARIABLES_MAX && bytes <= 2 * limits::ENV_BYTES_MAX
    };
    let args_bytes: usize = spec.args.iter().map(|arg| arg.len()).sum();
    FunctionLimits::from(&spec.limits).check().is_ok()
        && (1..=limits::REQUESTS_PER_INSTANCE_MAX)
            .contains(&spec.requests_per_instance_max.to_native())
        && pairs(&spec.env)
        && pairs(&spec.config)
        && spec.args.len() <= limits::ARGS_MAX
        && args_bytes <= limits::ENV_BYTES_MAX
        && spec.allow_outbound.len() <= limits::OUTBOUND_PATTERNS_MAX
        && spec.kv.len() <= limits::STATE_GRANTS_MAX
        && spec.kv.iter().all(|grant| name::check(&grant.1).is_ok())
}

/// Names and values, archived.
pub type ArchivedPairs = rkyv::vec::ArchivedVec<ArchivedPair>;
/// A name and a value, archived.
pub type ArchivedPair =
    rkyv::tuple::ArchivedTuple2<rkyv::string::ArchivedString, rkyv::string::ArchivedString>;

fn pair_bytes(pair: &ArchivedPair) -> usize {
    pair.0.len() + pair.1.len()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn spec() -> Spec {
        Spec {
            kind: Kind::Http02,
            limits: FunctionLimits::default(),
            requests_per_instance_max: 1,
            env: vec![("K".to_owned(), "V".to_owned())],
            config: Vec::new(),
            args: Vec::new(),
            output: Output::Raw,
            allow_outbound: Vec::new(),
            kv: Vec::new(),
            handler: String::new(),
            report_lines: false,
            network: NetworkMode::default(),
            websocket: WebSocketMode::default(),
            respond_async: false,
        }
    }

    /// With two versions, the second active and beside the first in `canary`.
    pub(crate) fn function(name: &str) -> Function {
        let version = |number: u8| Version {
            number: number.into(),
            id: [number; 16],
            module: [7; 32],
            assets: None,
            spec: 0,
        };
        let target = |version, weight| Target { version, spec: 0, weight };
        let alias = |name: &str, targets| Alias { name: name.to_owned(), targets };
        Function {
            name: name.to_owned(),
            isolation: Isolation::Shared,
            slot: 0,
            slot_incarnation: 1,
            secrets: 0,
            previews: true,
            aliases: vec![
                alias("active", vec![target(1, 1)]),
                alias("canary", vec![target(0, 3), target(1, 1)]),
            ],
            versions: vec![version(1), version(2)],
        }
    }

    pub(crate) fn catalogue(names: &[&str]) -> Catalogue {
        let functions = names.iter().map(|name| function(name)).collect();
        Catalogue { generation: 3, functions, specs: vec![spec()], hosts: Vec::new() }
    }

    /// A route of a host; `function` may have an alias behind an `@`.
    pub(crate) fn host_route(prefix: &str, function: &str) -> HostRoute {
        let (function, alias) = reference::split(function);
        let (function, alias) = (function.to_owned(), alias.unwrap_or_default().to_owned());
        HostRoute { prefix: prefix.to_owned(), function, alias }
    }

    pub(crate) fn host(name: &str, routes: &[(&str, &str)]) -> Host {
        let routes = routes.iter().map(|(prefix, function)| host_route(prefix, function));
        Host { name: name.to_owned(), routes: routes.collect() }
    }

    pub(crate) fn view(names: &[&str]) -> CatalogueView {
        CatalogueView::new(catalogue(names).seal().unwrap()).unwrap()
    }

    #[test]
    fn functions_are_found_by_name_whatever_the_order() {
        let view = view(&["b", "a", "hello", "c"]);
        assert_eq!(view.generation(), 3);
        for name in ["a", "b", "c", "hello"] {
            let found = view.function(view.find(name).unwrap()).unwrap();
            assert_eq!(found.name, name);
        }
        assert_eq!(view.find("nope"), None);
        assert!(view.function(99).is_none());
    }

    #[test]
    fn what_is_meant_is_chosen() {
        let view = view(&["a"]);
        let function = view.function(0).unwrap();
        let chosen = |reference, random| {
            let choice = view.choose(0, function.select(reference)?, random)?;
            view.chosen(choice).map(|(_, version, _)| version.number.to_native())
        };
        assert_eq!(chosen(None, 0), Some(2));
        for (reference, number) in
            [("v1", 1), ("2", 2), ("02020202", 2), ("01010101-0101", 1), ("active", 2)]
        {
            assert_eq!(chosen(Some(reference), 7), Some(number), "{reference}");
        }
        assert_eq!(
            (chosen(Some("canary"), 0), chosen(Some("canary"), u32::MAX)),
            (Some(1), Some(2))
        );
        for reference in ["v3", "03030303", "nope", "", "a@b"] {
            assert_eq!(chosen(Some(reference), 0), None, "{reference}");
        }
    }

    #[test]
    fn what_means_two_versions_means_none() {
        let mut twice = function("a");
        twice.versions[0].number = 2;
        twice.versions[0].id = [2; 16];
        twice.versions[0].id[15] = 1;
        let fd = Catalogue {
            generation: 1,
            functions: vec![twice],
            specs: vec![spec()],
            ..Catalogue::default()
        }
        .seal()
        .unwrap();
        let view = CatalogueView::new(fd).unwrap();
        let function = view.function(0).unwrap();
        assert_eq!((function.select(Some("v2")), function.select(Some("02020202"))), (None, None));
        assert!(function.select(Some("02020202-0202-0202-0202-020202020201")).is_some());
    }

    #[test]
    fn rules_are_checked_when_mapped() {
        let catalogue =
            |functions, specs, hosts| Catalogue { generation: 1, functions, specs, hosts };
        let seal = |functions, specs| catalogue(functions, specs, Vec::new()).seal().unwrap();
        let with = |change: &dyn Fn(&mut Function)| {
            let mut function = function("a");
            change(&mut function);
            vec![function]
        };
        for broken in [
            vec![function("a"), function("a")],
            vec![function("../a")],
            with(&|function| function.slot = u32::MAX),
            with(&|function| function.slot_incarnation = 0),
            with(&|function| function.versions.swap(0, 1)),
            with(&|function| function.versions[1].id = function.versions[0].id),
            with(&|function| function.versions[1].spec = 1),
            with(&|function| function.aliases.swap(0, 1)),
            with(&|function| function.aliases[1].name = "active".to_owned()),
            with(&|function| function.aliases[1].name = "v1".to_owned()),
            with(&|function| function.aliases[1].targets.clear()),
            with(&|function| function.aliases[1].targets[0].version = 2),
            with(&|function| function.aliases[1].targets[0].spec = 1),
            with(&|function| function.aliases[1].targets[0].weight = 0),
        ] {
            assert!(matches!(
                CatalogueView::new(seal(broken, vec![spec()])),
                Err(CatalogueError::Rule(_))
            ));
        }
        let limited = |limits| Spec { limits, ..spec() };
        for broken in [
            limited(FunctionLimits { memory_bytes_max: u64::MAX, ..FunctionLimits::default() }),
            limited(FunctionLimits { timeout_ms: u32::MAX, ..FunctionLimits::default() }),
            Spec { requests_per_instance_max: 0, ..spec() },
            Spec { env: vec![(String::new(), "x".repeat(1 << 20))], ..spec() },
            Spec { kv: vec![("orders".to_owned(), "../orders".to_owned())], ..spec() },
            Spec { kv: vec![("a".to_owned(), "a".to_owned()); 17], ..spec() },
        ] {
            assert!(matches!(
                CatalogueView::new(seal(Vec::new(), vec![broken])),
                Err(CatalogueError::Rule(_))
            ));
        }
        assert!(CatalogueView::new(seal(Vec::new(), Vec::new())).is_ok());
        let with = |hosts: Vec<Host>| {
            let catalogue = catalogue(Vec::new(), Vec::new(), hosts);
            // As it is, out of order perhaps.
            let bytes = envelope::pack(&catalogue).unwrap();
            CatalogueView::new(sealed::create(WHAT, &bytes).unwrap())
        };
        let a = || host("a.example", &[("", "a")]);
        assert!(with(vec![a(), host("b.example", &[("", "a"), ("/x", "a@canary")])]).is_ok());
        for broken in [
            vec![a(), a()],
            vec![host("b.example", &[("", "a")]), a()],
            vec![host("A.example", &[("", "a")])],
            vec![host("a.example.", &[("", "a")])],
            vec![host("a.example", &[])],
            vec![host("a.example", &[("/x", "a"), ("", "a")])],
            vec![host("a.example", &[("", "a"), ("", "b")])],
            vec![host("a.example", &[("/", "a")])],
            vec![host("a.example", &[("", "A")])],
            vec![host("a.example", &[("", "a@v1")])],
        ] {
            assert!(matches!(with(broken), Err(CatalogueError::Rule(_))));
        }
    }

    #[test]
    fn as_many_domains_as_there_may_be_are_taken_and_no_more() {
        let hosts = |count: usize| {
            let hosts = (0..count).map(|at| host(&format!("h{at}.example"), &[("", "a")]));
            Catalogue { hosts: hosts.collect(), ..Catalogue::default() }
        };
        let view = CatalogueView::new(hosts(limits::DOMAINS_MAX).seal().unwrap()).unwrap();
        assert!(view.host(b"h9999.example").is_some_and(|host| host.routes[0].function == "a"));
        let more = CatalogueView::new(hosts(limits::DOMAINS_MAX + 1).seal().unwrap());
        assert!(matches!(more, Err(CatalogueError::Rule(_))));
    }

    proptest! {
        /// A damaged catalogue is refused or still obeys every rule; mapping it never panics.
        #[test]
        fn any_flipped_byte_is_survived(at in 0usize..4096, to: u8, random: u32) {
            let functions = vec![function("a"), function("b")];
            let hosts = vec![host("a.example", &[("", "a"), ("/x", "b@canary")])];
            let whole = envelope::pack(&Catalogue { generation: 1, functions, specs: vec![spec()], hosts }).unwrap();
            let mut bytes = whole.to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(view) = CatalogueView::new(sealed::create(WHAT, &bytes).unwrap()) {
                prop_assert!(view.find("zz").is_none());
                for (at, function) in view.get().functions.iter().enumerate() {
                    for reference in [None, Some("canary"), Some("v1")] {
                        let choice = function.select(reference).map(|selector| view.choose(at, selector, random).unwrap());
                        prop_assert!(choice.is_none_or(|choice| view.chosen(choice).is_some()));
                    }
                }
            }
        }
    }
}
