//! Whose fault an error is, and whether trying again helps. Pure; owns no fds.
//!
//! Each error of the engine's crates says so of each of its variants (`fn fault`). What a client is
//! answered follows from that, in one place of the control API.

use std::io;

/// Whose fault an error is, and whether trying again helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub whose: Whose,
    pub retry: Retry,
}

/// Whoever has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Who asked.
    Client(ClientFault),
    /// The function: its file, or what it does.
    Function(FunctionFault),
    /// This node, and who runs it.
    Node(NodeFault),
    /// The store, and who runs that.
    Store(StoreFault),
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// It cannot mean anything.
    Invalid,
    /// It does not show that its client may ask.
    Unauthorized,
    /// It is about something that is not there.
    NotFound,
    /// Something that is there, or a limit that is reached, does not allow it.
    Conflict,
    /// It is larger than anything that is taken.
    TooLarge,
}

/// What is wrong with a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionFault {
    /// It cannot be run, or does not pass its trial.
    Unfit,
    /// It was called, and no answer came.
    Unreached,
}

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeFault {
    /// It cannot do this now.
    Unavailable,
    /// Its disk is full.
    Full,
    /// Something on it does not work as it must.
    Broken,
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// It does not answer.
    Away,
    /// Its disk is full.
    Full,
    /// It refuses, or has something else than sockhop has put there.
    Broken,
}

/// Whether the same request can be answered another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before somebody has changed something.
    Never,
    /// In a moment, by itself. Nothing has been done yet.
    Soon,
    /// When what is wrong has passed, and nobody can say when that is.
    Later,
}

impl Fault {
    pub const INVALID: Self = Self::client(ClientFault::Invalid);
    pub const UNAUTHORIZED: Self = Self::client(ClientFault::Unauthorized);
    pub const NOT_FOUND: Self = Self::client(ClientFault::NotFound);
    pub const CONFLICT: Self = Self::client(ClientFault::Conflict);
    pub const TOO_LARGE: Self = Self::client(ClientFault::TooLarge);
    pub const UNFIT: Self = Self::never(Whose::Function(FunctionFault::Unfit));
    pub const UNREACHED: Self = Self::never(Whose::Function(FunctionFault::Unreached));
    pub const UNAVAILABLE: Self = Self::later(Whose::Node(NodeFault::Unavailable));
    pub const NODE_FULL: Self = Self::later(Whose::Node(NodeFault::Full));
    pub const NODE_BROKEN: Self = Self::never(Whose::Node(NodeFault::Broken));
    pub const STORE_AWAY: Self = Self::later(Whose::Store(StoreFault::Away));
    pub const STORE_FULL: Self = Self::later(Whose::Store(StoreFault::Full));
    pub const STORE_BROKEN: Self = Self::never(Whose::Store(StoreFault::Broken));

    const fn client(fault: ClientFault) -> Self {
        Self::never(Whose::Client(fault))
    }

    const fn never(whose: Whose) -> Self {
        Self { whose, retry: Retry::Never }
    }

    const fn later(whose: Whose) -> Self {
        Self { whose, retry: Retry::Later }
    }

    /// Returns the same fault, which passes by itself in a moment.
    pub const fn soon(self) -> Self {
        Self { retry: Retry::Soon, ..self }
    }

    /// Returns the same fault, which does not pass by itself.
    pub const fn for_good(self) -> Self {
        Self { retry: Retry::Never, ..self }
    }

    /// Returns the fault of a node that could not read or write one of its own files.
    pub fn of_file(error: &io::Error) -> Self {
        if is_full(error) { Self::NODE_FULL } else { Self::NODE_BROKEN }
    }
}

/// Returns whether a file could not be written because there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns an error with its causes, in one line.
#[must_use]
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_another_fault_than_a_broken_one() {
        assert_eq!(Fault::of_file(&io::ErrorKind::StorageFull.into()), Fault::NODE_FULL);
        assert_eq!(Fault::of_file(&io::ErrorKind::QuotaExceeded.into()), Fault::NODE_FULL);
        assert_eq!(Fault::of_file(&io::ErrorKind::PermissionDenied.into()), Fault::NODE_BROKEN);
        assert_eq!(Fault::UNAVAILABLE.soon().retry, Retry::Soon);
        assert_eq!(Fault::UNAVAILABLE.for_good().whose, Fault::UNAVAILABLE.whose);
    }
}
