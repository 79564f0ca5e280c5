//! The node as AWS Lambda's API asks it (`--lambda-api`): [`lambda_api`] knows the wire, and this
//! says what its operations mean here. Owns no fds.
//!
//! A version is what AWS publishes: each deploy makes one, and `$LATEST` is what is active.

mod aliases;
mod describe;
mod error;
mod invoke;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use abi::function::{FileKind, Kind, Size, Time};
use api::options::Options;
use bytes::Bytes;
use host::listen::Url;
use lambda_api::alias::{Alias, CreateAlias, UpdateAlias};
use lambda_api::function::{
    AccountSettings, Code, CreateFunction, FunctionConfiguration, FunctionUrl, PublishVersion,
    UpdateCode, UpdateConfiguration,
};
use lambda_api::invocation::{Invocation, InvokeRequest};
use lambda_api::names::{AliasName, FunctionName, FunctionReference, Qualifier, VersionName};
use lambda_api::{Lambda, LambdaError};
use store::contents::Function;
use store::manifest::Manifest;

use self::describe::configuration;
use self::error::{failed, unknown};
use crate::control::Control;
use crate::functions::{Activation, ChangeError, Progress, Steps, TrialRequest};

/// What a function is started by that names no other handler.
const HANDLER_DEFAULT: &str = "bootstrap";

/// The node, as the API asks it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) control: Arc<Control>,
}

impl Node {
    /// Returns a function as it is served.
    fn served(&self, name: &FunctionName) -> Result<Arc<Function>, LambdaError> {
        self.control.functions.listing.function(name.as_str()).map_err(failed)
    }

    /// Returns the version that a reference names, and by which name.
    fn version(
        &self,
        reference: &FunctionReference,
    ) -> Result<(Arc<Manifest>, VersionName), LambdaError> {
        let function = self.served(&reference.name)?;
        let none = || unknown(reference);
        match &reference.qualifier {
            None | Some(Qualifier::Version(VersionName::Latest)) => {
                let version = function.foremost().ok_or_else(none)?;
                Ok((Arc::clone(version), VersionName::Latest))
            }
            Some(Qualifier::Version(name @ VersionName::Number(number))) => {
                let version = function.versions().find(|version| version.number == *number);
                Ok((Arc::clone(version.ok_or_else(none)?), *name))
            }
            Some(Qualifier::Alias(alias)) => {
                let alias = function.alias(alias.as_str()).ok_or_else(none)?;
                let version = function.heaviest(alias).ok_or_else(none)?;
                Ok((Arc::clone(version), VersionName::Number(version.number)))
            }
        }
    }

    /// Checks that a change is made to what its client has seen.
    fn check_revision(
        &self,
        name: &FunctionName,
        revision: Option<&String>,
    ) -> Result<Arc<Manifest>, LambdaError> {
        let (version, _) = self.version(&name.clone().into())?;
        match revision {
            Some(revision) if *revision != version.version => Err(LambdaError::PreconditionFailed(
                "The RevisionId provided does not match the latest RevisionId. Call the \
                 GetFunction operation to retrieve the latest RevisionId"
                    .to_owned(),
            )),
            _ => Ok(version),
        }
    }

    /// Deploys an artefact. What is begun comes to its end, also if the client leaves.
    async fn deploy(
        &self,
        name: &FunctionName,
        options: Options,
        artefact: Bytes,
    ) -> Result<Arc<Manifest>, LambdaError> {
        let control = Arc::clone(&self.control);
        let name = name.as_str().to_owned();
        let deploying = tokio::spawn(async move {
            let deployments = &control.functions.deployments;
            let received = deployments.received(&artefact).await?;
            let (activation, trial) = (Activation::Activate, TrialRequest::Made);
            let steps = Steps { activation, trial, over: None };
            let progress = Progress::default();
            deployments.deploy(&name, options, steps, received, &progress).await
        });
        let deployed = deploying.await.unwrap_or(Err(ChangeError::Stopping)).map_err(failed)?;
        Ok(deployed.version())
    }

    /// Returns the artefact of a version.
    async fn artefact(&self, version: &Manifest) -> Result<Bytes, LambdaError> {
        let artefact = self.control.functions.deployments.artefact(version).await;
        artefact.map_err(failed)
    }
}

/// Returns options that have another environment, and none of the variables before.
fn with_environment(options: Options, environment: Option<BTreeMap<String, String>>) -> Options {
    match environment {
        Some(env) => {
            Options { unset: vec!["env".to_owned()], env: env.into_iter().collect(), ..options }
        }
        None => options,
    }
}

fn milliseconds(timeout_ms: u32) -> Time {
    Time(Duration::from_millis(timeout_ms.into()))
}

