//! The `pressure` command: a healthy client alone on a node, then beside a crowd that takes up
//! room.
//!
//! Each crowd has a node of its own, with one worker on one core, and the healthy client is
//! measured on it alone first: what is compared lies seconds apart. The healthy client is an open
//! loop well below what the node can do, so its latency is the node's and not its own queue. File
//! descriptors belong to `crowd`, `client`, `server`.

mod crowd;
mod result;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::alone::{Error, Provenance, edge, expect_ok, worker};
use crate::cli::PressureArguments;
use crate::client::{Rate, RequestMix};
use crate::load::{self, Load};
use crate::server::{self, Instances, LOAD_CORE, Node, SERVER_CORE};
use crate::smaps::Sample;
use crate::target::{Request, Target};
use crate::{client, cpu, output, quiet, tls};
use crowd::{Behaviour, Crowd};
use result::{Footprint, Pressure, Row, Settings};

const HEALTHY: &str = "hello";
const FLOOD: &str = "flood";
/// How long the node must do nothing before its memory is looked at.
const QUIET: Duration = Duration::from_secs(1);
/// Files of ours, and of a worker's, that are not the crowd's connections.
const OTHER_FILES: u32 = 1024;

/// The command.
pub fn command(arguments: &PressureArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let flood = output::component(&arguments.flood)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let mut provenance = Provenance::of(&binary);
    let mut rows = Vec::new();
    for (behaviour, asked) in [
        (Behaviour::Idle, arguments.idle),
        (Behaviour::Slow, arguments.slow),
        (Behaviour::Deaf, arguments.deaf),
        (Behaviour::Resetting, arguments.resets),
        (Behaviour::IdleSecure, arguments.idle_secure),
        (Behaviour::Stopped, arguments.stopped),
        (Behaviour::SlowHello, arguments.slow_hello),
    ] {
        if asked == 0 {
            continue;
        }
        let count = possible(behaviour, asked, &mut provenance)?;
        let subject =
            Subject::start(&binary, behaviour, [&component, &flood], count, &mut provenance)?;
        let row = subject.visit(behaviour, count, arguments)?;
        eprintln!("{row}");
        rows.push(row);
    }
    let settings = Settings {
        rate: arguments.rate,
        connections: arguments.connections,
        seconds: arguments.seconds,
        warmup_seconds: arguments.warmup_seconds,
        server_core: SERVER_CORE,
        load_core: LOAD_CORE,
        crowd_core: crowd_core(),
    };
    let pressure = Pressure::new(provenance, settings, rows);
    output::show(&pressure);
    Ok(output::write(arguments.json.as_deref(), &pressure)?)
}

/// Away from node and healthy client if there is a core for it; else beside the client.
fn crowd_core() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores > LOAD_CORE + 1 { LOAD_CORE + 1 } else { LOAD_CORE }
}

/// As many of a crowd as there may be files for: the worker, too, needs one for each, under the
/// same limit, and what ends TLS up to three.
fn possible(behaviour: Behaviour, asked: u32, provenance: &mut Provenance) -> Result<u32, Error> {
    if behaviour == Behaviour::Resetting {
        return Ok(asked);
    }
    let most = client::open_files_max()?.saturating_sub(OTHER_FILES) / behaviour.files();
    if asked > most {
        provenance.warnings.push(format!(
            "{}: {most} instead of {asked}, for the hard limit on open files (ulimit -Hn)",
            behaviour.name()
        ));
    }
    let count = asked.min(most);
    client::allow_open_files(count + OTHER_FILES)?;
    Ok(count)
}

/// A node with both functions.
struct Subject {
    node: Node,
    worker: u32,
    /// What ends TLS.
    edge: u32,
    healthy: Target,
    body: Vec<u8>,
}

