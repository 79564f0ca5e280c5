//! Receiving a deploy: the form with its options and its file, and what is answered. Owns the file
//! that is received, until the function has it.

use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use abi::limits::{ARTEFACT_BYTES_MAX, MANIFEST_BYTES_MAX};
use api::deploys::{ARTEFACT_PART, DeployQuery, OPTIONS_PART};
use api::endpoint::Endpoint;
use api::endpoints::Deploy;
use api::options::{Options, OptionsError};
use axum::Json;
use axum::extract::multipart::Field;
use axum::extract::{Multipart, Path, State};
use axum::http::{HeaderMap, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::deploys::Underway;
use super::functions::{Activation, ChangeError, TrialRequest};
use super::logs;
use super::routes::QueryOf;
use super::server::{Control, Failed, bad_request};

/// So much of what a version logged during its trial is told.
const TRIAL_LINES_MAX: usize = 50;

/// What is answered to a deploy that went well.
type Deployed = (StatusCode, Json<<Deploy as Endpoint>::Answer>);

pub(super) async fn deploy(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    query: Result<QueryOf<Deploy>, Failed>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Result<Deployed, Failed> {
    let underway = control.deploys.begin(&headers);
    let deployed = match query {
        Ok(QueryOf(query)) => deploy_form(&control, &name, &query, &mut form, underway).await,
        Err(failed) => Err(failed),
    };
    if deployed.is_err() {
        // Read the rest away: closing on a client that is still sending would lose it the reason.
        while let Ok(Some(_)) = form.next_field().await {}
    }
    deployed
}

async fn deploy_form(
    control: &Arc<Control>,
    name: &str,
    query: &DeployQuery,
    form: &mut Multipart,
    underway: Underway,
) -> Result<Deployed, Failed> {
    let activation = if query.activate { Activation::Activate } else { Activation::Keep };
    let trial = if query.trial { TrialRequest::Made } else { TrialRequest::Skipped };
    let steps = (activation, trial);
    // The cheapest refusals first, before anything is written.
    abi::name::check(name).map_err(ChangeError::from)?;
    let mut options = Options::default();
    while let Some(mut field) = form.next_field().await.map_err(bad_request)? {
        match field.name() {
            Some(OPTIONS_PART) => {
                let mut json = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(bad_request)? {
                    json.extend_from_slice(&chunk);
                    if json.len() > MANIFEST_BYTES_MAX {
                        return Err(bad_request(format_args!(
                            "the options are larger than {MANIFEST_BYTES_MAX} bytes"
                        )));
                    }
                }
                options = serde_json::from_slice(&json).map_err(bad_request)?;
                let limits = options.limits.limits();
                limits.check().map_err(OptionsError::from).map_err(ChangeError::from)?;
            }
            Some(ARTEFACT_PART) => {
                let received = control.functions.receive()?;
                receive(&mut field, received.path()).await?;
                // A client that leaves now has asked for it all the same: what is begun comes to an
                // end.
                let deploying = tokio::spawn({
                    let (control, name) = (Arc::clone(control), name.to_owned());
                    async move {
                        control
                            .functions
                            .deploy(&name, options, steps, received, &underway.progress)
                            .await
                    }
                });
                let deployed = match deploying.await.unwrap_or(Err(ChangeError::Stopping)) {
                    Err(error @ ChangeError::TrialRequest { .. }) => {
                        return Err(with_log(control, error).await);
                    }
                    deployed => deployed?,
                };
                return Ok((StatusCode::CREATED, Json(deployed.describe())));
            }
            other => {
                return Err(bad_request(format_args!(
                    "unexpected part {other:?}; expected `options`, `artefact`"
                )));
            }
        }
    }
    Err(bad_request("the part `artefact`, the file to deploy, is missing"))
}

/// Why a version did not answer, with what it said meanwhile.
async fn with_log(control: &Control, error: ChangeError) -> Failed {
    let id = match &error {
        ChangeError::TrialRequest { invocation: Some(id), .. } => id.parse().ok(),
        _ => None,
    };
    let mut failed = Failed::from(error);
    if let Some(id) = id {
        logs::write(control).await;
        for line in control.logs.invocation(id).await.lines.into_iter().take(TRIAL_LINES_MAX) {
            failed.error.extend([
                "\n  ",
                &line.stream,
                ": ",
                ::logs::entry::printable(&line.text).trim_end(),
            ]);
        }
    }
    failed
}

/// Streams a part to a file and syncs it.
async fn receive(field: &mut Field<'_>, path: &FilePath) -> Result<(), Failed> {
    let failed = |error: io::Error| {
        let full = error.kind() == io::ErrorKind::StorageFull;
        let status =
            if full { StatusCode::INSUFFICIENT_STORAGE } else { StatusCode::INTERNAL_SERVER_ERROR };
        let hint = if full { "; free some space and try again" } else { "" };
        Failed::new(status, format_args!("the file cannot be stored: {error}{hint}"))
    };
    let mut file = tokio::fs::OpenOptions::new().write(true).open(path).await.map_err(failed)?;
    let mut length = 0;
    while let Some(chunk) = field.chunk().await.map_err(bad_request)? {
        length += chunk.len();
        if length > ARTEFACT_BYTES_MAX {
            let what = format!("the file is larger than {ARTEFACT_BYTES_MAX} bytes");
            return Err(Failed::new(StatusCode::PAYLOAD_TOO_LARGE, what));
        }
        file.write_all(&chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    file.sync_all().await.map_err(failed)
}
