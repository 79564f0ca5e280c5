//! The cache in a folder, without a compiler. Owns no fds.

use super::*;
use host::files;
use store::objects::Objects as _;
use store::objects::directory::Directory;

fn open(folder: &Path) -> Cache {
    let objects = Directory::new(folder.join("store"));
    objects.make().unwrap();
    let artefacts = Artefacts::open(Arc::new(objects), folder.join("artefacts")).unwrap();
    Cache::open(folder.to_owned(), Arc::new(artefacts), 0).unwrap()
}

#[test]
fn keys_depend_on_artefact_kind_and_compatibility() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = open(folder.path());
    let key = |cache: &Cache, artefact, kind| cache.key(&[artefact; 32], kind);
    let first = key(&cache, 1, Kind::Http02);
    assert_eq!(first, key(&cache, 1, Kind::Http02));
    for other in [(2, Kind::Http02), (1, Kind::Command), (1, Kind::Http03)] {
        assert_ne!(first, key(&cache, other.0, other.1), "{other:?}");
    }
    cache.compatibility.values_mut().for_each(|bytes| bytes.push(0));
    assert_ne!(
        first,
        key(&cache, 1, Kind::Http02),
        "another wasmtime or processor must not find this module"
    );
}

#[test]
fn what_is_ready_is_given_without_its_file_and_what_is_forgotten_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let key = [1; 32];
    let file = files::Temporary::new(folder.path()).unwrap();
    std::fs::write(file.path(), b"code").unwrap();
    cache.modules.put(&key, Sha256::digest(b"code").into(), 4, file).unwrap();
    cache.state().sources.insert(key, ([2; 32], Kind::Http02));
    assert!(cache.sealed(&key).is_none());
    cache.make_ready_while_room(&[key]);
    std::fs::remove_file(cache.modules.path(&key)).unwrap();
    assert!(cache.sealed(&key).is_some());
    cache.retain(&Sources::new());
    assert!(cache.sealed(&key).is_none());
}
