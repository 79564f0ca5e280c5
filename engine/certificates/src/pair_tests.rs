//! Pairs of files as operators have them: right ones, and each that is wrong in its own way.

use std::fs::{self, Permissions};

use super::*;

/// Writes a certificate for `names` and its key into `folder`.
pub(crate) fn write(folder: &Path, name: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    let key = folder.join(format!("{name}.key"));
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_pair_is_read_with_its_names() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a", &["Shop.Example.com", "*.example.org"]);
    let (certificate, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    let read = read(&certificate, &key).unwrap();
    assert_eq!(read.names, ["shop.example.com", "*.example.org"]);
    assert_eq!(read.chain.len(), 1);
}

#[test]
fn what_is_wrong_is_said_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(folder.path(), "a", &["a.example"]);
    write(folder.path(), "b", &["b.example"]);
    let said =
        |certificate: &str, key: &str| read(&at(certificate), &at(key)).unwrap_err().to_string();
    assert!(said("missing.crt", "a.key").contains("cannot be read"));
    assert!(said("a.key", "a.key").contains("no certificate in PEM"));
    assert!(
        said("a.crt", "a.crt").contains("no key in PEM")
            || said("a.crt", "a.crt").contains("everybody")
    );
    assert!(said("a.crt", "b.key").contains("do not go together"));
    fs::set_permissions(at("a.key"), Permissions::from_mode(0o644)).unwrap();
    assert!(said("a.crt", "a.key").contains("chmod o="));
    write(folder.path(), "none", &[]);
    assert!(said("none.crt", "none.key").contains("subjectAltName"));
    fs::write(at("large.crt"), vec![b'x'; 300 * 1024]).unwrap();
    assert!(said("large.crt", "b.key").contains("larger than any"));
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(at("odd.crt"), text).unwrap();
    assert!(said("odd.crt", "b.key").contains("cannot be read"));
}
