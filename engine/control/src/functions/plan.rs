//! What a deploy makes of its function. Pure: what the store has, what is deployed and the time are
//! arguments. Owns no fds.

use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::function::Kind;
use abi::limits::VERSIONS_PER_FUNCTION_MAX;
use abi::message::Digest;
use api::options::{Options, OptionsError};
use host::{clock, files};
use store::alias::Alias;
use store::contents::Function;
use store::manifest::Manifest;
use uuid::Uuid;

use super::error::ChangeError;

/// Whether a version becomes what the function's bare name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// It does.
    Activate,
    /// It does not; it can be called by its number or id.
    Keep,
}

/// What is to be deployed.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) name: &'a str,
    /// The options that were given. What they leave out is as the version before has it.
    pub(super) options: &'a Options,
    pub(super) activation: Activation,
    /// The version that it must be made over, if it takes its file of that.
    pub(super) over: Option<&'a Manifest>,
    pub(super) kind: Kind,
    pub(super) has_assets: bool,
    /// Of the file.
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// The id and the time that a version gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) id: Uuid,
    pub(super) now_ms: u64,
}

impl Plan {
    /// Returns whether the version is as the one before it, but for when it was made.
    pub(super) fn changes_nothing(&self) -> bool {
        self.before.as_deref().is_some_and(|before| {
            let Manifest { version, number, created_ms, .. } = before;
            let (version, number, created_ms) = (version.clone(), *number, *created_ms);
            *before == Manifest { version, number, created_ms, ..self.version.as_ref().clone() }
        })
    }
}

impl Stamp {
    /// Returns a new id with the time of day.
    pub(super) fn now() -> Self {
        Self { id: Uuid::now_v7(), now_ms: clock::unix_ms() }
    }
}

/// What a deploy makes of its function, as the store had that when it was planned.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) version: Arc<Manifest>,
    /// The foremost version until then.
    pub(super) before: Option<Arc<Manifest>>,
    /// Whether some options are those of `before`.
    pub(super) options_kept: bool,
    /// The function with the version, and with the alias that is to mean it.
    pub(super) changed: Function,
    /// That alias; `None` if the version is only kept.
    pub(super) alias: Option<Alias>,
}

/// Plans the deploy of `request` over `function`, as the store has it.
///
/// # Errors
/// When the function cannot have another version, or the options do not fit together.
pub(super) fn plan(
    function: &Function,
    request: &Request<'_>,
    stamp: Stamp,
) -> Result<Plan, ChangeError> {
    let Request { name, options, activation, over, kind, has_assets, digest, bytes } = *request;
    if function.versions().count() >= VERSIONS_PER_FUNCTION_MAX {
        return Err(ChangeError::TooManyVersions(name.to_owned()));
    }
    let before = function.foremost().cloned();
    if let Some(over) = over
        && before.as_ref().is_none_or(|before| before.version != over.version)
    {
        return Err(ChangeError::Overtaken { name: name.to_owned(), over: over.number });
    }
    let (options, options_kept) = inherited(options.clone(), before.as_deref(), kind)?;
    let version = Arc::new(Manifest {
        version: stamp.id.to_string(),
        created_ms: stamp.now_ms,
        number: function.next_number(),
        has_assets,
        ..Manifest::new(name, kind, options, files::hex(&digest), bytes)
    });
    let mut changed = function.clone();
    changed.put_version(Arc::clone(&version));
    let alias = (activation == Activation::Activate).then(|| {
        let fresh = Alias::of(name, ACTIVE, &version.version);
        // What was laid over the versions before stays: only what the alias means changes.
        let alias = match function.active() {
            Some(active) => active.pointed_at(fresh.targets),
            None => fresh,
        };
        Alias { changed_ms: stamp.now_ms, ..alias }
    });
    if let Some(alias) = &alias {
        changed.put_alias(Arc::new(alias.clone()));
    }
    Ok(Plan { version, before, options_kept, changed, alias })
}

