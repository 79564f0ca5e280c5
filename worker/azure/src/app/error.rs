//! Why an app cannot be run. Owns no fds.

use std::io;

use crate::document::DocumentError;
use crate::route::RouteError;

/// Why an app cannot be run. Paths are relative to the app's folder.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence, and the fields stand in it")]
pub enum AppError {
    #[error("host.json is not there: an Azure app has it at the top of its folder or zip")]
    NoHostJson,
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("the app's folder cannot be listed: {source}")]
    Folder { source: io::Error },
    #[error(
        "host.json has no customHandler.description.defaultExecutablePath: only custom handlers can be run here; apps of the runtimes for Node.js, Python, .NET, Java and PowerShell need Azure's own workers"
    )]
    NoHandler,
    #[error(
        "host.json: {key} is {path:?}, which is no file of the app; put the file there, or name a program that is in PATH, without a folder"
    )]
    NoExecutable { key: String, path: String },
    #[error(
        "host.json: {key} is {path:?}, a program for Windows; build the handler for Linux and name that file"
    )]
    WindowsExecutable { key: String, path: String },
    #[error("host.json: {key} is {path:?}, which leads out of the app's folder")]
    Outside { key: String, path: String },
    #[error(
        "the folder {folder:?} has a function.json, and its name is no function's; expected a letter and up to 127 letters, digits, '_' or '-', and not \"host\""
    )]
    FunctionName { folder: String },
    #[error("the functions {one} and {other} differ in nothing but the case of their names")]
    FunctionTwice { one: String, other: String },
    #[error("the app has more than {max} functions; split it into several apps")]
    TooManyFunctions { max: usize },
    #[error("the app's folder has more than {max} entries; is it the right folder?")]
    TooManyEntries { max: usize },
    #[error(
        "the app has no function: neither a folder with function.json nor customHandler.http.routes in host.json"
    )]
    NoFunctions,
    #[error("no function of the app can be served: {reasons}")]
    NothingToServe { reasons: String },
    #[error(
        "both function.json files and customHandler.http.routes in host.json are there; Azure takes one of the two, so remove the other"
    )]
    TwoSources,
    #[error(
        "{file}: {key} is {level} (also if it is not there), so Azure would ask callers for a key, and this node has no function keys; write \"anonymous\", and let the handler check who calls"
    )]
    KeyNeeded { file: String, key: String, level: &'static str },
}
