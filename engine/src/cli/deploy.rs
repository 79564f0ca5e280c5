//! `sockhop deploy`: a file, what the command line says of it, and what `sockhop.toml` beside it says. Owns no fds.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::Target;
use super::client::Node;
use crate::compile::inspect;
use crate::store::manifest::{Instances, Isolation, Options};

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The component, a .wasm file
    file: PathBuf,
    /// The function's name (default: from sockhop.toml, or the file's name)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// An environment variable for the function (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = env_pair)]
    env: Vec<(String, String)>,
    /// Memory of one instance (default 64MiB)
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Wall time of one invocation (default 30s)
    #[arg(long, value_name = "TIME")]
    timeout: Option<humantime::Duration>,
    /// Give the function a worker process of its own
    #[arg(long, value_name = "KIND")]
    isolation: Option<Isolation>,
    /// A fresh instance for every request, or reuse=N: one serves N requests, one after another (default fresh)
    #[arg(long, value_name = "POLICY")]
    instances: Option<Instances>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// `sockhop.toml`, the same choices in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOptions {
    name: Option<String>,
    memory: Option<ByteSize>,
    timeout: Option<String>,
    isolation: Option<Isolation>,
    instances: Option<Instances>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

fn env_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// Sends the function to the node.
pub(super) async fn run(deploy: Deploy) -> anyhow::Result<()> {
    let file = file_options(&deploy.file)?;
    let name = deploy.name.or(file.name).unwrap_or_else(|| name_of(&deploy.file));
    abi::name::check(&name)?;
    let artefact = read_artefact(&deploy.file).map_err(anyhow::Error::msg)?;
    // The node looks again; here it costs nothing, and the answer needs no node.
    inspect::inspect(&artefact).with_context(|| format!("{:?} cannot be deployed", deploy.file))?;
    let timeout = match (deploy.timeout, file.timeout) {
        (Some(timeout), _) => Some(Duration::from(timeout)),
        (None, Some(text)) => Some(humantime::parse_duration(&text).with_context(|| format!("timeout = {text:?}"))?),
        (None, None) => None,
    };
    let mut env = file.env;
    env.extend(deploy.env);
    let options = Options {
        env,
        memory_bytes_max: deploy.memory.or(file.memory).map(|size| size.as_u64()),
        timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        isolation: deploy.isolation.or(file.isolation),
        instances: deploy.instances.or(file.instances),
    };
    options.check()?;

    eprintln!("deploying {name}: {} ...", ByteSize(artefact.len() as u64).display().iec());
    let started = Instant::now();
    let boundary = format!("sockhop-{}", uuid::Uuid::now_v7().simple());
    let form = form(&boundary, &serde_json::to_vec(&options)?, &artefact);
    let node = Node::new(&deploy.target);
    let manifest = node.put_form(&format!("/v1/functions/{name}"), &boundary, form.into()).await?;
    if deploy.json {
        println!("{manifest:#}");
        return Ok(());
    }
    let version = manifest.get("version").and_then(Value::as_str).unwrap_or("?");
    println!("deployed {name}, version {version}, in {:.2} s", started.elapsed().as_secs_f64());
    let status = node.get("/v1/status").await?;
    if let Some(listener) = status.pointer("/node/listeners/0").and_then(Value::as_str) {
        println!("{listener}/{name}/");
    }
    Ok(())
}

/// The file to deploy, looked at before it is sent anywhere.
fn read_artefact(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |error| format!("{path:?} cannot be read: {error}");
    let meta = std::fs::metadata(path).map_err(describe)?;
    if meta.is_dir() {
        return Err(format!("{path:?} is a folder; expected a WebAssembly component, a file"));
    }
    let limit = abi::limits::ARTEFACT_BYTES_MAX as u64;
    if meta.len() > limit {
        return Err(format!("{path:?} has {} bytes; at most {limit} can be deployed", meta.len()));
    }
    std::fs::read(path).map_err(describe)
}

/// `sockhop.toml` in the file's folder, if there is one.
fn file_options(file: &Path) -> anyhow::Result<FileOptions> {
    let path = file.with_file_name("sockhop.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| {
            format!("{path:?} is not understood; expected name, memory, timeout, isolation, instances, [env]")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileOptions::default()),
        Err(error) => bail!("{path:?} cannot be read: {error}"),
    }
}

/// A file's stem as a function's name, where it can be one.
fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase().replace(['_', '.'], "-")
}

/// multipart/form-data (RFC 7578) with the two parts the node expects. The boundary is random enough not to be in them.
fn form(boundary: &str, options: &[u8], artefact: &[u8]) -> Vec<u8> {
    let mut form = Vec::with_capacity(artefact.len() + options.len() + 512);
    for (name, kind, bytes) in [("options", "application/json", options), ("artefact", "application/wasm", artefact)] {
        let head =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\ncontent-type: {kind}\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(bytes);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        for (file, name) in [("a/Hello_World.wasm", "hello-world"), ("x.component.wasm", "x-component")] {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }

    #[test]
    fn the_file_beside_it_is_read_and_mistakes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let wasm = folder.path().join("a.wasm");
        assert!(file_options(&wasm).unwrap().name.is_none());
        let toml = folder.path().join("sockhop.toml");
        std::fs::write(
            &toml,
            "name = \"b\"\nmemory = \"32MiB\"\ntimeout = \"2s\"\nisolation = \"process\"\ninstances = \"reuse=5\"\n[env]\nA = \"1\"\n",
        )
        .unwrap();
        let options = file_options(&wasm).unwrap();
        assert_eq!((options.name.as_deref(), options.memory), (Some("b"), Some(ByteSize::mib(32))));
        assert_eq!(options.env["A"], "1");
        std::fs::write(&toml, "memroy = 3\n").unwrap();
        let error = format!("{:#}", file_options(&wasm).unwrap_err());
        assert!(error.contains("memroy") && error.contains("expected"), "{error}");
    }
}
