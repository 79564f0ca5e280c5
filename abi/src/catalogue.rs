//! The catalogue: every function of the node, as one archive that shards and workers read in place.
//!
//! The engine builds a new one at each change, under the next generation, and passes it as a sealed memfd. It is
//! validated once when mapped; a look-up is then a binary search over archived names, without parsing or locks.
//! A [`CatalogueView`] owns its mapping and no fd.

use std::os::fd::{AsFd, OwnedFd};

use rkyv::{Archive, Deserialize, Serialize};

use crate::envelope::{self, EnvelopeError};
use crate::limits;
use crate::message::Digest;
use crate::name;
use crate::sealed::{self, Mapping, SealedError};

const WHAT: &str = "catalogue";

/// Whose process runs a function.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Isolation {
    /// Any worker of the node, beside other functions.
    Shared,
    /// A worker of its own.
    Process,
}

/// What a function's code is, and so how it is called.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Kind {
    /// A component that exports `wasi:http/incoming-handler@0.2`.
    Http02,
    /// A component that exports `wasi:http/handler@0.3`.
    Http03,
    /// A component that exports `wasi:cli/run@0.2`, or was made of a core module with a preview-1 `_start`.
    Command,
}

/// How a command's stdout becomes a reply.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Output {
    /// All of it is the body.
    Raw,
    /// It begins with headers (RFC 3875 6).
    Cgi,
}

/// What one function may use. Everything here is enforced by the worker.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct FunctionLimits {
    /// Linear memory of one instance, all its memories together.
    pub memory_bytes_max: u64,
    /// Elements of one instance's tables together.
    pub table_elements_max: u32,
    /// Core instances in one instance: the program, its adapters and shims.
    pub core_instances_max: u32,
    /// Wall time of one invocation.
    pub timeout_ms: u32,
    /// Processor time of one invocation.
    pub cpu_time_ms: u32,
    /// A request's body; a longer one is answered 413.
    pub request_body_bytes_max: u64,
    /// Status line and headers of a reply.
    pub reply_head_bytes_max: u32,
    /// What one invocation may write to stdout and stderr.
    pub log_bytes_max: u32,
    /// Invocations at a time, on all workers together.
    pub concurrency_max: u32,
    /// Requests that may wait for one of them to end, on all workers together.
    pub queue_max: u32,
    /// How long each may wait.
    pub queue_timeout_ms: u32,
}

impl Default for FunctionLimits {
    fn default() -> Self {
        let millis = |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        Self {
            memory_bytes_max: limits::MEMORY_BYTES_DEFAULT,
            table_elements_max: limits::TABLE_ELEMENTS_DEFAULT,
            core_instances_max: limits::CORE_INSTANCES_DEFAULT,
            timeout_ms: millis(limits::TIMEOUT_DEFAULT),
            cpu_time_ms: millis(limits::TIMEOUT_DEFAULT),
            request_body_bytes_max: limits::REQUEST_BODY_BYTES_DEFAULT,
            reply_head_bytes_max: limits::REPLY_HEAD_BYTES_DEFAULT,
            log_bytes_max: limits::LOG_BYTES_DEFAULT,
            concurrency_max: limits::CONCURRENCY_DEFAULT,
            queue_max: limits::QUEUE_DEFAULT,
            queue_timeout_ms: millis(limits::QUEUE_TIMEOUT_DEFAULT),
        }
    }
}

impl From<&ArchivedFunctionLimits> for FunctionLimits {
    fn from(archived: &ArchivedFunctionLimits) -> Self {
        Self {
            memory_bytes_max: archived.memory_bytes_max.to_native(),
            table_elements_max: archived.table_elements_max.to_native(),
            core_instances_max: archived.core_instances_max.to_native(),
            timeout_ms: archived.timeout_ms.to_native(),
            cpu_time_ms: archived.cpu_time_ms.to_native(),
            request_body_bytes_max: archived.request_body_bytes_max.to_native(),
            reply_head_bytes_max: archived.reply_head_bytes_max.to_native(),
            log_bytes_max: archived.log_bytes_max.to_native(),
            concurrency_max: archived.concurrency_max.to_native(),
            queue_max: archived.queue_max.to_native(),
            queue_timeout_ms: archived.queue_timeout_ms.to_native(),
        }
    }
}

