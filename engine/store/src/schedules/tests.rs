//! Two nodes and one folder; what is damaged; and as many schedules as there may be.

use std::path::PathBuf;
use std::slice;

use schedule::Overlap;

use super::object::tests::every;
use super::*;
use crate::objects::directory::Directory;

/// A node with the store in `folder`.
async fn node(folder: &Path, name: &str) -> Schedules {
    let objects: Arc<dyn Objects> = Arc::new(Directory::new(folder.join("store")));
    let cache = folder.join(name);
    std::fs::create_dir_all(&cache).unwrap();
    let schedules = Schedules::new(objects, &cache);
    schedules.load().await.unwrap();
    schedules
}

fn ids(schedules: &Schedules) -> Vec<String> {
    schedules.all().keys().cloned().collect()
}

#[tokio::test]
async fn nodes_of_one_store_have_the_same_schedules() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (node(folder.path(), "one").await, node(folder.path(), "other").await);
    let (id, _) = one.add(every("web", 1)).await.unwrap();
    other.refresh().await.unwrap();
    assert_eq!(ids(&other), [id.as_str()]);
    // The same once more changes its policies, and not since when it is there.
    let again = StoredSchedule { overlap: Overlap::Queue, created_ms: 9, ..every("web", 1) };
    let (same, changed) = other.add(again).await.unwrap();
    assert_eq!((&same, changed.created_ms, changed.overlap), (&id, 1, Overlap::Queue));
    one.refresh().await.unwrap();
    assert_eq!(one.all()[&id].overlap, Overlap::Queue);
    one.remember().await;
    // A node whose store is away has what it knew.
    assert_eq!(one.copy.read().unwrap().all(), *one.all());
    other.remove(&id).await.unwrap();
    one.refresh().await.unwrap();
    assert!(ids(&one).is_empty());
    assert!(matches!(one.remove(&id).await, Err(SchedulesError::Unknown(_))));
    assert!(matches!(one.remove("../x").await, Err(SchedulesError::Unknown(_))));
}

#[tokio::test]
async fn a_project_has_its_own_schedules_and_no_others_go_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), "one").await;
    let of_project = |seconds| StoredSchedule { source: Source::Project, ..every("web", seconds) };
    node.add(every("web", 1)).await.unwrap();
    let (there, gone) = node.set_project("web", vec![of_project(2), of_project(3)]).await.unwrap();
    assert_eq!((there.len(), gone.len(), ids(&node).len()), (2, 0, 3));
    let mut of_other = every("api", 4);
    of_other.source = Source::Project;
    node.set_project("api", vec![of_other]).await.unwrap();
    let (_, gone) = node.set_project("web", vec![of_project(3)]).await.unwrap();
    assert_eq!(gone, [of_project(2).id()]);
    let (there, gone) = node.set_project("web", Vec::new()).await.unwrap();
    assert_eq!((there.len(), gone), (0, vec![of_project(3).id()]));
    let mut left = [every("web", 1).id(), every("api", 4).id()];
    left.sort();
    assert_eq!(ids(&node), left);
}

#[tokio::test]
async fn a_damaged_schedule_is_not_rung_and_can_be_removed_or_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let writer = node(folder.path(), "one").await;
    let (id, _) = writer.add(every("web", 1)).await.unwrap();
    let file: PathBuf = folder.path().join("store").join(key(&id));
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let reader = node(folder.path(), "other").await;
    assert!(ids(&reader).is_empty());
    reader.add(every("web", 1)).await.unwrap();
    assert_eq!(ids(&reader), [id.as_str()]);
    std::fs::write(&file, b"x").unwrap();
    reader.refresh().await.unwrap();
    assert!(reader.remove(&id).await.unwrap().is_none() && !file.exists());
}

#[tokio::test]
async fn there_may_be_so_many_schedules_and_no_more() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let schedules = node(folder.path(), "one").await;
    let one = every("web", 1);
    for number in 0..SCHEDULES_MAX {
        let schedule = StoredSchedule { path: format!("/{number}"), ..one.clone() };
        let object = checked::seal(&schedule.to_json().unwrap());
        schedules.objects.put(&key(&schedule.id()), object).await.unwrap();
    }
    assert!(matches!(schedules.add(one.clone()).await, Err(SchedulesError::TooMany)));
    let known = StoredSchedule { path: "/7".to_owned(), overlap: Overlap::Allow, ..one };
    schedules.add(known).await.unwrap();
    assert_eq!(schedules.all().len(), SCHEDULES_MAX);
}

#[tokio::test]
async fn nodes_say_that_they_ring_and_that_they_do_not_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (node(folder.path(), "one").await, node(folder.path(), "other").await);
    let ringing = RingingNode { host: "a".to_owned(), id: uuid::Uuid::from_u128(1) };
    one.say_ringing(&ringing).await.unwrap();
    other.refresh().await.unwrap();
    assert_eq!(other.ringing(), slice::from_ref(&ringing));
    one.say_silent(&ringing).await.unwrap();
    other.refresh().await.unwrap();
    assert!(other.ringing().is_empty());
}
