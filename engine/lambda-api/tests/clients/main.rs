//! The clients that people have, as they are, against the API: boto3, the AWS CLI and cargo-lambda
//! call a router over a real port. What the node does is a fake's part.
#![expect(clippy::unwrap_used, reason = "a test that cannot start its server or client fails")]

#[path = "../common/mod.rs"]
mod common;
mod fake;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use sockhop_lambda_api::sigv4::Credential;
use sockhop_lambda_api::{Settings, router};

/// A token as nodes have them.
const SECRET: &str = "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592";
/// What the servers of these tests take of code, so that a test can send more.
const ZIP_BYTES_MAX: usize = 1024 * 1024;

/// Serves the API on a free port until the process ends.
fn serve(clock: fn() -> SystemTime) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        clock,
        zip_bytes_max: ZIP_BYTES_MAX,
        ..Settings::new(Credential::new("sockhop", SECRET))
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router(fake::Fake::default(), settings)).await.unwrap();
        });
    });
    address
}

/// Gives a client the node's credential.
fn with_credential(command: &mut Command) -> &mut Command {
    command
        .env("AWS_ACCESS_KEY_ID", "sockhop")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env_remove("AWS_SESSION_TOKEN")
}

/// Runs one of the functions of `boto3_checks.py` against a server of its own.
fn check_with_boto3(check: &str) {
    check_with_boto3_at(check, SystemTime::now);
}

fn check_with_boto3_at(check: &str, clock: fn() -> SystemTime) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/boto3_checks.py");
    let mut command = common::python();
    command.arg(script).arg(check).arg(format!("http://{}", serve(clock)));
    let output = with_credential(&mut command).output().unwrap();
    assert!(output.status.success(), "{}", common::printed(&output));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("done\n"));
}

#[test]
fn a_function_is_created_changed_published_and_deleted() {
    check_with_boto3("functions");
}

#[test]
fn waiters_wait_until_a_change_is_made() {
    check_with_boto3("waiters");
}

#[test]
fn lists_come_in_pages() {
    check_with_boto3("pages");
}

#[test]
fn aliases_name_versions_and_share_requests() {
    check_with_boto3("aliases");
}

#[test]
fn a_function_is_invoked_by_each_of_its_names() {
    check_with_boto3("invoke");
}

#[test]
fn an_answer_is_streamed() {
    check_with_boto3("invoke_streaming");
}

#[test]
fn a_payload_has_its_limit() {
    check_with_boto3("payload_limits");
}

#[test]
fn concurrency_urls_tags_and_the_account_are_answered() {
    check_with_boto3("around_functions");
}

#[test]
fn each_error_has_its_exception() {
    check_with_boto3("errors");
}

#[test]
fn what_the_node_has_not_is_refused_by_name() {
    check_with_boto3("unsupported");
}

#[test]
fn a_wrong_signature_is_refused() {
    check_with_boto3("signatures");
}

#[test]
fn a_clock_that_is_off_is_told_so() {
    check_with_boto3_at("clock_behind", || SystemTime::now() + Duration::from_secs(16 * 60));
    check_with_boto3_at("clock_ahead", || SystemTime::now() - Duration::from_secs(16 * 60));
}

#[test]
fn a_request_without_a_signature_is_refused() {
    check_with_boto3("unsigned");
}

/// The AWS CLI against one server.
struct Cli {
    address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
    /// What `cli.py` answers.
    answers: Lines<BufReader<ChildStdout>>,
}

/// What became of a call of the CLI.
#[derive(Debug, serde::Deserialize)]
struct Called {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Cli {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/cli.py");
        let mut command = common::python();
        command.arg(script).current_dir(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = with_credential(&mut command).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { address: serve(SystemTime::now), folder, process, answers }
    }

