//! The format of a shipped segment: compressed blocks of records, and behind them an index by which
//! one block is found without the others.
//!
//! ```text
//! object = "sockhop logs\n" version:u16 "\n" block* index footer
//! block  = a zstd frame of records as abi's `spool` has them, about 256 KiB of them
//! index  = a zstd frame of JSON: `Index` below; keys that a build does not know are ignored
//! footer = bytes of the index:u64, SHA-256 of the index:32 bytes, "sockhop\n"        little-endian
//! ```
//! All that is read is checked: the index by the footer, each block by the index, and each record
//! by its own checksum. Pure; owns no fds.

use std::collections::{BTreeSet, HashMap};

use abi::invocation_id::InvocationId;
use abi::spool::Record;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::bloom;
use host::files::{hex, unhex};
use store::objects::packed;

/// The beginning of an object: the magic and the version of the format.
pub const HEADER: [u8; 16] = *b"sockhop logs\n\x01\x00\n";
const END: [u8; 8] = *b"sockhop\n";
/// The length of the footer.
pub const FOOTER_BYTES: usize = 8 + 32 + END.len();

/// A block ends when it has so many bytes of records.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// The most that an unpacked block may be. Its last record may begin just before it is full.
const BLOCK_BYTES_MAX: usize = 2 * BLOCK_BYTES;
/// The most that an index may be, as it is stored and then unpacked.
pub const INDEX_BYTES_MAX: usize = 8 * 1024 * 1024;
const INDEX_JSON_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why an object cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; something else than sockhop has changed it, it was cut short, or a newer sockhop wrote it"
)]
pub struct Damaged(&'static str);

/// A range of times of day, in microseconds since 1970, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub first_us: u64,
    pub last_us: u64,
}

impl Times {
    const NONE: Self = Self { first_us: u64::MAX, last_us: 0 };

    fn add(&mut self, time_us: u64) {
        self.first_us = self.first_us.min(time_us);
        self.last_us = self.last_us.max(time_us);
    }

    /// Returns whether the two ranges have a moment in common.
    pub fn overlaps(&self, other: Self) -> bool {
        self.first_us <= other.last_us && other.first_us <= self.last_us
    }
}

/// What is in a segment, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The times of its records, and of the ids in them.
    #[serde(flatten)]
    pub times: Times,
    /// Places in the spool's segment where a record should have been.
    pub damaged: u64,
    /// The functions whose records it has, each once.
    pub functions: Vec<String>,
    pub blocks: Vec<Block>,
}

/// What is in a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Where it is in the object.
    pub offset: u64,
    pub bytes: usize,
    sha256: String,
    /// The times of its records, and of the ids in them.
    #[serde(flatten)]
    pub times: Times,
    /// The records before it in the segment.
    pub before: u64,
    /// The records in it.
    pub records: u64,
    /// The functions whose records it has, by their places in the index's list.
    functions: Vec<usize>,
    /// Whether records are missing somewhere in it.
    gaps: bool,
    /// Which hundreds of statuses it has, a bit for each. The first bit is for no reply.
    statuses: u8,
    /// The [Bloom filter](bloom) over its ids in hexadecimal.
    ids: String,
}

impl Index {
    /// Returns whether the block may have a record of the invocation `id`.
    pub fn may_have(block: &Block, id: InvocationId) -> bool {
        let time_us = id.unix_ms().saturating_mul(1000);
        block.times.first_us <= time_us && time_us <= block.times.last_us && {
            let bytes = block.ids.as_bytes().chunks_exact(2);
            let bytes: Option<Vec<u8>> = bytes
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
                .collect();
            bytes.is_none_or(|filter| bloom::may_have(&filter, id))
        }
    }

    /// Returns whether the block has a record of the function, or records of an unknown function
    /// are missing in it.
    pub fn has_function(&self, block: &Block, function: &str) -> bool {
        let is = |at: &usize| self.functions.get(*at).is_some_and(|name| name == function);
        block.gaps || block.functions.iter().any(is)
    }

