//! What stands in the store: which certificate is served, and what is removed.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use secrets::KeyFile;
use store::objects::directory::Directory;
use store::objects::{Objects, checked};

use crate::certificate::Certificate;
use crate::challenge::Answer;
use crate::held::Held;
use crate::place::{Place, ca_of};
use crate::record::Attempts;
use crate::shelf::{Shelf, View};

const NAME: &str = "shop.example.com";
/// 15 January 2027, in the morning.
const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// A certificate that is valid for so many days, half of them before the day that is so many days
/// after [`NOW`].
fn certificate(middle: i64, days: i64) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let at = |day: i64| {
        let (today, away) = (date_time_ymd(2027, 1, 15), Duration::from_secs(86_400));
        let away = away * u32::try_from(day.abs()).unwrap();
        if day < 0 { today - away } else { today + away }
    };
    parameters.not_before = at(middle - days / 2);
    parameters.not_after = at(middle + days / 2);
    let pem = parameters.self_signed(&key).unwrap().pem();
    let middle_ms = NOW.checked_add_signed(middle * i64::try_from(DAY).unwrap()).unwrap();
    Certificate::of_answer(NAME, &key, &pem, middle_ms).unwrap()
}

struct Bed {
    _folders: [tempfile::TempDir; 2],
    objects: Arc<dyn Objects>,
    keys: Arc<KeyFile>,
}

impl Bed {
    fn new() -> Self {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let objects: Arc<dyn Objects> = Arc::new(Directory::new(folders[0].path().to_owned()));
        let keys = Arc::new(KeyFile::open(None, folders[1].path()).unwrap());
        Self { _folders: folders, objects, keys }
    }

    fn shelf(&self, directory: &str) -> Shelf {
        let (objects, keys) = (Arc::clone(&self.objects), Arc::clone(&self.keys));
        Shelf { objects, keys, ca: ca_of(directory) }
    }

    async fn served(&self, shelf: &Shelf) -> Option<Arc<Certificate>> {
        let view = shelf.view(&View::default()).await.unwrap();
        let mut held = Held::of(&view, &shelf.ca, Vec::new(), NOW).certificates;
        assert!(held.len() <= 1);
        held.pop()
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self.objects.list("", "").await.unwrap();
        listed.into_iter().map(|listed| listed.key).collect()
    }
}

#[tokio::test]
async fn the_certificate_that_ends_last_is_served_and_that_of_another_ca_only_without_one() {
    let bed = Bed::new();
    let [ours, other] =
        ["https://ca.example/dir", "https://staging.example/dir"].map(|url| bed.shelf(url));
    assert_eq!(bed.served(&ours).await, None);
    let mut put = Vec::new();
    // Over; of another CA; ours, and a longer one of ours.
    for (shelf, middle, days) in [(&ours, -40, 60), (&other, 0, 90), (&ours, 0, 30), (&ours, 0, 60)]
    {
        let certificate = certificate(middle, days);
        shelf.put_certificate(NAME, certificate.clone()).await.unwrap();
        put.push(Arc::new(certificate));
        assert_eq!(bed.served(&ours).await.as_ref(), put.last());
    }
    assert_eq!(bed.served(&other).await.as_ref(), Some(&put[1]));
    let view = ours.view(&View::default()).await.unwrap();
    assert_eq!(view.held(&ours.ca)[NAME], put[3].validity);
}

#[tokio::test]
async fn only_what_is_proven_to_be_ours_and_is_over_is_removed() {
    let bed = Bed::new();
    let shelf = bed.shelf("https://ca.example/dir");
    shelf.put_certificate(NAME, certificate(0, 30)).await.unwrap();
    let (stays, _) = shelf.put_certificate(NAME, certificate(-19, 38)).await.unwrap();
    let (goes, _) = shelf.put_certificate(NAME, certificate(-40, 30)).await.unwrap();
    // Sealed with another key, and no certificate at all.
    let stranger = Bed { objects: Arc::clone(&bed.objects), ..Bed::new() };
    let (sealed, _) = stranger
        .shelf("https://ca.example/dir")
        .put_certificate(NAME, certificate(-40, 30))
        .await
        .unwrap();
    let id = uuid::Uuid::now_v7().to_string();
    let foreign = Place::Certificate { ca: &shelf.ca, name: NAME, id: &id }.key();
    bed.objects.put(&foreign, b"somebody's".to_vec()).await.unwrap();
    let answer = |until_ms| Answer { format: 1, authorization: "t.k".to_owned(), until_ms };
    let [old, new] = ["old", "new"].map(|token| Place::HttpChallenge { token }.key());
    shelf.put_record(&old, &answer(NOW - 1)).await.unwrap();
    shelf.put_record(&new, &answer(NOW + 1)).await.unwrap();
    let record = |name, began_ms| {
        let key = Place::Attempts { ca: &shelf.ca, name }.key();
        (key, Attempts { began_ms, ..Attempts::default() })
    };
    let records = [
        record(NAME, NOW - 100 * DAY),
        record("old.example", NOW - 31 * DAY),
        record("new.example", NOW - 29 * DAY),
    ];
    for (key, record) in &records {
        shelf.put_record(key, record).await.unwrap();
    }
    let before = bed.keys().await;
    let view = shelf.view(&View::default()).await.unwrap();
    shelf.clear(&view, NOW).await;
    let after = bed.keys().await;
    let gone: Vec<&String> = before.iter().filter(|key| !after.contains(key)).collect();
    let mut expected = vec![&goes, &old, &records[1].0];
    expected.sort();
    assert_eq!(gone, expected);
    assert!([&stays, &sealed, &foreign, &new].into_iter().all(|key| after.contains(key)));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_as_if_there_was_none() {
    let bed = Bed::new();
    let shelf = bed.shelf("https://ca.example/dir");
    let key = Place::Attempts { ca: &shelf.ca, name: NAME }.key();
    for object in [b"x".to_vec(), checked::seal(b"no JSON"), vec![0; 100_000]] {
        bed.objects.put(&key, object).await.unwrap();
        assert_eq!(shelf.record::<Attempts>(&key).await.unwrap(), None);
        let view = shelf.view(&View::default()).await.unwrap();
        assert_eq!(view.attempts(&shelf.ca).0[NAME], Attempts::default());
    }
}
