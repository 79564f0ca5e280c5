//! How many jobs a node has, and whether there is room for another. Pure; owns no fds.

use crate::record::Record;
use crate::store::Bounds;

/// What a job counts besides its request.
const JOB_BYTES: u64 = 512;

/// How many jobs there are, and how large their requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) jobs: u64,
    pub(crate) bytes: u64,
}

/// Returns how many bytes a job counts.
pub(crate) fn bytes(record: &Record) -> u64 {
    record.bytes.saturating_add(JOB_BYTES)
}

impl Usage {
    pub(crate) fn with(self, bytes: u64) -> Self {
        Self { jobs: self.jobs + 1, bytes: self.bytes.saturating_add(bytes) }
    }

    pub(crate) fn without(self, bytes: u64) -> Self {
        Self { jobs: self.jobs.saturating_sub(1), bytes: self.bytes.saturating_sub(bytes) }
    }

    fn is_within(self, bounds: Bounds) -> bool {
        self.jobs <= bounds.jobs_max && self.bytes <= bounds.bytes_max
    }
}

/// Returns what there would be too much of, if there were so many jobs of all functions, and so many
/// of this one.
pub(crate) fn exceeded(all: Usage, own: Usage, function: &str, bounds: Bounds) -> Option<String> {
    let Bounds { jobs_max, bytes_max } = bounds;
    if !all.is_within(bounds) {
        return Some(format!(
            "this node keeps no more than {jobs_max} asynchronous invocations and {bytes_max} \
             bytes of them (--jobs-max, --jobs-bytes-max)"
        ));
    }
    let half = Bounds { jobs_max: jobs_max.div_ceil(2), bytes_max: bytes_max / 2 };
    (!own.is_within(half)).then(|| {
        format!(
            "the function {function:?} has half of all the asynchronous invocations that this node \
             keeps (--jobs-max, --jobs-bytes-max)"
        )
    })
}
