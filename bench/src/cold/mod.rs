//! The `cold` command: what the first request to a function costs that the worker has not loaded
//! yet.
//!
//! A fresh node on one core has many functions, alike but for a counter in their files, so that
//! nothing is shared between them. One connection, opened and warmed on a function of its own, then
//! asks each of them twice, one after another and with no other load: what the first request takes
//! longer than the second is the function's being cold, and nothing else.
//!
//! The functions may be native programs. Each of those has a worker of its own, so the connection
//! goes from one worker to the next, and the first request starts a worker and a process.

mod result;

use std::time::{Duration, Instant};

use crate::alone::{Error, Provenance};
use crate::cli::ColdArguments;
use crate::copies::Copies;
use crate::server::{self, LOAD_CORE, Node, SERVER_CORE};
use crate::target::{Fetched, Session};
use crate::{cpu, output, quiet};
use result::{Cold, Settings};

/// Requests that warm the connection: more than enough for every lazily made thing on its way.
const WARMING_REQUESTS: u32 = 100;
const WARM: &str = "warm";
/// How long the node must do nothing before the first request.
const QUIET: Duration = Duration::from_secs(1);

/// The command.
pub fn command(arguments: &ColdArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let mut provenance = Provenance::of(&binary);
    let copies = Copies::of(&component)?;
    let node = Node::start(&binary)?;
    provenance.commands.push(node.child.command().to_owned());
    let options: Vec<&str> =
        arguments.kind.iter().flat_map(|kind| ["--kind", kind.as_str()]).collect();
    node.deploy_with(&component, WARM, &options)?;
    for counter in 0..arguments.functions {
        let deployed = node.deploy_with(&copies.make(counter)?, &name(counter), &options)?;
        if counter == 0 {
            provenance.commands.push(deployed);
        }
        if (counter + 1) % 50 == 0 {
            eprintln!("deployed {} of {}", counter + 1, arguments.functions);
        }
    }
    let settled = quiet::wait(node.child.id(), QUIET, || Ok(0))?.settled;
    let times = cpu::on_core(LOAD_CORE, || measure(&node, arguments.functions))??;
    let settings = Settings {
        functions: arguments.functions,
        kind: arguments.kind.clone(),
        component_bytes: copies.original_bytes(),
        server_core: SERVER_CORE,
        load_core: LOAD_CORE,
    };
    if !settled {
        provenance
            .warnings
            .push("the node was still busy when the first request was sent".to_owned());
    }
    let cold = Cold::new(provenance, settings, &times);
    output::show(&cold);
    Ok(output::write(arguments.json.as_deref(), &cold)?)
}

fn name(counter: u32) -> String {
    format!("cold-{counter}")
}

/// First and second request to every function.
fn measure(node: &Node, functions: u32) -> Result<Vec<[Duration; 2]>, Error> {
    let warm = node.target(WARM)?;
    let mut session = Session::open(&warm)?;
    let request = warm.get();
    let expected = session.exchange(&request)?;
    check(WARM, &expected, &expected)?;
    for _ in 0..WARMING_REQUESTS {
        session.exchange(&request)?;
    }
    let mut times = Vec::new();
    for counter in 0..functions {
        let name = name(counter);
        let request = node.target(&name)?.get();
        let mut timed = || {
            let sent = Instant::now();
            let fetched = session.exchange(&request)?;
            let took = sent.elapsed();
            check(&name, &fetched, &expected)?;
            Ok::<_, Error>(took)
        };
        times.push([timed()?, timed()?]);
    }
    Ok(times)
}

fn check(name: &str, fetched: &Fetched, expected: &Fetched) -> Result<(), Error> {
    if fetched.status == 200 && fetched.body == expected.body {
        return Ok(());
    }
    Err(Error::Answer { name: name.to_owned(), status: fetched.status, bytes: fetched.body.len() })
}
