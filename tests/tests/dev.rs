//! `sockhop dev`: what is edited is served, what does not build is not, and nothing is left running.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use harness::{Connection, Running, node, process, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const PATIENTLY: Duration = Duration::from_secs(60);

/// A program in C that says `text`, and a line in its log.
fn program(text: &str) -> String {
    format!(
        "#include <stdio.h>\nint main(void) {{ puts(\"{text}\"); fputs(\"logged {text}\\n\", stderr); return 0; }}\n"
    )
}

/// A project that is being worked on.
struct Dev {
    running: Running,
    folder: TempDir,
}

impl Dev {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("main.c"), program("first")).unwrap();
        fs::write(
            folder.path().join("sockhop.toml"),
            "name = \"ask\"\n[build]\ncommand = \"clang --target=wasm32-wasi -o ask.wasm main.c\"\noutput = \"ask.wasm\"\n",
        )
        .unwrap();
        let running = Running::spawn(node::sockhop().current_dir(folder.path()).arg("dev"));
        Self { running, folder }
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("main.c"), text).unwrap();
    }

    /// Waits until stderr has `words` so many times.
    fn until_said(&self, words: &str, times: usize) {
        wait::until(words, PATIENTLY, || {
            (self.running.stderr().matches(words).count() >= times).then_some(())
        });
    }

    /// Where the node listens, once it has said so.
    fn address(&self) -> SocketAddr {
        wait::until("an address", PATIENTLY, || {
            let text = self.running.stdout();
            let url = text.lines().find_map(|line| line.strip_prefix("http://127.0.0.1:"))?;
            url.split('/').next()?.parse().ok().map(|port: u16| ([127, 0, 0, 1], port).into())
        })
    }

    fn until_answered(&self, text: &str) {
        let address = self.address();
        wait::until(text, PATIENTLY, || {
            let mut connection = Connection::try_open(address).ok()?;
            (connection.get("/ask/").body == format!("{text}\n").as_bytes()).then_some(())
        });
    }
}

#[test]
fn what_is_edited_is_served_and_what_does_not_build_keeps_the_version_before() {
    let mut dev = Dev::start();
    dev.until_answered("first");
    dev.until_said("served ", 1);
    dev.write(&program("second"));
    dev.until_answered("second");
    dev.until_said("main.c has changed", 1);
    wait::until("its log", PATIENTLY, || {
        dev.running.stdout().contains("logged second").then_some(())
    });
    dev.write("int main(void) { return nothing; }\n");
    dev.until_said("the build failed: `clang", 1);
    dev.until_answered("second");
    dev.write(&program("third"));
    dev.until_answered("third");
    // What it makes itself sets nothing off.
    assert_eq!(dev.running.stderr().matches("has changed").count(), 3, "{}", dev.running.stderr());

    let pid = dev.running.pid();
    let children = process::descendants(pid);
    assert!(!children.is_empty());
    dev.running.signal(Signal::SIGINT);
    assert_eq!(dev.running.wait_exit(PATIENTLY).code(), Some(0));
    for child in children {
        wait::until("its end", PATIENTLY, || (!process::alive(child)).then_some(()));
    }
}

#[test]
fn a_signal_ends_a_build_that_runs_with_all_that_it_has_started() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("sockhop.toml"),
        "name = \"a\"\n[build]\ncommand = \"sleep 1000 & sleep 1000\"\noutput = \"a.wasm\"\n",
    )
    .unwrap();
    let mut running = Running::spawn(node::sockhop().arg("dev").arg(folder.path()));
    // sh, two sleeps, and the node.
    let children = wait::until("its children", PATIENTLY, || {
        let children = process::descendants(running.pid());
        (children.len() >= 4 && running.stderr().contains("building: ")).then_some(children)
    });
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait_exit(PATIENTLY).code(), Some(0));
    for child in children {
        wait::until("its end", PATIENTLY, || (!process::alive(child)).then_some(()));
    }
}

#[test]
fn a_folder_without_a_project_says_how_to_begin_one() {
    let folder = TempDir::new().unwrap();
    Running::spawn(node::sockhop().arg("dev").arg(folder.path()))
        .finish(PATIENTLY)
        .expect_code(2)
        .expect_error_text(&["has no sockhop.toml", "sockhop new"]);
}
