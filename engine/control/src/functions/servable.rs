//! What of the store's contents this node can serve: all but aliases whose versions are missing or
//! do not compile, which are as they were before or not there. Owns no fds.

use std::sync::Arc;

use abi::message::Digest;
use futures_util::future::join_all;

use compile::cache::Cache;
use compile::queue::Purpose;
use host::files;
use store::contents::{Contents, Function};
use store::manifest::Manifest;

/// Compiles the versions that aliases of `contents` name, unless they are `served` so already. The
/// cache remembers why something does not compile, and [`servable`] logs it. This takes long: no
/// change is to wait for it.
pub(super) async fn compile(cache: &Cache, contents: &Contents, served: &Contents) {
    let changed = contents.iter().filter(|(name, function)| served.get(*name) != Some(*function));
    let named = changed.flat_map(|(_, function)| {
        let targets = function.aliases().flat_map(|alias| &alias.targets);
        targets.filter_map(move |target| function.version(&target.version))
    });
    let compiled = named.filter_map(|version| {
        let artefact = files::unhex(&version.artefact)?;
        Some(async move { cache.ensure(&artefact, version.kind, Purpose::Serving).await })
    });
    join_all(compiled).await;
}

/// Returns what of `contents` can be served, with the modules of what was not `served` so before.
pub(super) fn servable(
    cache: &Cache,
    contents: &Contents,
    served: &Contents,
) -> (Contents, Vec<Digest>) {
    let (mut servable, mut modules) = (Contents::new(), Vec::new());
    for (name, function) in contents {
        let old = served.get(name);
        let function = match old {
            Some(old) if old == function => Arc::clone(old),
            old => {
                let (function, keys) = servable_function(cache, function, old.map(AsRef::as_ref));
                modules.extend(keys);
                function
            }
        };
        servable.insert(name.clone(), function);
    }
    (servable, modules)
}

/// Returns the function with those of its aliases whose versions are there and compiled, and their
/// modules. The others are logged, and are as they were `before`.
pub(super) fn servable_function(
    cache: &Cache,
    function: &Function,
    before: Option<&Function>,
) -> (Arc<Function>, Vec<Digest>) {
    let (mut servable, mut modules) = (function.clone(), Vec::new());
    for alias in function.aliases() {
        let mut failed = None;
        for target in &alias.targets {
            match module(cache, function.version(&target.version)) {
                Ok(key) => modules.push(key),
                Err((reason, new)) => {
                    failed = Some((format!("its version {}: {reason}", target.version), new))
                }
            }
        }
        let Some((reason, new)) = failed else { continue };
        let (name, alias) = (&alias.name, &alias.alias);
        let old = before.and_then(|before| Some((before, before.alias(alias)?)));
        let fate = if old.is_some() { "means what it did before" } else { "is not served" };
        match new {
            true => tracing::error!("alias {alias:?} of function {name:?} {fate}: {reason}"),
            // It was logged as an error when it was seen first.
            false => tracing::debug!("alias {alias:?} of function {name:?} {fate}: {reason}"),
        }
        match old {
            Some((before, old)) => {
                // Another node may have removed them, but the alias names them here.
                let versions =
                    old.targets.iter().filter_map(|target| before.version(&target.version));
                versions.for_each(|version| servable.put_version(Arc::clone(version)));
                servable.put_alias(Arc::clone(old));
            }
            None => servable.drop_alias(alias),
        }
    }
    (Arc::new(servable), modules)
}

/// Returns the module of a version, or why there is none and whether that is new.
fn module(cache: &Cache, version: Option<&Arc<Manifest>>) -> Result<Digest, (String, bool)> {
    let version = version.ok_or_else(|| ("it is not in the store".to_owned(), true))?;
    let digest =
        files::unhex(&version.artefact).ok_or_else(|| ("it has no artefact".to_owned(), true))?;
    cache.compiled(&digest, version.kind)
}
