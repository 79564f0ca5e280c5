//! What becomes of the node. Owns no fds.

/// What becomes of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It serves, and goes on to.
    Serving,
    /// It is stopping.
    Draining,
    /// Another engine has taken over.
    Replaced,
}
