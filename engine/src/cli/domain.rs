//! `sockhop domain`: adds, lists and removes the hosts that functions are found by. Owns no fds.

use abi::domain::Domain;
use abi::reference::{check_alias, split};
use api::domains::{DomainQuery, DomainTarget, ListedDomain};
use api::endpoint::Endpoint;
use api::endpoints::{ListDomains, RemoveDomain, SetDomain};
use clap::Subcommand;

use super::client::Node as Client;
use super::print::{print_json, table, when};
use super::{Show, Target};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Have requests to a host be for a function, on all nodes of the store
    Add {
        /// The host, as shop.example.com or *.example.com, and perhaps which of its paths:
        /// example.com/api/* takes /api and all below it
        #[arg(value_name = "HOST[/PREFIX/*]")]
        domain: Domain,
        /// The function, or one of its aliases
        #[arg(value_name = "NAME[@ALIAS]", value_parser = called)]
        function: DomainTarget,
        #[command(flatten)]
        target: Target,
    },
    /// List all domains and what they are for
    #[command(visible_alias = "ls")]
    List(Show),
    /// Remove a domain, with this prefix or without one
    #[command(visible_alias = "rm")]
    Remove {
        /// As it was added
        #[arg(value_name = "HOST[/PREFIX/*]")]
        domain: Domain,
        #[command(flatten)]
        target: Target,
    },
}

/// Reads what a domain is to be for. A version is none of it: versions are removed when they are
/// old, and an alias stays.
fn called(text: &str) -> Result<DomainTarget, String> {
    let (function, alias) = split(text);
    abi::name::check(function).map_err(|error| error.to_string())?;
    alias.map_or(Ok(()), check_alias).map_err(|error| {
        let hint = "a domain is for a function or an alias of it";
        format!("{hint}: {error}; `sockhop alias set` gives a version an alias")
    })?;
    Ok(DomainTarget { function: function.to_owned(), alias: alias.map(str::to_owned) })
}

/// Returns the function, and the alias if there is one, as people write them.
fn shown(function: &str, alias: Option<&str>) -> String {
    alias.map_or_else(|| function.to_owned(), |alias| format!("{function}@{alias}"))
}

/// Returns the host as it stands in a path, and the query that says the rest.
fn parts(domain: &Domain) -> (String, DomainQuery) {
    let prefix = Some(domain.prefix().to_owned()).filter(|prefix| !prefix.is_empty());
    // The other characters of a host mean nothing in a path.
    (domain.host().replace('*', "%2A"), DomainQuery { prefix })
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add { domain, function, target } => {
            let (host, query) = parts(&domain);
            let call = SetDomain::at(&host).with(&query);
            let answer = Client::new(&target)?.send(call, &function).await?;
            let ListedDomain { domain, function, alias, .. } = answer.read()?;
            say!("{domain} is for {}", shown(&function, alias.as_deref()));
            Ok(())
        }
        Command::List(show) => list(&show).await,
        Command::Remove { domain, target } => {
            let (host, query) = parts(&domain);
            Client::new(&target)?.call(RemoveDomain::at(&host).with(&query)).await?;
            say!("removed the domain {domain}");
            Ok(())
        }
    }
}

async fn list(show: &Show) -> anyhow::Result<()> {
    let answer = Client::new(&show.target)?.call(ListDomains::at()).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let domains: <ListDomains as Endpoint>::Answer = answer.read()?;
    if domains.is_empty() {
        say!("no domains; add one with: sockhop domain add HOST NAME");
        return Ok(());
    }
    let row = |domain: &ListedDomain| {
        let function = shown(&domain.function, domain.alias.as_deref());
        let until = domain.certificate_until_ms.map_or_else(|| "-".to_owned(), when);
        vec![domain.domain.clone(), function, when(domain.added_ms), until]
    };
    let rows: Vec<_> = domains.iter().map(row).collect();
    table(&["DOMAIN", "FUNCTION", "ADDED", "CERTIFICATE"], &rows);
    for ListedDomain { domain, error, certificate_error, .. } in &domains {
        if let Some(error) = error {
            say!("{domain} is answered 404: {error}");
        }
        if let Some(error) = certificate_error {
            say!("{domain} gets no certificate: {error}");
        }
    }
    Ok(())
}

/// Has hosts be for the function `name`, as its project says, unless they are for another.
pub(super) async fn add_all(node: &Client, name: &str, domains: &[Domain]) -> anyhow::Result<()> {
    if domains.is_empty() {
        return Ok(());
    }
    let listed = node.call(ListDomains::at()).await?.read()?;
    for domain in domains {
        let text = domain.to_string();
        match listed.iter().find(|listed| listed.domain == text) {
            Some(listed) if listed.function == name && listed.alias.is_none() => continue,
            Some(ListedDomain { function, alias, .. }) => anyhow::bail!(
                "{text} is for {}; `sockhop domain remove {text}` makes it free",
                shown(function, alias.as_deref())
            ),
            None => {}
        }
        let (host, query) = parts(domain);
        let target = DomainTarget { function: name.to_owned(), alias: None };
        node.send(SetDomain::at(&host).with(&query), &target).await?;
        eprintln!("{text} is for {name}");
    }
    Ok(())
}

/// Returns the domains that are for the function `name`, as far as the node tells: one of an earlier
/// build knows of none.
pub(super) async fn of_function(node: &Client, name: &str) -> Vec<ListedDomain> {
    let listed = node.call(ListDomains::at()).await.and_then(|answer| answer.read());
    listed.unwrap_or_default().into_iter().filter(|domain| domain.function == name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_for_a_function_or_an_alias_and_for_no_version() {
        let target = |text| called(text).map(|it| shown(&it.function, it.alias.as_deref()));
        for text in ["web", "web@staging"] {
            assert_eq!(target(text), Ok(text.to_owned()));
        }
        for (text, part) in
            [("web@v1", "alias set"), ("web@", "alias"), ("We", "character"), ("", "empty")]
        {
            assert!(target(text).is_err_and(|error| error.contains(part)), "{text}");
        }
    }

    #[test]
    fn host_and_prefix_are_sent_so_that_neither_can_be_taken_for_something_else() {
        let path = |text: &str| {
            let (host, query) = parts(&text.parse().unwrap());
            SetDomain::at(&host).with(&query).path().to_owned()
        };
        assert_eq!(path("Example.com"), "/v1/domains/example.com");
        assert_eq!(path("*.example.com/*"), "/v1/domains/%2A.example.com");
        assert_eq!(path("a.example/x/%2f&=/*"), "/v1/domains/a.example?prefix=%2Fx%2F%252f%26%3D");
    }
}
