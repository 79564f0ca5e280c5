//! The wasmtime settings that decide what compiled code looks like.
//!
//! The engine's compile child and the worker must agree on them exactly, or wasmtime refuses the
//! module, so both take them from here. Settings that only concern running (allocator, stacks) are
//! the worker's own. Owns no fds.

use wasmtime::{Collector, Config};

/// The initial size of the heap for garbage-collected objects and exceptions, half of which is in
/// use at a time. A short request never collects in it. The kernel only provides the pages that are
/// written.
const GC_HEAP_BYTES: u64 = 512 * 1024;

/// Returns the settings for components of WASI 0.2, including commands, and for core modules. They
/// lack the component model's concurrency, which costs a third of an invocation.
#[must_use]
pub fn config_02() -> Config {
    let mut config = common();
    config.concurrency_support(false);
    config
}

/// Returns the settings for components of WASI 0.3, whose functions are async in the component
/// model.
#[must_use]
pub fn config_03() -> Config {
    let mut config = common();
    config.concurrency_support(true).wasm_component_model_async(true);
    config
}

/// Makes the settings those of code that runs on other machines of this architecture, too. Without
/// this the compiler uses whatever the processor has that it runs on.
///
/// On x86-64 that is the level v3 (AVX2, BMI2, FMA), which AWS, Google Cloud and Azure have
/// everywhere; on other architectures what every processor has.
///
/// # Errors
/// If the compiler does not know this architecture.
#[cfg(feature = "compile")]
pub fn make_portable(config: &mut Config) -> wasmtime::Result<()> {
    config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the flag only chooses the processor's features. A processor that lacks one of them
    // refuses the code when it is loaded.
    unsafe {
        config.cranelift_flag_enable("x86-64-v3");
    }
    Ok(())
}

fn common() -> Config {
    let mut config = Config::new();
    // At every epoch, guests that take long yield to others.
    config.epoch_interruption(true);
    config.wasm_component_model(true);
    // Registering unwind tables costs at every load, and only debuggers and profilers of the host
    // read them.
    config.native_unwind_info(false);
    // wasmtime's copying collector frees cycles, which a reused instance would gather, and its
    // objects have no counts to maintain: most instances end before they collect. Only a module
    // with such objects has a heap.
    config.collector(Collector::Copying).gc_heap_initial_size(GC_HEAP_BYTES);
    config
}
