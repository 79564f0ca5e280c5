//! One run of a command by CGI/1.1 (RFC 3875): a component that exports `wasi:cli/run@0.2`, or a
//! core module of WASI preview 1.
//!
//! The request's body is its stdin, the rest of the request its environment, and its stdout the
//! reply. The instance is always fresh: a program runs from its beginning to its end. Owns no fds.

mod environment;
mod head;
mod pipe;
mod stdin;
mod stdout;

use std::future::{Future as _, poll_fn};
use std::pin::pin;

use abi::function::Output;
use tracing::dispatcher::Dispatch;
use tracing::instrument::WithSubscriber as _;
use wasmtime::{InstancePre, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder};

pub(super) use self::head::HeadError;
use self::stdin::Stdin;
use self::stdout::Stdout;
use super::engine::Command;
use super::host::Host;
use crate::deadline::Deadline;
use crate::facts::Facts;
use crate::run::{Call, Spec};

/// Runs the command, and returns when it has exited. Its reply begins as soon as its stdout has
/// said how.
pub(super) async fn handle(
    store: &mut Store<Host>,
    command: &Command,
    spec: &Spec,
    call: Box<Call>,
) -> wasmtime::Result<()> {
    let Call { request, origin, reply, facts, .. } = *call;
    let (request, body) = request.into_parts();
    let limit = usize::try_from(spec.limits.reply_head_bytes_max).unwrap_or(usize::MAX);
    let stdout = Stdout::new(spec.output, limit, reply);
    // However the program ends, its reply's body must not wait for more.
    let _end = stdout.end_on_drop();
    let mut wasi = WasiCtx::builder();
    let stdin = Stdin::new(body);
    wasi.stdin(stdin.handle()).stdout(stdout.clone());
    wasi.envs(&environment::make(&spec.env, &request, origin)).arg(&*spec.name).args(&spec.args);
    let ended = {
        let mut run = pin!(async {
            match command {
                Command::Component(pre) => run_component(store, pre, wasi, &facts).await,
                // wasmtime's preview 1 makes a tracing span of each call, and logs some events. The
                // node's log is not for those.
                Command::Core(pre) => {
                    run_core(store, pre, wasi, &facts).with_subscriber(Dispatch::none()).await
                }
            }
        });
        let mut held = Deadline::default();
        poll_fn(|cx| {
            let ended = run.as_mut().poll(cx);
            if ended.is_pending() {
                stdout.poll_held(cx, &mut held);
            }
            ended
        })
        .await
    };
    stdin.end();
    let exited = |error: &wasmtime::Error| error.downcast_ref().map(|I32Exit(code)| *code);
    match (ended.as_ref().err().and_then(exited), spec.output) {
        (Some(0), _) => {}
        (Some(code), Output::Always) => store.data().exited(code),
        _ => ended?,
    }
    stdout.finish().map_err(wasmtime::Error::from)
}

/// Makes an instance without running it.
pub(super) async fn instantiate(
    store: &mut Store<Host>,
    command: &Command,
    spec: &Spec,
) -> wasmtime::Result<()> {
    let mut wasi = WasiCtx::builder();
    wasi.envs(&spec.env).arg(&*spec.name).args(&spec.args);
    match command {
        Command::Component(pre) => {
            store.data_mut().become_command(wasi);
            pre.instantiate_async(store).await.map(drop)
        }
        Command::Core(pre) => {
            store.data_mut().become_core_command(wasi);
            pre.instantiate_async(store).with_subscriber(Dispatch::none()).await.map(drop)
        }
    }
}

async fn run_component(
    store: &mut Store<Host>,
    pre: &CommandPre<Host>,
    wasi: WasiCtxBuilder,
    facts: &Facts,
) -> wasmtime::Result<()> {
    store.data_mut().become_command(wasi);
    let command = pre.instantiate_async(&mut *store).await?;
    facts.ready();
    command.wasi_cli_run().call_run(store).await?.map_err(|()| I32Exit(1).into())
}

async fn run_core(
    store: &mut Store<Host>,
    pre: &InstancePre<Host>,
    wasi: WasiCtxBuilder,
    facts: &Facts,
) -> wasmtime::Result<()> {
    store.data_mut().become_core_command(wasi);
    let instance = pre.instantiate_async(&mut *store).await?;
    facts.ready();
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call_async(store, ()).await
}
