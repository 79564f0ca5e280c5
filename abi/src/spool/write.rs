//! Putting a record behind others in memory. Allocates nothing but what the buffer grows by.

use super::{FIELD_ARRIVAL, FIELD_TRACE, FRAME_BYTES, GAP, INVOCATION, LINE, Record, SAMPLED, Trace};
use crate::invocation_id::InvocationId;
use crate::limits::{LOG_LINE_BYTES_MAX, NAME_BYTES_MAX};

/// The longest that a name in a record can be: a function's, a version's, a reason's.
const NAME_MAX: usize = 255;
/// More than any method that is in use.
const METHOD_MAX: usize = 32;
const _: () = assert!(NAME_BYTES_MAX <= NAME_MAX);

/// Puts `record` behind what is in `buffer`. A line beyond [`LOG_LINE_BYTES_MAX`] and a name beyond 255 bytes are cut.
pub fn append(buffer: &mut Vec<u8>, record: &Record<'_>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_BYTES]);
    match record {
        Record::Line(line) => {
            buffer.push(LINE);
            id(buffer, line.id);
            numbers(buffer, [line.time_us]);
            buffer.push(line.stream as u8);
            name(buffer, line.function);
            buffer.extend_from_slice(&line.text[..line.text.len().min(LOG_LINE_BYTES_MAX)]);
        }
        Record::Invocation(invocation) => {
            buffer.push(INVOCATION);
            id(buffer, invocation.id);
            let of = invocation;
            numbers(buffer, [of.started_us, of.duration_us, of.cpu_us, of.memory_bytes]);
            buffer.extend_from_slice(&of.status.to_le_bytes());
            numbers(buffer, [of.received_bytes, of.sent_bytes, of.queue_us, of.instantiate_us, of.run_us]);
            [of.outcome, of.function, of.version].into_iter().for_each(|text| name(buffer, text));
            if let Some(arrival) = of.arrival {
                buffer.extend_from_slice(&[FIELD_ARRIVAL, 16]);
                numbers(buffer, [arrival.accepted_us, arrival.received_us]);
            }
            if let Some(of) = of.trace {
                trace(buffer, of);
            }
        }
        Record::Gap(gap) => {
            buffer.push(GAP);
            numbers(buffer, [gap.time_us, gap.records]);
            name(buffer, gap.reason);
        }
    }
    // No record is longer than RECORD_BYTES_MAX: everything in it is cut above.
    let length = u32::try_from(buffer.len() - start - FRAME_BYTES).unwrap_or(u32::MAX);
    buffer[start + 4..start + FRAME_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn trace(buffer: &mut Vec<u8>, of: Trace<'_>) {
    buffer.extend_from_slice(&[FIELD_TRACE, 0]);
    let start = buffer.len();
    buffer.extend_from_slice(&of.id);
    buffer.extend_from_slice(&of.parent.unwrap_or_default());
    buffer.push(if of.sampled { SAMPLED } else { 0 });
    name(buffer, &of.method[..of.method.floor_char_boundary(METHOD_MAX)]);
    let left = NAME_MAX - (buffer.len() - start);
    buffer.extend_from_slice(&of.path.as_bytes()[..of.path.floor_char_boundary(left)]);
    // A field has as many bytes at most as its length can say.
    buffer[start - 1] = u8::try_from(buffer.len() - start).unwrap_or(u8::MAX);
}

fn id(buffer: &mut Vec<u8>, id: InvocationId) {
    buffer.extend_from_slice(&id.bytes());
}

fn numbers<const N: usize>(buffer: &mut Vec<u8>, numbers: [u64; N]) {
    numbers.into_iter().for_each(|number| buffer.extend_from_slice(&number.to_le_bytes()));
}

fn name(buffer: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(NAME_MAX)];
    buffer.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    buffer.extend_from_slice(text.as_bytes());
}
