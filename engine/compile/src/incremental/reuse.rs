//! The compile child's half: what the packs have is not compiled, and the rest is collected for
//! another pack. Owns the packs' files.

use std::borrow::Cow;
use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use abi::message::Digest;
use serde::{Deserialize, Serialize};
use wasmtime::CacheStore;

use super::pack::{self, Entry, PACK_BYTES_MAX};

/// What a compilation reused. The child writes it to stdout as JSON.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// How many functions were found in packs.
    pub found: u64,
    /// How many were compiled.
    pub compiled: u64,
    /// The packs that any was found in, by their place on the command line.
    pub packs: Vec<usize>,
    /// Whether the compiled ones were written as a pack.
    pub kept: bool,
}

/// A pack that is read from.
#[derive(Debug)]
struct Pack {
    file: File,
    used: AtomicBool,
}

/// The functions that were compiled, each once: of an interpreter's, a third are there twice.
#[derive(Debug, Default)]
struct New {
    entries: BTreeMap<Digest, Vec<u8>>,
    bytes: u64,
}

/// The functions that are there, and the new ones.
#[derive(Debug)]
pub(crate) struct Reuse {
    packs: Vec<Pack>,
    /// Each function's pack, and where in it.
    there: HashMap<Digest, (usize, Entry)>,
    new: Mutex<New>,
    found: AtomicU64,
    compiled: AtomicU64,
}

impl Reuse {
    /// Opens packs, of which those that come first count. One that cannot be read is passed over.
    pub(crate) fn open(paths: &[PathBuf]) -> Self {
        let (mut packs, mut there) = (Vec::new(), HashMap::new());
        for path in paths {
            // Each keeps its number, whether it can be read or not.
            let opened = File::open(path).or_else(|_| File::open("/dev/null"));
            let Ok(file) = opened else { break };
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            for (key, entry) in pack::read_index(BufReader::new(&file), bytes).unwrap_or_default() {
                if let MapEntry::Vacant(vacant) = there.entry(key) {
                    vacant.insert((packs.len(), entry));
                }
            }
            packs.push(Pack { file, used: AtomicBool::new(false) });
        }
        let (found, compiled) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { packs, there, new: Mutex::default(), found, compiled }
    }

    /// Writes what was compiled as a pack. It stays empty if nothing was, or if it does not fit.
    pub(crate) fn finish(&self, pack: Option<&File>) -> Reused {
        let entries = std::mem::take(&mut *self.lock_new()).entries;
        let kept = !entries.is_empty() && pack.is_some_and(|file| write(file, &entries).is_ok());
        let used = self.packs.iter().enumerate().filter(|(_, pack)| pack.used.load(Relaxed));
        let packs = used.map(|(at, _)| at).collect();
        let (found, compiled) = (self.found.load(Relaxed), self.compiled.load(Relaxed));
        Reused { found, compiled, packs, kept }
    }

    fn lock_new(&self) -> MutexGuard<'_, New> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reuse {
    /// Returns the code of a function that is in a pack.
    fn packed(&self, key: &Digest) -> Option<Vec<u8>> {
        let (at, entry) = self.there.get(key)?;
        let pack = self.packs.get(*at)?;
        let mut code = vec![0; entry.length];
        pack.file.read_exact_at(&mut code, entry.offset).ok()?;
        if !entry.is(key, &code) {
            return None;
        }
        self.found.fetch_add(1, Relaxed);
        pack.used.store(true, Relaxed);
        Some(code)
    }
}

impl CacheStore for Reuse {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let key = Digest::try_from(key).ok()?;
        let code = self.packed(&key).or_else(|| self.lock_new().entries.get(&key).cloned())?;
        Some(Cow::Owned(code))
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        self.compiled.fetch_add(1, Relaxed);
        let Ok(key) = Digest::try_from(key) else { return false };
        let mut new = self.lock_new();
        let bytes = new.bytes + pack::bytes_of(&code);
        let fits = bytes < PACK_BYTES_MAX;
        if fits {
            new.bytes = bytes;
            new.entries.insert(key, code);
        }
        fits
    }
}

fn write(file: &File, entries: &BTreeMap<Digest, Vec<u8>>) -> io::Result<()> {
    // It is not synced: what a crash damages is as if it were not there.
    let written = pack::write(BufWriter::new(file), entries);
    if written.is_err() {
        // The disk may be full: what is there of it is of no use.
        let _ = file.set_len(0);
    }
    written
}
