//! The settings of `sockhop serve`: one struct is its flags, its environment variables and the keys
//! of its file.
//!
//! A field `head_timeout` is the flag `--head-timeout`, the variable `SOCKHOP_HEAD_TIMEOUT` and the
//! key `head_timeout`, so a new setting is a new field here and a line in the table of the guide's
//! page. Its heading says whether a running node can take it over. [`layer`] reads flags and
//! environment, [`file`](mod@file) reads the file, [`resolve`] merges the layers, [`spelling`]
//! writes a setting as arguments and as TOML, [`reload`] compares two readings, [`mistake`] is what
//! can be wrong, [`value`] what single values may be. Owns no fds.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod file;
mod layer;
mod mistake;
pub mod reload;
mod resolve;
mod spelling;
pub mod store_location;
#[cfg(test)]
mod tests;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use abi::limits;
use abi::network::Network;
use bytesize::ByteSize;
use clap::{ArgAction, Args};

pub use self::layer::Flags;
pub use self::mistake::{Mistakes, misspelt};
pub use self::resolve::{Resolved, Sources};
use self::store_location::StoreLocation;
pub use self::value::{AcmeChallenge, Switch, address};
use host::cores;
use host::listen;
use host::log;

/// How often the store is searched for logs that are too old or too many.
const RETENTION_INTERVAL_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// How much of compiled functions is kept for later compilations.
const COMPILE_CACHE_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// The heading of settings that a node keeps until its next start.
const FIXED: &str = "Settings";
/// The heading of settings that a running node reads again at SIGHUP.
const RELOADED: &str = "Settings that SIGHUP reads again";

