//! A node that keeps its functions in memory and runs none: it answers by what the event says.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sockhop_lambda_api::alias::{Alias, CreateAlias, UpdateAlias};
use sockhop_lambda_api::error::ThrottleReason;
use sockhop_lambda_api::function::{
    AccountSettings, Architecture, CreateFunction, FunctionConfiguration, FunctionUrl, LastUpdate,
    PublishVersion, State, UpdateCode, UpdateConfiguration,
};
use sockhop_lambda_api::invocation::{
    Completion, FunctionError, Invocation, InvocationEvent, InvokeRequest, LogTail,
};
use sockhop_lambda_api::names::{
    AliasName, FunctionName, FunctionReference, Qualifier, VersionName,
};
use sockhop_lambda_api::{Lambda, LambdaError};

type Result<T> = std::result::Result<T, LambdaError>;

/// The node.
#[derive(Debug, Default)]
pub struct Fake {
    functions: Mutex<BTreeMap<FunctionName, Function>>,
}

#[derive(Debug)]
struct Function {
    latest: FunctionConfiguration,
    published: BTreeMap<u32, FunctionConfiguration>,
    aliases: BTreeMap<AliasName, Alias>,
    concurrency_max: Option<u32>,
    changes: u32,
}

impl Function {
    /// Notes a change, which clients see as one that takes a moment.
    fn changed(&mut self) {
        self.changes += 1;
        self.latest.revision_id = format!("revision-{}", self.changes);
        self.latest.modified += Duration::from_secs(1);
        self.latest.last_update = LastUpdate::InProgress;
    }

