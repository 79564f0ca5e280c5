//! The compile child: Cranelift in a process of its own, with limits, so that a hostile file can
//! harm only that process.
//!
//! The parent's half starts it and interprets its exit status. The child's half is the hidden
//! command `sockhop compile`, which reads one file and writes another, both by path, and says on stdout
//! what it reused ([`incremental`](super::incremental)).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use abi::function::Kind;
use abi::huge_pages::{self, Pages};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use wasmtime::{Config, Engine};

use super::confine::confine;
use super::incremental::reuse::{Reuse, Reused};
use super::incremental::shelf::Lent;
use super::inspect::is_core;
use super::memory::{Plan, Short};
use super::native::{self, NO_ROOM, REFUSED};
use super::proposals;
use host::fault::Fault;

/// The address space of the child. [`memory`](super::memory) estimates how much of it is used.
const ADDRESS_SPACE_BYTES_MAX: u64 = 6 * 1024 * 1024 * 1024;
/// The processor time of the child.
const CPU_TIME_MAX: Duration = Duration::from_secs(300);
/// How much later the kernel sends SIGKILL. It sends SIGXCPU first, which is not mistaken for a
/// SIGKILL for want of memory.
const CPU_TIME_GRACE: Duration = Duration::from_secs(10);
/// The wall time of the child, which the parent enforces.
const WALL_TIME_MAX: Duration = Duration::from_secs(180);

/// The child's priority (setpriority(2)), and how much sooner than others the kernel ends it when
/// memory runs out (proc_pid_oom_score_adj(5)).
const NICE: libc::c_int = 5;
const OOM_SCORE_ADJ: &str = "500";

/// The exit status of a Rust program that panics.
const PANICKED: i32 = 101;
/// The message of a Rust program that cannot allocate, before it ends with SIGABRT.
const NO_MEMORY: &str = "memory allocation of ";
/// The variable by which rayon, and so wasmtime, chooses its number of threads.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";
/// How much of the child's output is passed on.
const SAID_BYTES_MAX: usize = 2048;

/// Why there is no compiled module.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the component or module does not compile: {0}")]
    Refused(String),
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    NoRoom(String),
    #[error(
        "the compiler failed on this file: {0}; this is a fault of the compiler's, please report it with the file"
    )]
    Failed(String),
    #[error(
        "compiling took longer than {WALL_TIME_MAX:?} and was stopped; the component or module is too large for this machine"
    )]
    TooSlow,
    #[error(
        "the compiler took more than {CPU_TIME_MAX:?} of processor time, its limit, and was stopped; the component or module is too large for this node"
    )]
    TooMuchTime,
    #[error(
        "the compiler could not have the memory it asked for, within its limit of {} MiB of address space: {plan}", ADDRESS_SPACE_BYTES_MAX >> 20
    )]
    TooMuchMemory { plan: Plan },
    #[error(
        "the compiler was killed, not by this node, most likely by the kernel for want of memory: {plan}. Give it more \
         memory, or add swap; the kernel's log (`dmesg`) tells whom it killed"
    )]
    Killed { plan: Plan },
    #[error(transparent)]
    Short(#[from] Short),
    #[error("the compiler ended with {status}: {said}")]
    Ended { status: ExitStatus, said: String },
    #[error("the compiler cannot be started: {0}")]
    Start(#[source] io::Error),
    #[error("wasmtime refuses its settings: {0}")]
    Settings(String),
}

impl CompileError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_)
            | Self::Unfit(_)
            | Self::Failed(_)
            | Self::TooSlow
            | Self::TooMuchTime
            | Self::TooMuchMemory { .. } => Fault::UNFIT,
            Self::NoRoom(_) => Fault::NODE_FULL,
            // Somebody has ended it, for example whoever stops the node. Otherwise it has crashed.
            Self::Ended { status, .. } => match status.signal() {
                Some(libc::SIGTERM | libc::SIGINT | libc::SIGHUP) => Fault::UNAVAILABLE,
                _ => Fault::UNFIT,
            },
            // Not the file's: with more memory, or with less around it, it compiles.
            Self::Killed { .. } | Self::Short(_) => Fault::UNAVAILABLE,
            Self::Start(_) | Self::Settings(_) => Fault::NODE_BROKEN,
        }
    }
}

/// The processors that code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// That of this machine.
    Host,
    /// Those of other machines, too: see [`wasm_config::make_portable`].
    Portable,
}

/// What is compiled: a file, where the module goes, and what is reused.
#[derive(Debug, Clone)]
pub struct Files {
    pub input: PathBuf,
    pub output: PathBuf,
    /// The packs of functions that were compiled before.
    pub packs: Vec<PathBuf>,
    /// The file for a pack of the others. Without one they are not kept.
    pub new_pack: Option<PathBuf>,
}

