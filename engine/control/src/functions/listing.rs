//! Look-ups in what is served: lists, one function, and whether a call means anything. Owns no fds.

use std::sync::Arc;

use abi::reference::Reference;
use api::functions::{Aliases, InspectedFunction, VersionDetails};
use api::versions::ListedVersion;
use compile::queue::Purpose;
use host::files;
use store::contents::Function;
use store::manifest::Manifest;

use super::catalogue::runs_here;
use super::error::ChangeError;
use super::publication::Publication;
use crate::answers;

/// Answers questions about what is served.
#[derive(Debug)]
pub struct Listing {
    pub(super) publication: Arc<Publication>,
}

impl Listing {
    /// Returns how many functions are served.
    pub(crate) fn count(&self) -> usize {
        self.publication.served().len()
    }

    /// Returns the number of the last catalogue.
    pub(crate) fn generation(&self) -> u64 {
        self.publication.generation()
    }

    /// Returns how many times the compiler has run since the node started.
    pub(crate) fn compilations(&self) -> u64 {
        self.publication.cache.compilations()
    }

    /// Returns every function, as its foremost version, with its aliases.
    pub(crate) fn list(&self) -> Vec<api::functions::Function> {
        let served = self.publication.served();
        served.values().filter_map(|function| answers::function(function)).collect()
    }

    /// Returns the foremost version of every function.
    pub(crate) fn foremost(&self) -> Vec<Arc<Manifest>> {
        let served = self.publication.served();
        served.values().filter_map(|function| function.foremost().cloned()).collect()
    }

    /// Returns a function as it is served.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] when it is not.
    pub(crate) fn function(&self, name: &str) -> Result<Arc<Function>, ChangeError> {
        self.publication.function(name)
    }

    /// Returns one version of a function, which `version` names by its number or its id.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] and [`ChangeError::Version`] when there is none, or several.
    pub(crate) fn version(&self, name: &str, version: &str) -> Result<VersionDetails, ChangeError> {
        let function = self.publication.function(name)?;
        Ok(answers::version(function.find(name, version)?))
    }

    /// Returns one function: the same, and its versions.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] when it is not served.
    pub(crate) fn inspect(&self, name: &str) -> Result<InspectedFunction, ChangeError> {
        let inspected = answers::inspected(self.publication.function(name)?.as_ref());
        inspected.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Returns the versions of a function, the newest first.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn versions(&self, name: &str) -> Result<Vec<ListedVersion>, ChangeError> {
        Ok(answers::versions(self.publication.function(name)?.as_ref()))
    }

    /// Returns the aliases of a function, by name.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn aliases(&self, name: &str) -> Result<Aliases, ChangeError> {
        Ok(answers::aliases(self.publication.function(name)?.as_ref()))
    }

    /// Checks that the function `name` can be called by `reference`, or by its bare name. A version
    /// that no alias means is compiled.
    ///
    /// # Errors
    /// When there is nothing of that name or reference, or it cannot run where the function runs.
    pub(crate) async fn find(
        &self,
        name: &str,
        reference: Option<&str>,
    ) -> Result<(), ChangeError> {
        let function = self.publication.function(name)?;
        let Some(reference) = reference else {
            return match function.active() {
                Some(_) => Ok(()),
                None => Err(ChangeError::NotActive(name.to_owned())),
            };
        };
        if let Some(Reference::Alias(alias)) = Reference::read(reference) {
            if function.alias(alias).is_some() {
                return Ok(());
            }
            let (name, alias) = (name.to_owned(), alias.to_owned());
            return Err(ChangeError::UnknownAlias { name, alias });
        }
        let version = function.find(name, reference)?;
        if !runs_here(&function, version) {
            let (name, version) = (name.to_owned(), reference.to_owned());
            return Err(ChangeError::NotHere { name, version });
        }
        if let Some(digest) = files::unhex(&version.artefact) {
            self.publication.cache.ensure(&digest, version.kind, Purpose::Deploy).await?;
        }
        Ok(())
    }
}
