//! Versions: published and listed. Owns no fds.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::options::check_description;
use super::paging::{bad_marker, items_max, page};
use super::{Answer, Failure, Parameters, Target, created, invalid, ok, read};
use crate::api::Api;
use crate::function::PublishVersion;
use crate::json::{configuration, version_reference};
use crate::lambda::Lambda;
use crate::names::VersionName;

/// The body of `PublishVersion`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PublishShape {
    #[serde(rename = "CodeSha256")]
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

pub(crate) async fn publish<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    let name = target.function()?;
    let PublishShape { code_sha256, description, revision_id } = read(&body)?;
    if let Some(description) = &description {
        check_description(description)?;
    }
    let code_sha256 = code_sha256.as_deref().map(read_sha256).transpose()?;
    let publish = PublishVersion { name, code_sha256, description, revision_id };
    let version = api.lambda.publish_version(publish).await?;
    let reference = version_reference(&version.name, version.version);
    created(configuration(&api.settings.place, &reference, &version))
}

/// Reads a SHA-256 in base64, as configurations have it.
fn read_sha256(text: &str) -> Result<[u8; 32], Failure> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| invalid("CodeSha256 must be a SHA-256 in base64"))
}

pub(crate) async fn list<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    parameters: Parameters,
) -> Answer {
    let name = target.function()?;
    let marker = parameters.get("Marker").map(VersionName::parse).transpose();
    let marker = marker.map_err(|_| bad_marker())?;
    let versions = api.lambda.versions(name).await?;
    let page = page(versions, |version| version.version, marker.as_ref(), items_max(&parameters)?);
    let shapes: Vec<Value> = page
        .items
        .iter()
        .map(|version| {
            let reference = version_reference(&version.name, version.version);
            configuration(&api.settings.place, &reference, version)
        })
        .collect();
    let mut answer = json!({ "Versions": shapes });
    if let (Some(next), Value::Object(fields)) = (page.next, &mut answer) {
        fields.insert("NextMarker".to_owned(), json!(next.to_string()));
    }
    ok(answer)
}