impl Lambda for Node {
    async fn invoke(&self, request: InvokeRequest) -> Result<Invocation, LambdaError> {
        let (version, name) = self.version(&request.function)?;
        invoke::invoke(&self.control, &version, name, request).await
    }

    async fn enqueue(&self, request: InvokeRequest) -> Result<String, LambdaError> {
        let (version, _) = self.version(&request.function)?;
        invoke::enqueue(&self.control, &version, request).await
    }

    async fn check_invoke(&self, function: FunctionReference) -> Result<VersionName, LambdaError> {
        self.version(&function).map(|(_, name)| name)
    }

    async fn only_function(&self) -> Option<FunctionName> {
        let all = self.control.functions.listing.list();
        match &all[..] {
            [only] => FunctionName::parse(&only.version.name).ok(),
            _ => None,
        }
    }

    async fn create_function(
        &self,
        function: CreateFunction,
    ) -> Result<FunctionConfiguration, LambdaError> {
        if self.served(&function.name).is_ok() {
            let name = &function.name;
            let message = format!("Function already exist: {name}");
            return Err(LambdaError::ResourceConflict(message));
        }
        let mut options = Options {
            kind: Some(FileKind::Lambda),
            env: function.environment.into_iter().collect(),
            handler: Some(function.handler),
            description: Some(function.description).filter(|text| !text.is_empty()),
            role: function.role,
            ..Options::default()
        };
        options.limits.timeout = Some(milliseconds(function.timeout_ms));
        options.limits.memory = Some(Size(function.memory_bytes_max));
        options.limits.tmp = Some(Size(function.ephemeral_storage_bytes));
        let version = self.deploy(&function.name, options, function.code.zip).await?;
        let named = if function.publish {
            VersionName::Number(version.number)
        } else {
            VersionName::Latest
        };
        configuration(&version, named)
    }

    async fn update_code(&self, update: UpdateCode) -> Result<FunctionConfiguration, LambdaError> {
        let UpdateCode { name, code: Code { zip }, dry_run, publish, revision_id } = update;
        let before = self.check_revision(&name, revision_id.as_ref())?;
        if dry_run {
            return configuration(&before, VersionName::Latest);
        }
        // The options stay as they are; a component may become a lambda.
        let kind = (before.kind != Kind::Lambda).then_some(FileKind::Lambda);
        let options = Options { kind, ..Options::default() };
        let version = self.deploy(&name, options, zip).await?;
        let named = if publish { VersionName::Number(version.number) } else { VersionName::Latest };
        configuration(&version, named)
    }

    async fn update_configuration(
        &self,
        update: UpdateConfiguration,
    ) -> Result<FunctionConfiguration, LambdaError> {
        let before = self.check_revision(&update.name, update.revision_id.as_ref())?;
        let mut options = with_environment(Options::default(), update.environment);
        options.limits.timeout = update.timeout_ms.map(milliseconds);
        options.limits.memory = update.memory_bytes_max.map(Size);
        options.limits.tmp = update.ephemeral_storage_bytes.map(Size);
        // What stays as it is makes no version.
        let other = |given: Option<String>, before: &Option<String>| {
            given.filter(|given| before.as_ref() != Some(given))
        };
        let handler = before.handler.clone().unwrap_or_else(|| HANDLER_DEFAULT.to_owned());
        options.handler = other(update.handler, &Some(handler));
        options.role = other(update.role, &before.role);
        match update.description {
            Some(empty) if empty.is_empty() && before.description.is_some() => {
                options.unset.push("description".to_owned());
            }
            given => {
                let given = given.filter(|text| !text.is_empty());
                options.description = other(given, &before.description);
            }
        }
        if options == Options::default() {
            return configuration(&before, VersionName::Latest);
        }
        let artefact = self.artefact(&before).await?;
        let version = self.deploy(&update.name, options, artefact).await?;
        configuration(&version, VersionName::Latest)
    }

    async fn function(
        &self,
        function: FunctionReference,
    ) -> Result<FunctionConfiguration, LambdaError> {
        let (version, name) = self.version(&function)?;
        configuration(&version, name)
    }

    async fn functions(&self) -> Result<Vec<FunctionConfiguration>, LambdaError> {
        let all = self.control.functions.listing.foremost();
        // What AWS has no names for is left out.
        let all = all.iter().filter(|version| FunctionName::parse(&version.name).is_ok());
        all.map(|version| configuration(version, VersionName::Latest)).collect()
    }

    async fn delete_function(&self, function: FunctionName) -> Result<(), LambdaError> {
        let control = Arc::clone(&self.control);
        let removing = tokio::spawn(async move {
            control.functions.removals.remove(function.as_str(), false).await
        });
        let removed = removing.await.unwrap_or(Err(ChangeError::Stopping));
        removed.map(drop).map_err(failed)
    }