    fn check_revision(&self, revision_id: Option<&String>) -> Result<()> {
        match revision_id {
            Some(wanted) if *wanted != self.latest.revision_id => {
                Err(LambdaError::PreconditionFailed("the revision is another one".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self, description: Option<String>) -> FunctionConfiguration {
        let same = |version: &&FunctionConfiguration| {
            version.code_sha256 == self.latest.code_sha256
                && version.environment == self.latest.environment
        };
        if let Some(last) = self.published.values().next_back().filter(same) {
            return last.clone();
        }
        let number = self.published.keys().next_back().map_or(1, |last| last + 1);
        let version = FunctionConfiguration {
            version: VersionName::Number(number),
            description: description.unwrap_or_else(|| self.latest.description.clone()),
            ..self.latest.clone()
        };
        self.published.insert(number, version.clone());
        version
    }

    fn version(&self, qualifier: Option<&Qualifier>) -> Option<FunctionConfiguration> {
        match qualifier {
            None => Some(self.latest.clone()),
            Some(Qualifier::Version(version)) => self.numbered(*version),
            Some(Qualifier::Alias(alias)) => self.numbered(self.aliases.get(alias)?.version),
        }
    }

    fn numbered(&self, version: VersionName) -> Option<FunctionConfiguration> {
        match version {
            VersionName::Latest => Some(self.latest.clone()),
            VersionName::Number(number) => self.published.get(&number).cloned(),
        }
    }
}

fn not_found(what: impl std::fmt::Display) -> LambdaError {
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{what}");
    LambdaError::ResourceNotFound(format!("Function not found: {arn}"))
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<FunctionName, Function>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        name: &FunctionName,
        act: impl FnOnce(&mut Function) -> Result<T>,
    ) -> Result<T> {
        let mut functions = self.lock();
        act(functions.get_mut(name).ok_or_else(|| not_found(name))?)
    }

    fn find(&self, reference: &FunctionReference) -> Result<FunctionConfiguration> {
        self.with(&reference.name, |function| {
            function.version(reference.qualifier.as_ref()).ok_or_else(|| not_found(reference))
        })
    }

    fn run(&self, request: &InvokeRequest) -> Result<Invocation> {
        let version = self.find(&request.function)?;
        let event: Value = serde_json::from_slice(&request.payload)
            .map_err(|error| LambdaError::Service(error.to_string()))?;
        let count = |name: &str| {
            event.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
        };
        let log = vec![b'l'; count("log_bytes").unwrap_or(10)];
        let log_tail = (request.log_tail == LogTail::Tail).then(|| Bytes::from(log));
        let mut completion = Completion { function_error: None, log_tail };
        if event.get("throttle").is_some() {
            return Err(LambdaError::TooManyRequests {
                reason: ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                retry_after: Duration::from_millis(1500),
                message: "Rate Exceeded.".to_owned(),
            });
        }
        let mut events = Vec::new();
        if let Some(bytes) = count("bytes") {
            events.push(InvocationEvent::Payload(vec![b'1'; bytes].into()));
        } else if let Some(pieces) = count("pieces") {
            let piece = |number| InvocationEvent::Payload(format!("piece {number},").into());
            events.extend((0..pieces).map(piece));
        } else {
            let answer = json!({
                "event": event,
                "name": version.name.as_str(),
                "request_id": request.request_id.to_string(),
                "client_context": request.client_context,
                "trace_id": request.trace_id,
                "tenant_id": request.tenant_id,
            });
            events.push(InvocationEvent::Payload(answer.to_string().into()));
        }
        if event.get("fail").is_some() {
            let document = r#"{"errorMessage":"as asked","errorType":"Asked"}"#;
            completion.function_error = Some(FunctionError::unhandled(document));
        }
        if event.get("stop").is_none() {
            events.push(InvocationEvent::Complete(completion));
        }
        let events = stream::iter(events).boxed();
        Ok(Invocation { version: version.version, request_id: None, events })
    }

    fn create(&self, create: CreateFunction) -> Result<FunctionConfiguration> {
        check_zip(&create.code.zip)?;
        let mut functions = self.lock();
        if functions.contains_key(&create.name) {
            let name = &create.name;
            return Err(LambdaError::ResourceConflict(format!("Function already exist: {name}")));
        }
        let latest = FunctionConfiguration {
            name: create.name.clone(),
            version: VersionName::Latest,
            revision_id: "revision-0".to_owned(),
            description: create.description,
            runtime: Some(create.runtime),
            role: create.role,
            handler: Some(create.handler),
            code_bytes: create.code.zip.len() as u64,
            code_sha256: Sha256::digest(&create.code.zip).into(),
            timeout_ms: create.timeout_ms,
            memory_bytes_max: create.memory_bytes_max,
            ephemeral_storage_bytes: create.ephemeral_storage_bytes,
            environment: create.environment,
            architecture: Architecture::NODE,
            modified: SystemTime::UNIX_EPOCH + Duration::from_millis(1_706_702_400_000),
            state: State::Pending,
            last_update: LastUpdate::InProgress,
        };
        let mut function = Function {
            latest,
            published: BTreeMap::new(),
            aliases: BTreeMap::new(),
            concurrency_max: None,
            changes: 0,
        };
        let answer = match create.publish {
            true => function.publish(None),
            false => function.latest.clone(),
        };
        functions.insert(create.name, function);
        Ok(answer)
    }

    /// Returns a version, and ends the change that it may be in.
    fn read(&self, reference: &FunctionReference) -> Result<FunctionConfiguration> {
        let found = self.find(reference)?;
        self.with(&reference.name, |function| {
            function.latest.state = State::Active;
            function.latest.last_update = LastUpdate::Successful;
            Ok(found)
        })
    }

    fn update(&self, update: UpdateCode) -> Result<FunctionConfiguration> {
        check_zip(&update.code.zip)?;
        self.with(&update.name, |function| {
            function.check_revision(update.revision_id.as_ref())?;
            if !update.dry_run {
                function.latest.code_bytes = update.code.zip.len() as u64;
                function.latest.code_sha256 = Sha256::digest(&update.code.zip).into();
                function.changed();
            }
            Ok(match update.publish {
                true => function.publish(None),
                false => function.latest.clone(),
            })
        })
    }

    fn configure(&self, update: UpdateConfiguration) -> Result<FunctionConfiguration> {
        self.with(&update.name, |function| {
            function.check_revision(update.revision_id.as_ref())?;
            let latest = &mut function.latest;
            if let Some(timeout_ms) = update.timeout_ms {
                latest.timeout_ms = timeout_ms;
            }
            if let Some(memory_bytes_max) = update.memory_bytes_max {
                latest.memory_bytes_max = memory_bytes_max;
            }
            if let Some(environment) = update.environment {
                latest.environment = environment;
            }
            function.changed();
            Ok(function.latest.clone())
        })
    }

    fn set_alias(&self, update: UpdateAlias) -> Result<Alias> {
        self.with(&update.function, |function| {
            let unknown = not_found(format_args!("{}:{}", update.function, update.name));
            let alias = function.aliases.get_mut(&update.name).ok_or(unknown)?;
            if update.revision_id.is_some_and(|wanted| wanted != alias.revision_id) {
                let message = "the alias's revision is another one".to_owned();
                return Err(LambdaError::PreconditionFailed(message));
            }
            alias.version = update.version.unwrap_or(alias.version);
            alias.description = update.description.unwrap_or(alias.description.clone());
            alias.additional = update.additional.unwrap_or(alias.additional.clone());
            alias.revision_id.push('+');
            Ok(alias.clone())
        })
    }
}

/// A zip archive begins with its first file's header, or, if it has none, with its end.
fn check_zip(zip: &[u8]) -> Result<()> {
    match zip.starts_with(b"PK") {
        true => Ok(()),
        false => Err(LambdaError::InvalidParameterValue(
            "Could not unzip uploaded file. Please check your file, then try to upload again."
                .to_owned(),
        )),
    }
}

impl Lambda for Fake {
    fn invoke(&self, request: InvokeRequest) -> impl Future<Output = Result<Invocation>> + Send {
        ready(self.run(&request))
    }

    fn check_invoke(
        &self,
        function: FunctionReference,
    ) -> impl Future<Output = Result<VersionName>> + Send {
        ready(self.find(&function).map(|found| found.version))
    }

    async fn only_function(&self) -> Option<FunctionName> {
        let functions = self.lock();
        let mut names = functions.keys();
        names.next().filter(|_| names.next().is_none()).cloned()
    }

    async fn create_function(&self, create: CreateFunction) -> Result<FunctionConfiguration> {
        self.create(create)
    }

    async fn update_code(&self, update: UpdateCode) -> Result<FunctionConfiguration> {
        self.update(update)
    }

    async fn update_configuration(
        &self,
        update: UpdateConfiguration,
    ) -> Result<FunctionConfiguration> {
        self.configure(update)
    }

    async fn function(&self, function: FunctionReference) -> Result<FunctionConfiguration> {
        self.read(&function)
    }

    async fn functions(&self) -> Result<Vec<FunctionConfiguration>> {
        // Not sorted, which is the router's part.
        Ok(self.lock().values().rev().map(|function| function.latest.clone()).collect())
    }

    async fn delete_function(&self, function: FunctionName) -> Result<()> {
        let removed = self.lock().remove(&function);
        removed.map(drop).ok_or_else(|| not_found(function))
    }

    async fn delete_version(&self, function: FunctionName, number: u32) -> Result<()> {
        self.with(&function, |of| {
            of.published.remove(&number).map(drop).ok_or_else(|| not_found(number))
        })
    }

    async fn publish_version(&self, publish: PublishVersion) -> Result<FunctionConfiguration> {
        self.with(&publish.name, |function| {
            function.check_revision(publish.revision_id.as_ref())?;
            if publish.code_sha256.is_some_and(|wanted| wanted != function.latest.code_sha256) {
                let message = "CodeSHA256 is another one".to_owned();
                return Err(LambdaError::InvalidParameterValue(message));
            }
            Ok(function.publish(publish.description))
        })
    }

    async fn versions(&self, function: FunctionName) -> Result<Vec<FunctionConfiguration>> {
        self.with(&function, |function| {
            let latest = std::iter::once(function.latest.clone());
            Ok(function.published.values().rev().cloned().chain(latest).collect())
        })
    }

    async fn create_alias(&self, create: CreateAlias) -> Result<Alias> {
        self.with(&create.function, |function| {
            if function.aliases.contains_key(&create.name) {
                return Err(LambdaError::ResourceConflict("Alias already exists".to_owned()));
            }
            let named = Some(Qualifier::Version(create.version));
            function.version(named.as_ref()).ok_or_else(|| not_found(create.version))?;
            let alias = Alias {
                name: create.name.clone(),
                version: create.version,
                additional: create.additional,
                description: create.description,
                revision_id: "alias-1".to_owned(),
            };
            function.aliases.insert(create.name, alias.clone());
            Ok(alias)
        })
    }

    async fn update_alias(&self, update: UpdateAlias) -> Result<Alias> {
        self.set_alias(update)
    }

    async fn aliases(&self, function: FunctionName) -> Result<Vec<Alias>> {
        self.with(&function, |function| Ok(function.aliases.values().rev().cloned().collect()))
    }

    async fn alias(&self, function: FunctionName, alias: AliasName) -> Result<Alias> {
        let name = format!("{function}:{alias}");
        self.with(&function, |function| {
            function.aliases.get(&alias).cloned().ok_or_else(|| not_found(name))
        })
    }

    async fn delete_alias(&self, function: FunctionName, alias: AliasName) -> Result<()> {
        self.with(&function, |function| {
            function.aliases.remove(&alias);
            Ok(())
        })
    }

    async fn concurrency(&self, function: FunctionName) -> Result<Option<u32>> {
        self.with(&function, |function| Ok(function.concurrency_max))
    }

    async fn set_concurrency(
        &self,
        function: FunctionName,
        concurrency_max: Option<u32>,
    ) -> Result<()> {
        self.with(&function, |function| {
            function.concurrency_max = concurrency_max;
            Ok(())
        })
    }

    async fn function_url(&self, function: FunctionReference) -> Result<FunctionUrl> {
        let found = self.find(&function)?;
        let url = format!("http://node.example/{}/", function.name);
        Ok(FunctionUrl { function, url, created: found.modified, modified: found.modified })
    }

    async fn account_settings(&self) -> Result<AccountSettings> {
        Ok(AccountSettings {
            code_bytes_max: 80_530_636_800,
            unpacked_bytes_max: 262_144_000,
            concurrency_max: 1000,
            unreserved_concurrency: 900,
            code_bytes: 1,
            functions: self.lock().len() as u64,
        })
    }
}
