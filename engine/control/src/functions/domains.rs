//! Adding and removing domains, and what there are. Owns no fds.

use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::domain::Domain;
use abi::reference::check_alias;
use api::domains::{DomainTarget, ListedDomain};
use store::contents::{Contents, Function};
use store::domains::{DomainRoute, Domains, Target};

use super::changes::Changes;
use super::error::ChangeError;

/// Changes domains.
#[derive(Debug)]
pub struct DomainChanges {
    pub(super) changes: Changes,
    pub(super) domains: Arc<Domains>,
}

impl DomainChanges {
    /// Has a host, or those of its paths that begin with `prefix`, be for a function, and returns
    /// when every worker knows. If it is so already, nothing changes.
    ///
    /// # Errors
    /// When the domain or the target cannot be so, the function is not there, the domain is for
    /// something else, or the store does not answer.
    pub(crate) async fn add(
        &self,
        host: &str,
        prefix: &str,
        target: DomainTarget,
    ) -> Result<ListedDomain, ChangeError> {
        let domain = Domain::new(host, prefix)?;
        let DomainTarget { function: name, alias } = target;
        abi::name::check(&name)?;
        alias.as_deref().map_or(Ok(()), check_alias)?;
        let Changes { gate, stored, publication } = &self.changes;
        let turn = gate.enter().await?;
        expect(&name, alias.as_deref(), &*self.changes.function(&name).await?)?;
        let target = Target { function: name, alias };
        let route = self.domains.add(&domain, target).await?;
        stored.repository.note_change().await;
        let served = publication.served();
        if !publication.is_served(&served) {
            publication.publish_again(&turn).await?;
            tracing::info!("the domain {domain} is for {}", route.target);
        }
        Ok(listed(&route, &served))
    }

    /// Removes a domain, and returns when every worker knows.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn remove(&self, host: &str, prefix: &str) -> Result<(), ChangeError> {
        let domain = Domain::new(host, prefix)?;
        let Changes { gate, stored, publication } = &self.changes;
        let turn = gate.enter().await?;
        stored.repository.prepare().await?;
        let removed = self.domains.remove(&domain).await?;
        stored.repository.note_change().await;
        publication.publish_again(&turn).await?;
        let of = removed.map(|route| format!(", which was for {}", route.target));
        tracing::info!("the domain {domain} is removed{}", of.unwrap_or_default());
        Ok(())
    }

    /// Returns all domains, by host and prefix.
    pub(crate) fn list(&self) -> Vec<ListedDomain> {
        let served = self.changes.publication.served();
        let routes = self.domains.routes();
        routes.values().map(|route| listed(route, &served)).collect()
    }
}

/// Checks that a function has what a domain is to be for.
fn expect(name: &str, alias: Option<&str>, function: &Function) -> Result<(), ChangeError> {
    if function.alias(alias.unwrap_or(ACTIVE)).is_some() {
        return Ok(());
    }
    let name = name.to_owned();
    Err(match alias {
        Some(alias) => ChangeError::UnknownAlias { name, alias: alias.to_owned() },
        None => ChangeError::NotActive(name),
    })
}

/// Returns a route as the API answers it, with what is wrong with it by what is `served`.
fn listed(route: &DomainRoute, served: &Contents) -> ListedDomain {
    let DomainRoute { domain, target: Target { function, alias }, added_ms } = route;
    let found = match served.get(function) {
        Some(there) => expect(function, alias.as_deref(), there),
        None => Err(ChangeError::Unknown(function.clone())),
    };
    ListedDomain {
        domain: domain.to_string(),
        host: domain.host().to_owned(),
        prefix: domain.prefix().to_owned(),
        function: function.clone(),
        alias: alias.clone(),
        added_ms: *added_ms,
        certificate_until_ms: None,
        certificate_error: None,
        error: found.err().map(|error| error.to_string()),
    }
}
