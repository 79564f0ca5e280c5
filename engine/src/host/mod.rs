//! What the machine gives us: which cores, how much memory, whether io_uring and memory locking are
//! allowed, the data folder and places in it, and what an init system says and wants to hear.

pub(crate) mod cores;
pub(crate) mod fds;
pub(crate) mod folder;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod place;
pub(crate) mod probe;
pub(crate) mod systemd;
