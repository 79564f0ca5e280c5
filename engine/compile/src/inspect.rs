//! What kind of function a deployed file is, by its imports and exports. A file that cannot run
//! here is refused, with the name of what it lacks.
//!
//! Reads the outermost level only, and compiles nothing. Pure; owns no fds.

use abi::function::{FileKind, Kind};
use abi::preview1;
use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

use host::fault::Fault;
use package::{ArchiveError, FileType, sniff};

use super::interfaces::{has, is_of};

const EXPECTED: &str = "wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 or wasi:cli/run@0.2";
/// How much of a file's names a message quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// Why a file cannot be deployed. Every message says what was expected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(
        "the file is empty; expected a WebAssembly component, or a core module that is a command"
    )]
    Empty,
    #[error(
        "the file is not WebAssembly (it begins with {begins:?}); expected a component, for example from `cargo build --target wasm32-wasip2`"
    )]
    NotWasm { begins: String },
    #[error(
        "the file is {found}, a native program; say what it is written for: --kind lambda (a `bootstrap` of AWS Lambda), \
         --kind server (an HTTP server that listens on $PORT) or --kind azure (a custom handler of Azure Functions); \
         a zip of files to be served is of --kind static"
    )]
    Native { found: &'static str },
    #[error(
        "a static site is a folder or a zip of one, and the file is neither; deploy the folder, or `zip -r site.zip .` in it"
    )]
    NoSite,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the component or module is damaged or cut off: {0}")]
    Damaged(String),
    #[error("the component exports {exports}; expected an export of {EXPECTED}")]
    OtherWorld { exports: String },
    #[error("the component exports {export}; expected {EXPECTED}")]
    OtherVersion { export: String },
    #[error("the kind {} was asked for, but the file is of kind {found}; leave --kind out, or deploy another file", wanted.name())]
    OtherKind { wanted: FileKind, found: &'static str },
    #[error(
        "the component imports {import:?}, which this node does not have for it; it has the interfaces of WASI 0.2 and wasi:http 0.2, wasi:config/store@0.2.0-rc.1, wasi:keyvalue@0.2.0-draft and -draft2, fermyon:spin/key-value@2.0.0, and for components that export wasi:http/handler@0.3 those of 0.3"
    )]
    Import { import: String },
    #[error(
        "the core module imports {import:?}; a core module may import only the functions of {} (WASI preview 1); with other imports, build it as a component",
        preview1::MODULE
    )]
    CoreImport { import: String },
    #[error(
        "the core module imports {import:?} with the type {found:?}; in WASI preview 1 it has the type {expected:?} (i is i32, I is i64)"
    )]
    CoreImportType { import: String, found: String, expected: &'static str },
    #[error(
        "the core module exports no function _start: it is a library or reactor, not a command; build it as a program with a main function, or as a component that handles requests"
    )]
    NoStart,
    #[error(
        "the core module's function _start has the type {found:?}; expected one without parameters and results"
    )]
    StartType { found: String },
    #[error("the core module exports no memory under the name \"memory\"; WASI preview 1 needs it")]
    NoMemory,
    #[error(
        "the file has a shared memory (threads), which this node does not run; build it without threads"
    )]
    Threads,
}

impl InspectError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Archive(error) => error.fault(),
            Self::Empty
            | Self::NotWasm { .. }
            | Self::Native { .. }
            | Self::NoSite
            | Self::Damaged(_)
            | Self::OtherWorld { .. }
            | Self::OtherVersion { .. }
            | Self::OtherKind { .. }
            | Self::Import { .. }
            | Self::CoreImport { .. }
            | Self::CoreImportType { .. }
            | Self::NoStart
            | Self::StartType { .. }
            | Self::NoMemory
            | Self::Threads => Fault::UNFIT,
        }
    }
}

