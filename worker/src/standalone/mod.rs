//! A standalone program: one function without a node, where a platform starts it.
//!
//! [`abi::bundle`] finds the function behind the program in its own file, [`environment`] finds out
//! what platform this is. The function is run by the parts of a [worker](crate::worker), which has
//! all requests: connections from [`port`], or events from [`crate::edge::lambda`]. Nobody is at
//! the other end of the worker's channel but this module, which has the one module to send. Owns
//! the runtime and both ends of the channel.

mod environment;
mod port;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use abi::board::Board;
use abi::bundle::Bundled;
use abi::catalogue::CatalogueView;
use abi::channel::Channel;
use abi::message::{AccessLog, Settings, ToEngine, ToWorker};
use abi::network::Network;
use anyhow::{Context as _, bail};
use tokio::task::LocalSet;

use self::environment::Place;
use crate::edge::lambda;
use crate::link::{self, Inbox};
use crate::log;
use crate::serve::Routing;
use crate::worker::{Parts, Worker};

/// What is said to who starts the program without a function. The build is named behind it, by
/// which the node knows a program of its own build.
const NO_FUNCTION: &str = concat!(
    "this program runs the function that `sockhop bundle` puts behind it, and there is none; ",
    "see `sockhop guide bundles`"
);

/// Runs the function until the platform asks for the end.
pub(crate) fn run() -> anyhow::Result<()> {
    // This path is the running program, even if its file was replaced.
    let file = File::open("/proc/self/exe").context("this program's own file cannot be opened")?;
    let Some((mut bundled, module)) = abi::bundle::read(&file)? else {
        bail!("{NO_FUNCTION} (build {})", abi::BUILD_ID);
    };
    drop(file);
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let place = Place::of(&variables)?;
    let proxies = environment::trusted_proxies(&variables)?;
    bundled.spec.env = environment::laid_over(&bundled.spec.env, variables);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no tokio runtime")?;
    LocalSet::new().block_on(&runtime, serve(bundled, module, place, proxies))?;
    // As in a worker, the kernel takes down what is left faster than destructors would.
    log::end();
    std::process::exit(0)
}

async fn serve(
    bundled: Bundled,
    module: OwnedFd,
    place: Place,
    trusted_proxies: Vec<Network>,
) -> anyhow::Result<()> {
    let name = format!("{} v{}", bundled.function, bundled.version);
    let (ours, of_worker) = Channel::pair().context("no channel")?;
    let (_messages, outbox) = link::open::<ToWorker, ToEngine>(of_worker)?;
    let (wishes, _answers) = link::open::<ToEngine, ToWorker>(ours)?;
    let (board, _) = Board::create().context("no memory for the counters")?;
    let catalogue = CatalogueView::new(bundled.seal()?)?;
    let (settings, routing) = (settings(trusted_proxies), Routing::Only);
    let parts = Parts { board, row: 0, settings, catalogue, routing, outbox };
    let worker = Worker::assemble(parts)?;
    let _tasks = worker.tasks();
    tokio::task::spawn_local(send_module(Rc::clone(&worker), wishes, module));
    let loaded = worker
        .pipeline
        .load_only()
        .await
        .map_err(|reason| anyhow::anyhow!("the function {name} cannot be run here: {reason}"));
    match place {
        Place::Lambda { address } => lambda::run(&worker.pipeline, &address, loaded).await,
        Place::Port { address } => {
            loaded?;
            port::run(&worker, &name, address).await
        }
    }
}

/// Sends the worker the module when it asks for it.
async fn send_module(worker: Rc<Worker>, mut wishes: Inbox<ToEngine>, module: OwnedFd) {
    while let Ok(received) = wishes.next().await {
        let ToEngine::RequestModule { key } = received.message else { continue };
        match module.try_clone() {
            Ok(module) => _ = worker.pipeline.functions.module_arrived(key, module),
            Err(error) => worker.pipeline.functions.module_missing(key, &error.to_string()),
        }
    }
}

/// Returns the settings of a worker that has no node: a platform is in front of it, and reads the
/// function's lines from stderr.
fn settings(trusted_proxies: Vec<Network>) -> Settings {
    Settings {
        only_function: None,
        https_redirect: None,
        shared_rows: 1,
        address_seed: fastrand::u64(..),
        names: abi::names::Names::default(),
        trusted_proxies,
        head_timeout_ms: 10_000,
        idle_timeout_ms: 60_000,
        write_timeout_ms: 30_000,
        access_log: AccessLog::Off,
        logs: false,
        guest_stderr: true,
        trace_sample: 0,
        log_filter: String::new(),
        native_cores: Vec::new(),
        native_sandbox: abi::sandbox::Level::Full,
    }
}