/// One function as shards and workers need it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// One DNS label.
    pub name: String,
    /// The active version's id.
    pub version: String,
    /// Key of its compiled module.
    pub module: Digest,
    /// Where it runs.
    pub isolation: Isolation,
    /// What its code is.
    pub kind: Kind,
    /// Its place among the board's counters; no other function has it.
    pub slot: u32,
    /// Which of those that have had the slot it is: what they count is told apart by it. Greater than those before, never 0.
    pub slot_life: u32,
    /// What it may use.
    pub limits: FunctionLimits,
    /// Requests that one instance serves, one after another: 1 is a fresh instance for each.
    pub requests_per_instance_max: u32,
    /// Environment variables, in the order given.
    pub env: Vec<(String, String)>,
    /// What `wasi:config/store` tells it, in the order given.
    pub config: Vec<(String, String)>,
    /// A command's arguments, without its own name.
    pub args: Vec<String>,
    /// What a command's stdout is.
    pub output: Output,
    /// Where its outgoing requests may go, as [`crate::outbound`] reads it.
    pub allow_outbound: Vec<String>,
    /// Names what its secrets are ([`crate::secrets`]) and tells nothing of them; 0 when there are none.
    pub secrets: u64,
}

/// The whole catalogue.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Grows by one at each change.
    pub generation: u64,
    /// Sorted by name; names are unique.
    pub functions: Vec<Function>,
}

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The memory is not what it should be.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The archive is not what it should be.
    #[error("the catalogue is unreadable: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Its contents break a rule that look-ups rely on.
    #[error("the catalogue breaks a rule: {0}")]
    Rule(String),
}

impl Catalogue {
    /// Archives the catalogue into sealed memory, sorted. The caller owns the fd.
    ///
    /// # Errors
    /// [`CatalogueError`] when a limit is passed, two functions share a name, or memory runs out.
    pub fn seal(mut self) -> Result<OwnedFd, CatalogueError> {
        self.functions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(sealed::create(WHAT, &envelope::pack(&self)?)?)
    }
}

/// A mapped, validated catalogue.
#[derive(Debug)]
pub struct CatalogueView {
    mapping: Mapping,
}

impl CatalogueView {
    /// Maps and validates the catalogue behind `fd`.
    ///
    /// # Errors
    /// [`CatalogueError`] when it is not sealed, not an archive of this build, or breaks a rule.
    pub fn new(fd: impl AsFd) -> Result<Self, CatalogueError> {
        let mapping = Mapping::new(WHAT, fd, limits::CATALOGUE_BYTES_MAX)?;
        let catalogue = envelope::open::<ArchivedCatalogue>(mapping.bytes())?;
        check(catalogue)?;
        Ok(Self { mapping })
    }

    /// The archive, in place.
    #[must_use]
    pub fn get(&self) -> &ArchivedCatalogue {
        let archive = &self.mapping.bytes()[envelope::HEADER_BYTES..];
        // SAFETY: `new` validated exactly these bytes as an `ArchivedCatalogue`, and the memory is sealed: they have
        // not changed since.
        unsafe { rkyv::access_unchecked::<ArchivedCatalogue>(archive) }
    }

    /// The catalogue's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.get().generation.to_native()
    }

    /// The position of the function called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.get().functions.binary_search_by(|function| function.name.as_str().cmp(name)).ok()
    }

    /// The function at `index`, as [`Self::find`] gave it for this same catalogue.
    #[must_use]
    pub fn function(&self, index: usize) -> Option<&ArchivedFunction> {
        self.get().functions.get(index)
    }
}

fn check(catalogue: &ArchivedCatalogue) -> Result<(), CatalogueError> {
    let functions = &catalogue.functions;
    if functions.len() > limits::FUNCTIONS_MAX {
        return Err(CatalogueError::Rule(format!("{} functions, at most {}", functions.len(), limits::FUNCTIONS_MAX)));
    }
    for pair in functions.windows(2) {
        if pair[0].name.as_str() >= pair[1].name.as_str() {
            return Err(CatalogueError::Rule(format!(
                "the functions {:?} and {:?} are out of order or share a name",
                pair[0].name.as_str(),
                pair[1].name.as_str()
            )));
        }
    }
    for function in functions.iter() {
        name::check(&function.name).map_err(|error| CatalogueError::Rule(error.to_string()))?;
        if !fits(function) {
            return Err(CatalogueError::Rule(format!("the function {:?} passes a limit", function.name.as_str())));
        }
    }
    Ok(())
}

