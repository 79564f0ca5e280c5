//! The `memory` command: what a deployed function that nobody calls adds to a worker.
//!
//! Two fresh nodes, one after the other, each on one core and warmed with a function of its own, so that
//! what the first function costs is not counted. One gets many functions of one file, never called; the
//! other fewer functions of distinct files, and then each is called once. Between the steps the node has to
//! come to rest, by CPU time and by memory.

mod result;
mod smaps;

use std::path::Path;
use std::time::Duration;

use crate::cli::MemoryArguments;
use crate::copies::{self, Copies};
use crate::environment::Environment;
use crate::server::{self, Instances, Kind, Node, SERVER_CORE};
use crate::target::{self, Session};
use crate::{output, process_tree, quiet};
use result::{Memory, Settings, Step};
pub use smaps::Error as SmapsError;
use smaps::Sample;

const WARM: &str = "warm";
const WARMING_REQUESTS: u32 = 100;
/// What the kernel calls the process that runs functions.
const WORKER: &str = "sockhop-worker";

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No component, or no report file.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// No copies of it.
    #[error(transparent)]
    Copies(#[from] copies::Error),
    /// The node.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// A request.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// A function that does not work.
    #[error("function {name} answers with status {status}; is the component one that replies 200 to GET?")]
    Status {
        /// Which.
        name: String,
        /// Its status.
        status: u16,
    },
    /// No worker, or too many.
    #[error("the node has {count} processes called {WORKER}, not one; on one core that is a node this does not know")]
    Workers {
        /// How many.
        count: usize,
    },
    /// No /proc.
    #[error(transparent)]
    Process(#[from] process_tree::Error),
    /// The process is gone.
    #[error(transparent)]
    Smaps(#[from] SmapsError),
    /// The node is gone, or we were stopped.
    #[error(transparent)]
    Quiet(#[from] quiet::Error),
}

/// The command.
pub fn command(arguments: &MemoryArguments) -> Result<(), Error> {
    let environment = Environment::look();
    let component = output::component(&arguments.component)?;
    let binary = server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let version = Kind::Sockhop { binary: binary.clone(), instances: Instances::Fresh }.version();
    let copies = Copies::of(&component)?;
    let rest = Duration::from_secs_f64(arguments.quiet_seconds);

    let mut same = Subject::start(&binary, &component, rest)?;
    same.deploy(arguments.functions, |_| Ok(component.clone()))?;
    same.look("deployed, one file, never called", arguments.functions)?;
    let same = same.steps;

    let mut distinct = Subject::start(&binary, &component, rest)?;
    distinct.deploy(arguments.distinct, |counter| Ok(copies.make(counter)?))?;
    distinct.look("deployed, distinct files, never called", arguments.distinct)?;
    distinct.call(arguments.distinct)?;
    distinct.look("the same, each called once", arguments.distinct)?;
    let Subject { node, steps: distinct, .. } = distinct;

    let settings = Settings {
        functions: arguments.functions,
        distinct: arguments.distinct,
        component_bytes: copies.original_bytes(),
        quiet_seconds: arguments.quiet_seconds,
        server_core: SERVER_CORE,
    };
    let commands = vec![node.child.command().to_owned()];
    drop(node);
    let memory = Memory::new(environment, settings, version, commands, vec![same, distinct]);
    print!("{memory}");
    Ok(output::write(arguments.json.as_deref(), &memory)?)
}

/// A node that is looked at, step by step.
struct Subject {
    node: Node,
    worker: u32,
    rest: Duration,
    steps: Vec<Step>,
}

impl Subject {
    /// Starts and warms it; its first step is the baseline.
    fn start(binary: &Path, component: &Path, rest: Duration) -> Result<Self, Error> {
        let node = Node::start(binary)?;
        node.deploy(component, WARM, Instances::Fresh)?;
        let worker = worker(node.child.id())?;
        let mut subject = Self { node, worker, rest, steps: Vec::new() };
        for _ in 0..WARMING_REQUESTS {
            subject.get(WARM)?;
        }
        subject.look("one warm function", 0)?;
        Ok(subject)
    }

    fn deploy(&self, count: u32, file: impl Fn(u32) -> Result<std::path::PathBuf, Error>) -> Result<(), Error> {
        for counter in 0..count {
            self.node.deploy(&file(counter)?, &name(counter), Instances::Fresh)?;
            if (counter + 1) % 100 == 0 {
                eprintln!("deployed {} of {count}", counter + 1);
            }
        }
        Ok(())
    }

    fn call(&self, count: u32) -> Result<(), Error> {
        (0..count).try_for_each(|counter| self.get(&name(counter)))
    }

    /// On a connection of its own, so that none stays open and counts as memory.
    fn get(&self, name: &str) -> Result<(), Error> {
        let target = self.node.target(name)?;
        let fetched = Session::open(&target)?.exchange(&target.request(false, None))?;
        if fetched.status == 200 {
            Ok(())
        } else {
            Err(Error::Status { name: name.to_owned(), status: fetched.status })
        }
    }

    /// Waits for rest, and takes note.
    fn look(&mut self, what: &'static str, functions: u32) -> Result<(), Error> {
        let engine = self.node.child.id();
        let worker = self.worker;
        let quiet = quiet::wait(engine, self.rest, || Ok(Sample::of(worker)?.rss))?;
        let step = Step {
            what,
            functions,
            worker: Sample::of(worker)?,
            engine: Sample::of(engine)?,
            settled: quiet.settled,
            waited_seconds: quiet.waited.as_secs_f64(),
        };
        eprintln!("{what}: {} KiB resident, at rest after {:.1} s", step.worker.rss / 1024, step.waited_seconds);
        self.steps.push(step);
        Ok(())
    }
}

fn name(counter: u32) -> String {
    format!("idle-{counter}")
}

/// The one worker of an engine.
fn worker(engine: u32) -> Result<u32, Error> {
    let named = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == WORKER);
    let workers: Vec<u32> =
        process_tree::tree(engine)?.iter().map(|process| process.pid).filter(|&pid| named(pid)).collect();
    match workers[..] {
        [worker] => Ok(worker),
        _ => Err(Error::Workers { count: workers.len() }),
    }
}
