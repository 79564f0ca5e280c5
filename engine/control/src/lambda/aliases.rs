//! Aliases, as AWS Lambda has them: one version, and others by shares of the requests. Owns no fds.

use std::sync::Arc;

use abi::limits::ALIAS_WEIGHT_MAX;
use api::versions::{AliasChange, TargetChange};
use lambda_api::LambdaError;
use lambda_api::alias::{Alias, CreateAlias, UpdateAlias, Weights};
use lambda_api::names::{AliasName, FunctionName, FunctionReference, Qualifier, VersionName};
use store::contents::Function;

use super::Node;
use super::error::{failed, unknown};
use crate::functions::ChangeError;

impl Node {
    pub(super) async fn make_alias(&self, alias: CreateAlias) -> Result<Alias, LambdaError> {
        let served = self.served(&alias.function)?;
        if served.alias(alias.name.as_str()).is_some() {
            let message = format!("Alias already exists: {}:{}", alias.function, alias.name);
            return Err(LambdaError::ResourceConflict(message));
        }
        let targets = targets(&served, &alias.function, alias.version, &alias.additional)?;
        self.set_alias(alias.function, alias.name, targets).await
    }

    pub(super) async fn change_alias(&self, update: UpdateAlias) -> Result<Alias, LambdaError> {
        let served = self.served(&update.function)?;
        let reference = FunctionReference {
            name: update.function.clone(),
            qualifier: Some(Qualifier::Alias(update.name.clone())),
        };
        let found = served.alias(update.name.as_str());
        let now = found.and_then(|alias| described(&served, alias));
        let now = now.ok_or_else(|| unknown(&reference))?;
        if update.revision_id.as_ref().is_some_and(|revision| *revision != now.revision_id) {
            return Err(LambdaError::PreconditionFailed(
                "The RevisionId provided does not match the latest RevisionId. Call the GetAlias \
                 operation to retrieve the latest RevisionId"
                    .to_owned(),
            ));
        }
        let version = update.version.unwrap_or(now.version);
        let additional = update.additional.unwrap_or(now.additional);
        let targets = targets(&served, &update.function, version, &additional)?;
        self.set_alias(update.function, update.name, targets).await
    }

    async fn set_alias(
        &self,
        function: FunctionName,
        alias: AliasName,
        targets: Vec<TargetChange>,
    ) -> Result<Alias, LambdaError> {
        let control = Arc::clone(&self.control);
        let (name, called) = (function.as_str().to_owned(), alias.as_str().to_owned());
        let change = AliasChange { targets: Some(targets), ..AliasChange::default() };
        let setting = tokio::spawn(async move {
            control.functions.aliases.set(&name, &called, change).await.map(drop)
        });
        setting.await.unwrap_or(Err(ChangeError::Stopping)).map_err(failed)?;
        let served = self.served(&function)?;
        let made = served.alias(alias.as_str()).and_then(|alias| described(&served, alias));
        let gone = || LambdaError::ResourceConflict(format!("alias {alias} was removed meanwhile"));
        made.ok_or_else(gone)
    }

    pub(super) async fn remove_alias(
        &self,
        function: FunctionName,
        alias: AliasName,
    ) -> Result<(), LambdaError> {
        let control = Arc::clone(&self.control);
        let removing = tokio::spawn(async move {
            control.functions.aliases.remove(function.as_str(), alias.as_str()).await
        });
        match removing.await.unwrap_or(Err(ChangeError::Stopping)) {
            // It is no error to delete what is not there.
            Err(ChangeError::UnknownAlias { .. }) => Ok(()),
            removed => removed.map_err(failed),
        }
    }
}

/// Returns what an alias is to mean. Shares are fractions of 1; what they leave is the version's.
fn targets(
    function: &Function,
    name: &FunctionName,
    version: VersionName,
    additional: &Weights,
) -> Result<Vec<TargetChange>, LambdaError> {
    let id = |version: VersionName| {
        let found = match version {
            VersionName::Latest => function.foremost(),
            VersionName::Number(number) => {
                function.versions().find(|version| version.number == number)
            }
        };
        let qualifier = Some(Qualifier::Version(version));
        let reference = FunctionReference { name: name.clone(), qualifier };
        found.map(|found| found.version.clone()).ok_or_else(|| unknown(&reference))
    };
    let mut left = ALIAS_WEIGHT_MAX;
    let mut targets = Vec::new();
    for (number, share) in additional {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the API has checked that a share is from 0 to 1"
        )]
        let weight = (share * f64::from(ALIAS_WEIGHT_MAX)).round() as u32;
        if weight > 0 {
            left = left.saturating_sub(weight);
            targets.push(TargetChange { version: id(VersionName::Number(*number))?, weight });
        }
    }
    if left > 0 {
        targets.insert(0, TargetChange { version: id(version)?, weight: left });
    }
    Ok(targets)
}

/// Returns an alias as the API describes it. Returns `None` for one whose name AWS does not allow.
pub(super) fn described(function: &Function, alias: &store::alias::Alias) -> Option<Alias> {
    let number = |id: &str| function.version(id).map(|version| version.number);
    let of: u32 = alias.targets.iter().map(|target| target.weight).sum();
    let (first, others) = alias.targets.split_first()?;
    let share = |weight: u32| f64::from(weight) / f64::from(of.max(1));
    let additional = others
        .iter()
        .filter_map(|target| Some((number(&target.version)?, share(target.weight))))
        .collect();
    Some(Alias {
        name: AliasName::parse(&alias.alias).ok()?,
        version: VersionName::Number(number(&first.version)?),
        additional,
        description: String::new(),
        revision_id: revision(alias),
    })
}

/// Returns what changes with every change of an alias, in the shape of a UUID.
fn revision(alias: &store::alias::Alias) -> String {
    uuid::Uuid::from_u128(alias.changed_ms.into()).to_string()
}
