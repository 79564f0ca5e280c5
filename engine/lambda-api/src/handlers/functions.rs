//! Functions: created, read, listed, changed and deleted. Owns no fds.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::code::{CodeShape, read_apart};
use super::options::{
    self, MEMORY_MIB_DEFAULT, OptionsShape, STORAGE_MIB_DEFAULT, TIMEOUT_S_DEFAULT,
    check_architectures,
};
use super::paging::{bad_marker, items_max, page};
use super::{
    Answer, Failure, Parameters, Target, created, expect_not_asked, invalid, no_content, ok, read,
};
use crate::api::Api;
use crate::function::{CreateFunction, FunctionConfiguration, UpdateCode, UpdateConfiguration};
use crate::json::{configuration as shape, version_reference};
use crate::lambda::Lambda;
use crate::names::{FunctionName, FunctionReference, Qualifier, VersionName};
use crate::place::Place;

/// The body of `CreateFunction`, but for its options.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateShape<'a> {
    function_name: String,
    #[serde(borrow, default)]
    code: CodeShape<'a>,
    package_type: Option<String>,
    architectures: Option<Vec<String>>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    tags: Value,
    #[serde(default)]
    code_signing_config_arn: Value,
}

/// The body of `UpdateFunctionCode`, but for where the code is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UpdateCodeShape {
    architectures: Option<Vec<String>>,
    publish: bool,
    dry_run: bool,
    revision_id: Option<String>,
}

pub(crate) async fn create<L: Lambda>(State(api): State<Arc<Api<L>>>, body: Bytes) -> Answer {
    let zip_bytes_max = api.settings.zip_bytes_max;
    let function = read_apart(move || read_create(&body, zip_bytes_max)).await?;
    let function = api.lambda.create_function(function).await?;
    created(changed(&api.settings.place, &function))
}

fn read_create(body: &[u8], zip_bytes_max: usize) -> Result<CreateFunction, Failure> {
    let create: CreateShape<'_> = read(body)?;
    let mut given: OptionsShape = read(body)?;
    let checked = given.check()?;
    expect_not_asked(&[
        ("Tags", &create.tags),
        ("CodeSigningConfigArn", &create.code_signing_config_arn),
    ])?;
    if create.package_type.is_some_and(|kind| kind != "Zip") {
        return Err(invalid("PackageType must be Zip; this node runs no images"));
    }
    let (Some(runtime), Some(handler)) = (given.runtime, given.handler) else {
        return Err(invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment \
             packages.",
        ));
    };
    Ok(CreateFunction {
        name: FunctionReference::parse(&create.function_name)?.unqualified()?,
        architecture: check_architectures(create.architectures.as_deref())?,
        code: create.code.decode(zip_bytes_max)?,
        runtime,
        role: given.role,
        handler,
        description: given.description.unwrap_or_default(),
        timeout_ms: checked.timeout_ms.unwrap_or(TIMEOUT_S_DEFAULT * 1000),
        memory_bytes_max: checked
            .memory_bytes_max
            .unwrap_or_else(|| options::bytes(MEMORY_MIB_DEFAULT)),
        ephemeral_storage_bytes: checked
            .ephemeral_storage_bytes
            .unwrap_or_else(|| options::bytes(STORAGE_MIB_DEFAULT)),
        environment: checked.environment.unwrap_or_default(),
        publish: create.publish,
    })
}

pub(crate) async fn update_code<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    let name = target.function()?;
    let zip_bytes_max = api.settings.zip_bytes_max;
    let update = read_apart(move || read_update_code(name, &body, zip_bytes_max)).await?;
    let function = api.lambda.update_code(update).await?;
    ok(changed(&api.settings.place, &function))
}

fn read_update_code(
    name: FunctionName,
    body: &[u8],
    zip_bytes_max: usize,
) -> Result<UpdateCode, Failure> {
    let code: CodeShape<'_> = read(body)?;
    let update: UpdateCodeShape = read(body)?;
    check_architectures(update.architectures.as_deref())?;
    let UpdateCodeShape { dry_run, publish, revision_id, .. } = update;
    Ok(UpdateCode { name, code: code.decode(zip_bytes_max)?, dry_run, publish, revision_id })
}

