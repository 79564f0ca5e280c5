//! A function's limits on memory, tables and core instances, as wasmtime asks for them. Pure; owns
//! no fds.

use abi::function::FunctionLimits;
use wasmtime::ResourceLimiter;

/// Holds an instance to its limits, and remembers which one it ran into, for the error.
pub(super) struct Limits {
    memory_bytes_max: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    /// Of all the instance's memories together.
    memory_bytes: usize,
    /// Of all the instance's tables together.
    table_elements: usize,
    refused: Option<Refused>,
}

/// What an instance was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    TableElements,
    /// What the node holds for it besides its memory.
    Held,
}

impl Limits {
    pub(super) fn new(limits: &FunctionLimits) -> Self {
        Self {
            memory_bytes_max: usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX),
            table_elements_max: usize::try_from(limits.table_elements_max).unwrap_or(usize::MAX),
            core_instances_max: usize::try_from(limits.core_instances_max).unwrap_or(usize::MAX),
            memory_bytes: 0,
            table_elements: 0,
            refused: None,
        }
    }

    /// Returns what the instance was last refused, if anything.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Records that the node holds too much for the instance. The guest cannot go on: unlike with
    /// the others, none of its calls has failed.
    pub(super) fn refuse_held(&mut self) {
        self.refused = Some(Refused::Held);
    }

    /// Forgets the refusal, for another invocation.
    pub(super) fn forget_refusal(&mut self) {
        self.refused = None;
    }

    /// Returns the bytes of the instance's linear memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Returns whether the instance is near its memory limit, and would run into it in one of the
    /// next invocations.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.memory_bytes > self.memory_bytes_max / 4 * 3
    }

    fn admit(&mut self, fits: bool, what: Refused) -> wasmtime::Result<bool> {
        if !fits {
            self.refused = Some(what);
        }
        Ok(fits)
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let together = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let fits = together <= self.memory_bytes_max;
        if fits {
            self.memory_bytes = together;
        }
        self.admit(fits, Refused::Memory)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let together = self.table_elements.saturating_add(desired.saturating_sub(current));
        let fits = together <= self.table_elements_max;
        if fits {
            self.table_elements = together;
        }
        self.admit(fits, Refused::TableElements)
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }

    fn tables(&self) -> usize {
        self.core_instances_max
    }

    fn memories(&self) -> usize {
        self.core_instances_max
    }
}
