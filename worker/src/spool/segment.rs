//! The current segment: a file that the engine has opened for appending. Owns its fd.

use std::fs::File;
use std::io::{self, Write as _};

use abi::limits::SEGMENT_BYTES_MAX;

use super::queue::Chunk;

pub(super) struct Segment {
    file: File,
    bytes: u64,
}

/// The result of a write.
pub(super) enum Written {
    /// The whole chunk is written, `bytes` of it to this segment.
    All { bytes: u64 },
    /// The segment has no room for the chunk.
    NeedsSegment,
    /// The disk has failed. The chunk counts the bytes that were written before that.
    Failed(io::Error),
}

impl Segment {
    pub(super) fn new(file: File) -> Self {
        Self { file, bytes: 0 }
    }

    /// Writes the rest of `chunk`.
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
