//! AWS's own clients against a node's `--lambda-api`: boto3, the AWS CLI and cargo-lambda, which
//! scripts/test installs, with the node's credential and nothing of this machine's settings.

use std::fs;
use std::io::{PipeWriter, Write as _, pipe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::node::Node;
use crate::running::Running;
use crate::{native, wait};

/// How long a client may take, with the waits of its waiters and a machine that is busy.
const CLIENT: Duration = Duration::from_secs(120);

/// Clients of one node, and a folder that they run in.
#[derive(Debug)]
pub struct Aws {
    endpoint: String,
    secret: String,
    folder: TempDir,
}

impl Aws {
    /// Starts a node that serves the API, and returns it with its clients.
    #[must_use]
    pub fn with_node() -> (Node, Self) {
        let node = Node::build().option("--lambda-api", "127.0.0.1:0").start();
        let aws = Self::of(&node);
        (node, aws)
    }

    /// Returns clients of a node.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let endpoint = node.status().node.lambda_api.expect("it was started with --lambda-api");
        let token = fs::read_to_string(node.data().join("admin.token")).expect("it has a token");
        let folder = TempDir::new().expect("a temporary folder");
        Self { endpoint, secret: token.trim().to_owned(), folder }
    }

    /// Returns the path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a zip of a native guest in the folder, and returns its name.
    pub fn zip(&self, guest: &str) -> String {
        let name = format!("{guest}.zip");
        let entries = fs::read_dir(native::path(guest)).expect("the guest was built");
        let entries = entries.map(|entry| entry.expect("a readable folder").file_name());
        let mut command = Command::new("python3");
        command.args(["-m", "zipfile", "-c"]).arg(self.file(&name)).args(entries);
        Running::spawn(command.current_dir(native::path(guest))).finish(CLIENT).expect_code(0);
        name
    }

    /// Runs one of the functions of `tests/aws/checks.py`. Panics if that fails.
    #[track_caller]
    pub fn check(&self, name: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/checks.py");
        let guests = native::path("hello-lambda").join("..");
        let mut command = self.command("python3");
        command.arg(script).arg(name).arg(&self.endpoint).arg(guests);
        let done = Running::spawn(&mut command).finish(CLIENT).expect_code(0);
        assert!(done.stdout.ends_with("done\n"), "{done:#?}");
    }

    /// Starts the AWS CLI.
    #[must_use]
    pub fn cli(&self) -> Cli {
        let script = "../engine/lambda-api/tests/clients/cli.py";
        let mut command = self.command("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
        let (stdin, asks) = pipe().expect("an fd to spare");
        let running = Running::spawn_with(&mut command, stdin.into());
        Cli { running, asks, answers: 0 }
    }

    /// Runs `cargo lambda invoke` of the function `name`, and returns the answer. Panics if it
    /// fails.
    #[track_caller]
    pub fn cargo_lambda_invoke(&self, name: &str, event: &Value) -> Value {
        let mut command = self.command(installed().join("bin/cargo-lambda"));
        command.args(["lambda", "invoke", name, "--remote", "--output-format", "json"]).args([
            "--endpoint-url",
            &self.endpoint,
            "--data-ascii",
            &event.to_string(),
        ]);
        let done = Running::spawn(&mut command).finish(CLIENT).expect_code(0);
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:#?}"))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PYTHONPATH", installed())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AWS_ENDPOINT_URL_LAMBDA", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "sockhop")
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN");
        command
    }
}

/// The AWS CLI, which is loaded once and forked for each call: loading it takes far longer than
/// what it does.
#[derive(Debug)]
pub struct Cli {
    running: Running,
    asks: PipeWriter,
    /// The lines of its stdout that were read.
    answers: usize,
}

/// What became of a call of the CLI.
#[derive(Debug, Deserialize)]
pub struct Called {
    /// Its exit code.
    pub status: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Cli {
    /// Runs `aws lambda` with arguments that have no spaces in them, to its end.
    pub fn call(&mut self, arguments: &str) -> Called {
        let arguments = ["lambda", "--output=json"].into_iter().chain(arguments.split_whitespace());
        let line = serde_json::to_string(&arguments.collect::<Vec<_>>()).expect("text");
        writeln!(self.asks, "{line}").expect("it reads");
        let answer = wait::until(&format!("the AWS CLI answers {line}"), CLIENT, || {
            assert!(self.running.exited().is_none(), "the AWS CLI has ended");
            let stdout = self.running.stdout();
            let line = stdout.split_inclusive('\n').nth(self.answers)?;
            line.ends_with('\n').then(|| line.to_owned())
        });
        self.answers += 1;
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// Runs `aws lambda` as [`Self::call`] does, and returns what it answers, which is null if that
    /// is nothing. Panics if it fails.
    #[track_caller]
    pub fn run(&mut self, arguments: &str) -> Value {
        let called = self.call(arguments);
        assert_eq!(called.status, 0, "{arguments}: {called:#?}");
        serde_json::from_str(&called.stdout).unwrap_or_default()
    }

    /// Runs `aws lambda` as [`Self::call`] does, and returns its complaint. Panics if it succeeds.
    #[track_caller]
    pub fn fail(&mut self, arguments: &str) -> String {
        let called = self.call(arguments);
        assert_ne!(called.status, 0, "{arguments}: {called:#?}");
        called.stderr
    }
}

/// Returns the folder that scripts/test has installed the clients in.
fn installed() -> PathBuf {
    let named = std::env::var_os("SOCKHOP_TEST_AWS").map(PathBuf::from);
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        || cache().or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = named.or_else(|| Some(cache()?.join("sockhop/aws-cli"))).expect("a home folder");
    let there = folder.join("boto3").is_dir();
    assert!(there, "{} is not there: run scripts/test, which installs it", folder.display());
    folder
}
