//! The worker's two wasmtime engines, and what guests may import from each. Owns no fds.

use std::cell::OnceCell;

use abi::function::Kind;
use abi::limits::{
    CORE_INSTANCES_MAX, INVOCATIONS_PER_WORKER_MAX, KEPT_INSTANCES_PER_WORKER_MAX,
    MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX,
};
use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, PoolingAllocationConfig,
    Precompiled, Result,
};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::epoch::Ticker;
use super::host::Host;
use super::keyvalue;

/// The tables of the pool for each instance: of the program, of its toolchain's adapters, and of
/// the shims between them.
const TABLES_PER_INSTANCE: u32 = 4;
/// The memories of the pool for each instance. Most have one; composed ones have more.
const MEMORIES_PER_INSTANCE: u32 = 2;
/// One more memory for each instance, which its weight does not include: the heap of an instance
/// whose modules have garbage-collected objects or exceptions. For the others it only costs address
/// space.
const GC_HEAPS_PER_INSTANCE: u32 = 1;
const STACKS_PER_INSTANCE: u32 = 2;
/// The bytes of a memory that are cleared in place when its slot is used again, rather than given
/// back to the kernel.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 1024 * 1024;
/// The same for a table.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;

/// The most instances that have served and wait to be dropped: a batch of replies, and some more.
pub(super) const RETIRED_INSTANCES_MAX: u32 = 64;

/// A loaded module of any kind, linked and ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Module {
    Http02(ProxyPre<Host>),
    Http03(ServicePre<Host>),
    Command(Command),
}

/// A program with `main`.
#[derive(Clone)]
pub(crate) enum Command {
    Component(CommandPre<Host>),
    /// A core module of WASI preview 1.
    Core(InstancePre<Host>),
}

impl Module {
    /// Returns the engine that runs it.
    pub(crate) fn engine(&self) -> &Engine {
        match self {
            Self::Http02(pre) => pre.engine(),
            Self::Http03(pre) => pre.engine(),
            Self::Command(Command::Component(pre)) => pre.engine(),
            Self::Command(Command::Core(pre)) => pre.module().engine(),
        }
    }

    /// Returns whether its code imports `wasi:keyvalue`.
    pub(crate) fn imports_keyvalue(&self) -> bool {
        let component = match self {
            Self::Http02(pre) => pre.instance_pre().component(),
            Self::Http03(pre) => pre.instance_pre().component(),
            Self::Command(Command::Component(pre)) => pre.instance_pre().component(),
            Self::Command(Command::Core(_)) => return false,
        };
        keyvalue::is_imported(&component.component_type(), component.engine())
    }

    /// Returns how many usual instances of the pool one of this module takes the place of: more
    /// than 1 for a component with more memories or tables than most have.
    pub(crate) fn weight(&self) -> u32 {
        let needs = match self {
            Self::Http02(pre) => pre.instance_pre().component().resources_required(),
            Self::Http03(pre) => pre.instance_pre().component().resources_required(),
            Self::Command(Command::Component(pre)) => {
                pre.instance_pre().component().resources_required()
            }
            Self::Command(Command::Core(pre)) => Some(pre.module().resources_required()),
        };
        // `None` for a component that imports core modules, which is not linked here.
        needs.map_or(1, |needs| weight(needs.num_memories, needs.num_tables))
    }
}

fn weight(memories: u32, tables: u32) -> u32 {
    memories.div_ceil(MEMORIES_PER_INSTANCE).max(tables.div_ceil(TABLES_PER_INSTANCE)).max(1)
}

/// An engine, and the imports that its guests find.
struct Runtime {
    engine: Engine,
    linker: Linker<Host>,
}

/// Both engines. The one of WASI 0.3 is made when first needed: most workers never need it.
pub(crate) struct Engines {
    v02: Runtime,
    /// The imports of core modules, which run on the engine of WASI 0.2.
    preview1: wasmtime::Linker<Host>,
    v03: OnceCell<Runtime>,
    ticker: Ticker,
}

impl Engines {
    /// Makes the engine of WASI 0.2. `ticker` counts the epochs of both engines.
    pub(super) fn new(ticker: Ticker) -> Result<Self> {
        let engine = engine(wasm_config::config_02())?;
        ticker.add(&engine);
        let linker = linker_02(&engine)?;
        let preview1 = linker_preview1(&engine)?;
        Ok(Self { v02: Runtime { engine, linker }, preview1, v03: OnceCell::new(), ticker })
    }