fn fits(function: &ArchivedFunction) -> bool {
    let ArchivedFunctionLimits { memory_bytes_max, timeout_ms, cpu_time_ms, queue_timeout_ms, .. } = &function.limits;
    let pairs = |pairs: &ArchivedPairs| {
        let bytes: usize = pairs.iter().map(pair_bytes).sum();
        pairs.len() <= limits::ENV_VARIABLES_MAX && bytes <= limits::ENV_BYTES_MAX
    };
    let args_bytes: usize = function.args.iter().map(|arg| arg.len()).sum();
    memory_bytes_max.to_native() <= limits::MEMORY_BYTES_MAX
        && [timeout_ms, cpu_time_ms, queue_timeout_ms]
            .iter()
            .all(|millis| u128::from(millis.to_native()) <= limits::TIMEOUT_MAX.as_millis())
        && (1..=limits::REQUESTS_PER_INSTANCE_MAX).contains(&function.requests_per_instance_max.to_native())
        && usize::try_from(function.slot.to_native()).is_ok_and(|slot| slot < limits::FUNCTIONS_MAX)
        && function.slot_life != 0
        && pairs(&function.env)
        && pairs(&function.config)
        && function.args.len() <= limits::ARGS_MAX
        && args_bytes <= limits::ENV_BYTES_MAX
        && function.allow_outbound.len() <= limits::OUTBOUND_PATTERNS_MAX
}

/// Names and values, archived.
pub type ArchivedPairs = rkyv::vec::ArchivedVec<ArchivedPair>;
/// A name and a value, archived.
pub type ArchivedPair = rkyv::tuple::ArchivedTuple2<rkyv::string::ArchivedString, rkyv::string::ArchivedString>;

fn pair_bytes(pair: &ArchivedPair) -> usize {
    pair.0.len() + pair.1.len()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn function(name: &str) -> Function {
        Function {
            name: name.to_owned(),
            version: "v".to_owned(),
            module: [7; 32],
            isolation: Isolation::Shared,
            kind: Kind::Http02,
            slot: 0,
            slot_life: 1,
            limits: FunctionLimits::default(),
            requests_per_instance_max: 1,
            env: vec![("K".to_owned(), "V".to_owned())],
            config: Vec::new(),
            args: Vec::new(),
            output: Output::Raw,
            allow_outbound: Vec::new(),
            secrets: 0,
        }
    }

    pub(crate) fn view(names: &[&str]) -> CatalogueView {
        let functions = names.iter().map(|name| function(name)).collect();
        let fd = Catalogue { generation: 3, functions }.seal().unwrap();
        CatalogueView::new(fd).unwrap()
    }

    #[test]
    fn functions_are_found_by_name_whatever_the_order() {
        let view = view(&["b", "a", "hello", "c"]);
        assert_eq!(view.generation(), 3);
        for name in ["a", "b", "c", "hello"] {
            let found = view.function(view.find(name).unwrap()).unwrap();
            assert_eq!(found.name, name);
        }
        assert_eq!(view.find("nope"), None);
        assert!(view.function(99).is_none());
    }

    #[test]
    fn rules_are_checked_when_mapped() {
        let sealed = |functions| Catalogue { generation: 1, functions }.seal().unwrap();
        let limited = |limits| Function { limits, ..function("a") };
        for broken in [
            vec![function("a"), function("a")],
            vec![function("../a")],
            vec![limited(FunctionLimits { memory_bytes_max: u64::MAX, ..FunctionLimits::default() })],
            vec![limited(FunctionLimits { timeout_ms: u32::MAX, ..FunctionLimits::default() })],
            vec![Function { slot: u32::MAX, ..function("a") }],
            vec![Function { slot_life: 0, ..function("a") }],
            vec![Function { requests_per_instance_max: 0, ..function("a") }],
            vec![Function { env: vec![(String::new(), "x".repeat(1 << 20))], ..function("a") }],
        ] {
            assert!(matches!(CatalogueView::new(sealed(broken)), Err(CatalogueError::Rule(_))));
        }
        assert!(CatalogueView::new(sealed(Vec::new())).is_ok());
    }

    proptest! {
        /// A damaged catalogue is refused or still obeys every rule; mapping it never panics.
        #[test]
        fn any_flipped_byte_is_survived(at in 0usize..4096, to: u8) {
            let whole = envelope::pack(&Catalogue { generation: 1, functions: vec![function("a"), function("b")] }).unwrap();
            let mut bytes = whole.to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(view) = CatalogueView::new(sealed::create(WHAT, &bytes).unwrap()) {
                prop_assert!(view.find("zz").is_none());
            }
        }
    }
}
