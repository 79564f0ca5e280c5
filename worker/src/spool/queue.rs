//! The queue of records that are not written yet, and when they are: chunks of records in order.
//! Pure; owns no fds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use abi::limits::{SPOOL_CHUNK_BYTES, SPOOL_CHUNKS_MAX, SPOOL_FLUSH_INTERVAL};
use abi::spool::{self, Found, Gap, Record, Records};
use tokio::sync::oneshot;

/// Why records are missing, as the log says it.
const DROPPED: &str = "the disk did not keep up";

/// Records to be written together.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// The number of `bytes` that are written.
    written: usize,
}

impl Chunk {
    /// Returns the bytes that are not written yet.
    pub(super) fn left(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Returns the number of records that are not written whole.
    pub(super) fn records(&self) -> u64 {
        Records::of(self.left()).count() as u64
    }

    pub(super) fn count_written(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Prepares the rest for another segment: a record of which only a part was written is written
    /// there whole.
    pub(super) fn begin_anew(&mut self) {
        let mut start = 0;
        while let Some(Found::Record { bytes, .. }) = self.bytes.get(start..).map(spool::read) {
            if start + bytes > self.written {
                break;
            }
            start += bytes;
        }
        self.written = start;
    }
}

#[derive(Debug)]
enum Entry {
    Chunk(Vec<u8>),
    /// What follows belongs to another segment.
    Segment,
    /// Somebody waits until everything before this is written.
    Awaited(oneshot::Sender<()>),
}

/// The writer's next step.
#[derive(Debug)]
pub(super) enum Next {
    /// Write this chunk.
    Chunk(Chunk),
    /// Take over the segment that was given.
    Segment,
    /// Report that everything is written that was put before this was asked for.
    Written(oneshot::Sender<()>),
    /// Wait for this long, unless something is added.
    Wait(Duration),
    /// Wait until something is added.
    Nothing,
}

/// The result of putting a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Put {
    /// Whether the record is in the queue and not dropped.
    pub(super) taken: bool,
    /// Whether the writer has something new to do or to wait for.
    pub(super) wake: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    chunks: usize,
    current: Vec<u8>,
    /// When the first record of `current` came.
    begun: Option<Instant>,
    /// Records that were dropped since the last one that was taken.
    dropped: u64,
    /// The memory of a chunk that was written, for the next one.
    spare: Option<Vec<u8>>,
}

impl Queue {
    /// Returns the number of records that wait.
    pub(super) fn records(&self) -> u64 {
        let chunks = self
            .entries
            .iter()
            .filter_map(|entry| if let Entry::Chunk(chunk) = entry { Some(chunk) } else { None });
        chunks.chain([&self.current]).map(|bytes| Records::of(bytes).count() as u64).sum()
    }

    /// Adds a record if there is room. The clocks are only read when they are needed.
    pub(super) fn put(
        &mut self,
        record: &Record<'_>,
        time_us: impl Fn() -> u64,
        now: impl Fn() -> Instant,
    ) -> Put {
        if self.chunks >= SPOOL_CHUNKS_MAX {
            self.dropped += 1;
            return Put { taken: false, wake: false };
        }
        let mut wake = false;
        if self.current.is_empty() {
            if self.current.capacity() == 0 {
                self.current = self
                    .spare
                    .take()
                    .unwrap_or_else(|| Vec::with_capacity(SPOOL_CHUNK_BYTES * 5 / 4));
            }
            self.begun = Some(now());
            wake = true;
        }
        if self.dropped > 0 {
            let records = std::mem::take(&mut self.dropped);
            spool::append(
                &mut self.current,
                &Record::Gap(Gap { time_us: time_us(), records, reason: DROPPED }),
            );
        }
        spool::append(&mut self.current, record);
        if self.current.len() >= SPOOL_CHUNK_BYTES {
            self.close_current();
            wake = true;
        }
        Put { taken: true, wake }
    }

    /// Begins another segment, for the records that are put from now on.
    pub(super) fn begin_segment(&mut self) {
        self.close_current();
        // If two are given before anything was written to the first, only the second is of use.
        self.entries.retain(|entry| !matches!(entry, Entry::Segment));
        self.entries.push_back(Entry::Segment);
    }

    /// Requests that all records so far are written at once, and that `written` is notified.
    pub(super) fn write_now(&mut self, written: oneshot::Sender<()>) {
        self.close_current();
        self.entries.push_back(Entry::Awaited(written));
    }

    fn close_current(&mut self) {
        if !self.current.is_empty() {
            self.entries.push_back(Entry::Chunk(std::mem::take(&mut self.current)));
            self.chunks += 1;
            self.begun = None;
        }
    }

    /// Returns the next step at `now`. `flush` says that nothing may wait any more.
    pub(super) fn next(&mut self, now: Instant, flush: bool) -> Next {
        if self.entries.is_empty()
            && let Some(begun) = self.begun
        {
            let waited = now.saturating_duration_since(begun);
            if waited < SPOOL_FLUSH_INTERVAL && !flush {
                return Next::Wait(SPOOL_FLUSH_INTERVAL - waited);
            }
            self.close_current();
        }
        match self.entries.pop_front() {
            None => Next::Nothing,
            Some(Entry::Segment) => Next::Segment,
            Some(Entry::Awaited(written)) => Next::Written(written),
            Some(Entry::Chunk(bytes)) => {
                self.chunks -= 1;
                Next::Chunk(Chunk { bytes, written: 0 })
            }
        }
    }

