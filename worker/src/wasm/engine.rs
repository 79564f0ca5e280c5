//! The worker's wasmtime engine and linker. Owns no fds.

use abi::limits::{INVOCATIONS_PER_WORKER_MAX, MEMORY_BYTES_MAX};
use wasmtime::component::Linker;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use super::host::Host;

/// A component is a handful of core modules: the program, the adapters of its toolchain, and shims between them.
const CORE_INSTANCES_PER_COMPONENT: u32 = 4;
/// Most have one memory; composed ones have more.
const MEMORIES_PER_COMPONENT: u32 = 2;
/// The most of either that one component may have.
const PARTS_PER_COMPONENT_MAX: u32 = 100;
/// Bytes of a memory that are cleared in place when its slot is used again, rather than given back to the kernel.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 1024 * 1024;
/// The same for a table.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;

/// The engine that runs every guest of this worker: compiled code as [`wasm_config::config`] has it, instances from
/// pools sized for what one worker runs at once.
pub(crate) fn engine() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    let invocations = INVOCATIONS_PER_WORKER_MAX;
    pool.total_component_instances(invocations)
        .total_core_instances(invocations * CORE_INSTANCES_PER_COMPONENT)
        .total_memories(invocations * MEMORIES_PER_COMPONENT)
        .total_tables(invocations * CORE_INSTANCES_PER_COMPONENT)
        .total_stacks(invocations)
        .max_core_instances_per_component(PARTS_PER_COMPONENT_MAX)
        .max_memories_per_component(PARTS_PER_COMPONENT_MAX)
        .max_tables_per_component(PARTS_PER_COMPONENT_MAX)
        .max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        // One ioctl finds the pages a guest wrote (Linux 6.7); without it every slot is reset whole.
        .pagemap_scan(Enabled::Auto);
    let mut config = wasm_config::config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Everything a guest may import: WASI 0.2 and `wasi:http`. What is not granted answers with an error when called.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}
