//! App folders are read as Azure reads them: what is served, what is refused, and what is said of
//! it.
#![expect(clippy::unwrap_used, reason = "a test that cannot write its files fails")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use azure::app::{App, AppError, AuthLevels, Executable, FunctionTimeout, ReadOptions};
use azure::function::{AuthLevel, Mode};
use azure::route::Found;
use azure::{DocumentError, FILE_BYTES_MAX};
use http::Method;
use tempfile::TempDir;

const HOST: &str =
    r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}"#;
const TRIGGER: &str =
    r#"{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"}"#;
const OUTPUT: &str = r#"{"type":"http","direction":"out","name":"res"}"#;

/// Makes a folder of files, and a handler.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("handler"), "#!/bin/sh\n").unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn bindings(list: &[&str]) -> String {
    format!(r#"{{"bindings":[{}]}}"#, list.join(","))
}

/// Returns the `function.json` of a trigger with further members.
fn with(members: &str) -> String {
    let trigger = TRIGGER.replace(r#""authLevel":"anonymous""#, members);
    bindings(&[&trigger, OUTPUT])
}

fn read(root: &Path) -> Result<App, AppError> {
    App::read(root, ReadOptions::default())
}

fn names(app: &App) -> Vec<&str> {
    app.functions.iter().map(|function| &*function.name).collect()
}

#[test]
fn an_app_is_read_with_all_its_functions() {
    let hello = bindings(&[TRIGGER, OUTPUT]);
    let items = with(r#""authLevel":"ANONYMOUS","methods":["get","PUT"],"route":"items/{id}""#);
    let root = folder(&[
        (
            "host.json",
            &HOST.replace("\"version\"", "/* c */ \"functionTimeout\":\"00:10:00\",\"version\""),
        ),
        ("hello/function.json", &format!("\u{feff}{hello}")),
        ("items/function.json", &items),
        ("docs/readme.txt", "no function"),
    ]);
    let app = read(root.path()).unwrap();
    assert_eq!(app.executable, Executable::InApp("handler".into()));
    assert_eq!(app.route_prefix, "api");
    assert_eq!(app.function_timeout, FunctionTimeout::Limited(Duration::from_secs(600)));
    assert_eq!(app.port, None);
    assert_eq!(names(&app), ["hello", "items"]);
    assert!(app.notes.is_empty(), "{:?}", app.notes);
    let [hello, items] = app.functions.as_slice() else { panic!("{:?}", app.functions) };
    assert_eq!((hello.route.as_str(), hello.methods.len()), ("hello", 0));
    assert_eq!(items.methods, [Method::GET, Method::PUT]);
    assert_eq!(items.trigger_name, "req");
    assert_eq!(items.output_name.as_deref(), Some("res"));
    assert_eq!(items.auth_level, AuthLevel::Anonymous);
    assert_eq!(items.mode, Mode::Envelope);

    match app.find(&Method::GET, "/api/Items/7") {
        Found::Function { function, parameters } => {
            assert_eq!(function.name, "items");
            assert_eq!(parameters, [("id".to_owned(), "7".to_owned())]);
        }
        other => panic!("{other:?}"),
    }
    let found = app.find(&Method::POST, "/api/items/7");
    assert!(matches!(found, Found::MethodNotAllowed { allow } if allow == "GET, HEAD, PUT"));
    assert_eq!(app.find(&Method::GET, "/"), Found::NotFound);
}

#[test]
fn only_a_plain_http_function_is_forwarded() {
    let host =
        HOST.replace("\"description\"", "\"enableForwardingHttpRequest\":true,\"description\"");
    let root = folder(&[
        ("host.json", &host),
        ("plain/function.json", &bindings(&[TRIGGER, OUTPUT])),
        ("silent/function.json", &bindings(&[TRIGGER])),
    ]);
    let app = read(root.path()).unwrap();
    let modes: Vec<Mode> = app.functions.iter().map(|function| function.mode).collect();
    assert_eq!(modes, [Mode::Forward, Mode::Envelope]);
    let root = folder(&[
        ("host.json", &HOST.replace("customHandler", "httpWorker")),
        ("plain/function.json", &bindings(&[TRIGGER, OUTPUT])),
    ]);
    assert_eq!(read(root.path()).unwrap().functions[0].mode, Mode::ForwardToName);
}

#[test]
fn functions_that_cannot_be_served_are_noted_or_the_apps_end() {
    let timer = bindings(&[r#"{"type":"timerTrigger","name":"t","schedule":"0 * * * * *"}"#]);
    let queue = bindings(&[TRIGGER, OUTPUT, r#"{"type":"queue","direction":"out","name":"q"}"#]);
    let disabled = format!(r#"{{"disabled":true,{}"#, &bindings(&[TRIGGER, OUTPUT])[1..]);
    let files = [
        ("host.json", HOST),
        ("clean/function.json", &*timer),
        ("later/function.json", &*queue),
        ("off/function.json", &*disabled),
    ];
    let error = read(folder(&files).path()).unwrap_err().to_string();
    for part in ["clean has the trigger timerTrigger", "later has a binding of the type queue"] {
        assert!(error.contains(part), "{error}");
    }
    let root = folder(&[files.as_slice(), &[("ok/function.json", &bindings(&[TRIGGER]))]].concat());
    let app = read(root.path()).unwrap();
    assert_eq!(names(&app), ["ok"]);
    assert_eq!(app.notes.len(), 3);
    assert!(app.notes.iter().any(|note| note == "not served: off is disabled"), "{:?}", app.notes);
}

#[test]
fn a_function_that_asks_for_a_key_is_refused_unless_the_deployer_says_otherwise() {
    for (level, name) in [
        (r#""authLevel":"function""#, "function"),
        (r#""authLevel":"Admin""#, "admin"),
        // Azure's default.
        (r#""route":null"#, "function"),
    ] {
        let root = folder(&[("host.json", HOST), ("f/function.json", &with(level))]);
        let error = read(root.path()).unwrap_err().to_string();
        let place = format!("f/function.json: bindings[0].authLevel is {name}");
        assert!(error.starts_with(&place), "{error}");
        let options = ReadOptions { auth_levels: AuthLevels::NotEnforced, ..Default::default() };
        let app = App::read(root.path(), options).unwrap();
        assert_eq!(app.functions[0].auth_level.name(), name);
        assert!(app.notes[0].contains("everybody can call it"), "{:?}", app.notes);
    }
    let root = folder(&[("host.json", HOST), ("f/function.json", &with(r#""authLevel":"x""#))]);
    let error = read(root.path()).unwrap_err();
    assert!(matches!(error, AppError::Document(DocumentError::Key { .. })), "{error}");
}

#[test]
fn app_settings_change_what_the_files_say() {
    let root = folder(&[
        ("host.json", HOST),
        ("a/function.json", &bindings(&[TRIGGER])),
        ("b/function.json", &bindings(&[TRIGGER])),
    ]);
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = [
        setting("AzureFunctionsJobHost__extensions__http__routePrefix", ""),
        setting("AzureWebJobs.a.Disabled", "true"),
        setting("MODE", "fast"),
        setting("AzureFunctionsJobHost__customHandler__description__arguments", "[\"--%MODE%\"]"),
    ];
    let options = ReadOptions { variables: &variables, ..Default::default() };
    let app = App::read(root.path(), options).unwrap();
    assert_eq!(names(&app), ["b"]);
    assert!(matches!(app.find(&Method::GET, "/b"), Found::Function { .. }));
    let command = app.command(Path::new("/app"), &variables);
    assert_eq!(command.program, Path::new("/app/handler"));
    assert_eq!(command.arguments, ["--fast"]);
    assert_eq!(command.working_directory, Path::new("/app"));
}

#[test]
fn a_variable_stays_in_the_argument_that_has_it() {
    let arguments = r#"["--title=%TITLE%", "-v %TITLE%", "\"a %TITLE%\"", "%NONE%", "--x=%NONE%"]"#;
    let description = r#""description":{"#;
    let host = HOST.replace(description, &format!(r#"{description}"arguments":{arguments},"#));
    let root = folder(&[("host.json", &host), ("a/function.json", &bindings(&[TRIGGER]))]);
    let app = read(root.path()).unwrap();
    for title in ["The Book", r#"say "no" \"#, "%TITLE%", "--delete all"] {
        let variables = [("TITLE".to_owned(), title.to_owned())];
        let command = app.command(Path::new("/app"), &variables);
        let expected = [&format!("--title={title}"), "-v", title, &format!("a {title}"), "--x="];
        assert_eq!(command.arguments, expected);
    }
}

#[test]
fn routes_in_host_json_are_functions() {
    let routes = r#""http":{"defaultAuthorizationLevel":"anonymous",
        "routes":[{"route":"{*path}"},{"route":"a/{id}"}]},"#;
    let host = HOST.replace("\"description\"", &format!("{routes}\"description\""));
    let app = read(folder(&[("host.json", &host)]).path()).unwrap();
    assert_eq!(names(&app), ["http-handler1", "http-handler2"]);
    let found = app.find(&Method::GET, "/api/a/1");
    assert!(matches!(found, Found::Function { function, .. } if function.name == "http-handler2"));

    let both = folder(&[("host.json", &host), ("f/function.json", &bindings(&[TRIGGER]))]);
    assert!(matches!(read(both.path()), Err(AppError::TwoSources)));
    let keyed = host.replace(r#""defaultAuthorizationLevel":"anonymous","#, "");
    let error = read(folder(&[("host.json", &keyed)]).path()).unwrap_err().to_string();
    let place = "host.json: customHandler.http.routes[0].authorizationLevel is function";
    assert!(error.starts_with(place), "{error}");
}

#[test]
fn errors_name_the_file_and_the_key() {
    for (files, expected) in [
        (vec![], "host.json is not there"),
        (vec![("host.json", "{")], "host.json is no JSON"),
        (vec![("host.json", "{}")], "host.json has no customHandler.description"),
        (vec![("host.json", HOST)], "the app has no function"),
        (vec![("host.json", HOST), ("f/function.json", "[]")], "f/function.json is no JSON"),
        (
            vec![("host.json", HOST), ("f/function.json", r#"{"bindings":7}"#)],
            "f/function.json: bindings should be an array, and is 7",
        ),
        (
            vec![("host.json", HOST), ("f/function.json", r#"{"bindings":[{}]}"#)],
            "f/function.json: bindings[0] should be a binding with a type, and is {}",
        ),
        (
            vec![("host.json", HOST), ("f/function.json", "{}")],
            "no function of the app can be served: f has no trigger",
        ),
        (vec![("host.json", HOST), ("7up/function.json", "{}")], "the folder \"7up\""),
        (vec![("host.json", HOST), ("Host/function.json", "{}")], "the folder \"Host\""),
    ] {
        let error = read(folder(&files).path()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let route = with(r#""authLevel":"anonymous","route":"a/{id:regex(x)}""#);
    let root = folder(&[("host.json", HOST), ("f/function.json", &route)]);
    let error = read(root.path()).unwrap_err().to_string();
    let expected = "f/function.json: bindings[0].route is \"api/a/{id:regex(x)}\"";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn files_that_are_too_large_or_no_files_are_refused() {
    let large = " ".repeat(FILE_BYTES_MAX + 1);
    let error = read(folder(&[("host.json", &large)]).path()).unwrap_err();
    assert!(matches!(error, AppError::Document(DocumentError::TooLarge { .. })), "{error}");

    let root = folder(&[("real.json", HOST), ("f/function.json", &bindings(&[TRIGGER]))]);
    std::os::unix::fs::symlink("real.json", root.path().join("host.json")).unwrap();
    let error = read(root.path()).unwrap_err();
    assert!(matches!(error, AppError::Document(DocumentError::NotAFile { .. })), "{error}");

    let twice = folder(&[
        ("host.json", HOST),
        ("f/function.json", &bindings(&[TRIGGER])),
        ("F/function.json", &bindings(&[TRIGGER])),
    ]);
    assert!(matches!(read(twice.path()), Err(AppError::FunctionTwice { .. })));
}

#[test]
fn local_settings_are_not_read_and_that_is_said() {
    let root = folder(&[
        ("host.json", HOST),
        ("local.settings.json", "{}"),
        ("f/function.json", &bindings(&[TRIGGER])),
    ]);
    let notes = read(root.path()).unwrap().notes;
    assert!(notes[0].starts_with("local.settings.json is not read"), "{notes:?}");
}
