//! First replies, in rounds. A round has two parts. In the first, nothing of a function runs on its
//! node, so that a request starts a worker, which starts a process; this is what the first request
//! after a deploy finds, too. In the second, the process has ended for want of requests and the
//! worker is still there. Then the workers end, and the next round begins. Programs without a node
//! are started in the second part, beside what they are the floor of.
//!
//! Owns a node for each kind of sandbox, over all rounds.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::result::Native;
use super::{BODY, Error, Guest, LEVELS, bare, count_at, processes, programs, wait_until};
use crate::alone;
use crate::interrupt;
use crate::series::{self, Better};
use crate::server::{self, Node};
use crate::target::Session;

/// A process ends soon after its reply, and the worker stays until all others were asked.
const PROCESS_IDLE: &str = "100ms";
const WORKER_IDLE: &str = "3s";

/// What is timed, from the send to the whole reply, or from a program's start.
const PROCESS: &str = "first reply, process started";
const WORKER: &str = "first reply, worker and process started";
const SECOND: &str = "second reply";
const MILLISECONDS: &str = "ms";

/// How long after the programs' end a node is left alone.
const SETTLED: Duration = Duration::from_millis(400);

/// A way of running the programs.
enum Way {
    Bare,
    Bwrap(std::path::PathBuf),
    Node(Scaled),
}

/// A node whose functions come and go.
struct Scaled {
    node: Node,
    /// The functions that it can run.
    functions: Vec<&'static str>,
    /// The processes that are always there.
    resident: usize,
    /// Those of them that are the engine's children.
    resident_children: usize,
}

/// Runs all rounds.
pub fn measure(
    binary: &Path,
    guests: &[Guest],
    rounds: u32,
    native: &mut Native,
) -> Result<(), Error> {
    let mut ways = vec![("bare", Way::Bare)];
    match server::find(None, "bwrap") {
        Some(bwrap) => ways.push(("bwrap", Way::Bwrap(bwrap))),
        None => native.warn("bwrap was not found; Debian's package is bubblewrap".to_owned()),
    }
    for (name, level) in LEVELS {
        match Scaled::start(binary, (name, level), guests, native) {
            Ok(scaled) => ways.push((name, Way::Node(scaled))),
            Err(error) => native.give_up(format!("{name} takes no part"), error)?,
        }
    }
    for round in 0..rounds {
        // Each round begins with another, so that the order gives none an advantage.
        let (first_way, first_guest) = (round as usize % ways.len(), round as usize % guests.len());
        let order = || (0..ways.len()).map(|at| &ways[(first_way + at) % ways.len()]);
        let order_of_guests =
            || (0..guests.len()).map(|at| &guests[(first_guest + at) % guests.len()]);
        for (name, way) in order() {
            let Way::Node(scaled) = way else { continue };
            for guest in order_of_guests().filter(|guest| scaled.has(guest)) {
                let [first, _] = scaled.ask(guest)?;
                add(native, guest, name, WORKER, first);
            }
        }
        for (_, way) in order() {
            if let Way::Node(scaled) = way {
                scaled.wait_for_processes_to_end()?;
            }
        }
        for (name, way) in order() {
            for guest in order_of_guests() {
                interrupt::check()?;
                match way {
                    Way::Bare => add(native, guest, name, PROCESS, first_reply(guest, None)?),
                    Way::Bwrap(bwrap) => {
                        add(native, guest, name, PROCESS, first_reply(guest, Some(bwrap))?);
                    }
                    Way::Node(scaled) if !scaled.has(guest) => {}
                    Way::Node(scaled) if !scaled.has_workers()? => {
                        // It would be the other figure.
                        native.warn(format!(
                            "round {}, {}, {name}: left out, since a worker had ended already",
                            round + 1,
                            guest.name
                        ));
                    }
                    Way::Node(scaled) => {
                        let [first, second] = scaled.ask(guest)?;
                        add(native, guest, name, PROCESS, first);
                        add(native, guest, name, SECOND, second);
                    }
                }
            }
        }
        for (_, way) in order() {
            if let Way::Node(scaled) = way {
                scaled.wait_for_workers_to_end()?;
            }
        }
        eprintln!("cold starts: round {} of {rounds}", round + 1);
    }
    Ok(())
}

fn first_reply(guest: &Guest, bwrap: Option<&Path>) -> Result<f64, Error> {
    let (_program, took) = bare::start(guest, bwrap)?;
    Ok(took.as_secs_f64() * 1e3)
}

fn add(native: &mut Native, guest: &Guest, way: &str, measure: &str, value: f64) {
    let what = (measure, MILLISECONDS, Better::Lower);
    series::add(&mut native.series, (guest.name, way), what, value);
}

impl Scaled {
    /// Starts a node and deploys the guests, of which nothing runs when this returns. One that
    /// cannot be run is left out, with a warning.
    fn start(
        binary: &Path,
        (way, level): (&str, &str),
        guests: &[Guest],
        native: &mut Native,
    ) -> Result<Self, Error> {
        let options = ["--native-sandbox", level, "--own-worker-idle-timeout", WORKER_IDLE];
        let node = Node::start_with(binary, &options)?;
        let at_first = processes(&node)?;
        native.provenance.commands.push(node.child.command().to_owned());
        let mut functions = Vec::new();
        for guest in guests {
            match guest.deploy(&node, &["--process-idle", PROCESS_IDLE]) {
                Ok(command) => {
                    if functions.is_empty() {
                        native.provenance.commands.push(command);
                    }
                    functions.push(guest.name);
                }
                Err(error) => native.give_up(format!("{}: without {way}", guest.name), error)?,
            }
        }
        let scaled = Self {
            functions,
            resident: at_first.len(),
            resident_children: count_at(&at_first, 1),
            node,
        };
        scaled.wait_for_workers_to_end()?;
        Ok(scaled)
    }

    /// Sends two requests on a connection of its own; returns how many milliseconds each took.
    fn ask(&self, guest: &Guest) -> Result<[f64; 2], Error> {
        let target = self.node.target(guest.name)?;
        let mut session = Session::open(&target)?;
        let request = target.get();
        let mut timed = || {
            let sent = Instant::now();
            let fetched = session.exchange(&request)?;
            let took = sent.elapsed();
            alone::expect_ok(guest.name, &fetched)?;
            if fetched.body != BODY {
                return Err(alone::Error::Answer {
                    name: guest.name.to_owned(),
                    status: fetched.status,
                    bytes: fetched.body.len(),
                }
                .into());
            }
            Ok::<_, Error>(took.as_secs_f64() * 1e3)
        };
        Ok([timed()?, timed()?])
    }

    fn has(&self, guest: &Guest) -> bool {
        self.functions.contains(&guest.name)
    }

    /// Returns whether each function has its worker.
    fn has_workers(&self) -> Result<bool, Error> {
        let expected = self.resident_children + self.functions.len();
        Ok(count_at(&processes(&self.node)?, 1) == expected)
    }

    /// Waits until no program runs, and the node has made ready what it keeps ready.
    fn wait_for_processes_to_end(&self) -> Result<(), Error> {
        wait_until(&self.node, "the programs have ended", |processes| {
            programs(processes).next().is_none()
        })?;
        thread::sleep(SETTLED);
        Ok(())
    }

    fn wait_for_workers_to_end(&self) -> Result<(), Error> {
        wait_until(&self.node, "the workers of functions have ended", |processes| {
            processes.len() <= self.resident
        })?;
        Ok(())
    }
}