    async fn delete_version(&self, function: FunctionName, _: u32) -> Result<(), LambdaError> {
        self.served(&function)?;
        Err(LambdaError::UnsupportedOperation(
            "single versions are not deleted: the node keeps as many as --versions-kept says; \
             delete the function without a qualifier"
                .to_owned(),
        ))
    }

    async fn publish_version(
        &self,
        publish: PublishVersion,
    ) -> Result<FunctionConfiguration, LambdaError> {
        let version = self.check_revision(&publish.name, publish.revision_id.as_ref())?;
        let described = configuration(&version, VersionName::Number(version.number))?;
        match publish.code_sha256 {
            Some(expected) if expected != described.code_sha256 => {
                Err(LambdaError::InvalidParameterValue(
                    "CodeSHA256 is different from current CodeSHA256 in $LATEST. Please try again \
                     with the CodeSHA256 in $LATEST."
                        .to_owned(),
                ))
            }
            _ => Ok(described),
        }
    }

    async fn versions(
        &self,
        function: FunctionName,
    ) -> Result<Vec<FunctionConfiguration>, LambdaError> {
        let function = self.served(&function)?;
        let latest = function.foremost().map(|version| configuration(version, VersionName::Latest));
        let numbered = function
            .versions()
            .map(|version| configuration(version, VersionName::Number(version.number)));
        latest.into_iter().chain(numbered).collect()
    }

    async fn create_alias(&self, alias: CreateAlias) -> Result<Alias, LambdaError> {
        self.make_alias(alias).await
    }

    async fn update_alias(&self, update: UpdateAlias) -> Result<Alias, LambdaError> {
        self.change_alias(update).await
    }

    async fn aliases(&self, function: FunctionName) -> Result<Vec<Alias>, LambdaError> {
        let function = self.served(&function)?;
        Ok(function.aliases().filter_map(|alias| aliases::described(&function, alias)).collect())
    }

    async fn alias(&self, function: FunctionName, alias: AliasName) -> Result<Alias, LambdaError> {
        let served = self.served(&function)?;
        let found = served.alias(alias.as_str());
        let found = found.and_then(|alias| aliases::described(&served, alias));
        let reference =
            FunctionReference { name: function, qualifier: Some(Qualifier::Alias(alias)) };
        found.ok_or_else(|| unknown(&reference))
    }

    async fn delete_alias(
        &self,
        function: FunctionName,
        alias: AliasName,
    ) -> Result<(), LambdaError> {
        self.remove_alias(function, alias).await
    }

    async fn concurrency(&self, function: FunctionName) -> Result<Option<u32>, LambdaError> {
        let (version, _) = self.version(&function.into())?;
        Ok(Some(version.limits.processes_max).filter(|_| version.kind == Kind::Lambda))
    }

    async fn set_concurrency(
        &self,
        function: FunctionName,
        concurrency_max: Option<u32>,
    ) -> Result<(), LambdaError> {
        let (version, _) = self.version(&function.clone().into())?;
        let mut options = Options::default();
        match concurrency_max {
            Some(0) => {
                return Err(LambdaError::UnsupportedOperation(
                    "a function cannot be switched off by a concurrency of 0; delete it, or give \
                     it 1"
                        .to_owned(),
                ));
            }
            Some(processes) => options.limits.processes = Some(processes),
            None => options.unset = vec!["processes".to_owned()],
        }
        let artefact = self.artefact(&version).await?;
        self.deploy(&function, options, artefact).await.map(drop)
    }

    async fn function_url(&self, function: FunctionReference) -> Result<FunctionUrl, LambdaError> {
        let (version, _) = self.version(&function)?;
        let port = self.control.listeners.iter().find_map(Url::port).unwrap_or(80);
        let time = UNIX_EPOCH + Duration::from_millis(version.created_ms);
        let label = match &function.qualifier {
            Some(Qualifier::Alias(alias)) => format!("/{}@{alias}/", function.name),
            _ => String::new(),
        };
        let url = match label.is_empty() {
            true => format!("http://{}.localhost:{port}/", function.name),
            false => format!("http://localhost:{port}{label}"),
        };
        Ok(FunctionUrl { function, url, created: time, modified: time })
    }

    async fn account_settings(&self) -> Result<AccountSettings, LambdaError> {
        let all = self.control.functions.listing.foremost();
        let concurrency_max = abi::limits::INVOCATIONS_PER_WORKER_MAX;
        Ok(AccountSettings {
            code_bytes_max: u64::MAX >> 12,
            unpacked_bytes_max: package::UNPACKED_BYTES_MAX,
            concurrency_max,
            unreserved_concurrency: concurrency_max,
            code_bytes: all.iter().map(|version| version.artefact_bytes).sum(),
            functions: all.len() as u64,
        })
    }
}
