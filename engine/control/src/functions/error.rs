//! Why a change of what is deployed was not made, and whose fault that is. Owns no fds.

use abi::catalogue::CatalogueError;
use abi::domain::DomainError;
use abi::limits::{
    ALIASES_PER_FUNCTION_MAX, FUNCTIONS_MAX, VERSIONS_PER_FUNCTION_MAX, WORKERS_MAX,
};
use abi::name::NameError;
use abi::reference::AliasNameError;
use api::cron::CronError;
use api::options::OptionsError;
use compile::cache::CacheError;
use compile::inspect::InspectError;
use fleet::core::fleet::PublishError;
use fleet::workers::supervise::TrialError;
use host::fault::Fault;
use secrets::SecretError;
use store::alias::AliasError;
use store::contents::VersionError;
use store::domains::DomainsError;
use store::error::StoreError;
use store::retention::RetentionError;
use store::schedules::SchedulesError;

use super::standalone::ProgramError;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Retention(#[from] RetentionError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Alias(#[from] AliasError),
    #[error(transparent)]
    AliasName(#[from] AliasNameError),
    #[error(transparent)]
    Domain(#[from] DomainError),
    #[error(transparent)]
    Domains(#[from] DomainsError),
    #[error(transparent)]
    Cron(#[from] CronError),
    #[error(transparent)]
    Schedules(#[from] SchedulesError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(
        "the version does not answer well at --health-path {path}: {reason}; it is not deployed, \
         and what was active stays so"
    )]
    Unhealthy { path: String, reason: String },
    #[error(
        "the version does not answer its trial request, GET /: {reason}; it is not deployed, and \
         what was active stays so. --no-trial deploys it without, --health-path asks another path"
    )]
    TrialRequest { reason: String, invocation: Option<String> },
    #[error("there is no function {0:?}; `sockhop list` shows those there are")]
    Unknown(String),
    #[error("function {0:?} is removed already; `sockhop restore {0}` brings it back")]
    Removed(String),
    #[error(
        "nothing that was removed is kept under the name {0:?}; `sockhop list --removed` shows \
         what can be restored"
    )]
    NothingRemoved(String),
    #[error(
        "no removal of function {name:?} has the id {id:?}; `sockhop list --removed` shows what \
         can be restored"
    )]
    NoSuchRemoval { name: String, id: String },
    #[error("function {0:?} is not removed; there is nothing to restore")]
    NotRemoved(String),
    #[error(
        "another function {name:?} is deployed ({there}); to have the removed one instead: \
         `sockhop remove {name}`, then `sockhop restore {name} {id}`"
    )]
    InTheWay { name: String, there: String, id: String },
    #[error(
        "version {version:?} of function {name:?} wants a worker of its own, and the function \
         runs in shared ones; have an alias mean it, which moves the whole function"
    )]
    NotHere { name: String, version: String },
    #[error(
        "function {name:?} has no alias {alias:?}; `sockhop alias list {name}` shows those it has"
    )]
    UnknownAlias { name: String, alias: String },
    #[error("function {name:?} has no alias {alias:?} yet; say which version it is to mean")]
    NewAlias { name: String, alias: String },
    #[error(
        "no version of function {0:?} is active; choose one with `sockhop rollback {0} VERSION`"
    )]
    NotActive(String),
    #[error(
        "function {name:?} got another version while v{over} was changed, and is as that one is; \
         see `sockhop versions {name}`, and set the options again"
    )]
    Overtaken { name: String, over: u32 },
    #[error(
        "no other version of function {0:?} was active before; say which: `sockhop rollback {0} \
         VERSION`"
    )]
    NoPrevious(String),
    #[error(
        "what the name {0:?} alone means cannot be removed; have it mean another version, or \
         remove the function"
    )]
    ActiveStays(String),
    #[error(
        "function {0:?} has {VERSIONS_PER_FUNCTION_MAX} versions, and can have no more; have old \
         ones removed sooner with --versions-kept-for, on every node of the store"
    )]
    TooManyVersions(String),
    #[error(
        "function {0:?} has {ALIASES_PER_FUNCTION_MAX} aliases, and can have no more; remove some"
    )]
    TooManyAliases(String),
    #[error("the node has {FUNCTIONS_MAX} functions, and can have no more; remove some")]
    TooMany,
    #[error(
        "the node has no worker left to give {0:?} one of its own (at most {WORKERS_MAX}); deploy \
         it without --isolation process"
    )]
    NoWorkerLeft(String),
    #[error("the received file cannot be read back: {0}")]
    Received(#[source] std::io::Error),
    #[error("no thread can be started to read modules: {0}; raise `ulimit -u`")]
    Thread(#[source] std::io::Error),
    #[error("the node is stopping")]
    Stopping,
    #[error("the node is being taken over by another engine; try again in a moment")]
    TakenOver,
}

impl ChangeError {
    /// Returns whose fault it is, and whether trying again helps.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Name(_)
            | Self::AliasName(_)
            | Self::Domain(_)
            | Self::Cron(_)
            | Self::NewAlias { .. }
            | Self::Options(_) => Fault::INVALID,
            Self::Unknown(_)
            | Self::Removed(_)
            | Self::NothingRemoved(_)
            | Self::NoSuchRemoval { .. }
            | Self::UnknownAlias { .. } => Fault::NOT_FOUND,
            Self::NotRemoved(_)
            | Self::InTheWay { .. }
            | Self::NotHere { .. }
            | Self::NotActive(_)
            | Self::Overtaken { .. }
            | Self::NoPrevious(_)
            | Self::ActiveStays(_)
            | Self::TooManyVersions(_)
            | Self::TooManyAliases(_)
            | Self::TooMany
            | Self::NoWorkerLeft(_) => Fault::CONFLICT,
            Self::Unhealthy { .. } | Self::TrialRequest { .. } => Fault::UNFIT,
            Self::Received(error) => Fault::of_file(error),
            Self::Catalogue(_) | Self::Thread(_) => Fault::NODE_BROKEN,
            Self::Stopping => Fault::UNAVAILABLE,
            // The other engine answers on the same socket.
            Self::TakenOver => Fault::UNAVAILABLE.soon(),
            Self::Inspect(error) => error.fault(),
            Self::Cache(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Retention(error) => error.fault(),
            Self::Secret(error) => error.fault(),
            Self::Publish(error) => error.fault(),
            Self::Version(error) => error.fault(),
            Self::Alias(error) => error.fault(),
            Self::Domains(error) => error.fault(),
            Self::Schedules(error) => error.fault(),
            Self::Trial(error) => error.fault(),
            Self::Program(error) => error.fault(),
        }
    }
}