/// Returns which kind of function `bytes` are. Of a native one or a static site only the first bytes
/// are looked at: the rest is checked where it is unpacked. A file that exports both a handler and `run` is
/// http, unless a command is `wanted`.
///
/// # Errors
/// [`InspectError`] when this node does not run them, or they are not of the kind that is `wanted`.
pub fn inspect(bytes: &[u8], wanted: Option<FileKind>) -> Result<Kind, InspectError> {
    if bytes.is_empty() {
        return Err(InspectError::Empty);
    }
    let found = sniff(bytes);
    match wanted.map(|wanted| (wanted, wanted.told())) {
        Some((_, Some(Kind::Static))) if found != FileType::Zip => {
            return Err(InspectError::NoSite);
        }
        Some((wanted, Some(_))) if found == FileType::Wasm => {
            return Err(InspectError::OtherKind { wanted, found: "WebAssembly" });
        }
        Some((_, Some(kind))) => return Ok(kind),
        _ => {}
    }
    if let Some(found) = native_name(found) {
        return Err(InspectError::Native { found });
    }
    if found != FileType::Wasm {
        let begins = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        return Err(InspectError::NotWasm { begins });
    }
    let outside = outside(bytes).map_err(|error| InspectError::Damaged(error.to_string()))?;
    if outside.shared_memory {
        return Err(InspectError::Threads);
    }
    if is_core(bytes) { core_module(&outside, wanted) } else { component(&outside, wanted) }
}

/// Returns what a file that may be a native program is called. Returns `None` of any other.
fn native_name(found: FileType) -> Option<&'static str> {
    match found {
        FileType::Elf => Some("an ELF executable"),
        FileType::Script => Some("a script"),
        FileType::Zip => Some("a zip archive"),
        FileType::Wasm | FileType::Other => None,
    }
}

/// Returns whether `bytes`, which are WebAssembly, are a core module and not a component.
pub(super) fn is_core(bytes: &[u8]) -> bool {
    Parser::is_core_wasm(bytes)
}

/// The imports and exports of a file.
#[derive(Default)]
struct Outside {
    imports: Vec<String>,
    exports: Vec<String>,
    core_imports: Vec<CoreImport>,
    /// The type of a core module's exported function `_start`.
    start: Option<String>,
    /// Whether a core module exports its memory as `memory`.
    has_memory: bool,
    /// Whether a memory is shared, in the file or in a module within it.
    shared_memory: bool,
}

/// An import of a core module.
struct CoreImport {
    module: String,
    name: String,
    /// The type, if it is a function.
    function: Option<String>,
}

/// The types of a core module, and the type of each function, imported ones first.
#[derive(Default)]
struct CoreTypes {
    types: Vec<Option<FuncType>>,
    functions: Vec<u32>,
}

impl CoreTypes {
    /// Returns a function type, written as in [`preview1::FUNCTIONS`].
    fn describe(&self, index: u32) -> String {
        let function = usize::try_from(index)
            .ok()
            .and_then(|index| self.types.get(index))
            .and_then(Option::as_ref);
        let letters = |types: &[ValType]| -> String {
            let letter = |value: &ValType| match value {
                ValType::I32 => 'i',
                ValType::I64 => 'I',
                _ => '?',
            };
            types.iter().map(letter).collect()
        };
        function.map_or_else(
            || "?".to_owned(),
            |of| format!("{}>{}", letters(of.params()), letters(of.results())),
        )
    }

    fn describe_function(&self, index: u32) -> String {
        let of = usize::try_from(index).ok().and_then(|index| self.functions.get(index));
        of.map_or_else(|| "?".to_owned(), |index| self.describe(*index))
    }
}

fn outside(bytes: &[u8]) -> wasmparser::Result<Outside> {
    let (mut outside, mut depth, mut core) = (Outside::default(), 0_u32, CoreTypes::default());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    outside.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    outside.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::TypeSection(section) if depth == 0 => {
                for group in section {
                    core.types.extend(group?.into_types().map(
                        |of| match of.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(function),
                            _ => None,
                        },
                    ));
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    let import = import?;
                    let (module, name) = (import.module.to_owned(), import.name.to_owned());
                    let function = match import.ty {
                        TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                            core.functions.push(index);
                            Some(core.describe(index))
                        }
                        _ => None,
                    };
                    outside.core_imports.push(CoreImport { module, name, function });
                }
            }
            Payload::FunctionSection(section) if depth == 0 => {
                for index in section {
                    core.functions.push(index?);
                }
            }
            Payload::ExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export?;
                    match (export.name, export.kind) {
                        ("_start", ExternalKind::Func | ExternalKind::FuncExact) => {
                            outside.start = Some(core.describe_function(export.index));
                        }
                        ("memory", ExternalKind::Memory) => outside.has_memory = true,
                        _ => {}
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    outside.shared_memory |= memory?.shared;
                }
            }
            _ => {}
        }
    }
    Ok(outside)
}

