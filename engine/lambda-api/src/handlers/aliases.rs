//! Aliases: created, read, listed, changed and deleted. Owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::options::check_description;
use super::paging::{bad_marker, items_max, page};
use super::{Answer, Failure, Parameters, Target, created, invalid, no_content, ok, read};
use crate::alias::{Alias, CreateAlias, UpdateAlias, Weights};
use crate::api::Api;
use crate::json::alias as shape;
use crate::lambda::Lambda;
use crate::names::{AliasName, VersionName};

/// The body of `CreateAlias`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateShape {
    name: String,
    function_version: String,
    #[serde(default)]
    description: String,
    routing_config: Option<RoutingShape>,
}

/// The body of `UpdateAlias`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UpdateShape {
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingShape>,
    revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RoutingShape {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

impl RoutingShape {
    /// Returns the shares, which are allowed.
    fn weights(self) -> Result<Weights, Failure> {
        let weights: Result<Weights, Failure> = self
            .additional_version_weights
            .unwrap_or_default()
            .into_iter()
            .map(|(version, weight)| match VersionName::parse(&version) {
                Ok(VersionName::Number(number)) if (0.0..=1.0).contains(&weight) => {
                    Ok((number, weight))
                }
                _ => Err(invalid(
                    "AdditionalVersionWeights must be versions by number, each with a share from \
                     0.0 to 1.0",
                )),
            })
            .collect();
        let weights = weights?;
        // Shares as 0.1 do not add up exactly.
        if weights.values().sum::<f64>() > 1.0 + f64::EPSILON * 8.0 {
            return Err(invalid(
                "the shares in AdditionalVersionWeights are more than 1.0 together",
            ));
        }
        Ok(weights)
    }
}

pub(crate) async fn create<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    let function = target.function()?;
    let create: CreateShape = read(&body)?;
    check_description(&create.description)?;
    let create = CreateAlias {
        function: function.clone(),
        name: AliasName::parse(&create.name)?,
        version: VersionName::parse(&create.function_version)?,
        additional: create.routing_config.unwrap_or_default().weights()?,
        description: create.description,
    };
    let alias = api.lambda.create_alias(create).await?;
    created(shape(&api.settings.place, &function, &alias))
}

pub(crate) async fn update<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    let (function, name) = target.alias()?;
    let update: UpdateShape = read(&body)?;
    if let Some(description) = &update.description {
        check_description(description)?;
    }
    let update = UpdateAlias {
        function: function.clone(),
        name,
        version: update.function_version.as_deref().map(VersionName::parse).transpose()?,
        additional: update.routing_config.map(RoutingShape::weights).transpose()?,
        description: update.description,
        revision_id: update.revision_id,
    };
    let alias = api.lambda.update_alias(update).await?;
    ok(shape(&api.settings.place, &function, &alias))
}

pub(crate) async fn get<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    let (function, name) = target.alias()?;
    let alias = api.lambda.alias(function.clone(), name).await?;
    ok(shape(&api.settings.place, &function, &alias))
}

pub(crate) async fn delete<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    let (function, name) = target.alias()?;
    api.lambda.delete_alias(function, name).await?;
    no_content()
}

pub(crate) async fn list<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    parameters: Parameters,
) -> Answer {
    let function = target.function()?;
    let marker = parameters.get("Marker").map(AliasName::parse).transpose();
    let marker = marker.map_err(|_| bad_marker())?;
    let mut aliases = api.lambda.aliases(function.clone()).await?;
    if let Some(version) = parameters.get("FunctionVersion") {
        let version = VersionName::parse(version)?;
        let names = |alias: &Alias| {
            alias.version == version
                || alias.additional.keys().any(|number| VersionName::Number(*number) == version)
        };
        aliases.retain(names);
    }
    let page = page(aliases, |alias| alias.name.clone(), marker.as_ref(), items_max(&parameters)?);
    let place = &api.settings.place;
    let shapes: Vec<Value> =
        page.items.iter().map(|alias| shape(place, &function, alias)).collect();
    let mut answer = json!({ "Aliases": shapes });
    if let (Some(next), Value::Object(fields)) = (page.next, &mut answer) {
        fields.insert("NextMarker".to_owned(), json!(next.as_str()));
    }
    ok(answer)
}