/// Returns `options` over those of the version before, and whether any of these were taken over.
fn inherited(
    options: Options,
    before: Option<&Manifest>,
    kind: Kind,
) -> Result<(Options, bool), OptionsError> {
    let before = before
        .filter(|_| !options.fresh_options)
        .map(|before| before.options(kind))
        .unwrap_or_default();
    let kept = before.without(&options.unset)?;
    let any = kept != Options::default();
    let options = options.over(kept);
    options.check(kind)?;
    Ok((options, any))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0000;

    fn planned(function: &Function, options: Options, activation: Activation) -> Plan {
        let at = u64::from(function.next_number());
        let request = Request {
            name: "hello",
            options: &options,
            activation,
            over: None,
            kind: Kind::Http02,
            has_assets: false,
            digest: [7; 32],
            bytes: 3,
        };
        let stamp = Stamp { id: Uuid::from_u128(ID + u128::from(at)), now_ms: at * 1000 };
        plan(function, &request, stamp).unwrap()
    }

    fn with_variable(key: &str) -> Options {
        Options { env: vec![(key.to_owned(), "1".to_owned())], ..Options::default() }
    }

    #[test]
    fn the_first_version_becomes_active() {
        let plan = planned(&Function::default(), Options::default(), Activation::Activate);
        assert_eq!((plan.version.number, plan.version.created_ms), (1, 1000));
        assert_eq!(plan.version.version, Uuid::from_u128(ID + 1).to_string());
        assert_eq!(plan.version.artefact, files::hex(&[7; 32]));
        assert!(plan.before.is_none() && !plan.options_kept);
        assert_eq!(plan.changed.foremost(), Some(&plan.version));
        let alias = plan.alias.unwrap();
        assert_eq!((alias.alias.as_str(), alias.changed_ms), (ACTIVE, 1000));
        assert!(alias.previous.is_empty());
    }

    #[test]
    fn what_is_only_kept_leaves_the_active_version_as_it_is() {
        let first = planned(&Function::default(), Options::default(), Activation::Activate);
        let second = planned(&first.changed, Options::default(), Activation::Keep);
        assert!(second.alias.is_none());
        assert_eq!(second.version.number, 2);
        assert_eq!(second.changed.foremost(), Some(&first.version));
    }

    #[test]
    fn an_alias_keeps_what_it_lays_over_versions_and_knows_the_way_back() {
        let first = planned(&Function::default(), Options::default(), Activation::Activate);
        let mut function = first.changed.clone();
        let laid = Alias { env: [("A".to_owned(), "1".to_owned())].into(), ..first.alias.unwrap() };
        function.put_alias(Arc::new(laid.clone()));
        let alias = planned(&function, Options::default(), Activation::Activate).alias.unwrap();
        assert_eq!((&alias.env, &alias.previous), (&laid.env, &laid.targets));
        assert_ne!(alias.targets, laid.targets);
    }

    #[test]
    fn options_come_from_the_version_before_unless_they_are_fresh_or_unset() {
        let first = planned(&Function::default(), with_variable("A"), Activation::Activate);
        let keys = |plan: &Plan| plan.version.env.keys().cloned().collect::<Vec<_>>();
        let kept = planned(&first.changed, with_variable("B"), Activation::Activate);
        assert!(kept.options_kept && keys(&kept) == ["A", "B"]);
        assert_eq!(kept.before.as_ref(), Some(&first.version));
        let unset = Options { unset: vec!["env.A".to_owned()], ..with_variable("B") };
        assert_eq!(keys(&planned(&first.changed, unset, Activation::Activate)), ["B"]);
        let fresh = Options { fresh_options: true, ..with_variable("B") };
        let fresh = planned(&first.changed, fresh, Activation::Activate);
        assert!(!fresh.options_kept && keys(&fresh) == ["B"]);
    }

    #[test]
    fn what_takes_its_file_of_a_version_is_refused_once_another_is_active() {
        let first = planned(&Function::default(), Options::default(), Activation::Activate);
        let second = planned(&first.changed, Options::default(), Activation::Activate);
        let over = |version: &Manifest| {
            let request = Request {
                name: "hello",
                options: &Options::default(),
                activation: Activation::Activate,
                over: Some(version),
                kind: Kind::Http02,
                has_assets: false,
                digest: [7; 32],
                bytes: 3,
            };
            plan(&second.changed, &request, Stamp::now())
        };
        assert!(over(&second.version).is_ok());
        assert!(matches!(over(&first.version), Err(ChangeError::Overtaken { over: 1, .. })));
    }

    #[test]
    fn a_function_has_no_more_versions_than_it_may() {
        let mut function = Function::default();
        for at in 0..VERSIONS_PER_FUNCTION_MAX {
            let options = Options::default();
            let made = Manifest::new("hello", Kind::Http02, options, String::new(), 1);
            function.put_version(Arc::new(Manifest { version: at.to_string(), ..made }));
        }
        let request = Request {
            name: "hello",
            options: &Options::default(),
            activation: Activation::Keep,
            over: None,
            kind: Kind::Http02,
            has_assets: false,
            digest: [7; 32],
            bytes: 3,
        };
        let refused = plan(&function, &request, Stamp::now());
        assert!(matches!(refused, Err(ChangeError::TooManyVersions(name)) if name == "hello"));
    }
}
