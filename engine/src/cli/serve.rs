//! `sockhop serve`, and `sockhop check-config`, which resolves the same settings and says what they
//! are. Owns no fds.

use std::path::PathBuf;

use clap::Args;

use host::cores;
use host::log;
use settings::store_location::StoreLocation;
use settings::{Flags, Resolved, Sources, misspelt};
use store::objects::s3::Access;

use crate::node;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Take over from the engine that runs on the same data folder: its listening sockets, instead
    /// of --listen, and its connections
    #[arg(long)]
    take_over: bool,
    /// Remove the data folder at the end: the node is somebody's private one, who may be gone
    #[arg(long, hide = true, conflicts_with = "take_over")]
    temporary: bool,
    #[command(flatten)]
    sources: Where,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    sources: Where,
}

/// Where settings come from. What is a flag and nothing else belongs to its command above.
#[derive(Debug, Args)]
struct Where {
    /// A TOML file of settings; flags and variables win over it [env: SOCKHOP_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl From<Where> for Sources {
    fn from(sources: Where) -> Self {
        let variable = std::env::var_os("SOCKHOP_CONFIG").filter(|path| !path.is_empty());
        Self { file: sources.config.or_else(|| variable.map(PathBuf::from)), flags: sources.flags }
    }
}

/// Runs a node.
pub(super) fn serve(serve: Serve) -> anyhow::Result<()> {
    let Serve { take_over, temporary, sources } = serve;
    let sources = Sources::from(sources);
    let resolved = sources.resolve()?;
    log::start(resolved.settings.log_format, resolved.settings.log.clone());
    if !abi::OPTIMISED {
        tracing::warn!(
            "this is a quick build, for trying out and for tests: it is several times slower than an optimised one \
             (`sockhop guide installing` says how that is built)"
        );
    }
    let start = if take_over { takeover::Start::TakeOver } else { takeover::Start::Alone };
    let data = temporary.then(|| resolved.settings.data.clone());
    let served = node::serve(start, resolved, sources);
    if let Some(data) = data {
        let _ = std::fs::remove_dir_all(data);
    }
    served
}

/// Prints the settings that `serve` would run with, and warns of what can be seen of them without
/// running.
pub(super) fn check_config(check: CheckConfig) -> anyhow::Result<()> {
    let resolved = Sources::from(check.sources).resolve()?;
    for warning in warnings(&resolved) {
        eprintln!("warning: {warning}");
    }
    say!("{}", resolved.to_toml().trim_end());
    Ok(())
}

fn warnings(resolved: &Resolved) -> Vec<String> {
    let settings = &resolved.settings;
    let store = settings.store.as_ref().and_then(|store| match store {
        StoreLocation::Folder(folder) => Some(folder),
        StoreLocation::Bucket(_) => None,
    });
    let folders = [
        ("data", Some(&settings.data)),
        ("store", store),
        ("s3_credentials", settings.s3_credentials.as_ref()),
        ("nats_credentials", settings.nats_credentials.as_ref()),
        ("nats_root", settings.nats_root.as_ref()),
        ("tls_cert", settings.tls_cert.as_ref()),
        ("tls_key", settings.tls_key.as_ref()),
        ("tls_dir", settings.tls_dir.as_ref()),
    ];
    let relative = folders.into_iter().filter_map(|(key, path)| {
        let path = path.filter(|path| path.is_relative())?;
        Some(format!(
            "{}: {path:?} is relative: it depends on the folder that the node is started in",
            resolved.source_of(key)
        ))
    });
    let unresolved = settings.listen.iter().filter_map(|address| {
        let error = address.resolve().err()?;
        let setting = resolved.source_of("listen");
        Some(format!("{setting}: {address} is no address now: {error}"))
    });
    let bucket =
        Access::of(settings).err().map(|error| format!("{}: {error}", resolved.source_of("store")));
    let nats = nats::check_credentials(settings.nats_credentials.as_deref())
        .err()
        .map(|error| format!("{}: {error}", resolved.source_of("nats_credentials")));
    let chosen =
        cores::allowed().and_then(|allowed| cores::choose(settings.cores.clone(), allowed));
    let cores = chosen.err().map(|error| format!("{}: {error}", resolved.source_of("cores")));
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let misspelt = misspelt(variables).into_iter();
    let misspelt = misspelt
        .map(|(variable, meant)| format!("{variable} is no setting; did you mean {meant}?"));
    relative.chain(unresolved).chain(bucket).chain(nats).chain(cores).chain(misspelt).collect()
}
