//! What the control API answers, made of what is stored of functions. Pure; owns no fds.
//!
//! The store's structs and the API's are separate on purpose: an object in a store must stay
//! readable for years, and an answer must stay what clients expect. What a function is ([`abi`]'s
//! kind, isolation, output and limits) is shared by both, and by the catalogue.

use std::sync::Arc;

use api::functions::{self, Aliases, InspectedFunction, VersionDetails};
use api::versions::{AliasShare, AliasTarget, ListedVersion};

use store::alias::{Alias, Target};
use store::contents::Function;
use store::manifest::Manifest;

/// Returns a function as its foremost version, with its aliases. Returns `None` if it has none.
pub(super) fn function(function: &Function) -> Option<functions::Function> {
    Some(functions::Function { version: version(function.foremost()?), aliases: aliases(function) })
}

/// Returns the same with all versions of the function.
pub(super) fn inspected(of: &Function) -> Option<InspectedFunction> {
    Some(InspectedFunction { function: function(of)?, versions: versions(of), reuse: None })
}

/// Returns a version with all its options.
pub fn version(of: &Manifest) -> VersionDetails {
    VersionDetails {
        name: of.name.clone(),
        version: of.version.clone(),
        number: of.number,
        created_ms: of.created_ms,
        kind: of.kind,
        artefact: of.artefact.clone(),
        artefact_bytes: of.artefact_bytes,
        isolation: of.isolation,
        previews: of.previews,
        instances: of.instances.into(),
        limits: of.limits.clone(),
        env: of.env.clone(),
        config: of.config.clone(),
        args: of.args.clone(),
        output: of.output,
        allow_outbound: of.allow_outbound.clone(),
        kv: of.kv.clone(),
        health_path: of.health_path.clone(),
        handler: of.handler.clone(),
        report_lines: of.report_lines,
        network: of.network,
        websocket: of.websocket,
        respond_async: of.respond_async,
        dead_letters: of.dead_letters.clone(),
        description: of.description.clone(),
        role: of.role.clone(),
        origin: of.origin.clone(),
    }
}

/// Returns the versions of a function, the newest first, each with the aliases that name it.
pub(super) fn versions(function: &Function) -> Vec<ListedVersion> {
    let listed = |version: &Arc<Manifest>| {
        let shares = function.aliases().filter_map(|alias| share(alias, &version.version));
        ListedVersion {
            number: version.number,
            version: version.version.clone(),
            created_ms: version.created_ms,
            kind: version.kind,
            artefact: version.artefact.clone(),
            artefact_bytes: version.artefact_bytes,
            origin: version.origin.clone(),
            aliases: shares.collect(),
        }
    };
    function.versions().rev().map(listed).collect()
}

/// Returns how much of an alias the version `id` has, if it has any.
fn share(alias: &Alias, id: &str) -> Option<AliasShare> {
    let target = alias.targets.iter().find(|target| target.version == id)?;
    let of = alias.targets.iter().map(|target| target.weight).sum();
    Some(AliasShare { alias: alias.alias.clone(), weight: target.weight, of })
}

/// Returns the aliases of a function, by name.
pub(super) fn aliases(function: &Function) -> Aliases {
    function.aliases().map(|of| (of.alias.clone(), alias(function, of))).collect()
}

/// Returns an alias of a function.
pub(super) fn alias(function: &Function, of: &Alias) -> api::versions::Alias {
    let target = |target: &Target| AliasTarget {
        version: target.version.clone(),
        number: function.version(&target.version).map(|version| version.number),
        weight: target.weight,
    };
    api::versions::Alias {
        alias: of.alias.clone(),
        targets: of.targets.iter().map(target).collect(),
        env: of.env.clone(),
        config: of.config.clone(),
        previous: of.previous.iter().map(target).collect(),
        changed_ms: of.changed_ms,
    }
}

/// Returns what there is of a function in a few words: `v3 active, of 3 versions`.
pub(super) fn summed_up(function: &Function) -> String {
    let foremost = function.foremost().map_or(0, |version| version.number);
    let active = if function.active().is_some() { "active" } else { "not active" };
    match function.versions().count() {
        1 => format!("v{foremost}, {active}"),
        several => format!("v{foremost}, {active}, of {several} versions"),
    }
}

#[cfg(test)]
mod tests {
    use abi::function::Kind;
    use api::options::Options;

    use super::*;

    #[test]
    fn a_version_is_answered_as_it_is_kept() {
        for kind in Kind::ALL {
            let options = Options { health_path: Some("/up".to_owned()), ..Options::default() };
            let kept = Manifest::new("hello", kind, options, "00".to_owned(), 3);
            let (kept, answered) = (serde_json::to_value(&kept).unwrap(), version(&kept));
            assert_eq!(serde_json::to_value(answered).unwrap(), kept);
        }
    }
}
