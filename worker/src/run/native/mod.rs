//! The runtime of native programs: processes in sandboxes, and the calls of each kind.
//!
//! [`NativeRunner`] is one version of one function, with a [`pool`] of processes, and a [`spare`]
//! sandbox for the next one. [`spawner`] makes sandboxes, [`process`] is one of them; [`lambda`] speaks AWS Lambda's Runtime API with the
//! program in it, [`http`] HTTP, for [`server`] and [`azure`]. Owns the folder of the code.

mod azure;
mod http;
mod lambda;
mod lease;
mod memory;
mod outbound;
mod output;
mod pool;
mod port;
mod prepared;
mod process;
mod runner;
mod server;
mod spare;
mod spawner;

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use abi::function::{FunctionLimits, Kind, NetworkMode};
use abi::huge_pages::{self, Pages};
use abi::native::{PROGRAM_BYTES_MAX, PROGRAM_FILE, TASK_FOLDER};
use abi::sandbox::{Begin, Level, NetworkAccess, Sandbox};

use self::port::Port;
use self::process::{Farewell, Process};
use self::runner::NativeRunner;
use self::spawner::Spawner;
use super::{Code, Local, Runner, Runtime, Shared, Spec};

/// Where layers have a lambda's extensions: in a folder of code, and inside.
const EXTENSIONS_FOLDER: &str = "opt/extensions";
/// Where the code is, and where a program starts.
const TASK_ROOT: &str = "/var/task";
/// The file descriptors of a process (Lambda's quota).
const OPEN_FILES_MAX: u32 = 1024;

/// Returns how many requests all processes of a function have at a time.
pub(crate) fn concurrency_max(kind: Kind, limits: &FunctionLimits) -> u32 {
    limits.processes_max.saturating_mul(limits.process_requests(kind))
}

/// The spawner of this worker, and what its functions share.
pub(super) struct NativeRuntime(Rc<Inner>);

struct Inner {
    shared: Rc<Shared>,
    spawner: Spawner,
    /// Every process that runs, and how it is asked to end.
    running: RefCell<Vec<(Weak<Process>, Farewell)>>,
    /// Whether no more processes are to be started.
    ends: Cell<bool>,
}

impl NativeRuntime {
    /// Starts the spawner.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(super) fn start(shared: &Rc<Shared>) -> Result<Self, String> {
        // The spawner inherits it: what is forked from it for each process shall be small.
        let _ = huge_pages::set(Pages::Small);
        let spawner = Spawner::start(&shared.native_cores)?;
        let (running, ends) = Default::default();
        Ok(Self(Rc::new(Inner { shared: Rc::clone(shared), spawner, running, ends })))
    }
}

impl Runtime for NativeRuntime {
    fn load(&self, kind: Kind, fd: &OwnedFd) -> Result<Rc<dyn Code>, String> {
        let folder = fd.try_clone().map_err(|error| error.to_string())?;
        let program = program_of(&folder)?;
        let kept = folder.try_clone().map_err(|error| error.to_string())?;
        let (code, runtime) = (self.0.spawner.register(folder), Rc::clone(&self.0));
        Ok(Rc::new(NativeCode(Rc::new(Loaded { kind, program, folder: kept, code, runtime }))))
    }

    fn drop_retired(&self) {}

    fn end(&self) -> Local<'_, ()> {
        Box::pin(async {
            self.0.ends.set(true);
            let running = self.0.running.take();
            let ends = running.into_iter().filter_map(|(process, farewell)| {
                let process = process.upgrade()?;
                Some(tokio::task::spawn_local(async move { process.end(&farewell).await }))
            });
            for end in ends.collect::<Vec<_>>() {
                let _ = end.await;
            }
            self.0.spawner.end().await;
        })
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

/// Reads the path of the program in a folder of code.
fn program_of(folder: &OwnedFd) -> Result<String, String> {
    let path = format!("/proc/self/fd/{}/{PROGRAM_FILE}", folder.as_fd().as_raw_fd());
    let mut program = String::new();
    let limit = u64::try_from(PROGRAM_BYTES_MAX).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_string(&mut program));
    read.map_err(|error| format!("the folder of its code has no {PROGRAM_FILE:?}: {error}"))?;
    Ok(program)
}

impl Inner {
    /// Remembers a process, to end it when the worker ends.
    fn remember(&self, process: &Rc<Process>, farewell: Farewell) {
        let mut running = self.running.borrow_mut();
        running.retain(|(process, _)| process.strong_count() > 0);
        running.push((Rc::downgrade(process), farewell));
    }
}

/// Code that the spawner knows.
struct Loaded {
    kind: Kind,
    /// The path of the program, as it is inside.
    program: String,
    folder: OwnedFd,
    /// The spawner's number of it.
    code: u64,
    runtime: Rc<Inner>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.runtime.spawner.forget(self.code);
    }
}

impl Loaded {
    /// Returns the path of the deployed files here.
    fn task_folder(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{TASK_FOLDER}", self.folder.as_raw_fd()).into()
    }

    /// Returns the names of the programs that a lambda's layers have to run beside it, in order.
    fn extensions(&self) -> Vec<String> {
        let folder = format!("/proc/self/fd/{}/{EXTENSIONS_FOLDER}", self.folder.as_raw_fd());
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.filter(|entry| !entry.path().is_dir());
        let mut names: Vec<String> =
            files.filter_map(|file| file.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Returns whether each process has a network for itself, so that ports in it are anybody's.
    fn has_own_network(&self, spec: &Spec) -> bool {
        self.runtime.shared.native_sandbox == Level::Full && spec.network == NetworkMode::Isolated
    }

    /// Returns the port that a program is to listen on: `wanted`, or on the host's network a free
    /// one.
    fn port(&self, spec: &Spec, wanted: u16) -> Result<Port, String> {
        match self.has_own_network(spec) {
            true => Ok(Port::own(wanted)),
            false => Port::free(),
        }
    }

    /// Returns what to start for a function, with the variables `env` and listeners on these ports,
    /// and on that of the way out.
    fn sandbox(
        &self,
        spec: &Spec,
        mut env: Vec<(String, String)>,
        mut listen: Vec<u16>,
    ) -> Sandbox {
        let limits = &spec.limits;
        if self.has_own_network(spec) {
            listen.extend(outbound::ports(spec));
            for (name, value) in outbound::environment(spec) {
                // What a user has set for a proxy of their own stays.
                if !env.iter().any(|(other, _)| *other == name) {
                    env.push((name, value));
                }
            }
        }
        Sandbox {
            code: self.code,
            program: self.program.clone(),
            args: spec.args.clone(),
            beside: Vec::new(),
            env,
            working_directory: TASK_ROOT.to_owned(),
            hostname: spec.name.to_string(),
            listen,
            memory_bytes_max: limits.memory_bytes_max,
            processes_max: limits.threads_max,
            open_files_max: OPEN_FILES_MAX,
            tmp_bytes_max: limits.tmp_bytes_max,
            file_bytes_max: u64::MAX,
            level: self.runtime.shared.native_sandbox,
            network: match self.has_own_network(spec) {
                true => NetworkAccess::Isolated,
                false => NetworkAccess::Host,
            },
            begin: Begin::AtOnce,
        }
    }
}

struct NativeCode(Rc<Loaded>);

impl Code for NativeCode {
    fn runner(&self, spec: Rc<Spec>) -> Rc<dyn Runner> {
        NativeRunner::begin(Rc::clone(&self.0), spec)
    }
}
