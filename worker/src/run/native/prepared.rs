//! From a sandbox to a process that is ready for requests, of each kind. Owns the process, and what
//! was made for the program in it.

use std::rc::Rc;

use abi::function::Kind;
use abi::sandbox::Begin;
use tokio::sync::oneshot;

use super::Loaded;
use super::lambda::{Lambda, LambdaSandbox, NotStarted};
use super::output::Output;
use super::process::Process;
use super::server::{Server, ServerSandbox};
use crate::run::Spec;

/// A sandbox whose program is executed as soon as it can be, or when it is told.
pub(super) enum Prepared {
    Lambda(LambdaSandbox),
    Server(ServerSandbox),
}

/// A process that is ready, and how requests reach the program in it.
pub(super) struct Running {
    pub(super) process: Rc<Process>,
    pub(super) role: Role,
}

/// How a program gets its requests.
pub(super) enum Role {
    Lambda(Lambda),
    Server(Server),
}

impl Prepared {
    /// Makes a sandbox for a process of a version.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn make(
        loaded: &Loaded,
        spec: &Rc<Spec>,
        output: &Rc<Output>,
        begin: Begin,
    ) -> Result<Self, NotStarted> {
        if loaded.runtime.ends.get() {
            return Err("the worker ends".to_owned().into());
        }
        Ok(match loaded.kind {
            Kind::Lambda => Self::Lambda(Lambda::sandbox(loaded, spec, (output, begin)).await?),
            _ => Self::Server(Server::sandbox(loaded, spec, (output, begin)).await?),
        })
    }

    pub(super) fn process(&self) -> &Rc<Process> {
        match self {
            Self::Lambda(LambdaSandbox { process, .. })
            | Self::Server(ServerSandbox { process, .. }) => process,
        }
    }

    /// Has the program executed, and waits until it is ready for requests.
    ///
    /// # Errors
    /// Why it is not. Its process is killed then.
    pub(super) async fn start(
        self,
        loaded: &Loaded,
        spec: &Rc<Spec>,
    ) -> Result<Running, NotStarted> {
        let (process, role) = match self {
            Self::Lambda(sandbox) => {
                let (process, lambda) = Lambda::start(sandbox, spec).await?;
                (process, Role::Lambda(lambda))
            }
            Self::Server(sandbox) => {
                let (process, server) = Server::start(sandbox, loaded, spec).await?;
                (process, Role::Server(server))
            }
        };
        Ok(Running { process, role })
    }
}

/// A sandbox that is kept ready, or is becoming so.
pub(super) type Awaited = oneshot::Receiver<Prepared>;

/// Ends a sandbox that nobody is to use. One that is still becoming is ended by whoever makes it,
/// when nobody takes it.
pub(super) fn discard(mut awaited: Awaited) {
    awaited.close();
    if let Ok(prepared) = awaited.try_recv() {
        prepared.process().kill();
    }
}
