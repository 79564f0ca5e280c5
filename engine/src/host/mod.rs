//! What the machine gives us: which cores, whether io_uring and memory locking are allowed, places in the file system, and
//! what an init system says and wants to hear.

pub(crate) mod cores;
pub(crate) mod fds;
pub(crate) mod lock;
pub(crate) mod place;
pub(crate) mod probe;
pub(crate) mod systemd;
