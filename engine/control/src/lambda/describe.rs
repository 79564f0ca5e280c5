//! A version as AWS Lambda describes it. Pure; owns no fds.

use std::time::{Duration, UNIX_EPOCH};

use abi::function::Kind;
use host::files;
use lambda_api::LambdaError;
use lambda_api::function::{Architecture, FunctionConfiguration, LastUpdate, State};
use lambda_api::names::{FunctionName, VersionName};
use store::manifest::Manifest;

/// What a function has as its handler that was given no other.
pub(super) const HANDLER: &str = "bootstrap";
/// The variable that says which other one it has: the program finds it there, as on AWS.
pub(super) const HANDLER_VARIABLE: &str = "_HANDLER";

/// Returns the configuration of a version under the name it was asked for.
pub(super) fn configuration(
    version: &Manifest,
    name: VersionName,
) -> Result<FunctionConfiguration, LambdaError> {
    let invalid = |error: lambda_api::names::NameError| LambdaError::Service(error.to_string());
    let native = version.kind == Kind::Lambda;
    let mut environment = version.env.clone();
    let handler = environment.remove(HANDLER_VARIABLE);
    Ok(FunctionConfiguration {
        name: FunctionName::parse(&version.name).map_err(invalid)?,
        version: name,
        revision_id: version.version.clone(),
        description: String::new(),
        runtime: native.then(|| "provided.al2023".to_owned()),
        role: None,
        handler: native.then(|| handler.unwrap_or_else(|| HANDLER.to_owned())),
        code_bytes: version.artefact_bytes,
        code_sha256: files::unhex(&version.artefact).unwrap_or_default(),
        timeout_ms: version.limits.timeout_ms,
        memory_bytes_max: version.limits.memory_bytes_max,
        ephemeral_storage_bytes: version.limits.tmp_bytes_max,
        environment,
        architecture: Architecture::NODE,
        modified: UNIX_EPOCH + Duration::from_millis(version.created_ms),
        // A deploy is answered when every worker serves it.
        state: State::Active,
        last_update: LastUpdate::Successful,
    })
}
