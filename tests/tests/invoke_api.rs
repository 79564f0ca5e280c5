//! AWS's own clients deploy and invoke functions of a node by `--lambda-api`: boto3, the AWS CLI
//! and cargo-lambda, as they are, with functions in Rust, Go, Python and shell.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;

use harness::aws::{Aws, Cli};
use harness::native::{deploy, programs};
use serde_json::{Value, json};

/// Runs one of the functions of `tests/aws/checks.py` against a node of its own.
fn check(name: &str) {
    let (node, aws) = Aws::with_node();
    aws.check(name);
    node.stop();
}

#[test]
fn a_function_in_rust_is_created_and_invoked() {
    check("invoke_rust");
}

#[test]
fn a_function_that_answers_as_gos_library_does_is_created_and_invoked() {
    check("invoke_go");
}

#[test]
fn a_function_of_awss_runtime_of_python_is_created_and_invoked() {
    check("invoke_python");
}

#[test]
fn a_function_in_shell_is_created_and_invoked() {
    check("invoke_shell");
}

#[test]
fn an_error_a_panic_an_exit_and_a_timeout_are_errors_of_the_function() {
    check("fail");
}

#[test]
fn an_init_that_fails_is_told_to_who_creates_and_to_who_invokes() {
    let (node, aws) = Aws::with_node();
    for (guest, name, options) in [
        ("lambda-events", "exits", &["--env", "INIT_EXIT=7"][..]),
        ("lambda-events", "slow", &["--env", "INIT_SLEEP_MS=60000", "--init-timeout", "500ms"]),
        ("go-lambda", "reports", &["--env", "INIT_ERROR=cannot begin"]),
    ] {
        deploy(&node, guest, "lambda", name, &[options, &["--no-trial"]].concat());
    }
    aws.check("fail_to_start");
    node.stop();
}

#[test]
fn six_mib_are_taken_and_answered_and_one_byte_more_is_not() {
    check("payload_limits");
}

#[test]
fn a_hundred_invocations_at_once_share_four_processes() {
    let (node, aws) = Aws::with_node();
    aws.check("at_once");
    let running = programs(&node).iter().filter(|(_, name)| name == "bootstrap").count();
    assert!(running <= 4, "{running} processes");
    node.stop();
}

#[test]
fn a_function_is_changed_published_named_by_aliases_and_deleted() {
    check("change");
}

#[test]
fn variables_and_the_handler_reach_the_program() {
    check("environment");
}

#[test]
fn a_wrong_key_and_an_expired_signature_are_refused() {
    check("signatures");
}

#[test]
fn an_answer_is_streamed_as_it_comes() {
    check("stream");
}

#[test]
fn a_stream_that_fails_says_so_at_its_end() {
    check("stream_go");
}

/// Invokes `shop`, and returns what the AWS CLI says and the function's answer.
fn invoke(aws: &Aws, cli: &mut Cli, options: &str) -> (Value, Value) {
    let said = cli.run(&format!("invoke --function-name shop {options} answer.json"));
    let answer = fs::read_to_string(aws.file("answer.json")).unwrap();
    (said, serde_json::from_str(&answer).unwrap())
}

const CREATE: &str = "create-function --function-name shop --runtime provided.al2023 \
    --handler bootstrap --role arn:aws:iam::000000000000:role/none --timeout 5 --publish \
    --environment Variables={COLOUR=red} --zip-file fileb://lambda-events.zip";

#[test]
fn the_aws_cli_and_cargo_lambda_do_what_the_guide_says() {
    let (node, aws) = Aws::with_node();
    for guest in ["lambda-events", "shell-lambda"] {
        aws.zip(guest);
    }
    let mut cli = aws.cli();
    let created = cli.run(CREATE);
    assert_eq!((&created["Version"], &created["Timeout"]), (&json!("1"), &json!(5)), "{created}");
    cli.run("wait function-active-v2 --function-name shop");
    let (said, answer) = invoke(&aws, &mut cli, r#"--payload {"env":true}"#);
    assert_eq!((&said["StatusCode"], &answer["COLOUR"]), (&json!(200), &json!("red")), "{said}");
    let (said, answer) = invoke(&aws, &mut cli, r#"--payload {"exit":3} --log-type Tail"#);
    assert_eq!(said["FunctionError"], "Unhandled", "{said}");
    assert_eq!(answer["errorType"], "Runtime.ExitError", "{answer}");
    assert_eq!(aws.cargo_lambda_invoke("shop", &json!({ "a": 1 })), json!({ "a": 1 }));

    let code = "update-function-code --function-name shop --zip-file fileb://shell-lambda.zip";
    assert_ne!(cli.run(code)["CodeSha256"], created["CodeSha256"]);
    cli.run("wait function-updated --function-name shop");
    let options = "--memory-size 256 --environment Variables={COLOUR=green}";
    cli.run(&format!("update-function-configuration --function-name shop {options}"));
    cli.run("wait function-updated-v2 --function-name shop");
    assert_eq!(cli.run("publish-version --function-name shop")["Version"], "3");
    cli.run("create-alias --function-name shop --name prod --function-version 1");
    let (said, answer) = invoke(&aws, &mut cli, r#"--qualifier prod --payload {"env":true}"#);
    assert_eq!((&said["ExecutedVersion"], &answer["COLOUR"]), (&json!("1"), &json!("red")));
    let (_, answer) = invoke(&aws, &mut cli, r#"--payload {"env":true}"#);
    assert_eq!(answer, json!({ "env": true }), "that is the shell's");

    // What the node itself says is the same.
    let listed = cli.run("list-functions");
    assert_eq!(listed["Functions"][0]["FunctionName"], "shop", "{listed}");
    assert_eq!(cli.run("get-function --function-name shop")["Configuration"]["MemorySize"], 256);
    assert_eq!(node.get("/shop/some").json()["rawPath"], "/some");
    deploy(&node, "hello-lambda", "lambda", "own", &[]);
    assert_eq!(cli.run("list-functions")["Functions"].as_array().unwrap().len(), 2);

    let event = "invoke --function-name shop --invocation-type Event answer.json";
    assert_eq!(cli.run(event)["StatusCode"], 202);
    cli.run("delete-function --function-name shop");
    let gone = cli.fail("get-function --function-name shop");
    assert!(gone.contains("(ResourceNotFoundException)"), "{gone}");
    node.get("/shop/").expect_problem(404);
    node.stop();
}
