//! A tar of an OCI image layout with one image of one layer, which has the executable (OCI Image
//! Format Specification 1.1: `image-layout.md`, `manifest.md`, `config.md`, `layer.md`). Pure; owns
//! no fds.
//!
//! ```text
//! oci-layout
//! index.json ──▶ blobs/sha256/… the manifest ──▶ the configuration
//! manifest.json (Docker's)                   └─▶ the layer: sockhop-function, tmp
//! ```

use package::Machine;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{BundleError, Contents, elf};

mod description;

use description::{
    Config, Descriptor, DockerManifest, History, Image, Index, IndexAnnotations, IndexEntry,
    Manifest, Platform, PortOptions, RootFs,
};

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Not compressed: those who keep or send images compress them, and the digest of what is unpacked
/// is then the blob's.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// What the layout is called by those who read it: `image.tar:latest`.
const TAG: &str = "latest";

/// Where in the image the executable is.
const EXECUTABLE: &str = "sockhop-function";

/// Nobody, as images without a shell have it: no account is needed for a number.
const USER: &str = "65532:65532";

/// When everything was made, so that the same function makes the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Returns the tar of an image layout with the image of `contents`.
///
/// # Errors
///
/// Returns a [`BundleError`] if the executable needs something else that is not in the image.
pub(crate) fn layout(contents: &Contents<'_>) -> Result<Vec<u8>, BundleError> {
    if let Some(interpreter) = elf::interpreter(contents.executable)? {
        return Err(BundleError::Interpreter { interpreter });
    }
    let architecture = match elf::machine(contents.executable)? {
        Machine::X86_64 => "amd64",
        Machine::Aarch64 => "arm64",
        machine @ Machine::Other(_) => return Err(BundleError::Machine(machine)),
    };
    let layer = Blob::new(LAYER_TYPE, layer(contents.executable)?);
    let config = Blob::new(CONFIG_TYPE, json(&image(architecture, &layer))?);
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE,
        config: config.descriptor(),
        layers: [layer.descriptor()],
    };
    let manifest = Blob::new(MANIFEST_TYPE, json(&manifest)?);
    let name = format!("localhost/{}:{TAG}", contents.name);
    let index = Index {
        schema_version: 2,
        media_type: INDEX_TYPE,
        manifests: [IndexEntry {
            descriptor: manifest.descriptor(),
            platform: Platform { architecture, os: "linux" },
            annotations: IndexAnnotations { name: &name, reference: TAG },
        }],
    };
    let docker =
        [DockerManifest { config: config.path(), repo_tags: [&name], layers: [layer.path()] }];

    let mut tar = Builder::new(Vec::new());
    file(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    file(&mut tar, "index.json", 0o644, &json(&index)?)?;
    file(&mut tar, "manifest.json", 0o644, &json(&docker)?)?;
    folder(&mut tar, "blobs/", 0o755)?;
    folder(&mut tar, "blobs/sha256/", 0o755)?;
    for blob in [&manifest, &config, &layer] {
        file(&mut tar, &blob.path(), 0o644, &blob.bytes)?;
    }
    Ok(tar.into_inner()?)
}

/// Returns the image's configuration.
fn image(architecture: &'static str, layer: &Blob) -> Image {
    Image {
        created: CREATED,
        architecture,
        os: "linux",
        config: Config {
            user: USER,
            exposed_ports: [("8080/tcp", PortOptions {})].into(),
            env: ["PORT=8080"],
            entrypoint: [format!("/{EXECUTABLE}")],
            working_dir: "/",
        },
        rootfs: RootFs { kind: "layers", diff_ids: [layer.digest.clone()] },
        history: [History { created: CREATED, created_by: "sockhop bundle" }],
    }
}

/// Returns the tar of the one layer.
fn layer(executable: &[u8]) -> Result<Vec<u8>, BundleError> {
    let mut tar = Builder::new(Vec::new());
    file(&mut tar, EXECUTABLE, 0o755, executable)?;
    folder(&mut tar, "tmp/", 0o1777)?;
    Ok(tar.into_inner()?)
}

/// A blob of the layout.
struct Blob {
    media_type: &'static str,
    /// `sha256:` and the digest of the bytes.
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        Self { media_type, digest, bytes }
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type,
            digest: self.digest.clone(),
            size: self.bytes.len(),
        }
    }

    /// Returns where in the layout it is.
    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, BundleError> {
    Ok(serde_json::to_vec(value)?)
}

fn file(
    tar: &mut Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<(), BundleError> {
    entry(tar, path, EntryType::Regular, mode, bytes)
}

fn folder(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32) -> Result<(), BundleError> {
    entry(tar, path, EntryType::Directory, mode, &[])
}

/// Appends an entry that belongs to root and was made in 1970.
fn entry(
    tar: &mut Builder<Vec<u8>>,
    path: &str,
    entry_type: EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<(), BundleError> {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests;
