//! Tests of [`super`]: every reference leads to what it describes, and the layer has what it
//! should.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Command;

use serde_json::{Value, json};
use tar::Archive;

use super::*;
use crate::samples::{STATIC, Sample};

/// An entry of a tar: its type, its mode and its bytes.
type Entry = (EntryType, u32, Vec<u8>);

fn entries(bytes: &[u8]) -> BTreeMap<String, Entry> {
    let mut archive = Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.uid().unwrap() + header.gid().unwrap() + header.mtime().unwrap(), 0);
        let (entry_type, mode) = (header.entry_type(), header.mode().unwrap());
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (path, (entry_type, mode, bytes))
    });
    entries.collect()
}

fn parsed(entries: &BTreeMap<String, Entry>, path: &str) -> Value {
    serde_json::from_slice(&entries[path].2).unwrap()
}

/// Returns the blob that `descriptor` refers to, if it is as described.
fn blob<'a>(entries: &'a BTreeMap<String, Entry>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let digest = digest.strip_prefix("sha256:").unwrap();
    let bytes = &entries[&format!("blobs/sha256/{digest}")].2;
    assert_eq!(hex::encode(Sha256::digest(bytes)), digest);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn a_layout_has_an_image_of_the_executable() {
    let executable = STATIC.bytes();
    let contents = Contents { name: "hello-2", executable: &executable };
    let entries = entries(&layout(&contents).unwrap());
    assert_eq!(parsed(&entries, "oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    let index = parsed(&entries, "index.json");
    assert_eq!(index["schemaVersion"], 2);
    let found = &index["manifests"][0];
    assert_eq!(found["mediaType"], MANIFEST_TYPE);
    assert_eq!(found["platform"], json!({"architecture": "amd64", "os": "linux"}));
    assert_eq!(
        found["annotations"],
        json!({
            "io.containerd.image.name": "localhost/hello-2:latest",
            "org.opencontainers.image.ref.name": "latest",
        })
    );
    let manifest: Value = serde_json::from_slice(blob(&entries, found)).unwrap();
    assert_eq!(manifest["mediaType"], MANIFEST_TYPE);
    assert_eq!(manifest["config"]["mediaType"], CONFIG_TYPE);
    assert_eq!(manifest["layers"][0]["mediaType"], LAYER_TYPE);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);

    let image: Value = serde_json::from_slice(blob(&entries, &manifest["config"])).unwrap();
    let layer_digest = &manifest["layers"][0]["digest"];
    assert_eq!(
        image,
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": "65532:65532",
                "ExposedPorts": {"8080/tcp": {}},
                "Env": ["PORT=8080"],
                "Entrypoint": ["/sockhop-function"],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "sockhop bundle"}],
        })
    );

    let layer = self::entries(blob(&entries, &manifest["layers"][0]));
    assert_eq!(layer.keys().collect::<Vec<_>>(), ["sockhop-function", "tmp/"]);
    assert_eq!(layer["sockhop-function"], (EntryType::Regular, 0o755, executable));
    assert_eq!(layer["tmp/"], (EntryType::Directory, 0o1777, Vec::new()));

    let docker = parsed(&entries, "manifest.json");
    assert_eq!(docker[0]["RepoTags"], json!(["localhost/hello-2:latest"]));
    let path = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    assert_eq!(docker[0]["Config"], path(&manifest["config"]["digest"]));
    assert_eq!(docker[0]["Layers"], json!([path(layer_digest)]));
}

#[test]
fn the_systems_tar_unpacks_a_layout() {
    let executable = STATIC.bytes();
    let contents = Contents { name: "f", executable: &executable };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.tar");
    std::fs::write(&file, layout(&contents).unwrap()).unwrap();
    let output = Command::new("tar").arg("-xf").arg(&file).current_dir(folder.path()).output();
    let output = output.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 3);
}

#[test]
fn an_image_says_which_machine_it_is_for() {
    let executable = Sample { machine: 183, ..STATIC }.bytes();
    let contents = Contents { name: "f", executable: &executable };
    let entries = entries(&layout(&contents).unwrap());
    let platform = &parsed(&entries, "index.json")["manifests"][0]["platform"];
    assert_eq!(platform["architecture"], "arm64");
}

#[test]
fn an_executable_that_an_image_cannot_start_is_refused() {
    let dynamic = Sample { interpreter: Some("/lib64/ld-linux-x86-64.so.2"), ..STATIC };
    let executable = dynamic.bytes();
    let contents = Contents { name: "f", executable: &executable };
    let error = layout(&contents).unwrap_err().to_string();
    assert!(error.contains("/lib64/ld-linux-x86-64.so.2"), "{error}");
    assert!(error.contains("link it statically"), "{error}");
}
