//! The real program, from its command line to its exit code: measuring itself, loading a server of
//! its own inside of TLS, and comparing what it wrote. Each test owns a temporary folder.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How it ended, and what it printed on stdout.
#[expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]
fn bench(arguments: &[&str], files: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sockhop-bench"))
        .args(arguments)
        .args(files)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(clippy::unwrap_used, reason = "a test that cannot write has failed")]
fn results(folder: &Path, name: &str, rounds: &[f64]) -> PathBuf {
    let path = folder.join(name);
    let series = serde_json::json!({"scenario": "hello", "server": "sockhop", "measure": "rate", "unit": "requests/s", "better": "higher", "rounds": rounds});
    fs::write(&path, serde_json::json!({ "series": [series] }).to_string()).unwrap();
    path
}

#[test]
fn it_measures_its_own_cost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.json");
    let (code, text) = bench(&["client", "--rounds", "2", "--seconds", "0.2", "--json"], &[&file]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("| null | sockhop-bench |") && text.contains("harness:"), "{text}");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let rates: Vec<f64> = (written["series"].as_array().unwrap().iter())
        .filter(|series| series["scenario"] == "null" && series["measure"] == "rate")
        .flat_map(|series| {
            series["rounds"].as_array().unwrap().iter().filter_map(serde_json::Value::as_f64)
        })
        .collect();
    assert!(rates.len() >= 4 && rates.iter().all(|&rate| rate > 0.0), "{rates:?}");
    assert!(written["environment"]["harness"]["profile"].is_string());
}

/// A server that ends with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    #[expect(clippy::unwrap_used, reason = "a test whose server does not start has failed")]
    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").unwrap().to_owned();
        Self { child, url }
    }

    #[expect(clippy::unwrap_used, reason = "a test whose server does not start has failed")]
    fn start(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = ["body", "certificate", "key"].map(|name| folder.join(name));
        let texts = ["hello".to_owned(), made.cert.pem(), made.signing_key.serialize_pem()];
        files.iter().zip(texts).for_each(|(file, text)| fs::write(file, text).unwrap());
        let [body, certificate, key] = files;
        let mut server = Command::new(env!("CARGO_BIN_EXE_sockhop-bench"));
        server.arg("hyper-server").arg("--body-file").arg(body);
        server.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
        Self::spawn(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_loads_a_server_inside_of_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let load = |options: &[&str]| {
        let always = ["load", &server.url, "--json", "--warmup-seconds", "0", "--seconds", "0.4"];
        let (code, text) = bench(&[&always[..], options].concat(), &[]);
        assert_eq!(code, Some(0), "{text}");
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(report["requests"].as_u64().unwrap() > 10, "{report}");
        let errors = report["errors"].as_object().unwrap();
        assert!(errors.values().all(|count| count == 0), "{report}");
        report["handshakes"].clone()
    };
    let count = |handshakes: &serde_json::Value, kind| handshakes[kind].as_u64().unwrap();
    assert_eq!(count(&load(&["--connections", "2"]), "full"), 2);
    load(&["--connections", "2", "--http2", "5"]);
    assert!(count(&load(&["--handshakes"]), "full") > 10);
    let resumed = load(&["--no-keep-alive", "--resume", "--connections", "2"]);
    assert!(count(&resumed, "full") <= 2 && count(&resumed, "resumed") > 10, "{resumed}");
}

#[test]
fn it_loads_a_server_that_keeps_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockhop-bench"));
    command.args(["state-server", "--synchronous", "normal"]);
    command.arg("--sqlite").arg(folder.path().join("state.db"));
    let server = Server::spawn(command);
    let always = ["load", &server.url, "--json", "--warmup-seconds", "0", "--seconds", "0.3"];
    for (body, reply) in [
        ("[[\"set\",\"k\",\"v\"]]", "[{\"ok\":null}]"),
        ("[[\"repeat\",3,[\"get\",\"k\"]]]", "[{\"ok\":\"v\"}]"),
    ] {
        let (code, text) =
            bench(&[&always[..], &["--body", body, "--expect-body", reply]].concat(), &[]);
        assert_eq!(code, Some(0), "{text}");
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(report["requests"].as_u64().unwrap() > 10, "{report}");
        assert_eq!(report["errors"]["bad_body"], 0, "{report}");
    }
    let (code, text) = bench(&[&always[..], &["--body", "[[\"sing\"]]"]].concat(), &[]);
    assert_eq!(code, Some(1), "an operation that it does not know: {text}");
}

#[test]
fn a_regression_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let before = results(folder.path(), "before", &[1000.0, 1010.0, 990.0, 1005.0, 995.0, 1002.0]);
    let after = results(folder.path(), "after", &[950.0, 960.0, 940.0, 955.0, 945.0, 952.0]);
    let (code, text) = bench(&["compare", "--fail-on-regression"], &[&before, &after]);
    assert!(code == Some(3) && text.contains("WORSE"), "{code:?}\n{text}");
    assert_eq!(bench(&["compare"], &[&before, &after]).0, Some(0));
    assert_eq!(bench(&["compare", "--fail-on-regression"], &[&before, &before]).0, Some(0));
    assert_eq!(bench(&["compare"], &[&before, &folder.path().join("none")]).0, Some(1));
    assert_eq!(bench(&["compare"], &[&before]).0, Some(2));
}
