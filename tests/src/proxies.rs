//! nginx and HAProxy in front of a node, with the configurations that the guide has for them. Both
//! are Debian's, which scripts/test has unpacked. Owns the process and its folder.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::pebble::free_port;
use crate::{Running, needs, wait};

const START: Duration = Duration::from_secs(30);
const GUIDE: &str = include_str!("../../engine/guide/proxies.md");

/// Returns a file of Debian's packages, which scripts/test has unpacked.
fn file(path: &str) -> PathBuf {
    needs::cached("SOCKHOP_TEST_PROXIES", "proxies", path).join(path)
}

/// A running proxy. When it is dropped it is killed and its folder is removed.
#[derive(Debug)]
pub struct Proxy {
    running: Running,
    address: SocketAddr,
    _folder: TempDir,
}

/// Returns a block of the guide's page: the one at this place below a heading, with other words in
/// place of those that are an example's. Panics if it has not got them.
#[must_use]
#[track_caller]
pub fn guide(heading: &str, place: usize, words: &[(&str, &str)]) -> String {
    let section = GUIDE.split_once(&format!("## {heading}\n")).expect("a heading of the page").1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let block = section.split("```\n").skip(1).step_by(2).nth(place).expect("a block");
    words.iter().fold(block.to_owned(), |text, (example, word)| {
        assert!(text.contains(example), "the guide has no {example:?} for {heading}: {text}");
        text.replace(example, word)
    })
}

impl Proxy {
    /// Starts nginx with what belongs into its `http`, or into its `stream`. PORT stands for where
    /// it listens.
    #[must_use]
    pub fn nginx(context: &str, configuration: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", at(name)))
            .concat();
        let (before, paths) = match context {
            "stream" => {
                let module = file("usr/lib/nginx/modules/ngx_stream_module.so");
                (format!("load_module {};\n", module.display()), String::new())
            }
            _ => (String::new(), format!("access_log off;\n{paths}")),
        };
        let configuration = configuration.replace("PORT", &port.to_string());
        let text = format!(
            "{before}user root;\ndaemon off;\nworker_processes 1;\npid {};\n\
             error_log stderr warn;\nevents {{ }}\n{context} {{\n{paths}{configuration}\n}}\n",
            at("pid"),
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, text).expect("room for a file");
        let mut command = Command::new(file("usr/sbin/nginx"));
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c"]).arg(&path);
        Self::started(&mut command, folder, port)
    }

    /// Starts HAProxy. PORT stands for where it listens.
    #[must_use]
    pub fn haproxy(configuration: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let path = folder.path().join("haproxy.cfg");
        let text = configuration.replace("PORT", &port.to_string());
        fs::write(&path, format!("global\n    nbthread 1\n{text}")).expect("room for a file");
        let program = file("usr/sbin/haproxy");
        // What it is linked with was unpacked beside it.
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let libraries = program.ancestors().nth(3).expect("its folder").join(libraries);
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", libraries).args(["-db", "-f"]).arg(&path);
        Self::started(&mut command, folder, port)
    }

    fn started(command: &mut Command, folder: TempDir, port: u16) -> Self {
        let mut running = Running::spawn(command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait::until("the proxy listens", START, || {
            assert!(running.exited().is_none(), "it has ended: {}", running.stderr());
            TcpStream::connect(address).ok()
        });
        Self { running, address, _folder: folder }
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what it has said.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }
}