    /// Takes back a chunk that has been written, to use its memory again.
    pub(super) fn give_back(&mut self, chunk: Chunk) {
        let mut bytes = chunk.bytes;
        bytes.clear();
        self.spare = Some(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::invocation_id::InvocationId;
    use abi::spool::{Line, Stream};

    fn line(text: &[u8]) -> Record<'_> {
        let id = InvocationId::from_bytes([1; 16]);
        Record::Line(Line { id, time_us: 5, stream: Stream::Stdout, function: "f", text })
    }

    fn put(queue: &mut Queue, text: &[u8], now: Instant) -> Put {
        queue.put(&line(text), || 7, || now)
    }

    #[test]
    fn the_first_record_wakes_and_waits_and_a_full_chunk_goes_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert!(matches!(queue.next(now, false), Next::Nothing));
        assert_eq!(put(&mut queue, b"a", now), Put { taken: true, wake: true });
        assert_eq!(put(&mut queue, b"b", now), Put { taken: true, wake: false });
        assert!(matches!(queue.next(now, false), Next::Wait(SPOOL_FLUSH_INTERVAL)));
        let Next::Chunk(chunk) = queue.next(now + SPOOL_FLUSH_INTERVAL, false) else {
            panic!("it is time")
        };
        assert_eq!(
            Records::of(chunk.left()).flatten().collect::<Vec<_>>(),
            [line(b"a"), line(b"b")]
        );
        queue.give_back(chunk);
        put(&mut queue, b"c", now);
        let long = vec![b'x'; 8000];
        assert!((0..8).all(|_| !put(&mut queue, &long, now).wake));
        assert!(put(&mut queue, &long, now).wake, "it is full");
        assert!(matches!(queue.next(now, false), Next::Chunk(_)));
        assert!(matches!(queue.next(now, true), Next::Nothing));
        put(&mut queue, b"d", now);
        assert!(matches!(queue.next(now, true), Next::Chunk(_)), "nothing waits at the end");
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_its_place_marked() {
        let (mut queue, now, long) = (Queue::default(), Instant::now(), vec![b'x'; 8000]);
        let mut taken = 0u64;
        while put(&mut queue, &long, now).taken {
            taken += 1;
        }
        assert!(
            taken * 8000 < ((SPOOL_CHUNKS_MAX + 1) * SPOOL_CHUNK_BYTES * 5 / 4) as u64,
            "memory has a bound"
        );
        assert!(!put(&mut queue, b"b", now).taken);
        assert!(matches!(queue.next(now, false), Next::Chunk(_)));
        assert!(put(&mut queue, b"c", now).taken);
        assert_eq!(queue.records(), taken + 2 - taken / SPOOL_CHUNKS_MAX as u64);
        let mut last = Vec::new();
        while let Next::Chunk(chunk) = queue.next(now, true) {
            last = chunk.left().to_vec();
        }
        let records: Vec<_> = Records::of(&last).flatten().collect();
        assert_eq!(
            records,
            [Record::Gap(Gap { time_us: 7, records: 2, reason: DROPPED }), line(b"c")]
        );
        assert_eq!(queue.records(), 0);
    }

    #[test]
    fn a_new_segment_comes_behind_what_was_logged_before_and_two_in_a_row_are_one() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        put(&mut queue, b"a", now);
        queue.begin_segment();
        queue.begin_segment();
        put(&mut queue, b"b", now);
        assert!(matches!(queue.next(now, false), Next::Chunk(_)));
        assert!(matches!(queue.next(now, false), Next::Segment));
        assert!(matches!(queue.next(now, false), Next::Wait(_)));
    }

    #[test]
    fn what_is_awaited_is_written_at_once_and_what_comes_behind_it_is_not() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        put(&mut queue, b"a", now);
        let (written, mut is_written) = oneshot::channel();
        queue.write_now(written);
        put(&mut queue, b"b", now);
        let Next::Chunk(chunk) = queue.next(now, false) else { panic!("it is awaited") };
        assert_eq!(Records::of(chunk.left()).flatten().collect::<Vec<_>>(), [line(b"a")]);
        assert!(is_written.try_recv().is_err());
        let Next::Written(written) = queue.next(now, false) else {
            panic!("everything before it was taken")
        };
        written.send(()).unwrap();
        assert!(matches!(queue.next(now, false), Next::Wait(_)), "what came later has its time");
        let (written, _) = oneshot::channel();
        Queue::default().write_now(written);
    }

    #[test]
    fn a_record_of_which_a_part_was_written_is_written_whole_elsewhere() {
        let mut bytes = Vec::new();
        spool::append(&mut bytes, &line(b"first"));
        let first = bytes.len();
        spool::append(&mut bytes, &line(b"second"));
        for (written, start) in
            [(0, 0), (3, 0), (first, first), (first + 1, first), (bytes.len(), bytes.len())]
        {
            let mut chunk = Chunk { bytes: bytes.clone(), written };
            chunk.begin_anew();
            assert_eq!(chunk.left(), &bytes[start..], "{written}");
        }
    }
}