/// The settings. One without a default is an `Option`. A `bool` takes a value like any other, so
/// that a flag can undo the `true` of a file: with `action = ArgAction::Set, default_value_t =
/// false, num_args = 0..=1, require_equals = true, default_missing_value = "true"` both `--x` and
/// `--x=false` are right. Flags that no file may have, such as `--config` itself, are in
/// `cli::serve`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Where to listen: HOST:PORT, https://HOST:PORT for TLS, or unix:PATH, each with
    /// ?proxy-protocol if clients begin with that (repeatable; port 0 takes a free one)
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR", help_heading = FIXED)]
    pub listen: Vec<listen::Address>,
    /// File with the certificate for https:// and the chain to its root, in PEM (default: one for
    /// localhost that the node makes and signs itself)
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key, in PEM, which nobody else may read
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub tls_key: Option<PathBuf>,
    /// Folder with certificates by host: NAME.crt with NAME.key, or NAME/fullchain.pem with
    /// NAME/privkey.pem
    #[arg(long, value_name = "DIR", help_heading = FIXED)]
    pub tls_dir: Option<PathBuf>,
    /// Have certificates ordered for all domains by ACME, under this address, which agrees to the
    /// terms of service of the certificate authority
    #[arg(long, value_name = "ADDRESS", value_parser = value::email, help_heading = FIXED)]
    pub acme_email: Option<String>,
    /// URL of the certificate authority's directory (default: that of Let's Encrypt)
    #[arg(long, value_name = "URL", value_parser = value::directory, help_heading = FIXED)]
    pub acme_directory: Option<String>,
    /// Order from Let's Encrypt's staging environment, whose certificates nobody trusts
    #[arg(long, action = ArgAction::Set, default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = FIXED)]
    pub acme_staging: bool,
    /// File with the root certificates, in PEM, by which a private certificate authority is trusted
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub acme_root: Option<PathBuf>,
    /// Which challenge to begin with (default: http-01 if there is a listener on port 80, otherwise
    /// tls-alpn-01)
    #[arg(long, value_name = "CHALLENGE", help_heading = FIXED)]
    pub acme_challenge: Option<AcmeChallenge>,
    /// Id of the account that the certificate authority's operator has given out (external account
    /// binding)
    #[arg(long, value_name = "ID", help_heading = FIXED)]
    pub acme_eab_key_id: Option<String>,
    /// File with the key of that account, in base64url, which nobody else may read
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub acme_eab_hmac_file: Option<PathBuf>,
    /// Folder of the node: control socket, module cache and, unless --store says otherwise, the
    /// store
    #[arg(long, default_value = "./sockhop-data", value_name = "DIR", help_heading = FIXED)]
    pub data: PathBuf,
    /// Where deployed functions are kept: a folder, or s3://BUCKET/PREFIX (default: store in
    /// --data)
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", help_heading = FIXED)]
    pub store: Option<StoreLocation>,
    /// URL of the bucket's server: that of Cloudflare R2, MinIO, Garage (default: Amazon's of
    /// --s3-region)
    #[arg(long, value_name = "URL", value_parser = store_location::endpoint, help_heading = FIXED)]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket; auto for Cloudflare R2, the server's s3_region for Garage
    #[arg(long, default_value = "us-east-1", value_name = "REGION", value_parser = value::region, help_heading = FIXED)]
    pub s3_region: String,
    /// Whether the bucket's name stands in the path; otherwise it stands before the server's name
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = FIXED)]
    pub s3_path_style: bool,
    /// File with the bucket's credentials, as of AWS's tools, which nobody else may read (default:
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub s3_credentials: Option<PathBuf>,
    /// File with the key that secrets are encrypted with, one for all nodes that share a store
    /// (default: secrets.key in --data)
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub secrets_key: Option<PathBuf>,
    /// Servers of NATS for the state of functions, asynchronous invocations and which node rings, as
    /// nats://HOST:PORT or tls://HOST:PORT (repeatable, or a list with commas); JetStream, 2.14 or
    /// newer
    #[arg(long, value_name = "URL", value_delimiter = ',', value_parser = value::nats_server, help_heading = FIXED)]
    pub nats: Vec<String>,
    /// Key-value bucket there, one for all nodes that share a store
    #[arg(long, default_value = "sockhop", value_name = "NAME", value_parser = value::nats_bucket, help_heading = FIXED)]
    pub nats_bucket: String,
    /// File with the credentials for NATS, which nobody else may read: a .creds file, a key's seed,
    /// USER:PASSWORD, or a token
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub nats_credentials: Option<PathBuf>,
    /// File with the root certificates, in PEM, by which a private authority of NATS is trusted
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub nats_root: Option<PathBuf>,
    /// Whether this node rings functions by their schedules (default: on with a store in a folder,
    /// off with a bucket; with NATS on, as one of the nodes does then)
    #[arg(long, value_name = "ON|OFF", help_heading = FIXED)]
    pub cron: Option<Switch>,
    /// How many asynchronous invocations this node keeps, dead letters included
    #[arg(long, default_value_t = limits::JOBS_MAX_DEFAULT, value_name = "N", value_parser = value::count, help_heading = FIXED)]
    pub jobs_max: u32,
    /// How large they may be together
    #[arg(long, default_value_t = ByteSize(limits::JOBS_BYTES_MAX_DEFAULT), value_name = "SIZE", value_parser = value::size, help_heading = FIXED)]
    pub jobs_bytes_max: ByteSize,
    /// How often to look for what other nodes on the same store have changed
    #[arg(long, default_value_t = limits::SYNC_INTERVAL_DEFAULT.into(), value_name = "TIME", value_parser = value::wait, help_heading = FIXED)]
    pub sync_interval: humantime::Duration,
    /// So many of each function's newest versions stay
    #[arg(long, default_value_t = limits::VERSIONS_KEPT_DEFAULT, value_name = "N", value_parser = value::count, help_heading = FIXED)]
    pub versions_kept: u32,
    /// Versions that are not older than this stay, too, and those that an alias means or a rollback
    /// goes to
    #[arg(long, default_value_t = limits::VERSIONS_KEPT_FOR_DEFAULT.into(), value_name = "TIME", value_parser = value::age, help_heading = FIXED)]
    pub versions_kept_for: humantime::Duration,
    /// How often to look for what is to go; by its age nothing goes before the store's clock has
    /// gone evenly for so long
    #[arg(long, default_value_t = RETENTION_INTERVAL_DEFAULT.into(), value_name = "TIME", value_parser = value::interval, help_heading = FIXED)]
    pub retention_interval: humantime::Duration,
    /// Where to serve the control API over TCP, for those who show the token in DATA/admin.token
    /// (port 0 takes a free one)
    #[arg(long, value_name = "ADDR", value_parser = value::address, help_heading = FIXED)]
    pub admin: Option<String>,
    /// Where to serve an API as AWS Lambda has it, for the AWS CLI and SDKs with --endpoint-url: key
    /// id sockhop, secret the token in DATA/admin.token (port 0 takes a free one)
    #[arg(long, value_name = "ADDR", value_parser = value::address, help_heading = FIXED)]
    pub lambda_api: Option<String>,
    /// How native programs are kept apart from this host: full takes user namespaces; basic is for
    /// hosts that refuse them, and keeps less apart (see `sockhop guide native`)
    #[arg(long, default_value = "full", value_name = "LEVEL", help_heading = FIXED)]
    pub native_sandbox: value::NativeSandbox,
    /// Cores to run on, for example 0-3 or 0,2 (default: all that are allowed)
    #[arg(long, value_name = "LIST", value_parser = cores::parse, help_heading = FIXED)]
    pub cores: Option<cores::CoreList>,
    /// Workers on each core; more than one helps functions that hold their worker's thread
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value::workers_per_core, help_heading = FIXED)]
    pub workers_per_core: usize,
    /// How long a function's own worker (--isolation process) may have nothing to do before it is
    /// stopped
    #[arg(long, default_value_t = limits::OWN_WORKER_IDLE_TIMEOUT_DEFAULT.into(), value_name = "TIME", value_parser = value::wait, help_heading = FIXED)]
    pub own_worker_idle_timeout: humantime::Duration,
    /// Form of the log on stderr
    #[arg(long, default_value = "text", value_name = "FORM", help_heading = FIXED)]
    pub log_format: log::Format,
    /// What is logged: error, warn, info, debug, trace, or a filter as of the crate
    /// tracing-subscriber
    #[arg(long, default_value = log::DEFAULT, value_name = "FILTER", help_heading = RELOADED)]
    pub log: log::Filter,
    /// Whether to write a line to stderr for each invocation, and how
    #[arg(long, default_value = "off", value_name = "FORM", help_heading = RELOADED)]
    pub access_log: log::Access,
    /// Whether guests' lines go to stderr too, beside the log that `sockhop logs` reads
    #[arg(long, default_value = "off", value_name = "WHERE", help_heading = RELOADED)]
    pub guest_log: log::Guest,
    /// Whether invocations and their lines are logged: see `sockhop logs`
    #[arg(long, default_value = "on", value_name = "ON|OFF", help_heading = FIXED)]
    pub logs: log::Logs,
    /// How much of the log may wait on this node's disk for a store that is away; beyond it the
    /// oldest is dropped
    #[arg(long, default_value_t = ByteSize(limits::SPOOL_BYTES_DEFAULT), value_name = "SIZE", value_parser = value::spool_size, help_heading = FIXED)]
    pub spool_size: ByteSize,
    /// Base URL of an OTLP receiver that spans of traced invocations are sent to
    #[arg(long, value_name = "URL", value_parser = value::endpoint, help_heading = FIXED)]
    pub otlp_endpoint: Option<String>,
    /// File with headers for it, NAME=VALUE a line (default: OTEL_EXPORTER_OTLP_HEADERS)
    #[arg(long, value_name = "FILE", help_heading = FIXED)]
    pub otlp_headers_file: Option<PathBuf>,
    /// Which share of requests that come without a trace begin one, from 0 to 1, where there is a
    /// receiver
    #[arg(long, default_value = "0.01", value_name = "SHARE", help_heading = RELOADED)]
    pub otlp_sample: value::Share,
    /// How long logs are kept in the store
    #[arg(long, default_value_t = limits::LOGS_KEPT_FOR_DEFAULT.into(), value_name = "TIME", value_parser = value::age, help_heading = FIXED)]
    pub logs_kept_for: humantime::Duration,
    /// How much of them is kept there; beyond it the oldest are deleted
    #[arg(long, default_value_t = ByteSize(limits::LOGS_KEPT_BYTES_DEFAULT), value_name = "SIZE", value_parser = value::size, help_heading = FIXED)]
    pub logs_kept_size: ByteSize,
    /// How much is kept of what the compiler has done, to compile the same functions in other
    /// deploys faster; 0 keeps none
    #[arg(long, default_value_t = ByteSize(COMPILE_CACHE_BYTES_DEFAULT), value_name = "SIZE", value_parser = value::size, help_heading = FIXED)]
    pub compile_cache_size: ByteSize,
    /// How many connections there may be at a time
    #[arg(long, default_value_t = limits::CONNECTIONS_MAX_DEFAULT, value_name = "N", value_parser = value::count, help_heading = RELOADED)]
    pub connections_max: u32,
    /// How many of them may be from one IPv4 address or one IPv6 /64
    #[arg(long, default_value_t = limits::CONNECTIONS_PER_ADDRESS_MAX_DEFAULT, value_name = "N", value_parser = value::count, help_heading = RELOADED)]
    pub connections_per_address_max: u32,
    /// With example.com, a request for host NAME.example.com is for function NAME
    #[arg(long, value_name = "DOMAIN", value_parser = value::domain, help_heading = RELOADED)]
    pub domain: Option<String>,
    /// Whether /NAME/... reaches function NAME; off, functions are found by their hosts alone
    #[arg(long, default_value = "on", value_name = "ON|OFF", help_heading = RELOADED)]
    pub path_routes: Switch,
    /// Send clients that ask without TLS to the same URL with it, on this port (308)
    #[arg(long, value_name = "PORT", help_heading = RELOADED)]
    pub https_redirect: Option<u16>,
    /// Addresses or networks of proxies that are believed who a request is from, for example
    /// 127.0.0.1,10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = RELOADED)]
    pub trusted_proxies: Vec<Network>,
    /// How long a request's head may take
    #[arg(long, default_value_t = limits::HEAD_TIMEOUT_DEFAULT.into(), value_name = "TIME", value_parser = value::wait, help_heading = RELOADED)]
    pub head_timeout: humantime::Duration,
    /// How long a connection may be idle between requests
    #[arg(long, default_value_t = limits::IDLE_TIMEOUT_DEFAULT.into(), value_name = "TIME", value_parser = value::wait, help_heading = RELOADED)]
    pub idle_timeout: humantime::Duration,
    /// How long a client may take none of its reply
    #[arg(long, default_value_t = limits::WRITE_TIMEOUT_DEFAULT.into(), value_name = "TIME", value_parser = value::wait, help_heading = RELOADED)]
    pub write_timeout: humantime::Duration,
    /// How long requests in flight may take to end when the node stops
    #[arg(long, default_value_t = limits::DRAIN_TIMEOUT_DEFAULT.into(), value_name = "TIME", value_parser = value::time, help_heading = RELOADED)]
    pub drain_timeout: humantime::Duration,
}