    fn call(&mut self, arguments: &str) -> Called {
        let endpoint = format!("--endpoint-url=http://{}", self.address);
        let arguments: Vec<&str> = ["lambda", &endpoint, "--output=json"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        let mut stdin = self.process.stdin.as_ref().unwrap();
        writeln!(stdin, "{}", serde_json::to_string(&arguments).unwrap()).unwrap();
        serde_json::from_str(&self.answers.next().unwrap().unwrap()).unwrap()
    }

    /// Returns what a call answers that must succeed. Null if that is nothing.
    fn run(&mut self, arguments: &str) -> serde_json::Value {
        let called = self.call(arguments);
        assert_eq!(called.status, 0, "{arguments}: {called:?}");
        serde_json::from_str(&called.stdout).unwrap_or_default()
    }

    /// Returns the error of a call that must fail.
    fn fail(&mut self, arguments: &str) -> String {
        let called = self.call(arguments);
        assert_ne!(called.status, 0, "{arguments}: {called:?}");
        called.stderr
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// An archive of no files, with a comment: the CLI looks whether it sends one.
fn zip(comment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(comment.len()).unwrap().to_le_bytes();
    [&b"PK\x05\x06"[..], &[0; 16], &length, comment].concat()
}

const CREATE: &str = "create-function --function-name hello --runtime provided.al2023 \
    --handler bootstrap --role arn:aws:iam::000000000000:role/any --zip-file fileb://one.zip \
    --timeout 5 --memory-size 256 --environment Variables={NAME=value}";

#[test]
fn the_aws_cli_deploys_and_updates() {
    let mut cli = Cli::new();
    cli.write("one.zip", &zip(b""));
    cli.write("two.zip", &zip(b"two"));
    let created = cli.run(CREATE);
    assert_eq!(created["State"], "Pending");
    assert_eq!(created["Timeout"], 5);
    assert_eq!(created["MemorySize"], 256);
    assert_eq!(created["Environment"]["Variables"]["NAME"], "value");
    cli.run("wait function-active-v2 --function-name hello");
    let updated = cli.run("update-function-code --function-name hello --zip-file fileb://two.zip");
    assert_ne!(updated["CodeSha256"], created["CodeSha256"]);
    assert_eq!(updated["LastUpdateStatus"], "InProgress");
    cli.run("get-function-configuration --function-name hello");
    cli.run("wait function-updated --function-name hello");
}

#[test]
fn the_aws_cli_invokes() {
    let mut cli = Cli::new();
    cli.write("one.zip", &zip(b""));
    cli.run(CREATE);
    let invoke = "invoke --function-name hello --log-type Tail answer.json --payload";
    let invoked = cli.run(&format!("{invoke} {{\"a\":1}}"));
    assert_eq!(invoked["StatusCode"], 200);
    assert_eq!(invoked["ExecutedVersion"], "$LATEST");
    assert_eq!(invoked["LogResult"], "bGxsbGxsbGxsbA==");
    let answer: serde_json::Value = serde_json::from_str(&cli.read("answer.json")).unwrap();
    assert_eq!(answer["event"]["a"], 1);
    let failed = cli.run(&format!("{invoke} {{\"fail\":1}}"));
    assert_eq!(failed["FunctionError"], "Unhandled");
    assert_eq!(cli.read("answer.json"), r#"{"errorMessage":"as asked","errorType":"Asked"}"#);
    let refused = cli.fail("invoke --function-name hello --invocation-type Event answer.json");
    assert!(refused.contains("(UnsupportedOperationException)"), "{refused}");
    assert!(refused.contains("asynchronous"), "{refused}");
}

#[test]
fn the_aws_cli_publishes_lists_and_deletes() {
    let mut cli = Cli::new();
    cli.write("one.zip", &zip(b""));
    cli.run(CREATE);
    let published = cli.run("publish-version --function-name hello --description first");
    assert_eq!(published["Version"], "1");
    let alias = cli.run("create-alias --function-name hello --name prod --function-version 1");
    assert_eq!(alias["AliasArn"], "arn:aws:lambda:us-east-1:000000000000:function:hello:prod");
    let invoked = cli.run("invoke --function-name hello --qualifier prod answer.json");
    assert_eq!(invoked["ExecutedVersion"], "1");
    assert_eq!(cli.run("list-functions")["Functions"][0]["FunctionName"], "hello");
    cli.run("delete-function --function-name hello");
    let gone = cli.fail("get-function --function-name hello");
    assert!(gone.contains("(ResourceNotFoundException)"), "{gone}");
}

#[test]
fn the_rust_sdk_of_cargo_lambda_invokes() {
    let address = serve(SystemTime::now);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/boto3_checks.py");
    let mut command = common::python();
    command.arg(script).arg("create").arg(format!("http://{address}"));
    let output = with_credential(&mut command).output().unwrap();
    assert!(output.status.success(), "{}", common::printed(&output));

    let mut command = Command::new(common::aws_tools().join("bin/cargo-lambda"));
    command
        .args(["lambda", "invoke", "hello", "--remote", "--data-ascii", r#"{"a":1}"#])
        .args(["--endpoint-url", &format!("http://{address}")])
        .args(["--output-format", "json"])
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = with_credential(&mut command).output().unwrap();
    assert!(output.status.success(), "{}", common::printed(&output));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["event"]["a"], 1, "{}", common::printed(&output));
}
