//! Options of functions: set in place, compared, read from files, and by a project's environments.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::time::Duration;

use harness::guests;
use harness::node::{self, Node};
use harness::running::{Finished, Running};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);

/// A folder with a project.
struct Project {
    folder: TempDir,
}

impl Project {
    fn new(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::copy(guests::path("inspect"), folder.path().join("inspect.wasm")).unwrap();
        fs::write(folder.path().join("sockhop.toml"), text).unwrap();
        Self { folder }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn run(&self, node: &Node, line: &str) -> Finished {
        let mut command = node::sockhop();
        command.args(line.split(' ')).arg("--data").arg(node.data());
        Running::spawn(command.current_dir(self.folder.path())).finish(SOON)
    }
}

fn inspected(node: &Node, name: &str) -> Value {
    let printed = node.cli(&["inspect", name, "--json"]).expect_code(0).stdout;
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn options_are_set_in_place() {
    let node = Node::start();
    node.deploy("inspect", "shop", &["--memory", "32MiB", "-e", "A=hidden", "-e", "B=1"]);
    let set = |given: &[&str]| node.cli(&[&["set", "shop"], given].concat());
    let memory = || inspected(&node, "shop")["limits"]["memory_bytes_max"].clone();
    let artefact = || inspected(&node, "shop")["artefact"].clone();
    let number = || inspected(&node, "shop")["number"].as_u64().unwrap();
    let file = artefact();

    let given = ["--memory", "64MiB", "-e", "B=2", "--unset", "env.A"];
    let planned = set(&[&given[..], &["--dry-run"]].concat()).expect_code(0).stdout;
    let lines = [
        "v2 of shop would have otherwise than v1:",
        "  memory: 32.0 MiB -> 64.0 MiB",
        "  env.A: set -> not set",
        "  env.B: set -> set to another value",
    ];
    assert_eq!(planned.lines().collect::<Vec<_>>(), lines);
    assert_eq!((number(), memory()), (1, (32 << 20).into()));

    let changed = set(&given).expect_code(0);
    assert!(changed.stdout.starts_with("set shop, version v2 "), "{changed:#?}");
    assert!(lines[1..].iter().all(|line| changed.stderr.contains(line)), "{changed:#?}");
    assert!(!changed.stderr.contains("hidden"), "{changed:#?}");
    assert_eq!((number(), memory(), artefact()), (2, (64 << 20).into(), file));
    assert_eq!(node.get("/shop/").json()["environment"], json!({ "B": "2" }));

    let same = set(&given).expect_code(0).stdout;
    assert!(same.contains("nothing changes: v2 of shop"), "{same}");
    assert_eq!(number(), 2);
    set(&["--no-activate", "--memory", "16MiB"]).expect_code(0);
    assert_eq!(memory(), 64 << 20, "v3 is only kept");
    let printed = set(&["--description", "a shop", "--json"]).expect_code(0).stdout;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["number"], &printed["before"]["number"]), (&4.into(), &2.into()));
    node.cli(&["rollback", "shop"]).expect_code(0);
    assert_eq!(number(), 2);

    // What does not work with its options stays as it was.
    set(&["--memory", "64KiB"]).expect_error(&["asked: "]);
    set(&["--report-lines"]).expect_error(&["--report-lines is for functions of the kind lambda"]);
    assert_eq!(number(), 2);
    set(&[]).expect_code(2);
    set(&["--layer", "x.zip"]).expect_code(2);
    node.cli(&["set", "nobody", "--memory", "1MiB"]).expect_error(&["no function \"nobody\""]);
    node.stop();
}

#[test]
fn versions_and_projects_are_compared() {
    let node = Node::start();
    let text =
        "name = \"shop\"\nsource = \"inspect.wasm\"\nmemory = \"32MiB\"\n[env]\nA = \"hush\"\n";
    let project = Project::new(text);
    let diff = |line: &str| project.run(&node, line).expect_code(0).stdout;
    assert_eq!(diff("diff"), "shop is not deployed\n");
    project.run(&node, "deploy").expect_code(0);
    assert_eq!(diff("diff"), "v1 of shop and shop in this project are the same\n");
    project.write("sockhop.toml", &text.replace("32", "64").replace("A =", "B ="));
    fs::copy(guests::path("hello"), project.folder.path().join("inspect.wasm")).unwrap();
    let said = diff("diff");
    for part in [
        "v1 of shop -> shop in this project\n",
        "\n  artefact: sha256:",
        "\n  memory: 32.0 MiB -> 64.0 MiB\n",
        "\n  env.A: set -> not set\n",
        "\n  env.B: not set -> set\n",
    ] {
        assert!(said.contains(part) && !said.contains("hush"), "{part}: {said}");
    }
    let deployed = project.run(&node, "deploy").expect_code(0).stderr;
    assert!(deployed.contains("\nartefact: ") && deployed.contains(" -> "), "{deployed}");
    node.cli(&["set", "shop", "--timeout", "5s"]).expect_code(0);
    let said = diff("diff shop v2");
    assert!(said.starts_with("v2 of shop -> v3 of shop\n  timeout: "), "{said}");
    assert!(!said.contains("artefact"), "{said}");
    assert!(diff("diff shop v2 v1").contains("  artefact: sha256:"));
    let json: Value = serde_json::from_str(&diff("diff shop v3 v2 --json")).unwrap();
    assert_eq!(json["changed"][0]["option"], "timeout", "{json}");
    project.run(&node, "diff shop v9").expect_error(&["v9", "asked: "]);
    node.stop();
}

