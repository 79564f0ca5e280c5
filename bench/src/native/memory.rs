//! What a native program takes up beside the same program without a node. Several processes of each
//! are there at a time, since programs share the pages that they have alike. Owns one node, or the
//! processes without one, at a time.

use std::path::Path;
use std::time::Duration;

use super::bare::{self, Bare};
use super::result::Native;
use super::{
    BODY, Error, Guest, INIT_DEPTH, LEVELS, SPAWNER_DEPTH, processes, programs, wait_until,
};
use crate::alone;
use crate::cli::NativeArguments;
use crate::interrupt;
use crate::process_tree::Process;
use crate::quiet;
use crate::series::{self, Better};
use crate::server::Node;
use crate::smaps::Sample;
use crate::target::Request;

/// How long nothing may change before memory is looked at.
const QUIET: Duration = Duration::from_millis(500);
/// Longer than the measurement takes.
const PROCESS_IDLE: &str = "1h";

const PROGRAM_PSS: &str = "PSS of a process, its init included";
const PROGRAM_RSS: &str = "RSS of a process, its init included";
const INIT_PSS: &str = "PSS of its init";
const WORKER_PSS: &str = "PSS of the function's worker";
const SPAWNER_PSS: &str = "PSS of its spawner";
const KIBIBYTES: &str = "KiB";

/// Runs all rounds.
pub fn measure(
    binary: &Path,
    guests: &[Guest],
    arguments: &NativeArguments,
    native: &mut Native,
) -> Result<(), Error> {
    let mut refused: Vec<(&str, &str)> = Vec::new();
    for round in 0..arguments.memory_rounds {
        for guest in guests {
            interrupt::check()?;
            for (measure, value) in without_a_node(guest, arguments.processes)? {
                add(native, guest, "bare", measure, value);
            }
            for (name, level) in LEVELS {
                if refused.contains(&(guest.name, name)) {
                    continue;
                }
                match on_a_node(binary, level, guest, arguments.processes) {
                    Ok(values) => {
                        for (measure, value) in values {
                            add(native, guest, name, measure, value);
                        }
                    }
                    Err(error) => {
                        native.give_up(format!("{}: memory without {name}", guest.name), error)?;
                        refused.push((guest.name, name));
                    }
                }
            }
        }
        eprintln!("memory: round {} of {}", round + 1, arguments.memory_rounds);
    }
    Ok(())
}

fn add(native: &mut Native, guest: &Guest, way: &str, measure: &str, value: f64) {
    let what = (measure, KIBIBYTES, Better::Lower);
    series::add(&mut native.series, (guest.name, way), what, value);
}

fn without_a_node(guest: &Guest, count: u32) -> Result<Vec<(&'static str, f64)>, Error> {
    let started: Result<Vec<Bare>, Error> =
        (0..count).map(|_| Ok(bare::start(guest, None)?.0)).collect();
    let mut sum = Sum::default();
    for program in started? {
        quiet::wait(program.child.id(), Duration::ZERO, || Ok(0))?;
        sum.add(program.child.id())?;
        // All of them run until the last was looked at.
        sum.kept.push(program);
    }
    let (pss, rss) = sum.of_one();
    Ok(vec![(PROGRAM_PSS, pss), (PROGRAM_RSS, rss)])
}

fn on_a_node(
    binary: &Path,
    level: &str,
    guest: &Guest,
    count: u32,
) -> Result<Vec<(&'static str, f64)>, Error> {
    let node = Node::start_with(binary, &["--native-sandbox", level])?;
    let number = count.to_string();
    let options = ["--processes", &number, "--processes-min", &number];
    guest.deploy(&node, &[&options[..], &["--process-idle", PROCESS_IDLE]].concat())?;
    let target = node.target(guest.name)?;
    for _ in 0..count {
        let fetched = target.fetch(&Request::get())?;
        alone::expect_ok(guest.name, &fetched)?;
        if fetched.body != BODY {
            let (status, bytes) = (fetched.status, fetched.body.len());
            let name = guest.name.to_owned();
            return Err(alone::Error::Answer { name, status, bytes }.into());
        }
    }
    wait_until(&node, "all programs run", |processes| {
        programs(processes).count() == count as usize
    })?;
    quiet::wait(node.child.id(), QUIET, || Ok(0))?;
    let processes = processes(&node)?;
    let below = |depth: usize| processes.iter().filter(move |(_, at)| *at == depth);
    let pss = |found: &[&Process]| -> Result<f64, Error> {
        let mut sum = Sum::default();
        for process in found {
            sum.add(process.pid)?;
        }
        Ok(sum.of_one().0)
    };
    let spawners: Vec<&Process> = below(SPAWNER_DEPTH).map(|(process, _)| process).collect();
    // Only a function's own worker has a spawner.
    let is_its_worker = |pid: u32| spawners.iter().any(|spawner| spawner.parent == pid);
    let workers: Vec<&Process> =
        below(1).map(|(process, _)| process).filter(|process| is_its_worker(process.pid)).collect();
    // Not the one that is kept ready for another process.
    let has_program = |init: &Process| programs(&processes).any(|of| of.parent == init.pid);
    let inits: Vec<&Process> =
        below(INIT_DEPTH).map(|(process, _)| process).filter(|init| has_program(init)).collect();
    let mut sum = Sum::default();
    for process in inits.iter().copied().chain(programs(&processes)) {
        sum.add(process.pid)?;
    }
    // An init is a part of its process, not one more.
    sum.count = inits.len();
    let (program_pss, program_rss) = sum.of_one();
    Ok(vec![
        (PROGRAM_PSS, program_pss),
        (PROGRAM_RSS, program_rss),
        (INIT_PSS, pss(&inits)?),
        (WORKER_PSS, pss(&workers)?),
        (SPAWNER_PSS, pss(&spawners)?),
    ])
}

/// The memory of some processes.
#[derive(Debug, Default)]
struct Sum {
    count: usize,
    pss: u64,
    rss: u64,
    kept: Vec<Bare>,
}

impl Sum {
    fn add(&mut self, pid: u32) -> Result<(), Error> {
        let sample = Sample::of(pid)?;
        self.count += 1;
        self.pss += sample.pss;
        self.rss += sample.rss;
        Ok(())
    }

    /// Returns a process's share in KiB: PSS and RSS.
    fn of_one(&self) -> (f64, f64) {
        let share = |bytes: u64| bytes as f64 / 1024.0 / self.count.max(1) as f64;
        (share(self.pss), share(self.rss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_shared_out() {
        let sum = Sum { count: 2, pss: 4096, rss: 8192, kept: Vec::new() };
        assert_eq!(sum.of_one(), (2.0, 4.0));
        assert_eq!(Sum::default().of_one(), (0.0, 0.0));
    }
}
