//! Reads the invocations of a segment as it grows. Owns the file.

use std::fs::File;

use abi::spool::{Invocation, Record};

use crate::reader::{End, Reader};

/// A segment that is read as it grows.
#[derive(Debug)]
pub(super) struct Tail {
    reader: Reader<File>,
    /// To ask the kernel whether a worker still writes. The worker has the segment locked.
    lock: Option<File>,
}

impl Tail {
    /// Begins to read a segment.
    pub(super) fn new(file: File) -> Self {
        let lock = file.try_clone().ok();
        Self { reader: Reader::new(file), lock }
    }

    /// Calls `take` with each invocation that was added since the last time. Returns whether more
    /// may come.
    pub(super) fn read_on(&mut self, mut take: impl FnMut(&Invocation<'_>)) -> bool {
        // This is asked before the records are read: if no worker writes any more, all are there.
        let written = self.lock.as_ref().is_some_and(|file| file.try_lock_shared().is_err());
        let end = if written { End::Growing } else { End::Final };
        loop {
            match self.reader.next(end) {
                Ok(Some((_, Some(Record::Invocation(invocation))))) => take(&invocation),
                Ok(Some(_)) => {}
                Ok(None) => return written,
                Err(error) => {
                    tracing::warn!(
                        "no more spans of a segment of the log are sent: it cannot be read: {error}"
                    );
                    return false;
                }
            }
        }
    }
}