/// Compiles `input`, which is of `kind`, into `output`, in a child process with the threads of
/// `plan`. Returns what of `lent` it reused.
///
/// # Errors
/// [`CompileError`]; `output` is then incomplete or missing.
pub(crate) async fn compile(
    (kind, processor): (Kind, Processor),
    input: &Path,
    output: &Path,
    plan: &Plan,
    lent: Option<&Lent>,
) -> Result<Reused, CompileError> {
    // This path is the running binary, even if its file was replaced by another build.
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg0("sockhop").args(["compile", "--kind", kind.name()]);
    if processor == Processor::Portable {
        command.arg("--portable");
    }
    if let Some(lent) = lent {
        command.args(lent.packs.iter().flat_map(|pack| ["--pack".as_ref(), pack.as_os_str()]));
        command
            .args(lent.new_pack().iter().flat_map(|new| ["--new-pack".as_ref(), new.as_os_str()]));
    }
    command.arg(input).arg(output);
    command.env_clear().env(THREADS_VARIABLE, plan.threads.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(CompileError::Start)?;
    let ended = tokio::time::timeout(WALL_TIME_MAX, child.wait_with_output()).await;
    let ended = ended.map_err(|_| CompileError::TooSlow)?.map_err(CompileError::Start)?;
    verdict(kind, ended.status, output_text(&ended.stderr), plan)?;
    Ok(serde_json::from_slice(&ended.stdout).unwrap_or_default())
}

/// Interprets the exit status of the child.
fn verdict(kind: Kind, status: ExitStatus, said: String, plan: &Plan) -> Result<(), CompileError> {
    let code = status.code().map(u8::try_from).and_then(Result::ok);
    Err(match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        _ if code == Some(REFUSED) && !kind.is_wasm() => CompileError::Unfit(said),
        _ if code == Some(REFUSED) => CompileError::Refused(said),
        _ if code == Some(NO_ROOM) => CompileError::NoRoom(said),
        (Some(PANICKED), _) => CompileError::Failed(said),
        (_, Some(libc::SIGXCPU)) => CompileError::TooMuchTime,
        // The node itself kills only at the time limit, which has returned before, and when it
        // ends.
        (_, Some(libc::SIGKILL)) => CompileError::Killed { plan: plan.clone() },
        (_, Some(libc::SIGABRT)) if said.contains(NO_MEMORY) => {
            CompileError::TooMuchMemory { plan: plan.clone() }
        }
        _ => CompileError::Ended { status, said },
    })
}

/// Returns the output of the child, which may quote the file.
fn output_text(stderr: &[u8]) -> String {
    String::from_utf8_lossy(&stderr[..stderr.len().min(SAID_BYTES_MAX)]).trim().to_owned()
}

/// Runs in the child: sets limits on the process, and compiles, or unpacks the file of a native
/// function or a static site. Its error goes to stderr, and so to the parent; what it returns goes to stdout.
///
/// # Errors
/// A sentence for the deployer of the file, and the exit status.
pub fn run(kind: Kind, processor: Processor, files: &Files) -> Result<Reused, (String, u8)> {
    limit().map_err(|errno| (format!("the compiler's limits cannot be set: {errno}"), REFUSED))?;
    let Files { input, output, .. } = files;
    match native::kind(kind) {
        Some(kind) => native::unpack(kind, input, output).map(|()| Reused::default()),
        None if kind == Kind::Static => {
            native::make_site(input, output).map(|()| Reused::default())
        }
        None => compile_module(kind, processor, files).map_err(|reason| (reason, REFUSED)),
    }
}

