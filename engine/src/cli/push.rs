//! `sockhop push`: a file to a registry. Owns no fds beyond a call.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use compile::inspect::inspect;
use registry::Reference;

use super::ready::{access, read_artefact};

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