pub(crate) async fn update_configuration<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    let name = target.function()?;
    let mut given: OptionsShape = read(&body)?;
    let checked = given.check()?;
    let update = UpdateConfiguration {
        name,
        runtime: given.runtime,
        role: given.role,
        handler: given.handler,
        description: given.description,
        timeout_ms: checked.timeout_ms,
        memory_bytes_max: checked.memory_bytes_max,
        ephemeral_storage_bytes: checked.ephemeral_storage_bytes,
        environment: checked.environment,
        revision_id: given.revision_id,
    };
    let function = api.lambda.update_configuration(update).await?;
    ok(changed(&api.settings.place, &function))
}

/// Returns a function that was changed: by its number, if the answer is to have that.
pub(super) fn changed(place: &Place, function: &FunctionConfiguration) -> Value {
    let reference = match function.version {
        VersionName::Latest => function.name.clone().into(),
        number @ VersionName::Number(_) => version_reference(&function.name, number),
    };
    shape(place, &reference, function)
}

pub(crate) async fn get<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    let reference = target.reference;
    let function = api.lambda.function(reference.clone()).await?;
    let mut answer = json!({
        "Configuration": shape(&api.settings.place, &reference, &function),
        // The code stays in the node: there is no address to have it from.
        "Code": {"RepositoryType": "S3"},
        "Tags": {},
    });
    let concurrency_max = api.lambda.concurrency(reference.name).await?;
    if let (Some(concurrency_max), Value::Object(fields)) = (concurrency_max, &mut answer) {
        let concurrency = json!({"ReservedConcurrentExecutions": concurrency_max});
        fields.insert("Concurrency".to_owned(), concurrency);
    }
    ok(answer)
}

pub(crate) async fn configuration<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
) -> Answer {
    let function = api.lambda.function(target.reference.clone()).await?;
    ok(shape(&api.settings.place, &target.reference, &function))
}

pub(crate) async fn delete<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    let FunctionReference { name, qualifier } = target.reference;
    match qualifier {
        None => api.lambda.delete_function(name).await?,
        Some(Qualifier::Version(VersionName::Number(number))) => {
            api.lambda.delete_version(name, number).await?;
        }
        Some(Qualifier::Version(VersionName::Latest)) => {
            return Err(invalid(
                "$LATEST version cannot be deleted without deleting the function; leave the \
                 qualifier out to delete that",
            ));
        }
        Some(Qualifier::Alias(_)) => {
            return Err(invalid("this deletes a function or a version, and an alias was named"));
        }
    }
    no_content()
}

pub(crate) async fn list<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    parameters: Parameters,
) -> Answer {
    let mut functions = api.lambda.functions().await?;
    let all = match parameters.get("FunctionVersion") {
        None => false,
        Some("ALL") => true,
        Some(_) => return Err(invalid("FunctionVersion must be ALL, or left out")),
    };
    if all {
        let names: Vec<FunctionName> = functions.drain(..).map(|function| function.name).collect();
        for name in names {
            functions.extend(api.lambda.versions(name).await?);
        }
    }
    let marker = parameters.get("Marker").map(read_marker).transpose()?;
    let key = |function: &FunctionConfiguration| (function.name.clone(), function.version);
    let page = page(functions, key, marker.as_ref(), items_max(&parameters)?);
    let place = &api.settings.place;
    let shapes: Vec<Value> = page
        .items
        .iter()
        .map(|function| match all {
            true => shape(place, &version_reference(&function.name, function.version), function),
            false => shape(place, &function.name.clone().into(), function),
        })
        .collect();
    let mut answer = json!({ "Functions": shapes });
    if let (Some((name, version)), Value::Object(fields)) = (page.next, &mut answer) {
        fields.insert("NextMarker".to_owned(), json!(format!("{name}:{version}")));
    }
    ok(answer)
}

/// Reads NAME:VERSION.
fn read_marker(marker: &str) -> Result<(FunctionName, VersionName), Failure> {
    let (name, version) = marker.split_once(':').ok_or_else(bad_marker)?;
    let name = FunctionName::parse(name).map_err(|_| bad_marker())?;
    let version = VersionName::parse(version).map_err(|_| bad_marker())?;
    Ok((name, version))
}
