//! The `native` command: what native programs take to start from nothing, and what memory they
//! take, in each kind of sandbox and without a node.
//!
//! Four programs that say hello, in C and in Rust, as a `bootstrap` and as a server, are run in up
//! to four ways:
//!
//! * `bare`: the program alone, started by the harness, which is also its Runtime API;
//! * `bwrap`: the same started by bubblewrap, with all namespaces but that of the network, through
//!   which it is asked;
//! * `sockhop`: by a node, in a sandbox with namespaces;
//! * `sockhop+basic`: by a node that was told `--native-sandbox basic`.
//!
//! `cold` times first replies in rounds, and `memory` looks at processes at rest. What they share
//! is here. Owns the nodes; `bare` owns what runs without one.

mod bare;
mod cold;
mod memory;
mod result;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::alone::{self, Provenance};
use crate::cli::NativeArguments;
use crate::process_tree::{self, Process};
use crate::server::{self, LOAD_CORE, Node, Program, SERVER_CORE};
use crate::{cpu, interrupt, output, smaps, target};
use result::{Native, Settings};

/// Every program replies with it.
const BODY: &[u8] = b"Hello, world!";

/// How long something may take to happen that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Below the engine: a function's worker, its spawner, the init of a sandbox, the program in it.
const SPAWNER_DEPTH: usize = 2;
const INIT_DEPTH: usize = 3;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Measure {
    /// From the start of a program, or a request for it, to its first reply.
    Cold,
    /// What its processes take up.
    Memory,
}

/// Native programs cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What every measurement of a node can come to.
    #[error(transparent)]
    Alone(#[from] alone::Error),
    /// A node or a program did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// A request failed.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// /proc cannot be read.
    #[error(transparent)]
    Process(#[from] process_tree::Error),
    /// Memory cannot be read.
    #[error(transparent)]
    Memory(#[from] smaps::Error),
    /// A node does not come to rest.
    #[error(transparent)]
    Quiet(#[from] crate::quiet::Error),
    /// There is no such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// A program is not there, or the report cannot be written.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// A program without a node does not do what it should.
    #[error("`{command}` {why}; is it the guest that the harness knows?")]
    Bare {
        /// The command line.
        command: String,
        /// What it did instead.
        why: String,
    },
    /// The node's processes are others than expected.
    #[error("the node's processes are not as expected after {} s: {what}", PATIENCE.as_secs())]
    Processes {
        /// What was waited for.
        what: &'static str,
    },
    /// A signal stopped the command.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// A program that says hello.
#[derive(Debug, Clone)]
struct Guest {
    name: &'static str,
    program: Program,
    file: PathBuf,
}

const GUESTS: [(&str, Program); 4] = [
    ("c-lambda", Program::Lambda),
    ("hello-lambda", Program::Lambda),
    ("c-server", Program::Server),
    ("hello-server", Program::Server),
];

/// How nodes keep programs apart: what that is called here, and the node's option.
const LEVELS: [(&str, &str); 2] = [("sockhop", "full"), ("sockhop+basic", "basic")];

/// The command.
pub fn command(arguments: &NativeArguments) -> Result<(), Error> {
    let guests = Guest::all(&arguments.guests)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let mut native = Native {
        provenance: Provenance::of(&binary),
        settings: Settings {
            rounds: arguments.rounds,
            memory_rounds: arguments.memory_rounds,
            processes: arguments.processes,
            server_core: SERVER_CORE,
            load_core: LOAD_CORE,
        },
        series: Vec::new(),
    };
    // On the client's core, so that the programs have the other to themselves.
    cpu::on_core(LOAD_CORE, || {
        if arguments.measures.contains(&Measure::Cold) {
            cold::measure(&binary, &guests, arguments.rounds, &mut native)?;
            // Written after each measure: the next may be interrupted.
            output::write(arguments.json.as_deref(), &native)?;
        }
        if arguments.measures.contains(&Measure::Memory) {
            memory::measure(&binary, &guests, arguments, &mut native)?;
        }
        Ok::<_, Error>(())
    })??;
    native.finish();
    output::show(&native);
    Ok(output::write(arguments.json.as_deref(), &native)?)
}

impl Guest {
    /// Returns all of them, from the folder that they were built into.
    fn all(folder: &Path) -> Result<Vec<Self>, Error> {
        let guest = |(name, program): (&'static str, Program)| {
            let file = folder.join(name).join(program.file_name().unwrap_or_default());
            Ok(Self { name, program, file: output::component(&file)? })
        };
        GUESTS.into_iter().map(guest).collect()
    }

    /// Deploys it. Returns the command as typed.
    fn deploy(&self, node: &Node, options: &[&str]) -> Result<String, Error> {
        let kind = self.program.kind().unwrap_or_default();
        Ok(node.deploy_with(&self.file, self.name, &[&["--kind", kind], options].concat())?)
    }
}

/// Waits until a node's processes are as `right` has it, which gets each with its depth.
fn wait_until(
    node: &Node,
    what: &'static str,
    right: impl Fn(&[(Process, usize)]) -> bool,
) -> Result<Vec<(Process, usize)>, Error> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        let processes = processes(node)?;
        if right(&processes) {
            return Ok(processes);
        }
        if started.elapsed() > PATIENCE {
            return Err(Error::Processes { what });
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Returns a node's processes, each with its depth below the engine.
fn processes(node: &Node) -> Result<Vec<(Process, usize)>, Error> {
    let tree = process_tree::tree(node.child.id())?;
    let depths = process_tree::depths(&tree);
    Ok(tree.into_iter().zip(depths).collect())
}

/// Counts the processes that are at `depth`.
fn count_at(processes: &[(Process, usize)], depth: usize) -> usize {
    processes.iter().filter(|(_, at)| *at == depth).count()
}

/// Returns the programs that were executed in sandboxes. A process that waits for that goes by the
/// name of its init.
fn programs(processes: &[(Process, usize)]) -> impl Iterator<Item = &Process> {
    let below = processes.iter().filter(|(_, depth)| *depth > INIT_DEPTH);
    below.map(|(process, _)| process).filter(|process| name(process.pid) != name(process.parent))
}

/// Returns the name of a process (proc_pid_comm(5)). Returns `None` if it has ended.
fn name(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()
}
