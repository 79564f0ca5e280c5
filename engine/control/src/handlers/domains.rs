//! Domains: which hosts and paths are for which function. Owns no fds.
//!
//! ```text
//! GET    /v1/domains
//! PUT    /v1/domains/HOST?prefix=/api    {"function": "api", "alias": "staging"}
//! DELETE /v1/domains/HOST?prefix=/api
//! ```
//! Without a prefix, all paths are meant.

use std::collections::HashMap;
use std::sync::Arc;

use acme::NameStatus;
use api::domains::{DomainQuery, DomainTarget};
use api::endpoints::{ListDomains, RemoveDomain, SetDomain};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::make;
use super::read;
use crate::control::Control;
use crate::failed::Failed;
use crate::routes::{Answered, QueryOf};

pub(crate) async fn list(State(control): State<Arc<Control>>) -> Answered<ListDomains> {
    let mut listed = control.functions.domains.list();
    let ordered = control.acme.iter().flat_map(|acme| acme.status());
    let ordered: HashMap<String, NameStatus> =
        ordered.map(|status| (status.name.clone(), status)).collect();
    for domain in &mut listed {
        if let Some(status) = ordered.get(&domain.host) {
            domain.certificate_until_ms = status.valid_until_ms;
            domain.certificate_error.clone_from(&status.error);
        }
    }
    Ok(Json(listed))
}

pub(crate) async fn set(
    State(control): State<Arc<Control>>,
    Path(host): Path<String>,
    QueryOf(DomainQuery { prefix }): QueryOf<SetDomain>,
    body: Bytes,
) -> Answered<SetDomain> {
    let target: DomainTarget = read(&body)?;
    let prefix = prefix.unwrap_or_default();
    let adding = async move { control.functions.domains.add(&host, &prefix, target).await };
    Ok(Json(make(adding).await?))
}

pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    Path(host): Path<String>,
    QueryOf(DomainQuery { prefix }): QueryOf<RemoveDomain>,
) -> Result<StatusCode, Failed> {
    let prefix = prefix.unwrap_or_default();
    make(async move { control.functions.domains.remove(&host, &prefix).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
