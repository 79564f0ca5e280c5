//! A pebble, and the DNS server that sends all names to this machine. Owns both processes.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

/// How long a program has to start.
const START: Duration = Duration::from_secs(30);

/// The folder that `SOCKHOP_TEST_PEBBLE` names, or where scripts/test has put it.
fn programs() -> PathBuf {
    let installed = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("sockhop/pebble/usr/bin"))
    };
    let named = std::env::var_os("SOCKHOP_TEST_PEBBLE").map(PathBuf::from);
    let folder = named.or_else(installed).unwrap();
    assert!(folder.join("pebble").is_file(), "{folder:?} has no pebble; scripts/test installs it");
    folder
}

/// Returns a port that nothing listens on, neither by TCP nor by UDP.
pub(super) fn free_port() -> u16 {
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

/// A certificate for a server on this machine, with the CA that vouches for it, as files.
pub(super) struct Identity {
    pub(super) root: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) certificate_der: Vec<u8>,
    pub(super) key_der: Vec<u8>,
}

impl Identity {
    pub(super) fn new(folder: &Path) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "test CA");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let [root, certificate, key_path] =
            ["root.pem", "server.pem", "server.key"].map(|name| folder.join(name));
        std::fs::write(&root, ca.pem()).unwrap();
        std::fs::write(&certificate, leaf.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        Self {
            root,
            certificate,
            key: key_path,
            certificate_der: leaf.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }
}

/// What a pebble is started with.
pub(super) struct Plan {
    pub(super) http_port: u16,
    pub(super) tls_port: u16,
    /// Where it listens; 0 for any port.
    pub(super) port: u16,
    pub(super) validity_seconds: u64,
    pub(super) nonces_rejected: u32,
    pub(super) external: Option<(&'static str, &'static str)>,
}

impl Plan {
    pub(super) fn new(http_port: u16, tls_port: u16) -> Self {
        let validity_seconds = 90 * 24 * 60 * 60;
        Self { http_port, tls_port, port: 0, validity_seconds, nonces_rejected: 0, external: None }
    }
}

pub(super) struct Pebble {
    processes: [Child; 2],
    log: PathBuf,
    pub(super) directory: String,
}

impl Pebble {
    pub(super) fn start(folder: &Path, identity: &Identity, plan: &Plan) -> Self {
        let programs = programs();
        let dns = free_port();
        let resolver = Command::new(programs.join("pebble-challtestsrv"))
            .args(["-dns01", &format!("127.0.0.1:{dns}"), "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &format!("127.0.0.1:{}", free_port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        await_port(dns);
        let port = if plan.port == 0 { free_port() } else { plan.port };
        let (config, log) = (folder.join("pebble.json"), folder.join("pebble.log"));
        let external: serde_json::Map<_, _> =
            plan.external.iter().map(|(id, key)| ((*id).to_owned(), json!(key))).collect();
        let settings = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": "",
            "certificate": identity.certificate,
            "privateKey": identity.key,
            "httpPort": plan.http_port,
            "tlsPort": plan.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": plan.external.is_some(),
            "externalAccountMACKeys": external,
            "certificateValidityPeriod": plan.validity_seconds,
        }});
        std::fs::write(&config, settings.to_string()).unwrap();
        let written = File::options().create(true).append(true).open(&log).unwrap();
        let pebble = Command::new(programs.join("pebble"))
            .arg("-config")
            .arg(&config)
            .args(["-strict", "-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", plan.nonces_rejected.to_string())
            .stdout(written.try_clone().unwrap())
            .stderr(written)
            .spawn()
            .unwrap();
        let directory = format!("https://localhost:{port}/dir");
        let started = Self { processes: [pebble, resolver], log, directory };
        await_port(port);
        started
    }

    /// Returns how many requests with this in their line it has had.
    pub(super) fn requests(&self, what: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    }

    pub(super) fn new_orders(&self) -> usize {
        self.requests("POST /order-plz ->")
    }

    pub(super) fn new_accounts(&self) -> usize {
        self.requests("accounts in memory")
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
    let (address, started) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Instant::now());
    while TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < START, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
