//! Deploys: receiving the form with its options and its file, and how far one is. Owns the file
//! that is received, until the function has it.
//!
//! ```text
//! PUT    /v1/functions/NAME   multipart: `options` (JSON, first), `artefact` (the file); with
//!                             ?activate=false it is only kept, with trial=false it is asked
//!                             nothing. What `options` leave out is as the active version has
//!                             it, but for `unset` (a list of options), or the default with
//!                             `fresh_options: true`
//! POST   /v1/functions/NAME/options   the same `options` (JSON) for the file that is active, with
//!                             the same query, or ?dry-run=true to be told what would become
//! GET    /v1/deploys/ID       how far the deploy is that came with the header
//!                             `sockhop-deploy-id: ID`, see [`crate::deploys`]
//! ```

use std::io;
use std::sync::Arc;
use std::time::Instant;

use abi::limits::{ARTEFACT_BYTES_MAX, MANIFEST_BYTES_MAX};
use api::deploys::{ARTEFACT_PART, DeployQuery, OPTIONS_PART, OptionsQuery};
use api::endpoint::Endpoint;
use api::endpoints::{Deploy, GetDeploy, SetOptions};
use api::options::{Options, OptionsError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::multipart::Field;
use axum::extract::{Multipart, Path, State};
use axum::http::{HeaderMap, StatusCode};
use host::fault::Fault;
use host::printable;

use super::logs::write_logs;
use super::{make, read};
use crate::control::Control;
use crate::deploys::Underway;
use crate::failed::{Failed, bad_request};
use crate::functions::{Activation, ChangeError, Received, Receiving, Steps, TrialRequest};
use crate::routes::{Answered, QueryOf};

/// How many lines that a version logged during its trial are shown to whoever deploys it.
const TRIAL_LINES_MAX: usize = 50;

/// The answer to a deploy that went well.
type Deployed = (StatusCode, Json<<Deploy as Endpoint>::Answer>);

pub(crate) async fn deploy(
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
    let (activation, trial) = steps(query.activate, query.trial);
    let steps = Steps { activation, trial, over: None };
    // The cheapest refusals first, before anything is written.
    abi::name::check(name).map_err(ChangeError::from)?;
    let mut options = Options::default();
    while let Some(mut field) = form.next_field().await.map_err(bad_request)? {
        match field.name() {
            Some(OPTIONS_PART) => options = receive_options(&mut field).await?,
            Some(ARTEFACT_PART) => {
                let receiving = control.functions.deployments.receive().await?;
                let received = receive(&mut field, receiving).await?;
                // A client that leaves now has asked for it all the same: what is begun comes to an
                // end.
                let deploying = tokio::spawn({
                    let (control, name) = (Arc::clone(control), name.to_owned());
                    async move {
                        control
                            .functions
                            .deployments
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

fn steps(activate: bool, trial: bool) -> (Activation, TrialRequest) {
    let activation = if activate { Activation::Activate } else { Activation::Keep };
    let trial = if trial { TrialRequest::Made } else { TrialRequest::Skipped };
    (activation, trial)
}

/// Answers `POST /v1/functions/NAME/options`.
pub(crate) async fn set_options(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(query): QueryOf<SetOptions>,
    body: Bytes,
) -> Answered<SetOptions> {
    let options: Options = read(&body)?;
    let OptionsQuery { activate, trial, dry_run } = query;
    let steps = steps(activate, trial);
    let setting = make({
        let control = Arc::clone(&control);
        async move { control.functions.deployments.set_options(&name, options, steps, dry_run).await }
    });
    match setting.await {
        Err(error @ ChangeError::TrialRequest { .. }) => Err(with_log(&control, error).await),
        set => Ok(Json(set?.describe())),
    }
}

/// Receives the options of a deploy and checks those that do not depend on the file.
async fn receive_options(field: &mut Field<'_>) -> Result<Options, Failed> {
    let mut json = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(bad_request)? {
        json.extend_from_slice(&chunk);
        if json.len() > MANIFEST_BYTES_MAX {
            return Err(bad_request(format_args!(
                "the options are larger than {MANIFEST_BYTES_MAX} bytes"
            )));
        }
    }
    let options: Options = serde_json::from_slice(&json).map_err(bad_request)?;
    let limits = options.limits.limits();
    limits.check().map_err(OptionsError::from).map_err(ChangeError::from)?;
    Ok(options)
}

/// Answers `GET /v1/deploys/ID`.
pub(crate) async fn progress(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Answered<GetDeploy> {
    let found = id.parse().ok().and_then(|id| control.deploys.find(&id));
    let unknown = || Failed::new(Fault::NOT_FOUND, "no deploy of this id is under way");
    let progress = found.ok_or_else(unknown)?;
    Ok(Json(
        progress.describe(
            |number| control.functions.deployments.compilers_ahead(number),
            Instant::now(),
        ),
    ))
}

/// Returns why a version did not answer, with what it logged meanwhile.
async fn with_log(control: &Control, error: ChangeError) -> Failed {
    let id = match &error {
        ChangeError::TrialRequest { invocation: Some(id), .. } => id.parse().ok(),
        _ => None,
    };
    let mut failed = Failed::from(error);
    if let Some(id) = id {
        write_logs(control).await;
        for line in control.logs.invocation(id).await.lines.into_iter().take(TRIAL_LINES_MAX) {
            failed.error.extend([
                "\n  ",
                &line.stream,
                ": ",
                printable::line(&line.text).trim_end(),
            ]);
        }
    }
    failed
}

/// Streams a part to a file and syncs it.
async fn receive(field: &mut Field<'_>, mut receiving: Receiving) -> Result<Received, Failed> {
    let failed = |error: io::Error| {
        let fault = Fault::of_file(&error);
        let hint = if fault == Fault::NODE_FULL { "; free some space and try again" } else { "" };
        Failed::new(fault, format_args!("the file cannot be stored: {error}{hint}"))
    };
    let mut length = 0;
    while let Some(chunk) = field.chunk().await.map_err(bad_request)? {
        length += chunk.len();
        if length > ARTEFACT_BYTES_MAX {
            let what = format!("the file is larger than {ARTEFACT_BYTES_MAX} bytes");
            return Err(Failed::new(Fault::TOO_LARGE, what));
        }
        receiving.take(&chunk).await.map_err(failed)?;
    }
    receiving.end().await.map_err(failed)
}