fn core_module(outside: &Outside, wanted: Option<FileKind>) -> Result<Kind, InspectError> {
    outside.core_imports.iter().try_for_each(core_import)?;
    match (&outside.start, wanted) {
        (None, _) => Err(InspectError::NoStart),
        (Some(found), _) if found != ">" => Err(InspectError::StartType { found: quoted(found) }),
        _ if !outside.has_memory => Err(InspectError::NoMemory),
        (_, Some(wanted @ FileKind::Http)) => {
            Err(InspectError::OtherKind { wanted, found: "command" })
        }
        _ => Ok(Kind::Command),
    }
}

fn core_import(CoreImport { module, name, function }: &CoreImport) -> Result<(), InspectError> {
    let known =
        preview1::FUNCTIONS.iter().find(|(known, _)| module == preview1::MODULE && known == name);
    let import = || quoted(&format!("{module}.{name}"));
    match (known, function) {
        (Some((_, expected)), Some(found)) if expected == found => Ok(()),
        (Some((_, expected)), Some(found)) => {
            Err(InspectError::CoreImportType { import: import(), found: quoted(found), expected })
        }
        _ => Err(InspectError::CoreImport { import: import() }),
    }
}

fn component(outside: &Outside, wanted: Option<FileKind>) -> Result<Kind, InspectError> {
    let entries = outside.exports.iter().filter_map(|export| Some((export, entry(export)?)));
    let (mut http, mut command, mut other) = (None, None, None);
    for (export, entry) in entries {
        match entry {
            // A file with a handler of 0.3 compiles only with the settings for 0.3.
            Some(Kind::Http03) => http = Some(Kind::Http03),
            Some(Kind::Http02) => http = http.or(Some(Kind::Http02)),
            Some(Kind::Command) => command = Some(Kind::Command),
            // No export makes a component a native program or a site.
            None | Some(Kind::Lambda | Kind::Server | Kind::Azure | Kind::Static) => {
                other = Some(export);
            }
        }
    }
    let kind = match (wanted, http, command) {
        (None | Some(FileKind::Http), Some(kind), _)
        | (None | Some(FileKind::Command), _, Some(kind)) => kind,
        (Some(wanted), Some(found), _) | (Some(wanted), _, Some(found)) => {
            return Err(InspectError::OtherKind { wanted, found: found.name() });
        }
        (_, None, None) => {
            return Err(match other {
                Some(export) => InspectError::OtherVersion { export: quoted(export) },
                None if outside.exports.is_empty() => {
                    InspectError::OtherWorld { exports: "nothing".to_owned() }
                }
                None => InspectError::OtherWorld { exports: quoted(&outside.exports.join(", ")) },
            });
        }
    };
    match outside.imports.iter().find(|import| !has(kind, import)) {
        Some(import) => Err(InspectError::Import { import: quoted(import) }),
        None => Ok(kind),
    }
}

/// Returns the kind of an export that is an entry point, or `Some(None)` if its version does not
/// run here. Returns `None` for any other export.
fn entry(export: &str) -> Option<Option<Kind>> {
    let (interface, version) = export.split_once('@')?;
    match interface {
        "wasi:http/incoming-handler" => Some(is_of("0.2.", version).then_some(Kind::Http02)),
        "wasi:http/handler" => Some(is_of("0.3.", version).then_some(Kind::Http03)),
        "wasi:cli/run" => Some(is_of("0.2.", version).then_some(Kind::Command)),
        _ => None,
    }
}

/// Shortens a name of a file, which may be as long as the file.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
