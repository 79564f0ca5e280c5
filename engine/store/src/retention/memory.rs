//! A store in memory whose clock the tests set. Owns no fds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::format::{FORMAT, FORMAT_KEY};
use crate::objects::{Answer, Listed, Objects};

/// An object, when it was written, and how many were before it.
type Object = (Vec<u8>, SystemTime, usize);

#[derive(Debug)]
pub(super) struct Memory {
    objects: Mutex<BTreeMap<String, Object>>,
    writes: Mutex<usize>,
    now: Mutex<SystemTime>,
}

impl Memory {
    /// One that is of today's format.
    pub(super) fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let memory =
            Self { objects: Mutex::default(), writes: Mutex::new(0), now: Mutex::new(now) };
        memory.write(FORMAT_KEY, FORMAT.into());
        memory
    }

    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap()
    }

    pub(super) fn now(&self) -> SystemTime {
        *self.now.lock().unwrap()
    }

    pub(super) fn set_clock(&self, now: SystemTime) {
        *self.now.lock().unwrap() = now;
    }

    pub(super) fn write(&self, key: &str, contents: Vec<u8>) {
        let mut writes = self.writes.lock().unwrap();
        *writes += 1;
        self.all().insert(key.to_owned(), (contents, self.now(), *writes));
    }
}

impl Objects for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }
    fn get<'a>(&'a self, key: &'a str, _: usize) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move { Ok(self.all().get(key).map(|(object, ..)| object.clone())) })
    }
    fn get_range<'a>(&'a self, key: &'a str, _: u64, bytes: usize) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let object = self.all().get(key).map(|(object, ..)| object.clone());
            Ok(object.map(|object| object.into_iter().take(bytes).collect()))
        })
    }
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(async move {
            self.write(key, contents);
            Ok(())
        })
    }
    fn download<'a>(&'a self, _: &'a str, _: &'a Path) -> Answer<'a, bool> {
        Box::pin(async { Ok(false) })
    }
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        self.put(key, std::fs::read(from).unwrap())
    }
    fn list<'a>(&'a self, prefix: &'a str, _: &'a str) -> Answer<'a, Vec<Listed>> {
        Box::pin(async move {
            let all = self.all();
            let under = all.iter().filter(|(key, _)| key.starts_with(prefix));
            let listed = under.map(|(key, (object, modified, write))| Listed {
                key: key.clone(),
                bytes: object.len() as u64,
                tag: write.to_string(),
                modified: *modified,
            });
            Ok(listed.collect())
        })
    }
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.all().remove(key);
            Ok(())
        })
    }
}