impl Subject {
    fn start(
        binary: &Path,
        behaviour: Behaviour,
        [component, flood]: [&Path; 2],
        count: u32,
        provenance: &mut Provenance,
    ) -> Result<Self, Error> {
        let start = if behaviour.is_secure() { Node::start_secure } else { Node::start_with };
        let node = start(binary, behaviour.options())?;
        let hello = node.deploy(component, HEALTHY, Instances::Fresh)?;
        // All of the deaf are to be served, not to wait for one another.
        let concurrency = count.max(1000).to_string();
        let flood =
            node.deploy_with(flood, FLOOD, &["--concurrency", &concurrency, "--timeout", "5m"])?;
        if provenance.commands.is_empty() {
            provenance.commands = vec![node.child.command().to_owned(), hello, flood];
        }
        let healthy = node.target(HEALTHY)?;
        let fetched = healthy.fetch(&Request::get())?;
        expect_ok(HEALTHY, &fetched)?;
        let (worker, edge) = (worker(&node)?, edge(&node)?);
        Ok(Self { worker, edge, node, healthy, body: fetched.body })
    }

    /// Alone, then beside the crowd.
    fn visit(
        &self,
        behaviour: Behaviour,
        count: u32,
        arguments: &PressureArguments,
    ) -> Result<Row, Error> {
        let load = Load {
            rate: Some(Rate::steady(arguments.rate)),
            ..Load::closed(arguments.connections, arguments.warmup_seconds, arguments.seconds)
        };
        let prepared = self.healthy.prepare(&Request::get(), Some(self.body.clone()));
        let healthy = || load::run(&self.healthy, RequestMix::one(prepared.clone()), None, &load);
        let alone = healthy()?;
        let (_, before) = self.look()?;
        let SocketAddr::V4(address) = self.healthy.resolve()? else {
            unreachable!("the node was told to listen on 127.0.0.1")
        };
        let tls = self.healthy.tls(tls::HTTP1, false)?;
        let (paths, spread) = (["/hello/", "/flood/"], behaviour.spread());
        let mut crowd = Crowd::gather(behaviour, address, tls, paths, count, spread)?;
        let (settled, after) = if behaviour.rests() { self.look()? } else { (true, before) };
        let stop = AtomicBool::new(false);
        let (beside, happened) = thread::scope(|scope| {
            let pressing = scope.spawn(|| cpu::pin(crowd_core()).map(|()| crowd.press(&stop)));
            let beside = healthy();
            stop.store(true, Ordering::Relaxed);
            (beside, pressing.join().unwrap_or(Err(cpu::Error::Panicked { core: crowd_core() })))
        });
        let (beside, happened) = (beside?, happened?);
        let (open, answered) = crowd.open();
        // While the others press, the node is never quiet.
        let after = if behaviour.rests() { after } else { self.footprint()? };
        Ok(Row::of(
            behaviour.name(),
            [count, crowd.count()],
            [open, answered],
            happened,
            [alone, beside],
            [before, after],
            settled,
        ))
    }

    fn look(&self) -> Result<(bool, Footprint), Error> {
        let figure = || Ok(Sample::of(self.worker)?.rss + Sample::of(self.edge)?.rss);
        let quiet = quiet::wait(self.node.child.id(), QUIET, figure)?;
        Ok((quiet.settled, self.footprint()?))
    }

    fn footprint(&self) -> Result<Footprint, Error> {
        Ok(Footprint {
            worker: Sample::of(self.worker)?,
            edge: Sample::of(self.edge)?,
            engine: Sample::of(self.node.child.id())?,
            socket_buffers: socket_buffers(),
        })
    }
}

/// Bytes in the buffers of all TCP sockets of this network namespace; nothing where the kernel does
/// not say.
fn socket_buffers() -> Option<u64> {
    let pages = tcp_pages(&fs::read_to_string("/proc/net/sockstat").ok()?)?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten()?;
    Some(pages * u64::try_from(page).ok()?)
}

fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split_ascii_whitespace().skip_while(|&word| word != "mem");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_pages_are_found() {
        assert_eq!(
            tcp_pages("sockets: used 23\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 33\n"),
            Some(33)
        );
        assert_eq!(tcp_pages("UDP: inuse 0 mem 0\n"), None);
    }
}
