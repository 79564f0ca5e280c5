//! Programs made of functions, to run without a node: see [`abi::bundle`]. Owns no fds.

use std::sync::Arc;

use abi::bundle::{self as trailer, Bundled};
use host::files;

use super::catalogue;
use super::error::ChangeError;
use super::publication::Publication;
use super::standalone::{ProgramError, Standalone};

/// Makes programs of functions.
#[derive(Debug)]
pub struct Bundles {
    pub(super) publication: Arc<Publication>,
    pub(super) standalone: Arc<Standalone>,
}

impl Bundles {
    /// Returns the executable file of a program that runs a version of a function: the one that
    /// `reference` means, or else the foremost. Its secrets are not in it.
    ///
    /// # Errors
    /// When there is no such version, it is native, or the program in front is not there.
    pub(crate) async fn program(
        &self,
        name: &str,
        reference: Option<&str>,
    ) -> Result<Vec<u8>, ChangeError> {
        let function = self.publication.function(name)?;
        let (version, alias) = match reference {
            None => (function.foremost(), function.active()),
            Some(reference) => match function.alias(reference) {
                Some(alias) => (function.heaviest(alias), Some(alias)),
                None => (Some(function.find(name, reference)?), None),
            },
        };
        let version = version.ok_or_else(|| ChangeError::NotActive(name.to_owned()))?;
        if !version.kind.is_wasm() {
            let (name, kind) = (name.to_owned(), version.kind.name());
            return Err(ProgramError::Native { name, kind }.into());
        }
        if version.has_assets {
            return Err(ProgramError::Assets { name: name.to_owned() }.into());
        }
        let artefact =
            files::unhex(&version.artefact).ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        let module = self.publication.cache.portable(&artefact, version.kind).await?;
        let bundled = Bundled {
            function: name.to_owned(),
            version: version.number,
            spec: catalogue::spec(version, alias.map(|alias| &**alias)),
        };
        let standalone = Arc::clone(&self.standalone);
        // Some ten megabytes are read and copied.
        let made = tokio::task::spawn_blocking(move || {
            let program = bundle::shrink(&standalone.read()?)?;
            Ok::<_, ProgramError>(trailer::append(&program, &bundled, &module)?)
        });
        Ok(made.await.map_err(|_| ChangeError::Stopping)??)
    }
}
