//! An app's folder, as Azure Functions has it: `host.json`, and a folder with `function.json` for
//! each function. Opens files and closes them before it returns; owns no fds.
//!
//! ```text
//! host.json                 how the handler is started, the routes' prefix, the time limit
//! items/function.json       the function `items`: its trigger, methods, route and output
//! handler                   the executable
//! ```

mod error;
mod functions;
mod host;

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

pub use self::error::AppError;
use crate::document::Document;
use crate::function::Function;
use crate::route::{Found, Router};

/// The most functions that one app can have.
pub const FUNCTIONS_MAX: usize = 1000;
/// The most entries of an app's folder that are looked at.
const ENTRIES_MAX: usize = 100_000;

const HOST_JSON: &str = "host.json";
const FUNCTION_JSON: &str = "function.json";

/// What to do with a function whose `authLevel` asks callers for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthLevels {
    /// Refuse the app. The node has no function keys, and whoever wrote `function` or `admin`
    /// relies on callers without a key being turned away.
    #[default]
    AnonymousOnly,
    /// Serve it to everybody, with a note. The deployer has said so.
    NotEnforced,
}

/// How an app is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// What to do with functions that ask callers for a key.
    pub auth_levels: AuthLevels,
    /// The function's environment variables, which are an app's settings. As in Azure,
    /// `AzureFunctionsJobHost__a__b` replaces the value of `a.b` in `host.json`, and
    /// `AzureWebJobs.NAME.Disabled` set to `true` or `1` disables the function `NAME`.
    pub variables: &'a [(String, String)],
}

/// Where the handler's program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executable {
    /// A file of the app; the path is relative to the app's folder.
    InApp(PathBuf),
    /// A file elsewhere, or a name that is looked up in `PATH`, such as `python3`.
    OnHost(PathBuf),
}

/// How long an invocation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionTimeout {
    /// `host.json` does not say. Azure's default is 5 minutes in the plan that bills by use.
    Unset,
    /// As long as it likes (`-1`).
    Unlimited,
    /// At most so long.
    Limited(Duration),
}

/// An app that can be run.
#[derive(Debug, Clone)]
pub struct App {
    /// The handler's program.
    pub executable: Executable,
    /// What stands behind the program on its command line, before variables are expanded;
    /// [`App::command`] makes arguments of it.
    pub(crate) command_line: Vec<String>,
    /// The handler's working directory; a relative path is relative to the app's folder, and an
    /// empty one is that folder.
    pub working_directory: PathBuf,
    /// The port that the handler listens on, if `host.json` fixes one. Otherwise the node chooses.
    pub port: Option<u16>,
    /// What all routes begin with, without slashes around it. Usually `api`; can be empty.
    pub route_prefix: String,
    /// How long an invocation may take.
    pub function_timeout: FunctionTimeout,
    /// The functions that can be called, sorted by name. There is at least one.
    pub functions: Vec<Function>,
    /// What the deployer should know, a sentence each: functions that are not served, authorization
    /// levels that are not enforced, routes that hide one another.
    pub notes: Vec<String>,
    router: Router,
}

impl App {
    /// Reads the app in the folder `root`.
    ///
    /// # Errors
    /// [`AppError`] names the file, and the key in it, that is wrong.
    pub fn read(root: &Path, options: ReadOptions<'_>) -> Result<Self, AppError> {
        let Some(mut host) = Document::read(root, HOST_JSON)? else {
            return Err(AppError::NoHostJson);
        };
        host::override_by(&mut host, options.variables);
        let handler = host::Handler::read(&host.root(), root)?;
        let mut notes = handler.notes.clone();
        let mut selection = functions::Selection::default();
        for (name, document) in function_files(root)? {
            selection.add(&name, &document.root(), &handler, options)?;
        }
        selection.add_routes(&host.root(), options)?;
        let functions = selection.finish(&mut notes)?;
        let (router, hidden) = Router::new(&handler.route_prefix, &functions)?;
        notes.extend(hidden);
        if root.join("local.settings.json").exists() {
            notes.push(
                "local.settings.json is not read, as Azure does not read it either: \
                 give its Values as environment variables or secrets"
                    .to_owned(),
            );
        }
        Ok(Self {
            executable: handler.executable,
            command_line: handler.command_line,
            working_directory: handler.working_directory,
            port: handler.port,
            route_prefix: handler.route_prefix,
            function_timeout: handler.function_timeout,
            functions,
            notes,
            router,
        })
    }

    /// Returns the function that a request with `method` for `path` is for. `path` is as in the
    /// request's target, percent-encoded and without the query.
    #[must_use]
    pub fn find(&self, method: &http::Method, path: &str) -> Found<'_> {
        self.router.find(&self.functions, method, path)
    }
}

/// Returns the functions' files in the folders of `root`, sorted by the folders' names.
fn function_files(root: &Path) -> Result<Vec<(String, Document)>, AppError> {
    let failed = |source| AppError::Folder { source };
    let mut files = Vec::new();
    for (number, entry) in fs::read_dir(root).map_err(failed)?.enumerate() {
        if number == ENTRIES_MAX {
            return Err(AppError::TooManyEntries { max: ENTRIES_MAX });
        }
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        let folder = entry.file_name();
        let Some(name) = folder.to_str() else {
            if entry.path().join(FUNCTION_JSON).exists() {
                let folder = folder.to_string_lossy().into_owned();
                return Err(AppError::FunctionName { folder });
            }
            continue;
        };
        if let Some(document) = Document::read(root, &format!("{name}/{FUNCTION_JSON}"))? {
            files.push((name.to_owned(), document));
        }
        if files.len() > FUNCTIONS_MAX {
            return Err(AppError::TooManyFunctions { max: FUNCTIONS_MAX });
        }
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}

/// Returns whether a relative `path` stays below the folder that it is relative to.
fn stays_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
