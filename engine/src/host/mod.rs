//! What the machine gives us: which cores, and whether io_uring and memory locking are allowed.

pub(crate) mod cores;
pub(crate) mod lock;
pub(crate) mod probe;
