//! What engine and worker both know of native functions. Owns no fds.
//!
//! The module of a native function is a folder, and the fd that a worker gets is of that folder. It
//! has [`TASK_FOLDER`], perhaps [`OPT_FOLDER`], and [`PROGRAM_FILE`].

/// The deployed files; inside they are `/var/task`.
pub const TASK_FOLDER: &str = "task";
/// The files of layers; inside they are `/opt`.
pub const OPT_FOLDER: &str = "opt";
/// The file with the path of the program, as that is inside.
pub const PROGRAM_FILE: &str = "program";
/// The file with sentences for whoever deploys, a line each.
pub const NOTES_FILE: &str = "notes";
/// The longest path of a program.
pub const PROGRAM_BYTES_MAX: usize = 4096;
