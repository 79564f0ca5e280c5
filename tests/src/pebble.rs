//! A certificate authority that speaks ACME: pebble, which Debian has, with a DNS server that sends
//! all names to this machine. Owns both processes.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::tls::Authority;
use crate::wait;

/// How long a program has to start.
const START: Duration = Duration::from_secs(30);

/// A running pebble.
#[derive(Debug)]
pub struct Pebble {
    processes: [Child; 2],
    /// The authority of pebble's own certificate.
    authority: Authority,
    directory: String,
    folder: TempDir,
}

/// The folder that `SOCKHOP_TEST_PEBBLE` names.
fn programs() -> PathBuf {
    let named = std::env::var_os("SOCKHOP_TEST_PEBBLE").map(PathBuf::from);
    let folder = named.expect("SOCKHOP_TEST_PEBBLE names the folder of pebble: run scripts/test");
    assert!(folder.join("pebble").is_file(), "{folder:?} has no pebble: run scripts/test");
    folder
}

/// Returns a port that nothing listens on, neither by TCP nor by UDP: pebble takes none for "any".
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the range that the kernel takes ports from for others (ip_local_port_range, ip(7)), and
    // each process of the tests from another one on.
    let first = u16::try_from(std::process::id() % 700 * 16).unwrap_or_default();
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Relaxed)) % 12_000;
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free {
            return port;
        }
    }
}

impl Pebble {
    /// Starts one that looks for challenges at these ports of this machine, whatever the name.
    #[must_use]
    pub fn start(http_port: u16, tls_port: u16) -> Self {
        let (programs, folder) = (programs(), TempDir::new().expect("a temporary folder"));
        let authority = Authority::default();
        authority.write(folder.path(), "server", "localhost");
        let (dns, port) = (free_port(), free_port());
        let resolver = Command::new(programs.join("pebble-challtestsrv"))
            .args(["-dns01", &format!("127.0.0.1:{dns}"), "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &format!("127.0.0.1:{}", free_port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a program that is there");
        await_port(dns);
        let config = folder.path().join("pebble.json");
        let settings = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": "",
            "certificate": folder.path().join("server.crt"),
            "privateKey": folder.path().join("server.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        std::fs::write(&config, settings.to_string()).expect("room for a file");
        let log = File::create(folder.path().join("pebble.log")).expect("room for a file");
        let pebble = Command::new(programs.join("pebble"))
            .arg("-config")
            .arg(&config)
            .args(["-strict", "-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(log.try_clone().expect("a free fd"))
            .stderr(log)
            .spawn()
            .expect("a program that is there");
        let directory = format!("https://localhost:{port}/dir");
        let started = Self { processes: [pebble, resolver], authority, directory, folder };
        await_port(port);
        started
    }

    /// Returns the URL of its directory.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Returns the file with the root of its own certificate.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.authority.file()
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let path: &Path = self.folder.path();
        std::fs::read_to_string(path.join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn await_port(port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait::until("a program listens", START, || TcpStream::connect(address).ok());
}
