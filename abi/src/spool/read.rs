//! Reading records back, past whatever is damaged. Any bytes are survived.

use super::{
    AFTER, After, Arrival, FIELD_ARRIVAL, FIELD_CALLED, FIELD_GOES_ON, FIELD_REQUEST, FIELD_TRACE,
    FRAME_BYTES, GAP, Gap, HEADER, INVOCATION, Invocation, LINE, Line, Record, Request, SAMPLED,
    Stream, Trace,
};
use crate::invocation_id::InvocationId;
use crate::limits::RECORD_BYTES_MAX;
use crate::outcome::Outcome;

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is not kept")]
pub enum Found<'a> {
    /// A whole record; none when it is of a kind that this build does not know.
    Record {
        /// What it says.
        record: Option<Record<'a>>,
        /// How many bytes it takes.
        bytes: usize,
    },
    /// The beginning of a record, or nothing at all.
    Incomplete,
    /// No record.
    Damaged,
}

/// Looks at the record that `bytes` begin with.
#[must_use]
pub fn read(bytes: &[u8]) -> Found<'_> {
    let Some((frame, rest)) = bytes.split_first_chunk::<FRAME_BYTES>() else {
        return Found::Incomplete;
    };
    let [a, b, c, d, length @ ..] = *frame;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > RECORD_BYTES_MAX {
        return Found::Damaged;
    }
    let Some(payload) = rest.get(..length) else { return Found::Incomplete };
    let end = FRAME_BYTES + length;
    if crc32fast::hash(&bytes[4..end]) != u32::from_le_bytes([a, b, c, d]) {
        return Found::Damaged;
    }
    Found::Record { record: Fields(payload).record(), bytes: end }
}

/// What the record says whose bytes these are, all of which [`read`] has found whole. None when
/// this build does not know its kind.
#[must_use]
pub fn record(bytes: &[u8]) -> Option<Record<'_>> {
    Fields(bytes.get(FRAME_BYTES..)?).record()
}

/// How many bytes to pass over until the next whole record; none when there is none in `bytes`,
/// which do not begin with one.
#[must_use]
pub fn skip_damage(bytes: &[u8]) -> Option<usize> {
    let is_record = |at: &usize| matches!(bytes.get(*at..).map(read), Some(Found::Record { .. }));
    // Where its length says first: then nothing that stands within it is taken for a record.
    let said =
        bytes.get(4..FRAME_BYTES).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    let said = said
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= RECORD_BYTES_MAX);
    said.map(|length| FRAME_BYTES + length)
        .filter(is_record)
        .or_else(|| (1..bytes.len()).find(is_record))
}

/// The records of a whole segment, or of a part of one.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    damaged: u64,
}

impl<'a> Records<'a> {
    /// The records of a segment; none when it does not begin as one of this format.
    #[must_use]
    pub fn of_segment(bytes: &'a [u8]) -> Option<Self> {
        bytes.strip_prefix(&HEADER).map(Self::of)
    }

    /// Records one after another.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, damaged: 0 }
    }

    /// How many places were passed over by now where a record should have been; a torn end is one.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }
}

impl<'a> Iterator for Records<'a> {
    /// None for a record of a kind that this build does not know.
    type Item = Option<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            if let Found::Record { record, bytes } = read(self.rest) {
                self.rest = &self.rest[bytes..];
                return Some(record);
            }
            self.damaged += 1;
            self.rest = skip_damage(self.rest).map_or(&[], |at| &self.rest[at..]);
        }
        None
    }
}

/// What is left of a payload. It has passed its checksum, and is not believed for that.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// None for what this build does not understand.
    fn record(mut self) -> Option<Record<'a>> {
        match self.byte()? {
            LINE => Some(Record::Line(Line {
                id: self.id()?,
                time_us: self.number()?,
                stream: *Stream::ALL.get(usize::from(self.byte()?))?,
                function: self.name()?,
                text: self.0,
            })),
            INVOCATION => self.invocation().map(Record::Invocation),
            GAP => Some(Record::Gap(Gap {
                time_us: self.number()?,
                records: self.number()?,
                reason: self.name()?,
            })),
            AFTER => Some(Record::After(After {
                id: self.id()?,
                time_us: self.number()?,
                after_us: self.number()?,
                cpu_us: self.number()?,
                memory_bytes: self.number()?,
                outcome: Outcome::of_name(self.name()?),
                function: self.name()?,
            })),
            _ => None,
        }
    }

    fn invocation(&mut self) -> Option<Invocation<'a>> {
        // In the order of the format.
        let mut invocation = Invocation {
            id: self.id()?,
            started_us: self.number()?,
            duration_us: self.number()?,
            cpu_us: self.number()?,
            memory_bytes: self.number()?,
            status: u16::from_le_bytes(self.take()?),
            received_bytes: self.number()?,
            sent_bytes: self.number()?,
            queue_us: self.number()?,
            instantiate_us: self.number()?,
            run_us: self.number()?,
            outcome: Outcome::of_name(self.name()?),
            function: self.name()?,
            version: self.name()?,
            number: 0,
            alias: "",
            request: Request::default(),
            goes_on: false,
            arrival: None,
            trace: None,
        };
        while let Some(tag) = self.byte() {
            let length = usize::from(self.byte()?);
            let mut field = Fields(self.0.split_off(..length)?);
            match tag {
                FIELD_ARRIVAL => {
                    invocation.arrival = Some(Arrival {
                        accepted_us: field.number()?,
                        received_us: field.number()?,
                    });
                }
                FIELD_TRACE => {
                    let (trace, request) = field.trace()?;
                    invocation.trace = Some(trace);
                    // Earlier builds have it here, and nowhere else.
                    if invocation.request == Request::default() {
                        invocation.request = request;
                    }
                }
                FIELD_REQUEST => {
                    invocation.request = Request {
                        method: field.name()?,
                        prefix: field.name()?,
                        path: field.rest()?,
                    };
                }
                FIELD_CALLED => {
                    invocation.number = u32::from_le_bytes(field.take()?);
                    invocation.alias = field.rest()?;
                }
                FIELD_GOES_ON => invocation.goes_on = true,
                _ => {}
            }
        }
        Some(invocation)
    }

    fn trace(mut self) -> Option<(Trace, Request<'a>)> {
        let trace = Trace {
            id: self.take()?,
            parent: self.take().map(|parent| (parent != [0; 8]).then_some(parent))?,
            sampled: self.byte()? & SAMPLED != 0,
        };
        Some((trace, Request { method: self.name()?, prefix: "", path: self.rest()? }))
    }

    /// What is left, as text.
    fn rest(&self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Option<InvocationId> {
        self.take().map(InvocationId::from_bytes)
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        std::str::from_utf8(self.0.split_off(..length)?).ok()
    }
}
