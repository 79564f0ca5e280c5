//! `sockhop deploy`: a file, what the command line says of it, and what `sockhop.toml` beside it says. Owns no fds.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use clap::Args;
use serde_json::Value;

use super::Target;
use super::client::Node;
use super::show::{number, text};
use super::urls::urls;
use crate::compile::inspect::inspect;
use crate::store::options::Options;

/// A page for browsers, and one for everything else.
const URLS_SHOWN: usize = 2;

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The function: a component or a core module with WASI preview 1, a .wasm file
    file: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Keep the version without making it active: it can be called as NAME@VERSION
    #[arg(long)]
    no_activate: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Sends the function to the node.
pub(super) async fn run(deploy: Deploy) -> anyhow::Result<()> {
    let mut options = deploy.options.over(file_options(&deploy.file)?);
    let name = options.name.take().unwrap_or_else(|| name_of(&deploy.file));
    abi::name::check(&name)?;
    let artefact = read_artefact(&deploy.file).map_err(anyhow::Error::msg)?;
    // The node looks again; here it costs nothing, and the answer needs no node.
    let kind = inspect(&artefact, options.kind).with_context(|| format!("{:?} cannot be deployed", deploy.file))?;
    options.check(kind)?;

    eprintln!("deploying {name}: {} ...", ByteSize(artefact.len() as u64).display().iec());
    let started = Instant::now();
    let boundary = format!("sockhop-{}", uuid::Uuid::now_v7().simple());
    let form = form(&boundary, &serde_json::to_vec(&options)?, &artefact);
    let node = Node::new(&deploy.target);
    let activation = if deploy.no_activate { "?activate=false" } else { "" };
    let path = format!("/v1/functions/{name}{activation}");
    let mut manifest = node.put_form(&path, &boundary, form.into()).await?;
    let status = node.get("/v1/status").await?;
    let listeners = status.pointer("/node/listeners").and_then(Value::as_array).into_iter().flatten();
    let listeners: Vec<&str> = listeners.filter_map(Value::as_str).collect();
    let number = number(&manifest, "number");
    let reference = if deploy.no_activate { format!("@v{number}") } else { String::new() };
    let urls = urls(&listeners, &name, &reference);
    if deploy.json {
        if let Some(fields) = manifest.as_object_mut() {
            fields.insert("url".to_owned(), urls.first().cloned().into());
            fields.insert("urls".to_owned(), urls.into());
        }
        println!("{manifest:#}");
        return Ok(());
    }
    let version = text(&manifest, "version");
    let active = if deploy.no_activate { ", not active" } else { "" };
    println!("deployed {name}, version v{number} {version}{active}, in {:.2} s", started.elapsed().as_secs_f64());
    for url in urls.iter().take(URLS_SHOWN) {
        println!("{url}");
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
fn file_options(file: &Path) -> anyhow::Result<Options> {
    let path = file.with_file_name("sockhop.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| {
            format!("{path:?} is not understood; expected the options of `sockhop deploy`, with _ for -")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Options::default()),
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
        std::fs::write(&toml, "name = \"b\"\nmemory = \"32MiB\"\n[env]\nA = \"1\"\n").unwrap();
        let options = file_options(&wasm).unwrap();
        assert_eq!((options.name.as_deref(), options.memory), (Some("b"), Some(ByteSize::mib(32))));
        assert_eq!(options.env, [("A".to_owned(), "1".to_owned())]);
        std::fs::write(&toml, "memroy = 3\n").unwrap();
        let error = format!("{:#}", file_options(&wasm).unwrap_err());
        assert!(error.contains("memroy") && error.contains("expected"), "{error}");
    }
}