    /// Returns whether the block may have an invocation with a status of these hundreds. 0 is for
    /// no reply.
    pub fn has_status(block: &Block, hundreds: u16) -> bool {
        block.statuses & bit(hundreds) != 0
    }
}

/// Returns the bit of [`Block::statuses`] for these hundreds.
fn bit(hundreds: u16) -> u8 {
    1 << hundreds.min(7)
}

/// Makes an object block by block.
#[derive(Debug)]
pub struct Builder {
    object: Vec<u8>,
    index: Index,
    raw: Vec<u8>,
    /// The place of each function in the index's list.
    known: HashMap<String, usize>,
    /// From here on: what is in `raw`.
    times: Times,
    functions: BTreeSet<usize>,
    gaps: bool,
    statuses: u8,
    ids: Vec<InvocationId>,
    records: u64,
    before: u64,
}

impl Builder {
    /// Begins an object.
    pub fn new() -> Self {
        let index =
            Index { times: Times::NONE, damaged: 0, functions: Vec::new(), blocks: Vec::new() };
        Self {
            object: HEADER.to_vec(),
            index,
            raw: Vec::with_capacity(BLOCK_BYTES_MAX),
            known: HashMap::new(),
            times: Times::NONE,
            functions: BTreeSet::new(),
            gaps: false,
            statuses: 0,
            ids: Vec::new(),
            records: 0,
            before: 0,
        }
    }

    /// Adds a frame and its record. A frame whose record this build does not know is kept for
    /// builds that do.
    ///
    /// # Errors
    /// Returns an error if a block cannot be packed.
    pub fn add(&mut self, frame: &[u8], record: Option<&Record<'_>>) -> std::io::Result<()> {
        self.raw.extend_from_slice(frame);
        self.records += 1;
        if let Some(record) = record {
            self.times.add(record.time_us());
            if let Some(id) = record.id() {
                self.times.add(id.unix_ms().saturating_mul(1000));
                // The records of one invocation mostly follow one another.
                if self.ids.last() != Some(&id) {
                    self.ids.push(id);
                }
            }
            match record {
                Record::Line(line) => self.add_function(line.function),
                Record::After(after) => self.add_function(after.function),
                Record::Invocation(invocation) => {
                    self.add_function(invocation.function);
                    self.statuses |= bit(invocation.status / 100);
                }
                Record::Gap(_) => self.gaps = true,
            }
        }
        if self.raw.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn add_function(&mut self, name: &str) {
        let at = self.known.get(name).copied().unwrap_or_else(|| {
            self.index.functions.push(name.to_owned());
            self.known.insert(name.to_owned(), self.known.len());
            self.known.len() - 1
        });
        self.functions.insert(at);
    }

    fn end_block(&mut self) -> std::io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let packed = packed::pack(&self.raw)?;
        self.ids.sort_unstable();
        self.ids.dedup();
        self.index.blocks.push(Block {
            offset: self.object.len() as u64,
            bytes: packed.len(),
            sha256: hex(&Sha256::digest(&packed)),
            times: self.times,
            before: self.before,
            records: self.records,
            functions: std::mem::take(&mut self.functions).into_iter().collect(),
            gaps: std::mem::take(&mut self.gaps),
            statuses: std::mem::take(&mut self.statuses),
            ids: hex(&bloom::of(self.ids.iter())),
        });
        self.object.extend_from_slice(&packed);
        if self.times != Times::NONE {
            self.index.times.add(self.times.first_us);
            self.index.times.add(self.times.last_us);
        }
        self.times = Times::NONE;
        self.before += self.records;
        self.records = 0;
        self.ids.clear();
        self.raw.clear();
        Ok(())
    }

