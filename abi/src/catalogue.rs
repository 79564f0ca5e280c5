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
    /// Linear memory of one instance.
    pub memory_bytes_max: u64,
    /// Wall time of one invocation.
    pub timeout_ms: u32,
    /// Requests that one instance serves, one after another: 1 is a fresh instance for each.
    pub requests_per_instance_max: u32,
    /// Environment variables, in the order given.
    pub env: Vec<(String, String)>,
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
        let bytes: usize = function.env.iter().map(|pair| pair.0.len() + pair.1.len()).sum();
        let fits = function.memory_bytes_max <= limits::MEMORY_BYTES_MAX
            && u128::from(function.timeout_ms.to_native()) <= limits::TIMEOUT_MAX.as_millis()
            && (1..=limits::REQUESTS_PER_INSTANCE_MAX).contains(&function.requests_per_instance_max.to_native())
            && function.env.len() <= limits::ENV_VARIABLES_MAX
            && bytes <= limits::ENV_BYTES_MAX;
        if !fits {
            return Err(CatalogueError::Rule(format!("the function {:?} passes a limit", function.name.as_str())));
        }
    }
    Ok(())
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
            memory_bytes_max: limits::MEMORY_BYTES_DEFAULT,
            timeout_ms: 1000,
            requests_per_instance_max: 1,
            env: vec![("K".to_owned(), "V".to_owned())],
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
        for broken in [
            vec![function("a"), function("a")],
            vec![function("../a")],
            vec![Function { memory_bytes_max: u64::MAX, ..function("a") }],
            vec![Function { timeout_ms: u32::MAX, ..function("a") }],
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
