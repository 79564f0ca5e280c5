//! Where this node keeps the state of functions: in a database of its own, or in NATS, where it is
//! that of all nodes. Owns what those own.

use std::path::Path;
use std::sync::Arc;

use state::Store;
use state::local::{Local, Mode};
use state::nats::InNats;

/// The file of the database in the data folder.
const FILE: &str = "state/local.redb";

/// One of both.
#[derive(Debug)]
pub(crate) enum KeptState {
    Local(Arc<Local>),
    InNats(Arc<InNats>),
}

impl KeptState {
    /// Starts what keeps state: NATS, where there is one.
    pub(crate) fn start(
        data: &Path,
        nats: Option<nats::Bucket>,
        mode: Mode,
    ) -> std::io::Result<Self> {
        match nats {
            Some(nats) => Ok(Self::InNats(Arc::new(InNats::new(nats)))),
            None => Ok(Self::Local(Arc::new(Local::start(data.join(FILE), mode)?))),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Local(local) => Arc::clone(local) as _,
            Self::InNats(nats) => Arc::clone(nats) as _,
        }
    }

    /// From now on another engine on this data folder may need it.
    pub(crate) fn share(&self) {
        if let Self::Local(local) = self {
            local.share();
        }
    }

    /// The other engine has gone.
    pub(crate) fn own(&self) {
        if let Self::Local(local) = self {
            local.own();
        }
    }

    /// Does what is under way, and closes it.
    pub(crate) fn close(&self) {
        if let Self::Local(local) = self {
            local.close();
        }
    }
}