    /// Returns the whole object and its index. Returns `None` if there is no record in it.
    ///
    /// # Errors
    /// Returns an error if a block or the index cannot be packed.
    pub fn end(mut self, damaged: u64) -> std::io::Result<Option<(Vec<u8>, Index)>> {
        self.end_block()?;
        self.index.damaged = damaged;
        if self.index.blocks.is_empty() {
            return Ok(None);
        }
        let json = serde_json::to_vec(&self.index)?;
        let packed = packed::pack(&json)?;
        let Self { mut object, index, .. } = self;
        object.extend_from_slice(&packed);
        object.extend_from_slice(&(packed.len() as u64).to_le_bytes());
        object.extend_from_slice(&Sha256::digest(&packed));
        object.extend_from_slice(&END);
        Ok(Some((object, index)))
    }
}

/// Returns where the index is in an object of `object_bytes` that ends in `footer`, its length, and
/// its SHA-256.
///
/// # Errors
/// Returns [`Damaged`] if the footer is none.
pub fn locate(object_bytes: u64, footer: &[u8]) -> Result<(u64, usize, [u8; 32]), Damaged> {
    let footer: &[u8; FOOTER_BYTES] = footer.try_into().map_err(|_| Damaged("it is too short"))?;
    let (length, rest) = footer.split_at(8);
    let (digest, end) = rest.split_at(32);
    if end != END {
        return Err(Damaged("it does not end as a segment of the log"));
    }
    let length = length.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= INDEX_BYTES_MAX);
    let start =
        object_bytes.checked_sub(FOOTER_BYTES as u64).and_then(|end| end.checked_sub(length));
    match (bytes, start, digest.try_into()) {
        (Some(bytes), Some(start), Ok(digest)) => Ok((start, bytes, digest)),
        _ => Err(Damaged("its index cannot be where it says")),
    }
}

/// Unpacks an index.
///
/// # Errors
/// Returns [`Damaged`] if it is not the index with this digest, or cannot be read.
pub fn open(packed: &[u8], digest: [u8; 32]) -> Result<Index, Damaged> {
    if <[u8; 32]>::from(Sha256::digest(packed)) != digest {
        return Err(Damaged("the SHA-256 of its index is another"));
    }
    let json = packed::unpack(packed, INDEX_JSON_BYTES_MAX)
        .ok_or(Damaged("its index cannot be unpacked"))?;
    serde_json::from_slice(&json).map_err(|_| Damaged("its index is not understood"))
}

