//! Manifests: which layer is the WebAssembly file, and the manifest of one that is pushed. Pure;
//! owns no fds.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::reference::is_digest;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// What is asked for.
pub(crate) const ACCEPTED: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// Layers that are WebAssembly: the CNCF's, as of `wkg` and wasmCloud, and those that Spin and
/// earlier tools have.
const WASM_LAYERS: [&str; 4] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// What a manifest or an index refers to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

/// As much as is read of a manifest or an index.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// What a manifest leads to.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another manifest, of an index.
    Manifest(Descriptor),
    /// The WebAssembly file.
    File(Descriptor),
}

impl Manifest {
    /// Returns what the manifest leads to, or why it leads to no WebAssembly file.
    pub(crate) fn next(self) -> Result<Next, String> {
        if !self.manifests.is_empty() {
            let is_wasm = |found: &&Descriptor| {
                found.platform.as_ref().is_some_and(|it| it.architecture == "wasm")
            };
            let found = self.manifests.iter().find(is_wasm);
            let found = found.or_else(|| (self.manifests.len() == 1).then(|| &self.manifests[0]));
            return match found {
                Some(found) => Ok(Next::Manifest(checked(found.clone())?)),
                None => Err("it is an index of images for processors; a program of one can be \
                     deployed with --kind server"
                    .into()),
            };
        }
        let is_wasm = |layer: &Descriptor| WASM_LAYERS.contains(&&*layer.media_type);
        let count = self.layers.len();
        let mut files = self.layers.into_iter().filter(is_wasm);
        match (files.next(), files.count()) {
            (Some(file), 0) => Ok(Next::File(checked(file)?)),
            (Some(_), more) => Err(format!(
                "it has {} of them, as a Spin application of several components does; push each by \
                 itself",
                more + 1
            )),
            (None, _) => Err(format!(
                "none of its {count} layers is WebAssembly; if it is a container's image, its \
                 program can be deployed with --kind server"
            )),
        }
    }
}

fn checked(descriptor: Descriptor) -> Result<Descriptor, String> {
    if is_digest(&descriptor.digest) {
        Ok(descriptor)
    } else {
        Err(format!("it refers to {:?}, which is no SHA-256 digest", descriptor.digest))
    }
}

/// Returns the configuration and then, made with its digest and size, the manifest of a file.
pub(crate) fn config(file_digest: &str, component: bool) -> Vec<u8> {
    let config = json!({
        "architecture": "wasm",
        "os": if component { "wasip2" } else { "wasip1" },
        // Always the same, so that the same file has the same digest.
        "created": "1970-01-01T00:00:00Z",
        "layerDigests": [file_digest],
    });
    config.to_string().into_bytes()
}

/// Returns the manifest of a file, whose configuration and contents these are.
pub(crate) fn manifest(config: (&str, usize), file: (&str, usize)) -> Vec<u8> {
    let descriptor = |media_type, (digest, size): (&str, usize)| json!({"mediaType": media_type, "digest": digest, "size": size});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(WASM_CONFIG, config),
        "layers": [descriptor(WASM_LAYERS[0], file)],
    });
    manifest.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    fn next(json: &serde_json::Value) -> Result<String, String> {
        let manifest: Manifest = serde_json::from_value(json.clone()).unwrap();
        manifest.next().map(|next| match next {
            Next::Manifest(found) => format!("manifest {}", &found.digest[7..9]),
            Next::File(found) => format!("file {}", &found.digest[7..9]),
        })
    }

    fn layer(media_type: &str, byte: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", byte.repeat(32)), "size": 3})
    }

    #[test]
    fn the_one_wasm_layer_is_found_among_others() {
        for media_type in WASM_LAYERS {
            let layers = [layer("application/json", "0a"), layer(media_type, "0b")];
            assert_eq!(next(&json!({"layers": layers})).unwrap(), "file 0b");
        }
        let two = [layer(WASM_LAYERS[1], "0a"), layer(WASM_LAYERS[1], "0b")];
        assert!(next(&json!({"layers": two})).unwrap_err().contains("2 of them"));
        let image = [layer("application/vnd.oci.image.layer.v1.tar+gzip", "0a")];
        assert!(next(&json!({"layers": image})).unwrap_err().contains("--kind server"));
        assert!(next(&json!({})).is_err());
        let wrong =
            json!({"layers": [{"mediaType": "application/wasm", "digest": "../x", "size": 1}]});
        assert!(next(&wrong).unwrap_err().contains("../x"));
    }

    #[test]
    fn an_index_leads_to_its_manifest_for_wasm() {
        let mut wasm = layer(MANIFEST, "0b");
        wasm["platform"] = json!({"architecture": "wasm", "os": "wasip2"});
        let both = json!({"manifests": [layer(MANIFEST, "0a"), wasm]});
        assert_eq!(next(&both).unwrap(), "manifest 0b");
        let single = json!({"manifests": [layer(MANIFEST, "0a")]});
        assert_eq!(next(&single).unwrap(), "manifest 0a");
        let images = json!({"manifests": [layer(MANIFEST, "0a"), layer(MANIFEST, "0c")]});
        assert!(next(&images).is_err());
    }

    #[test]
    fn what_is_pushed_is_what_is_pulled() {
        let digest = format!("sha256:{}", "0b".repeat(32));
        let made = manifest((&digest, 2), (&digest, 3));
        let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(next(&made).unwrap(), "file 0b");
    }
}
