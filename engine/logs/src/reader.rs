//! Reads a segment a record at a time, with little of it in memory. Owns what it reads from.

use std::io::{self, Read};

use abi::limits::RECORD_BYTES_MAX;
use abi::spool::{self, FRAME_BYTES, Found, HEADER, Record};

/// What is read at a time. It holds any record, and enough behind a damaged one to find the next.
const BUFFER_BYTES: usize = 256 * 1024;
const _: () = assert!(BUFFER_BYTES >= 4 * (RECORD_BYTES_MAX + FRAME_BYTES));

/// Whether more records may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A worker still writes: a record that is not whole will be.
    Growing,
    /// No worker writes: a record that is not whole was torn.
    Final,
}

/// A segment that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// What was read and not used yet is from here to `filled`.
    start: usize,
    filled: usize,
    begun: bool,
    damaged: u64,
    /// Whether the next whole record is looked for.
    lost: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read `source`.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            filled: 0,
            begun: false,
            damaged: 0,
            lost: false,
        }
    }

    /// Returns how many places were passed over where a record should have been.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Returns the frame of the next record, and the record. Returns `None` at the end; if the
    /// segment grows, later calls may return more. The record is `None` if this build does not know
    /// its kind.
    ///
    /// # Errors
    /// Returns an error if the segment cannot be read, or has a format that this build does not
    /// know.
    pub fn next(&mut self, end: End) -> io::Result<Option<(&[u8], Option<Record<'_>>)>> {
        if !self.begun && !self.begin(end)? {
            return Ok(None);
        }
        let bytes = loop {
            let found = if self.lost {
                Found::Damaged
            } else {
                spool::read(&self.buffer[self.start..self.filled])
            };
            match found {
                Found::Record { bytes, .. } => break bytes,
                Found::Incomplete => {
                    if self.fill()? {
                        continue;
                    }
                    if end == End::Growing || self.start == self.filled {
                        return Ok(None);
                    }
                    self.damaged += 1;
                    self.lost = true;
                }
                Found::Damaged => {
                    self.damaged += u64::from(!std::mem::replace(&mut self.lost, true));
                    if !self.skip(end)? {
                        return Ok(None);
                    }
                }
            }
        };
        let frame = &self.buffer[self.start..self.start + bytes];
        self.start += bytes;
        Ok(Some((frame, spool::record(frame))))
    }

    /// Reads the header. Returns `false` if it is not whole.
    fn begin(&mut self, end: End) -> io::Result<bool> {
        while self.filled < HEADER.len() && self.fill()? {}
        if self.buffer[..self.filled].starts_with(&HEADER) {
            (self.begun, self.start) = (true, HEADER.len());
            return Ok(true);
        }
        let torn = HEADER.starts_with(&self.buffer[..self.filled]);
        if torn {
            self.damaged += u64::from(end == End::Final && self.filled > 0);
            return Ok(false);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no segment of a log that this build can read",
        ))
    }

    /// Passes over what is damaged. Returns whether a whole record follows.
    fn skip(&mut self, end: End) -> io::Result<bool> {
        loop {
            // Enough for the longest record that could begin here. It would be taken for damage,
            // too.
            while self.filled - self.start < BUFFER_BYTES / 2 && self.fill()? {}
            let rest = &self.buffer[self.start..self.filled];
            if let Some(at) = spool::skip_damage(rest) {
                self.start += at;
                self.lost = false;
                return Ok(true);
            }
            // The beginning of a whole record may be at the end.
            let kept = (RECORD_BYTES_MAX + FRAME_BYTES).min(rest.len());
            let is_all = kept == rest.len();
            self.start = self.filled - if is_all && end == End::Final { 0 } else { kept };
            if is_all && !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Reads more into the buffer. Returns whether there was more. What was not used yet may move
    /// to the front.
    fn fill(&mut self) -> io::Result<bool> {
        if self.filled == self.buffer.len() {
            self.buffer.copy_within(self.start..self.filled, 0);
            (self.start, self.filled) = (0, self.filled - self.start);
        }
        loop {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.filled += read;
                    return Ok(read > 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::invocation_id::InvocationId;
    use abi::spool::{Line, Records, Stream};
    use proptest::prelude::*;

    fn segment(texts: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (at, text) in texts.iter().enumerate() {
            let (id, time_us) = (InvocationId::from_bytes([3; 16]), at as u64);
            let line = Line { id, time_us, stream: Stream::Stdout, function: "f", text };
            spool::append(&mut bytes, &Record::Line(line));
        }
        bytes
    }

    fn times<R: Read>(reader: &mut Reader<R>, end: End) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some((_, record)) = reader.next(end).unwrap() {
            times.push(record.unwrap().time_us());
        }
        times
    }

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.len().min(self.1).min(buffer.len());
            buffer[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    proptest! {
        /// However it comes and whatever is damaged, the same is found as in memory.
        #[test]
        fn reading_on_finds_what_is_found_in_memory(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..40),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..3),
            cut in proptest::option::of(any::<prop::sample::Index>()),
            step in 1usize..70_000,
        ) {
            let mut bytes = segment(&texts);
            for (at, by) in damage {
                let at = HEADER.len() + at.index(bytes.len() - HEADER.len());
                bytes[at] ^= by;
            }
            bytes.truncate(cut.map_or(usize::MAX, |cut| HEADER.len() + cut.index(bytes.len() - HEADER.len())));
            let mut records = Records::of_segment(&bytes).unwrap();
            let expected: Vec<_> = records.by_ref().flatten().map(|record| record.time_us()).collect();
            let mut reader = Reader::new(Slow(&bytes, step));
            prop_assert_eq!(times(&mut reader, End::Final), expected);
            prop_assert_eq!(reader.damaged() > 0, records.damaged() > 0);
        }

        /// What has come of a segment that grows is read, and the rest when it comes.
        #[test]
        fn a_segment_can_grow(texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..20), cut: prop::sample::Index) {
            let bytes = segment(&texts);
            let cut = cut.index(bytes.len());
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes[..cut]).unwrap();
            let mut reader = Reader::new(std::fs::File::open(file.path()).unwrap());
            let mut found = times(&mut reader, End::Growing);
            std::fs::write(file.path(), &bytes).unwrap();
            found.extend(times(&mut reader, End::Growing));
            prop_assert_eq!(found, (0..texts.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(reader.damaged(), 0);
        }
    }

    #[test]
    fn what_is_no_segment_is_refused_and_what_is_empty_is_empty() {
        assert!(Reader::new(&b"something else, and long enough"[..]).next(End::Final).is_err());
        assert!(Reader::new(&HEADER[..]).next(End::Final).unwrap().is_none());
        let mut torn = Reader::new(&HEADER[..5]);
        assert!(torn.next(End::Final).unwrap().is_none());
        assert_eq!(torn.damaged(), 1);
    }
}
