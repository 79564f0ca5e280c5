//! The wasmtime settings that decide what compiled code looks like.
//!
//! The engine's compile child and the worker must agree on them to the letter, or wasmtime refuses
//! the module; so they stand here once. What concerns only running (allocator, stacks) is the
//! worker's own. Owns no fds.

use wasmtime::{Collector, Config};

/// What a heap for garbage-collected objects and exceptions begins with, half of it in use at a
/// time. A short request never collects in it; of the kernel it takes the pages that are written.
const GC_HEAP_BYTES: u64 = 512 * 1024;

/// Settings for components of WASI 0.2, commands among them, and for core modules: no
/// component-model concurrency, which costs a third of an invocation.
#[must_use]
pub fn config_02() -> Config {
    let mut config = common();
    config.concurrency_support(false);
    config
}

/// Settings for components of WASI 0.3, whose functions are async in the component model.
#[must_use]
pub fn config_03() -> Config {
    let mut config = common();
    config.concurrency_support(true).wasm_component_model_async(true);
    config
}

fn common() -> Config {
    let mut config = Config::new();
    // At every epoch guests that take long let their neighbours have a turn.
    config.epoch_interruption(true);
    config.wasm_component_model(true);
    // Registering unwind tables costs at every load, and only debuggers and profilers of the host
    // read them.
    config.native_unwind_info(false);
    // Of wasmtime's collectors the one that frees cycles, which an instance that is used again
    // would gather, and whose objects have no counts to keep: most instances end before they
    // collect. Only a module with such objects has a heap.
    config.collector(Collector::Copying).gc_heap_initial_size(GC_HEAP_BYTES);
    config
}
