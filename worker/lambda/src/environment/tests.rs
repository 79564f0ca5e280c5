//! Tests of [`super`]: what is set, and who wins.

use super::*;

fn settings(user_variables: &[(String, String)]) -> Settings<'_> {
    Settings {
        runtime_api: "127.0.0.1:9001",
        function_name: "hello",
        function_version: "7",
        handler: "bootstrap",
        memory_size_mb: 128,
        region: "us-east-1",
        log_stream_name: "2024/01/31/[7]0",
        log_format: LogFormat::Text,
        log_level: None,
        concurrency: NonZeroUsize::MIN,
        credentials: None,
        user_variables,
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn value<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    let found = environment.variables.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn what_clients_need_is_there() {
    let environment = Environment::new(&settings(&[]));
    for (name, expected) in [
        ("AWS_LAMBDA_RUNTIME_API", Some("127.0.0.1:9001")),
        ("AWS_LAMBDA_FUNCTION_NAME", Some("hello")),
        ("AWS_LAMBDA_FUNCTION_VERSION", Some("7")),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Some("128")),
        ("AWS_LAMBDA_LOG_GROUP_NAME", Some("/aws/lambda/hello")),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", Some("on-demand")),
        ("_HANDLER", Some("bootstrap")),
        ("TZ", Some(":UTC")),
        ("AWS_LAMBDA_MAX_CONCURRENCY", None),
        ("AWS_EXECUTION_ENV", None),
        ("_X_AMZN_TRACE_ID", None),
        ("AWS_ACCESS_KEY_ID", None),
    ] {
        assert_eq!(value(&environment, name), expected, "{name}");
    }
    assert!(environment.rejected.is_empty());
}

#[test]
fn several_invocations_at_a_time_are_announced() {
    let concurrency = NonZeroUsize::new(8).unwrap();
    let environment = Environment::new(&Settings { concurrency, ..settings(&[]) });
    assert_eq!(value(&environment, "AWS_LAMBDA_MAX_CONCURRENCY"), Some("8"));
    let initialization = value(&environment, "AWS_LAMBDA_INITIALIZATION_TYPE");
    assert_eq!(initialization, Some("lambda-managed-instances"));
}

#[test]
fn users_override_what_is_theirs_and_nothing_else() {
    let user = owned(&[
        ("TZ", "Europe/Zurich"),
        ("PATH", "/bin"),
        ("AWS_REGION", "eu-west-1"),
        ("_HANDLER", "x"),
        ("AWS_EXECUTION_ENV", "x"),
        ("AWS_LAMBDA_RUNTIME_API", "evil:1"),
        ("A", "short"),
        ("1A", "digit"),
        ("A-B", "dash"),
        ("A=B", "equals"),
        ("NUL", "a\0b"),
        ("GOOD_1", "yes"),
    ]);
    let environment = Environment::new(&settings(&user));
    assert_eq!(value(&environment, "TZ"), Some("Europe/Zurich"));
    assert_eq!(value(&environment, "PATH"), Some("/bin"));
    assert_eq!(value(&environment, "GOOD_1"), Some("yes"));
    assert_eq!(value(&environment, "AWS_REGION"), Some("us-east-1"));
    assert_eq!(value(&environment, "AWS_LAMBDA_RUNTIME_API"), Some("127.0.0.1:9001"));
    let rejected: Vec<_> =
        environment.rejected.iter().map(|(name, reason)| (name.as_str(), *reason)).collect();
    use RejectedVariable::{Name, Reserved, Value};
    assert_eq!(
        rejected,
        [
            ("AWS_REGION", Reserved),
            ("_HANDLER", Reserved),
            ("AWS_EXECUTION_ENV", Reserved),
            ("AWS_LAMBDA_RUNTIME_API", Reserved),
            ("A", Name),
            ("1A", Name),
            ("A-B", Name),
            ("A=B", Name),
            ("NUL", Value),
        ]
    );
}

#[test]
fn the_nodes_credentials_win_over_the_users_if_there_are_any() {
    let user = owned(&[("AWS_ACCESS_KEY_ID", "users")]);
    assert_eq!(value(&Environment::new(&settings(&user)), "AWS_ACCESS_KEY_ID"), Some("users"));
    let credentials =
        Credentials { access_key_id: "nodes", secret_access_key: "s", session_token: None };
    let environment =
        Environment::new(&Settings { credentials: Some(credentials), ..settings(&user) });
    assert_eq!(value(&environment, "AWS_ACCESS_KEY_ID"), Some("nodes"));
    assert_eq!(environment.rejected[0].1, RejectedVariable::Reserved);
}

#[test]
fn users_variables_may_have_more_than_lambdas_four_kilobytes() {
    let long = "x".repeat(8 * 1024);
    let user = owned(&[("LONG", &long), ("MORE", "x")]);
    let environment = Environment::new(&settings(&user));
    assert_eq!(environment.rejected, []);
    assert_eq!(value(&environment, "LONG"), Some(long.as_str()));
    assert_eq!(value(&environment, "MORE"), Some("x"));
}

#[test]
fn log_streams_are_named_after_day_and_version() {
    let name = log_stream_name(SystemTime::UNIX_EPOCH, "$LATEST", 0xab);
    assert_eq!(name, "1970/01/01/[$LATEST]000000000000000000000000000000ab");
}
