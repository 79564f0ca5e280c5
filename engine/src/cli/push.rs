//! `sockhop push`, and deploys of what is in a registry. Owns no fds beyond a call.

use std::path::PathBuf;

use anyhow::Context as _;
use api::options::Options;
use clap::Args;
use compile::inspect::inspect;
use registry::{Access, Reference};

use super::deploy::{Ready, read_artefact};

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// A component, or a core module with WASI preview 1
    file: PathBuf,
    /// Where to: oci://HOST/PATH:TAG, with the credentials of Docker or podman
    reference: String,
    /// Ask the registry over HTTP without TLS, as registries on this machine are
    #[arg(long)]
    insecure: bool,
}

fn access(insecure: bool) -> Access {
    Access { insecure, file_bytes_max: abi::limits::ARTEFACT_BYTES_MAX as u64 }
}

pub(super) async fn run(Push { file, reference, insecure }: Push) -> anyhow::Result<()> {
    let reference: Reference = reference.parse()?;
    let bytes = read_artefact(&file).map_err(anyhow::Error::msg)?;
    let kind = inspect(&bytes, None).with_context(|| format!("{file:?} cannot be pushed"))?;
    anyhow::ensure!(!kind.is_native(), "{file:?} is native; only WebAssembly can be pushed");
    let component = matches!(bytes.get(4..8), Some([.., 1, 0]));
    let pushed = registry::push(&reference, bytes, component, access(insecure)).await?;
    say!("{pushed}");
    Ok(())
}

/// Returns what is in a registry, ready to be sent to a node, with where it is from.
pub(super) async fn pulled(
    reference: &str,
    insecure: bool,
    given: &Options,
) -> anyhow::Result<Ready> {
    let reference: Reference = reference.parse()?;
    let mut options = given.clone();
    let name = options.name.take().unwrap_or_else(|| reference.name().replace(['_', '.'], "-"));
    abi::name::check(&name)?;
    eprintln!("pulling {reference} ...");
    let pulled = registry::pull(&reference, access(insecure)).await?;
    options.origin = Some(pulled.origin.to_string());
    let kind = inspect(&pulled.file, options.kind)
        .with_context(|| format!("{reference} cannot be deployed"))?;
    options.check(kind).with_context(|| format!("function {name:?}"))?;
    Ok(Ready { name, kind, options, artefact: pulled.file, cron: None })
}
