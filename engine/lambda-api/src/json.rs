//! The JSON of answers: shapes of the service's model, made of this crate's types. Owns no fds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::alias::Alias;
use crate::function::{AccountSettings, FunctionConfiguration, FunctionUrl, LastUpdate, State};
use crate::invocation::LOG_TAIL_BYTES_MAX;
use crate::names::{FunctionName, FunctionReference, VersionName};
use crate::place::Place;

/// A MiB, which the API calls a megabyte.
pub(crate) const MIB: u64 = 1024 * 1024;

/// The API's times: ISO 8601 with milliseconds.
const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000");

/// Returns `time` as the API has it.
fn time(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(TIME).unwrap_or_default()
}

/// Returns the end of a log in base64, no more of it than [`LOG_TAIL_BYTES_MAX`].
pub(crate) fn base64_tail(log: &Bytes) -> String {
    let from = log.len().saturating_sub(LOG_TAIL_BYTES_MAX);
    STANDARD.encode(log.get(from..).unwrap_or_default())
}

/// Returns a `FunctionConfiguration`. `reference` is how it was asked for, which the ARN shows.
pub(crate) fn configuration(
    place: &Place,
    reference: &FunctionReference,
    function: &FunctionConfiguration,
) -> Value {
    let (state, reason) = match &function.state {
        State::Pending => ("Pending", None),
        State::Active => ("Active", None),
        State::Failed(reason) => ("Failed", Some(reason)),
    };
    let (update, update_reason) = match &function.last_update {
        LastUpdate::Successful => ("Successful", None),
        LastUpdate::InProgress => ("InProgress", None),
        LastUpdate::Failed(reason) => ("Failed", Some(reason)),
    };
    let mut shape = json!({
        "FunctionName": function.name.as_str(),
        "FunctionArn": place.function_arn(reference),
        "Runtime": function.runtime,
        "Role": function.role,
        "Handler": function.handler,
        "CodeSize": function.code_bytes,
        "CodeSha256": STANDARD.encode(function.code_sha256),
        "Description": function.description,
        "Timeout": function.timeout_ms.div_ceil(1000),
        "MemorySize": function.memory_bytes_max / MIB,
        "LastModified": time(function.modified),
        "Version": function.version.to_string(),
        "State": state,
        "StateReason": reason,
        "StateReasonCode": reason.map(|_| "InternalError"),
        "LastUpdateStatus": update,
        "LastUpdateStatusReason": update_reason,
        "LastUpdateStatusReasonCode": update_reason.map(|_| "InternalError"),
        "RevisionId": function.revision_id,
        "PackageType": "Zip",
        "Architectures": [function.architecture.name()],
        "TracingConfig": {"Mode": "PassThrough"},
        "EphemeralStorage": {"Size": function.ephemeral_storage_bytes / MIB},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {
            "LogFormat": "Text",
            "LogGroup": format!("/aws/lambda/{}", function.name),
        },
    });
    if let Value::Object(fields) = &mut shape {
        if !function.environment.is_empty() {
            fields.insert("Environment".to_owned(), environment(&function.environment));
        }
        fields.retain(|_, value| !value.is_null());
    }
    shape
}

fn environment(variables: &BTreeMap<String, String>) -> Value {
    let variables: Map<String, Value> =
        variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({ "Variables": variables })
}

/// Returns an `AliasConfiguration`.
pub(crate) fn alias(place: &Place, function: &FunctionName, alias: &Alias) -> Value {
    let mut shape = json!({
        "AliasArn": place.alias_arn(function, &alias.name),
        "Name": alias.name.as_str(),
        "FunctionVersion": alias.version.to_string(),
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if !alias.additional.is_empty()
        && let Value::Object(fields) = &mut shape
    {
        let weights: Map<String, Value> = alias
            .additional
            .iter()
            .map(|(version, weight)| (version.to_string(), json!(weight)))
            .collect();
        fields.insert("RoutingConfig".to_owned(), json!({"AdditionalVersionWeights": weights}));
    }
    shape
}

/// Returns a `FunctionUrlConfig`.
pub(crate) fn function_url(place: &Place, url: &FunctionUrl) -> Value {
    json!({
        "FunctionUrl": url.url,
        "FunctionArn": place.function_arn(&url.function),
        "AuthType": "NONE",
        "CreationTime": time(url.created),
        "LastModifiedTime": time(url.modified),
        // A node passes on what a function streams as it comes.
        "InvokeMode": "RESPONSE_STREAM",
    })
}

/// Returns what `GetAccountSettings` is answered with.
pub(crate) fn account_settings(account: &AccountSettings, zip_bytes_max: usize) -> Value {
    json!({
        "AccountLimit": {
            "TotalCodeSize": account.code_bytes_max,
            "CodeSizeUnzipped": account.unpacked_bytes_max,
            "CodeSizeZipped": zip_bytes_max,
            "ConcurrentExecutions": account.concurrency_max,
            "UnreservedConcurrentExecutions": account.unreserved_concurrency,
        },
        "AccountUsage": {"TotalCodeSize": account.code_bytes, "FunctionCount": account.functions},
    })
}

/// Returns the reference of one version, as lists of versions have it.
pub(crate) fn version_reference(name: &FunctionName, version: VersionName) -> FunctionReference {
    let qualifier = Some(crate::names::Qualifier::Version(version));
    FunctionReference { name: name.clone(), qualifier }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_the_api_has_it() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_706_702_400_007);
        assert_eq!(time(at), "2024-01-31T12:00:00.007+0000");
    }

    #[test]
    fn of_a_log_the_last_4_kib_are_shown() {
        let log = Bytes::from([vec![b'a'], vec![b'b'; LOG_TAIL_BYTES_MAX]].concat());
        let tail = STANDARD.decode(base64_tail(&log)).unwrap();
        assert_eq!(tail, vec![b'b'; LOG_TAIL_BYTES_MAX]);
        assert_eq!(base64_tail(&Bytes::from_static(b"a")), "YQ==");
    }
}
