//! The segment that is written to: a file of the engine's, opened to append. Owns its fd.

use std::fs::File;
use std::io::{self, Write as _};

use abi::limits::SEGMENT_BYTES_MAX;

use super::queue::Chunk;

pub(super) struct Segment {
    file: File,
    bytes: u64,
}

/// What came of a write.
pub(super) enum Written {
    /// The chunk is written, with so many bytes of it to this segment.
    All { bytes: u64 },
    /// The segment can take no more.
    NeedsSegment,
    /// The disk cannot. What it did take is counted in the chunk.
    Failed(io::Error),
}

impl Segment {
    pub(super) fn new(file: File) -> Self {
        Self { file, bytes: 0 }
    }

    /// Writes what is left of `chunk`.
    pub(super) fn write(&mut self, chunk: &mut Chunk) -> Written {
        let bytes = chunk.left().len() as u64;
        if self.bytes + bytes > SEGMENT_BYTES_MAX {
            return Written::NeedsSegment;
        }
        while !chunk.left().is_empty() {
            match self.file.write(chunk.left()) {
                Ok(0) => return Written::Failed(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.bytes += written as u64;
                    chunk.count_written(written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Written::Failed(error),
            }
        }
        Written::All { bytes }
    }
}