/// Unpacks a block. Returns its records one after another.
///
/// # Errors
/// Returns [`Damaged`] if it is not the block of the index, or cannot be unpacked.
pub fn open_block(block: &Block, packed: &[u8]) -> Result<Vec<u8>, Damaged> {
    if unhex(&block.sha256) != Some(Sha256::digest(packed).into()) {
        return Err(Damaged("the SHA-256 of a block is another"));
    }
    packed::unpack(packed, BLOCK_BYTES_MAX).ok_or(Damaged("a block cannot be unpacked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::outcome::Outcome;
    use abi::spool::{self, Gap, Invocation, Line, Records, Request, Stream};
    use proptest::prelude::*;

    fn line<'a>(id: InvocationId, function: &'a str, text: &'a [u8]) -> Record<'a> {
        let time_us = id.unix_ms() * 1000 + 5;
        Record::Line(Line { id, time_us, stream: Stream::Stdout, function, text })
    }

    fn build(records: &[Record<'_>]) -> (Vec<u8>, Index) {
        let mut builder = Builder::new();
        for record in records {
            let mut frame = Vec::new();
            spool::append(&mut frame, record);
            builder.add(&frame, Some(record)).unwrap();
        }
        builder.end(0).unwrap().unwrap()
    }

    fn index_of(object: &[u8]) -> Result<Index, Damaged> {
        let footer = &object[object.len().saturating_sub(FOOTER_BYTES)..];
        let (start, bytes, digest) = locate(object.len() as u64, footer)?;
        let start = usize::try_from(start).unwrap();
        open(&object[start..start + bytes], digest)
    }

    fn block<'a>(object: &'a [u8], block: &Block) -> &'a [u8] {
        let start = usize::try_from(block.offset).unwrap();
        &object[start..start + block.bytes]
    }

    #[test]
    fn every_record_is_found_in_the_block_that_says_so() {
        let text = vec![b'x'; 4000];
        let ids: Vec<_> = (0..500).map(|_| InvocationId::new()).collect();
        let functions = ["a", "b"];
        let records: Vec<_> =
            ids.iter().enumerate().map(|(at, id)| line(*id, functions[at / 300], &text)).collect();
        let (object, index) = build(&records);
        assert_eq!(index_of(&object).unwrap(), index);
        assert!(index.blocks.len() > 5 && object.len() < 100_000, "{}", object.len());
        let mut found = 0;
        for of in &index.blocks {
            let unpacked = open_block(of, block(&object, of)).unwrap();
            for record in Records::of(&unpacked).flatten() {
                let Record::Line(line) = record else { panic!("only lines are there") };
                assert_eq!(line.id, ids[found]);
                assert!(Index::may_have(of, line.id) && index.has_function(of, line.function));
                assert!(of.times.first_us <= line.time_us && line.time_us <= of.times.last_us);
                found += 1;
            }
        }
        assert_eq!(found, ids.len());
        let sure = index.blocks.iter().filter(|block| Index::may_have(block, ids[0])).count();
        assert!(sure < 4, "one block has it, and {sure} say that they may");
        assert!(
            !index.has_function(&index.blocks[0], "b")
                && !index.has_function(&index.blocks[0], "c")
        );
    }

    #[test]
    fn statuses_and_gaps_are_told_by_their_block() {
        let id = InvocationId::new();
        let mut invocation = Invocation {
            id,
            started_us: id.unix_ms() * 1000,
            duration_us: 1_000_000,
            cpu_us: 0,
            memory_bytes: 0,
            status: 504,
            received_bytes: 0,
            sent_bytes: 0,
            queue_us: 0,
            instantiate_us: 0,
            run_us: 0,
            outcome: Outcome::of_name("timeout"),
            function: "f",
            version: "v",
            number: 1,
            alias: "active",
            request: Request { method: "GET", prefix: "/f", path: "/" },
            goes_on: false,
            arrival: None,
            trace: None,
        };
        let (_, index) = build(&[Record::Invocation(invocation)]);
        let has =
            |index: &Index| [0, 2, 5].map(|hundreds| Index::has_status(&index.blocks[0], hundreds));
        assert_eq!(has(&index), [false, false, true]);
        assert_eq!(index.times.last_us - index.times.first_us, 1_000_000);
        invocation.status = 0;
        let (_, index) = build(&[Record::Invocation(invocation)]);
        assert_eq!(has(&index), [true, false, false]);
        let (_, index) = build(&[Record::Gap(Gap { time_us: 1, records: 2, reason: "r" })]);
        assert!(index.has_function(&index.blocks[0], "anything"), "everybody is told of a gap");
        assert_eq!(
            Builder::new().end(3).unwrap().map(|(object, _)| object),
            None,
            "nothing to ship"
        );
    }

    proptest! {
        /// A damaged object is found out, wherever the damage is that one reads.
        #[test]
        fn damage_is_found_out(at: prop::sample::Index, by in 1u8.., cut: prop::sample::Index) {
            let ids: Vec<_> = (0..40).map(|_| InvocationId::new()).collect();
            let records: Vec<_> = ids.iter().map(|id| line(*id, "f", b"text")).collect();
            let (object, index) = build(&records);
            let cut = &object[..cut.index(object.len())];
            prop_assert!(index_of(cut).is_err());
            let mut damaged = object.clone();
            let at = HEADER.len() + at.index(object.len() - HEADER.len());
            damaged[at] ^= by;
            match index_of(&damaged) {
                Err(_) => {}
                Ok(read) => {
                    prop_assert_eq!(&read, &index);
                    prop_assert!(open_block(&read.blocks[0], block(&damaged, &read.blocks[0])).is_err());
                }
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), claimed: u64, digest: [u8; 32]) {
            let _ = locate(claimed, &bytes);
            let _ = open(&bytes, Sha256::digest(&bytes).into());
            let _ = open(&bytes, digest);
        }
    }
}
