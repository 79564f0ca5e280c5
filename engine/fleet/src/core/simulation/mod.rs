//! Thousands of nodes in one thread, each by a seed: shards, workers, kills, full queues, slow
//! hellos, returned connections and changing catalogues, in any order, with the real decisions
//! between them. After every step no connection is lost or doubled, and no promise about changes is
//! broken; in the end every connection was served, refused or lost with a killed worker, and
//! everybody is well again.
//!
//! `SOCKHOP_SIMULATION_SEED=N` runs that seed alone and prints what happened;
//! `SOCKHOP_SIMULATION_SEEDS=N` runs so many.

mod process;
mod random;
mod world;

use std::time::Duration;

use self::world::{End, World};
use super::fleet::Event;

const SEEDS: u64 = 4000;
const STEPS: usize = 400;
/// Steps, each of them followed by a little time, within which a node must be well again once
/// nothing fails any more.
const STEPS_TO_SETTLE: usize = 20_000;

/// Returns the number that an environment variable holds. Panics if it holds something else: a
/// mistyped seed would otherwise run the usual ones and pass.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; expected a decimal number")))
}

/// A node that has lived, and what was wrong with it, if anything was.
struct Run {
    world: World,
    wrong: Option<String>,
}

/// Runs a node through its faults, and back to health.
fn run(seed: u64) -> Run {
    let mut world = World::new(seed);
    let wrong = live(&mut world).err();
    Run { world, wrong }
}

fn live(world: &mut World) -> Result<(), String> {
    world.advance(Duration::ZERO)?;
    for _ in 0..STEPS {
        world.step()?;
        world.check()?;
    }
    for step in 0.. {
        world.heal();
        world.go_on()?;
        world.check()?;
        if world.is_settled() {
            break;
        }
        if step == STEPS_TO_SETTLE {
            return Err("the node does not recover".into());
        }
    }
    let lost = world.ends.values().filter(|end| **end == End::Lost).count();
    if lost > 0 && world.killed == 0 {
        return Err(format!("{lost} connections are lost, and nobody was killed"));
    }
    world.on(Event::Drain)?;
    for step in 0.. {
        world.heal();
        world.go_on()?;
        world.check()?;
        if world.fleet.is_empty() && world.processes.is_empty() {
            return Ok(());
        }
        if step == STEPS_TO_SETTLE {
            return Err("the node does not end".into());
        }
        world.advance(Duration::from_millis(1))?;
    }
    Ok(())
}

#[test]
fn every_connection_has_its_end_and_every_change_its_answer_whatever_fails() {
    let one = variable("SOCKHOP_SIMULATION_SEED");
    let seeds =
        one.map_or(0..variable("SOCKHOP_SIMULATION_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut served, mut refused, mut lost) = (0, 0, 0);
    for seed in seeds {
        let Run { world, wrong } = run(seed);
        let trace = || world.trace.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        if let Some(wrong) = wrong {
            let trace = trace();
            panic!(
                "seed {seed}: {wrong}\nreplay it with SOCKHOP_SIMULATION_SEED={seed}; its last steps:\n{trace}"
            );
        }
        if one.is_some() {
            println!("{}", trace());
        }
        let count = |which: End| world.ends.values().filter(|end| **end == which).count();
        served += count(End::Served);
        refused += count(End::Refused);
        lost += count(End::Lost);
    }
    println!("{served} connections served, {refused} refused, {lost} lost with a killed worker");
    if one.is_none() {
        assert!(
            served > refused && served > lost && refused > 0 && lost > 0,
            "the simulation has become one-sided"
        );
    }
}
