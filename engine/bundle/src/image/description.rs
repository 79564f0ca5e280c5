//! The JSON files of an image layout, as far as one image of one layer needs them. Pure; owns no
//! fds.
//!
//! They are structs and not values put together by hand, so that their fields stay in order: an
//! image is known by the digest of its bytes.

use std::collections::BTreeMap;

use serde::Serialize;

/// What is known of a blob by those who refer to it (`descriptor.md`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: &'static str,
    pub(super) digest: String,
    pub(super) size: usize,
}

/// `index.json` (`image-index.md`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index<'a> {
    pub(super) schema_version: u32,
    pub(super) media_type: &'static str,
    pub(super) manifests: [IndexEntry<'a>; 1],
}

#[derive(Serialize)]
pub(super) struct IndexEntry<'a> {
    #[serde(flatten)]
    pub(super) descriptor: Descriptor,
    pub(super) platform: Platform,
    pub(super) annotations: IndexAnnotations<'a>,
}

#[derive(Serialize)]
pub(super) struct Platform {
    pub(super) architecture: &'static str,
    pub(super) os: &'static str,
}

#[derive(Serialize)]
pub(super) struct IndexAnnotations<'a> {
    /// The whole name, which containerd, Docker and podman give the image that they load.
    #[serde(rename = "io.containerd.image.name")]
    pub(super) name: &'a str,
    /// The tag, by which it is found in the layout.
    #[serde(rename = "org.opencontainers.image.ref.name")]
    pub(super) reference: &'static str,
}

/// What an image is made of (`manifest.md`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    pub(super) media_type: &'static str,
    pub(super) config: Descriptor,
    pub(super) layers: [Descriptor; 1],
}

/// What runs in an image (`config.md`).
#[derive(Serialize)]
pub(super) struct Image {
    pub(super) created: &'static str,
    pub(super) architecture: &'static str,
    pub(super) os: &'static str,
    pub(super) config: Config,
    pub(super) rootfs: RootFs,
    pub(super) history: [History; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) user: &'static str,
    pub(super) exposed_ports: BTreeMap<&'static str, PortOptions>,
    pub(super) env: [&'static str; 1],
    pub(super) entrypoint: [String; 1],
    pub(super) working_dir: &'static str,
}

/// There are none.
#[derive(Serialize)]
pub(super) struct PortOptions {}

#[derive(Serialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) diff_ids: [String; 1],
}

#[derive(Serialize)]
pub(super) struct History {
    pub(super) created: &'static str,
    pub(super) created_by: &'static str,
}

/// `manifest.json`, which `docker load` reads where it knows no layouts (before Docker 25).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerManifest<'a> {
    pub(super) config: String,
    pub(super) repo_tags: [&'a str; 1],
    pub(super) layers: [String; 1],
}