    /// Loads and links the compiled module at `path`.
    ///
    /// # Safety
    /// The file holds what this node's own compiler made for `kind`, and nobody can change it while
    /// it is mapped.
    pub(crate) unsafe fn load(&self, kind: Kind, path: &str) -> Result<Module> {
        let Runtime { engine, linker } = match kind {
            Kind::Http02 | Kind::Command => &self.v02,
            Kind::Http03 => self.v03()?,
            Kind::Lambda | Kind::Server | Kind::Azure | Kind::Static => {
                wasmtime::bail!("{} is no WebAssembly", kind.name())
            }
        };
        if kind == Kind::Command
            && Engine::detect_precompiled_file(path)? == Some(Precompiled::Module)
        {
            // SAFETY: passed on to the caller.
            let module = unsafe { wasmtime::Module::deserialize_file(engine, path) }?;
            return Ok(Module::Command(Command::Core(self.preview1.instantiate_pre(&module)?)));
        }
        // SAFETY: passed on to the caller.
        let component = unsafe { Component::deserialize_file(engine, path) }?;
        let pre = linker.instantiate_pre(&component)?;
        Ok(match kind {
            Kind::Http02 => Module::Http02(ProxyPre::new(pre)?),
            Kind::Http03 => Module::Http03(ServicePre::new(pre)?),
            _ => Module::Command(Command::Component(CommandPre::new(pre)?)),
        })
    }

    fn v03(&self) -> Result<&Runtime> {
        if let Some(made) = self.v03.get() {
            return Ok(made);
        }
        let engine = engine(wasm_config::config_03())?;
        self.ticker.add(&engine);
        let linker = linker_03(&engine)?;
        Ok(self.v03.get_or_init(|| Runtime { engine, linker }))
    }
}

/// Returns an engine for code compiled by `config`, with a pool sized for what one worker runs at
/// once.
fn engine(config: Config) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    let instances =
        INVOCATIONS_PER_WORKER_MAX + KEPT_INSTANCES_PER_WORKER_MAX + RETIRED_INSTANCES_MAX;
    pool.total_component_instances(instances)
        // The pool only counts them: no room is kept for one.
        .total_core_instances(instances * CORE_INSTANCES_MAX)
        .total_memories(instances * (MEMORIES_PER_INSTANCE + GC_HEAPS_PER_INSTANCE))
        .total_gc_heaps(instances * GC_HEAPS_PER_INSTANCE)
        .total_tables(instances * TABLES_PER_INSTANCE)
        // An instance of WASI 0.3 keeps one between its requests, and may wait on a second.
        .total_stacks(instances * STACKS_PER_INSTANCE)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(CORE_INSTANCES_MAX)
        .max_tables_per_component(CORE_INSTANCES_MAX)
        // A module may have all of them itself.
        .max_memories_per_module(CORE_INSTANCES_MAX)
        .max_tables_per_module(CORE_INSTANCES_MAX)
        // An instance has a field of some 32 bytes for each function that a table may name.
        .max_core_instance_size(usize::try_from(TABLE_ELEMENTS_MAX).unwrap_or(usize::MAX) * 40)
        .table_elements(usize::try_from(TABLE_ELEMENTS_MAX).unwrap_or(usize::MAX))
        .max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        // One ioctl finds the pages a guest wrote (Linux 6.7); without it every slot is reset
        // whole.
        .pagemap_scan(Enabled::Auto);
    let mut config = config;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Returns a linker with WASI 0.2, `wasi:http`, `wasi:config` and `wasi:keyvalue`. A capability that is not granted
/// returns an error when it is called.
fn linker_02(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, Host::config)?;
    keyvalue::add_to_linker(&mut linker, Host::keyvalue)?;
    Ok(linker)
}

/// Returns a linker with WASI preview 1. No folder is open, so no file can be opened.
fn linker_preview1(engine: &Engine) -> Result<wasmtime::Linker<Host>> {
    let mut linker = wasmtime::Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, Host::preview1)?;
    // wasmtime's own `proc_exit` takes a code of 126 or more for a trap.
    linker.allow_shadowing(true);
    linker.func_wrap(abi::preview1::MODULE, "proc_exit", |code: i32| -> Result<()> {
        Err(I32Exit(code).into())
    })?;
    Ok(linker)
}

/// Returns a linker with WASI 0.3 and WASI 0.2: toolchains for 0.3 still make components that
/// import some of 0.2.
fn linker_03(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = linker_02(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn an_instance_weighs_what_it_takes_of_the_scarcest() {
        let cases = [
            ((0, 0), 1),
            ((1, 1), 1),
            ((2, 4), 1),
            ((3, 1), 2),
            ((24, 2), 12),
            ((1, 30), 8),
            ((100, 100), 50),
        ];
        for ((memories, tables), expected) in cases {
            assert_eq!(weight(memories, tables), expected, "{memories} memories, {tables} tables");
        }
    }
}
