//! The backend against a real server: s3s-fs, which a test starts for itself, with a folder of its
//! own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};

use super::*;

const BUCKET: &str = "bucket";
const KEY: &str = "key";
const SECRET: &str = "a-secret-that-is-hidden";

/// A running server. Dropped, it is killed.
struct Server {
    process: Child,
    endpoint: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The one that `SOCKHOP_TEST_S3S_FS` names, or where scripts/test has put it.
fn binary() -> PathBuf {
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        || cache().or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = || Some(cache()?.join("sockhop/s3s-fs-0.14.1/bin/s3s-fs"));
    let path =
        std::env::var_os("SOCKHOP_TEST_S3S_FS").map(PathBuf::from).or_else(installed).unwrap();
    assert!(path.is_file(), "{} is not there: run scripts/test, which installs it", path.display());
    path
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut command = Process::new(binary());
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--access-key",
            KEY,
            "--secret-key",
            SECRET,
        ]);
        command.arg(folder.path()).env("RUST_LOG", "s3s_fs=info").stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let endpoint = said
            .filter_map(|line| Some(format!("http://{}", line.split_once("http://")?.1.trim())))
            .next();
        Self { process, endpoint: endpoint.unwrap(), _folder: folder }
    }

    fn access(&self) -> Access {
        Access {
            place: BucketLocation { bucket: BUCKET.into(), prefix: "some/where".into() },
            endpoint: Some(self.endpoint.clone()),
            region: "us-east-1".into(),
            path_style: true,
            credentials: Credentials { key: KEY.into(), secret: SECRET.into(), token: None },
        }
    }

    fn store(&self) -> S3 {
        S3::open(self.access()).unwrap()
    }
}

fn keys(listed: Vec<Listed>) -> Vec<String> {
    listed.into_iter().map(|listed| listed.key).collect()
}

#[tokio::test]
async fn objects_are_written_listed_read_and_removed() {
    let server = Server::start();
    let store = server.store();
    for (key, contents) in [("b/2", "two"), ("b/1", "one"), ("a", "zero"), ("b/1", "One")] {
        store.put(key, contents.into()).await.unwrap();
    }
    assert_eq!(keys(store.list("", "").await.unwrap()), ["a", "b/1", "b/2"]);
    assert_eq!(keys(store.list("b/", "b/1").await.unwrap()), ["b/2"]);
    assert_eq!(keys(store.list("c/", "").await.unwrap()), Vec::<String>::new());
    assert_eq!(store.get("b/1", 3).await.unwrap().unwrap(), b"One");
    assert!(matches!(store.get("b/1", 2).await, Err(StoreError::Damaged { .. })));
    assert_eq!(store.get("c", 3).await.unwrap(), None);
    assert_eq!(store.get_range("b/1", 1, 9).await.unwrap().unwrap(), b"ne");
    assert_eq!(store.get_range("b/1", 0, 0).await.unwrap().unwrap(), b"");
    assert_eq!(store.get_range("b/1", 9, 9).await.unwrap().unwrap(), b"");
    assert_eq!(store.get_range("c", 0, 9).await.unwrap(), None);
    let before = store.list("", "").await.unwrap();
    store.put("a", b"other".to_vec()).await.unwrap();
    let after = store.list("", "").await.unwrap();
    assert!(before[0].tag != after[0].tag && before[1..] == after[1..]);
    for key in ["b/1", "b/2", "b/2", "never/there"] {
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store.list("", "").await.unwrap()), ["a"]);
}

#[tokio::test]
async fn files_go_in_and_out_and_a_listing_has_many_pages() {
    let server = Server::start();
    let store = server.store();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let contents: Vec<u8> = (0..=250).cycle().take(3 * S3_KNOCK_BYTES_MIN).collect();
    std::fs::write(&from, &contents).unwrap();
    std::fs::write(&to, vec![1; contents.len() + 1]).unwrap();
    store.upload("x/y", &from).await.unwrap();
    assert!(store.download("x/y", &to).await.unwrap());
    assert_eq!(std::fs::read(&to).unwrap(), contents);
    assert!(!store.download("x/z", &to).await.unwrap());
    // A page has a thousand.
    let many: Vec<String> = (0..1234).map(|number| format!("many/{number:04}")).collect();
    let puts = many.iter().map(|key| store.put(key, Vec::new()));
    futures_util::future::try_join_all(puts).await.unwrap();
    assert_eq!(keys(store.list("many/", "").await.unwrap()), many);
    assert_eq!(keys(store.list("many/", &many[199]).await.unwrap()), many[200..]);
}

#[tokio::test]
async fn a_refusal_names_the_cause_and_the_setting() {
    let server = Server::start();
    let refused = async |access: Access, wanted: &[&str]| {
        let error = S3::open(access).unwrap().list("", "").await.unwrap_err();
        let said = error.to_string();
        assert!(!error.is_away(), "{said}");
        assert!(!said.contains(SECRET), "{said}");
        for part in wanted {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    let access = server.access();
    let credentials = |key: &str, secret: &str| Credentials {
        key: key.into(),
        secret: secret.into(),
        token: None,
    };
    let wrong_secret = Access { credentials: credentials(KEY, "wrong"), ..access.clone() };
    refused(
        wrong_secret,
        &["SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY", "s3://bucket/some/where"],
    )
    .await;
    let wrong_key = Access { credentials: credentials("nobody", SECRET), ..access.clone() };
    refused(wrong_key, &["AWS_ACCESS_KEY_ID", "--s3-credentials"]).await;
    let place = BucketLocation { bucket: "no-such-bucket".into(), prefix: String::new() };
    refused(Access { place, ..access.clone() }, &["NoSuchBucket", "--store"]).await;
    let tls =
        Access { endpoint: Some(server.endpoint.replace("http:", "https:")), ..access.clone() };
    refused(tls, &["speaks no TLS", "http://"]).await;
    let nowhere = Access { endpoint: Some("http://127.0.0.1:1".into()), ..access };
    let error = S3::open(nowhere).unwrap().get("a", 9).await.unwrap_err();
    assert!(error.is_away() && error.to_string().contains("--s3-endpoint"), "{error}");
}

#[test]
fn a_region_has_its_server_and_the_secret_is_in_no_debug() {
    assert_eq!(amazon("eu-central-1"), "https://s3.eu-central-1.amazonaws.com");
    assert_eq!(amazon("cn-north-1"), "https://s3.cn-north-1.amazonaws.com.cn");
    let place = BucketLocation { bucket: "bucket".into(), prefix: "p".into() };
    let credentials =
        Credentials { key: "key".into(), secret: SECRET.into(), token: Some(SECRET.into()) };
    let access =
        Access { place, endpoint: None, region: "auto".into(), path_style: true, credentials };
    let printed = format!("{access:?}");
    let store = S3::open(access).unwrap();
    assert_eq!(store.requests.path("a/b"), "/p/a/b");
    for text in [printed, format!("{store:?}")] {
        assert!(!text.contains(SECRET) && text.contains("bucket"), "{text}");
    }
}