fn compile_module(kind: Kind, processor: Processor, files: &Files) -> Result<Reused, String> {
    // The engine switches huge pages off for itself. This process is short and computes.
    let _ = huge_pages::set(Pages::Huge);
    let Files { input, output, packs, new_pack } = files;
    let unread = |error: io::Error| format!("{input:?} cannot be read: {error}");
    let mut artefact = File::open(input).map_err(unread)?;
    let unwritten = |error| format!("the compiled module cannot be written to {output:?}: {error}");
    let mut file = File::create(output).map_err(unwritten)?;
    let reuse = (!packs.is_empty() || new_pack.is_some()).then(|| Arc::new(Reuse::open(packs)));
    // One that cannot be opened is no reason not to compile.
    let new_pack = new_pack.as_ref().and_then(|path| File::options().write(true).open(path).ok());
    // All that is needed is open. What the file contains is looked at from here on.
    confine().map_err(|error| format!("the compiler cannot be confined: {error}"))?;
    let bytes = match package::function_in(&artefact).map_err(|error| error.to_string())? {
        Some(function) => function,
        None => {
            let mut bytes = Vec::new();
            artefact.read_to_end(&mut bytes).map_err(unread)?;
            bytes
        }
    };
    let mut config = config(kind, processor).map_err(|error| error.to_string())?;
    if let Some(reuse) = &reuse {
        let reuse = Arc::clone(reuse);
        config.enable_incremental_compilation(reuse).map_err(|error| format!("{error:#}"))?;
    }
    let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let compiled = if is_core(&bytes) {
        engine.precompile_module(&bytes)
    } else {
        engine.precompile_component(&bytes)
    };
    let compiled = compiled.map_err(|error| match proposals::lacking(&bytes, kind).join(", and ") {
        lacking if lacking.is_empty() => format!("{error:#}"),
        lacking => format!(
            "it needs {lacking}, which guests of this node do not have; build it without (the manual says what guests have, \
             under \"What guests can use\"): {error:#}"
        ),
    })?;
    file.write_all(&compiled).and_then(|()| file.sync_all()).map_err(unwritten)?;
    // The module comes first: a disk that is full now has had room for that.
    Ok(reuse.map_or_else(Reused::default, |reuse| reuse.finish(new_pack.as_ref())))
}

fn limit() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    setrlimit(Resource::RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX, ADDRESS_SPACE_BYTES_MAX)?;
    setrlimit(
        Resource::RLIMIT_CPU,
        CPU_TIME_MAX.as_secs(),
        (CPU_TIME_MAX + CPU_TIME_GRACE).as_secs(),
    )?;
    // When memory runs out, the kernel is to kill this process before those that serve. The file
    // belongs to root while the process is not dumpable (proc(5)); this process has no secrets.
    prctl::set_dumpable(true)?;
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    prctl::set_dumpable(false)?;
    // SAFETY: a plain system call about this process alone; a priority that cannot be lowered stays
    // as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    Ok(())
}

/// Returns the compiler's settings, which are those of the workers.
fn config(kind: Kind, processor: Processor) -> Result<Config, CompileError> {
    let mut config = match kind {
        Kind::Http03 => wasm_config::config_03(),
        _ => wasm_config::config_02(),
    };
    let chosen = match processor {
        Processor::Host => Ok(()),
        Processor::Portable => wasm_config::make_portable(&mut config),
    };
    chosen.map(|()| config).map_err(refused)
}

fn refused(error: wasmtime::Error) -> CompileError {
    CompileError::Settings(format!("{error:#}"))
}

/// Returns bytes that identify compatible compiled code. They change with wasmtime, its settings
/// and the processor.
///
/// # Errors
/// [`CompileError::Settings`] when wasmtime does not run on this machine.
pub fn compatibility(kind: Kind) -> Result<Vec<u8>, CompileError> {
    if kind.is_native() {
        return Ok(native::UNPACKED_AS.to_vec());
    }
    if kind == Kind::Static {
        return Ok(abi::site::MADE_AS.to_vec());
    }
    struct Bytes(Vec<u8>);
    impl std::hash::Hasher for Bytes {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }
    // wasmtime returns a value to hash. The hashed bytes are kept as they are, as they go into a
    // SHA-256.
    let mut bytes = Bytes(Vec::new());
    let engine = Engine::new(&config(kind, Processor::Host)?).map_err(refused)?;
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut bytes);
    Ok(bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_its_cause() {
        let plan = Plan::for_tests(2, 300 << 20);
        let end = |raw: i32, said: &str| {
            let status = ExitStatus::from_raw(raw);
            verdict(Kind::Http02, status, said.to_owned(), &plan).unwrap_err()
        };
        let killed = end(libc::SIGKILL, "").to_string();
        assert!(killed.contains("by the kernel") && killed.contains("300.0 MiB"), "{killed}");
        assert!(!killed.contains("6144"), "it was no limit of ours: {killed}");
        assert!(end(libc::SIGXCPU, "").to_string().contains("300s of processor time"));
        let no_memory = end(libc::SIGABRT, "memory allocation of 4096 bytes failed").to_string();
        assert!(no_memory.contains("6144 MiB of address space"), "{no_memory}");
        assert!(matches!(end(libc::SIGABRT, "stack overflow"), CompileError::Ended { .. }));
        assert!(matches!(end(1 << 8, "why"), CompileError::Refused(why) if why == "why"));
        assert!(matches!(end(PANICKED << 8, "why"), CompileError::Failed(_)));
        let native =
            |raw: i32| verdict(Kind::Lambda, ExitStatus::from_raw(raw), "why".to_owned(), &plan);
        assert!(native(0).is_ok());
        assert_eq!(native(1 << 8).unwrap_err().to_string(), "why");
        assert_eq!(native(3 << 8).unwrap_err().fault(), Fault::NODE_FULL);
    }
}
