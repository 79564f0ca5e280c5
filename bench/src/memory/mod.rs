//! The `memory` command: what a deployed function that nobody calls adds to a worker.
//!
//! Two fresh nodes, one after the other, each on one core and warmed with a function of its own, so
//! that what the first function costs is not counted. One gets many functions of one file, never
//! called; the other fewer functions of distinct files, and then each is called once. Between the
//! steps the node has to come to rest, by CPU time and by memory.

mod result;

use std::path::Path;
use std::time::Duration;

use crate::alone::{Error, Provenance, expect_ok, worker};
use crate::cli::MemoryArguments;
use crate::copies::Copies;
use crate::server::{self, Instances, Node, SERVER_CORE};
use crate::smaps::Sample;
use crate::target::{Request, Session};
use crate::{output, quiet};
use result::{Memory, Settings, Step};

const WARM: &str = "warm";
const WARMING_REQUESTS: u32 = 100;

/// The command.
pub fn command(arguments: &MemoryArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let mut provenance = Provenance::of(&binary);
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
    provenance.commands.push(node.child.command().to_owned());
    drop(node);
    let memory = Memory::new(provenance, settings, vec![same, distinct]);
    output::show(&memory);
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
        let worker = worker(&node)?;
        let mut subject = Self { node, worker, rest, steps: Vec::new() };
        for _ in 0..WARMING_REQUESTS {
            subject.get(WARM)?;
        }
        subject.look("one warm function", 0)?;
        Ok(subject)
    }

    fn deploy(
        &self,
        count: u32,
        file: impl Fn(u32) -> Result<std::path::PathBuf, Error>,
    ) -> Result<(), Error> {
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
        let fetched = Session::open(&target)?.exchange(&target.bytes(&Request::get(), false))?;
        expect_ok(name, &fetched)
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
        eprintln!(
            "{what}: {} KiB resident, at rest after {:.1} s",
            step.worker.rss / 1024,
            step.waited_seconds
        );
        self.steps.push(step);
        Ok(())
    }
}

fn name(counter: u32) -> String {
    format!("idle-{counter}")
}
