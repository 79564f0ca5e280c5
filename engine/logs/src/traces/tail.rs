//! Reading a segment of the log as it grows, for its invocations. Owns the file.

use std::fs::File;

use abi::spool::{Invocation, Record};

use crate::reader::{End, Reader};

/// A segment, and how far it was read.
#[derive(Debug)]
pub(super) struct Tail {
    reader: Reader<File>,
    /// Asks the kernel whether somebody still writes, who has it locked then.
    lock: Option<File>,
}

impl Tail {
    pub(super) fn new(file: File) -> Self {
        let lock = file.try_clone().ok();
        Self { reader: Reader::new(file), lock }
    }

    /// Hands on each invocation that has been added since the last time. Whether there may come
    /// more.
    pub(super) fn read_on(&mut self, mut take: impl FnMut(&Invocation<'_>)) -> bool {
        // Asked first: what was written before nobody wrote any more is read now.
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
