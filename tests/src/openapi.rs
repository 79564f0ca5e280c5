//! Runs `openapi-spec-validator` of PyPI, a validator of OpenAPI documents. Owns the process.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Returns the folder that scripts/test has installed it in.
fn folder() -> PathBuf {
    let named = std::env::var_os("SOCKHOP_TEST_OPENAPI_VALIDATOR").map(PathBuf::from);
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        || cache().or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = || Some(cache()?.join("sockhop/openapi-spec-validator"));
    let folder = named.or_else(installed).expect("a home folder");
    let there = folder.join("openapi_spec_validator").is_dir();
    assert!(there, "{} is not there: run scripts/test, which installs it", folder.display());
    folder
}

/// Runs the validator on a document, and returns its output.
#[must_use]
pub fn validate(document: &[u8]) -> Output {
    let mut command = Command::new("python3");
    command.args(["-m", "openapi_spec_validator", "-"]).env("PYTHONPATH", folder());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python3 starts");
    child.stdin.take().expect("it is piped").write_all(document).expect("the validator reads");
    child.wait_with_output().expect("the validator ends")
}
