//! What the machine gives us: which cores, how much memory, whether io_uring and memory locking are
//! allowed, the data folder and places in it, and the protocol of the init system. Beside
//! that, what all crates of the engine say of their errors ([`fault`]).

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod backoff;
pub mod clock;
pub mod cores;
pub mod fault;
pub mod fds;
pub mod files;
pub mod folder;
pub mod listen;
pub mod lock;
pub mod log;
pub mod memory;
pub mod node_id;
pub mod printable;
pub mod private_file;
pub mod probe;
pub mod socket_file;
pub mod systemd;
pub mod userinfo;
