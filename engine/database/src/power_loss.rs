//! A disk for tests, which forgets what was not synced. Owns no fds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError};

use crate::medium::{Medium, builder};

/// A disk that, when it loses power, keeps what was synced, and of later writes what it likes.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Since the last sync: where, and what.
    writes: Vec<(usize, Vec<u8>)>,
    /// How many more writes there are before the power goes.
    left: usize,
    /// Whether it has gone for whoever had it.
    power: u64,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an empty one, whose power does not go by itself.
    #[must_use]
    pub fn empty() -> Self {
        let disk = Self::default();
        disk.lose_power(|| false, usize::MAX);
        disk
    }

    /// The power goes, and comes back, to go again after `left` writes. `kept` says of each sector
    /// that was being written whether it was.
    pub fn lose_power(&self, mut kept: impl FnMut() -> bool, left: usize) {
        let mut state = self.state();
        let mut bytes = std::mem::take(&mut state.synced);
        for (at, data) in std::mem::take(&mut state.writes) {
            for (number, sector) in data.chunks(512).enumerate() {
                let at = at + number * 512;
                if kept() {
                    let end = bytes.len().max(at + sector.len());
                    bytes.resize(end, 0);
                    bytes[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        state.now.clone_from(&bytes);
        state.synced = bytes;
        state.left = left;
        state.power += 1;
    }

    /// The power goes for good, and each sector that was being written is kept or not by chance.
    pub fn lose_power_by_chance(&self, seed: u64) {
        let mut random = seed | 1;
        let kept = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.is_multiple_of(2)
        };
        self.lose_power(kept, usize::MAX);
    }
}

/// What a database has open of it.
#[derive(Debug)]
struct OpenDisk(Disk, u64);

impl OpenDisk {
    fn powered(&self) -> std::io::Result<MutexGuard<'_, DiskState>> {
        let state = self.0.state();
        let gone = state.left == 0 || state.power != self.1;
        if gone { Err(std::io::Error::other("no power")) } else { Ok(state) }
    }
}

impl redb::StorageBackend for OpenDisk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.powered()?.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let from = at(offset);
        out.copy_from_slice(&self.powered()?.now[from..from + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        let len = at(len);
        let mut state = self.powered()?;
        state.now.resize(len, 0);
        // The length is kept in order; a file that is cut off is another thing than lost writes.
        state.synced.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let mut state = self.powered()?;
        state.synced = state.now.clone();
        state.writes.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let at = at(offset);
        let mut state = self.powered()?;
        state.left -= 1;
        state.now[at..at + data.len()].copy_from_slice(data);
        state.writes.push((at, data.to_owned()));
        Ok(())
    }
}

impl Medium for Disk {
    fn open(&self, _: bool) -> Result<Option<Database>, DatabaseError> {
        let power = self.state().power;
        builder().create_with_backend(OpenDisk(self.clone(), power)).map(Some)
    }

    fn room(&self) -> u64 {
        u64::MAX
    }
}

/// Returns where in memory an offset is.
fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
