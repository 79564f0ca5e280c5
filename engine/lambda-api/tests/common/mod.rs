//! What the tests share: the folder of AWS's tools, and running Python with them.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The variable that names the folder.
const VARIABLE: &str = "SOCKHOP_TEST_AWS";

/// Returns the folder in which pip has installed boto3, awscli and cargo-lambda.
pub fn aws_tools() -> PathBuf {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let folder = named.filter(|folder| folder.join("boto3").is_dir());
    folder.unwrap_or_else(|| {
        panic!(
            "{VARIABLE} must name a folder in which pip has installed boto3, awscli and \
             cargo-lambda; `need_aws_cli` in scripts/lib.sh installs them and exports it, and \
             scripts/test calls that"
        )
    })
}

/// Returns a command that runs Python with them, and with nothing of this machine's settings.
pub fn python() -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", aws_tools())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("AWS_PROFILE")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Returns what a command printed.
pub fn printed(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{}\n{stdout}{stderr}", output.status)
}