#[test]
fn variables_and_secrets_come_from_files() {
    let node = Node::start();
    let project = Project::new(
        "name = \"shop\"\nsource = \"inspect.wasm\"\nenv_files = [\".env\"]\n[env]\nB = \"toml\"\n",
    );
    project.write(".env", "# of the project\nA=file\nB=file\nexport C=\"two words\"\n");
    project.write("more", "C=more\nD=more\n");
    let environment = || node.get("/shop/").json()["environment"].clone();
    project.run(&node, "deploy").expect_code(0);
    assert_eq!(environment(), json!({ "A": "file", "B": "toml", "C": "two words" }));
    project.run(&node, "deploy --env-file more -e D=line").expect_code(0);
    assert_eq!(environment(), json!({ "A": "file", "B": "toml", "C": "more", "D": "line" }));
    project.run(&node, "set shop --env-file more").expect_code(0);
    assert_eq!(environment()["D"], "more");
    project.write("bad", "A=1\nhush hush\n");
    let refused = project.run(&node, "set shop --env-file bad").expect_error(&["bad", "after A"]);
    assert!(!refused.stderr.contains("hush"), "{refused:#?}");
    project.run(&node, "deploy --env-file gone").expect_error(&["gone", "No such file"]);

    project.write("secrets", "KEY=of-secrets\nOTHER='$KEY'\n");
    let imported = project.run(&node, "secret import shop secrets").expect_code(0).stdout;
    assert_eq!(imported, "set 2 secrets of shop: KEY, OTHER\n");
    assert_eq!(environment()["OTHER"], "$KEY");
    node.cli_with_stdin(&["secret", "import", "shop", "-"], b"THIRD=3\n").expect_code(0);
    assert_eq!(environment()["THIRD"], "3");
    let bad = node.cli_with_stdin(&["secret", "import", "shop", "-"], b"X=1\nb-d=hush\n");
    let bad = bad.expect_code(1);
    assert!(!bad.stderr.contains("hush"), "{bad:#?}");
    assert_eq!(environment()["X"], Value::Null, "none of them is set");
    node.stop();
}

#[test]
fn an_environment_is_a_function_of_its_own() {
    let (node, other) = (Node::start(), Node::start());
    let project = Project::new(
        "name = \"shop\"\nsource = \"inspect.wasm\"\nmemory = \"32MiB\"\n\
         domains = [\"shop.example.com\"]\n[env]\nA = \"1\"\nMODE = \"live\"\n\
         [environment.staging]\nmemory = \"64MiB\"\ndomains = [\"staging.example.com\"]\n\
         [environment.staging.env]\nMODE = \"test\"\n\
         [environment.far]\nname = \"shop\"\ncontext = \"nowhere\"\n",
    );
    project.run(&node, "deploy").expect_code(0);
    let deployed = project.run(&node, "deploy --environment staging").expect_code(0);
    assert!(deployed.stdout.contains("deployed shop-staging, version v1"), "{deployed:#?}");
    assert_eq!(node.get("/shop/").json()["environment"], json!({ "A": "1", "MODE": "live" }));
    let staging = node.get("/shop-staging/").json()["environment"].clone();
    assert_eq!(staging, json!({ "A": "1", "MODE": "test" }));
    assert_eq!(inspected(&node, "shop-staging")["limits"]["memory_bytes_max"], 64 << 20);
    let domains = node.cli(&["domain", "ls", "--json"]).expect_code(0).stdout;
    let domains = harness::running::records(&domains);
    let told: Vec<(&Value, &Value)> =
        domains.iter().map(|domain| (&domain["host"], &domain["function"])).collect();
    assert!(told.contains(&(&"shop.example.com".into(), &"shop".into())), "{told:?}");
    assert!(told.contains(&(&"staging.example.com".into(), &"shop-staging".into())), "{told:?}");
    // Again, the domains are there.
    project.run(&node, "deploy --environment staging").expect_code(0);
    let same = project.run(&node, "diff --environment staging").expect_code(0).stdout;
    assert!(same.contains("v2 of shop-staging and shop-staging in this project"), "{same}");
    project.run(&node, "deploy --name mine --environment staging").expect_error(&[
        "mine is deployed",
        "staging.example.com is for shop-staging",
        "sockhop domain remove",
    ]);
    project
        .run(&node, "deploy --environment live")
        .expect_error(&["[environment.live]", "far, staging"]);

    // The context that it names counts, unless the command says which node is meant.
    let mut command = node::sockhop();
    command.args(["deploy", "--environment", "far"]).current_dir(project.folder.path());
    command.env("SOCKHOP_DATA", node.data());
    Running::spawn(&mut command).finish(SOON).expect_error(&["\"nowhere\"", "sockhop.toml"]);
    // With the domains of an environment: it has none.
    project.run(&other, "deploy --environment far").expect_code(0);
    other.get("/shop/").json();
    node.stop();
    other.stop();
}

#[test]
fn a_file_is_deployed_from_stdin() {
    let node = Node::start();
    let file = fs::read(guests::path("hello")).unwrap();
    let deployed = node.cli_with_stdin(&["deploy", "-", "--name", "hello"], &file).expect_code(0);
    assert!(deployed.stderr.contains("deploying hello: "), "{deployed:#?}");
    node.get("/hello/").expect_hello();
    node.cli_with_stdin(&["deploy", "-"], &file).expect_code(2);
    node.cli_with_stdin(&["deploy", "-", "--name", "hello"], b"").expect_code(1);
    node.stop();
}
