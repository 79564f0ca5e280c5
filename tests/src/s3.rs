//! Starts real servers of buckets, which a node keeps its store in: Garage and s3s-fs. Each is a
//! process with a folder of its own, which is removed with it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::Connection;
use crate::running::Running;
use crate::wait;

/// The bucket of each server.
pub const BUCKET: &str = "sockhop-tests";
/// The access key that may do everything there, in the form of Garage's keys.
pub const KEY: &str = "GK31c2f218a2e44f485b94239e";
/// The secret of that key.
pub const SECRET: &str = "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835";

/// How long a server may take to its first answer on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);
/// How many ports are tried for Garage. It does not choose a free one itself, and another process
/// may have taken the port that was free.
const PORT_TRIES: usize = 5;

/// A running server. When it is dropped it is killed and its folder is removed.
#[derive(Debug)]
pub struct Server {
    // Before the folder, so that it ends first.
    running: Running,
    address: SocketAddr,
    region: &'static str,
    folder: TempDir,
}

/// Returns the program that the variable names, or the one that scripts/test has installed.
fn binary(variable: &str, name: &str, version: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        || cache().or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = || Some(cache()?.join(format!("sockhop/{name}-{version}/bin/{name}")));
    let path = named.or_else(installed).expect("a home folder");
    assert!(path.is_file(), "{} is not there: run scripts/test, which installs it", path.display());
    path
}

impl Server {
    /// Starts Garage as a single node.
    #[must_use]
    pub fn garage() -> Self {
        let binary = binary("SOCKHOP_TEST_GARAGE", "garage", "2.5.0");
        (0..PORT_TRIES)
            .find_map(|_| Self::try_garage(&binary))
            .expect("a port that stays free for a moment")
    }

    fn try_garage(binary: &Path) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (api, rpc) = (free(), free());
        let [address, rpc_address] =
            [&api, &rpc].map(|listener| listener.local_addr().expect("a bound socket"));
        let root = folder.path().display();
        let configuration = format!(
            "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\n\
             db_engine = \"sqlite\"\nreplication_factor = 1\n\
             metadata_fsync = false\ndata_fsync = false\n\
             rpc_bind_addr = \"{rpc_address}\"\nrpc_public_addr = \"{rpc_address}\"\n\
             rpc_secret = \"{SECRET}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{address}\"\n"
        );
        let file = folder.path().join("garage.toml");
        fs::write(&file, configuration).expect("room for a file");
        drop((api, rpc));
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file).args(["server", "--single-node", "--default-bucket"]);
        command.env("GARAGE_DEFAULT_ACCESS_KEY", KEY).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
        command.env("GARAGE_DEFAULT_BUCKET", BUCKET).env("RUST_LOG", "garage=warn");
        let mut running = Running::spawn(&mut command);
        let answers = wait::until("garage answers", START, || {
            if running.exited().is_some() {
                return Some(false);
            }
            Connection::try_open(address).ok().map(|_| true)
        });
        answers.then(|| Self::new(running, address, "garage", folder))
    }

    /// Starts s3s-fs, which keeps objects as files.
    #[must_use]
    pub fn s3s_fs() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("root").join(BUCKET)).expect("room for a folder");
        let mut command = Command::new(binary("SOCKHOP_TEST_S3S_FS", "s3s-fs", "0.14.1"));
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--access-key",
            KEY,
            "--secret-key",
            SECRET,
        ]);
        let mut running =
            Running::spawn(command.arg(folder.path().join("root")).env("RUST_LOG", "s3s_fs=info"));
        let address = wait::until("s3s-fs says where it serves", START, || {
            assert!(running.exited().is_none(), "s3s-fs ended before it served");
            let said = running.stdout();
            let (_, rest) = said.split_once("running at http://")?;
            rest.split_once(char::is_whitespace)
                .map(|(address, _)| address.parse().expect("an address"))
        });
        Self::new(running, address, "us-east-1", folder)
    }

    fn new(running: Running, address: SocketAddr, region: &'static str, folder: TempDir) -> Self {
        let server = Self { running, address, region, folder };
        write_credentials(&server.credentials(), KEY, SECRET);
        server
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the path of the file for `--s3-credentials`.
    pub fn credentials(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    /// Returns the folder that s3s-fs keeps the objects of the bucket in, as files.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("root").join(BUCKET)
    }

    /// Returns the options of `serve` for a store in the bucket under `prefix`. The node reaches it
    /// at `address`, which is the server's or that of a proxy before it.
    pub fn options(&self, prefix: &str, address: SocketAddr) -> Vec<String> {
        let credentials = self.credentials().display().to_string();
        [
            ("--store", format!("s3://{BUCKET}/{prefix}")),
            ("--s3-endpoint", format!("http://{address}")),
            ("--s3-region", self.region.to_owned()),
            ("--s3-credentials", credentials),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect()
    }

    /// Returns its pid, for a test that stops the process.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }
}

/// Writes a file for `--s3-credentials`.
pub fn write_credentials(path: &Path, key: &str, secret: &str) {
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    fs::write(path, text).expect("room for a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
}

thread_local! {
    /// The server of a test whose nodes keep their stores in buckets. It ends with the test's
    /// thread.
    static OF_THIS_TEST: Option<Server> = match std::env::var("SOCKHOP_TEST_STORE").as_deref() {
        Err(_) | Ok("directory") => None,
        Ok("s3") => Some(Server::garage()),
        Ok("s3s-fs") => Some(Server::s3s_fs()),
        Ok(other) => panic!("SOCKHOP_TEST_STORE is {other:?}; expected directory, s3 or s3s-fs"),
    };
}

/// Returns the options of `serve` that `SOCKHOP_TEST_STORE` asks for: with `s3` the store is in a
/// bucket of Garage, with `s3s-fs` in one of that. A node that is started again on the same data
/// folder has the same store.
pub fn options_of_this_test(data: &Path) -> Vec<String> {
    let prefix: String =
        data.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
    let options = |server: &Server| server.options(&prefix, server.address());
    OF_THIS_TEST.with(|server| server.as_ref().map(options).unwrap_or_default())
}

/// Returns the address of this test's server of buckets, if `SOCKHOP_TEST_STORE` asks for one.
pub fn server_of_this_test() -> Option<SocketAddr> {
    OF_THIS_TEST.with(|server| server.as_ref().map(Server::address))
}
