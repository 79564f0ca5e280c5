//! Putting a record behind others in memory. Allocates nothing but what the buffer grows by.

use super::{
    AFTER, FIELD_ARRIVAL, FIELD_CALLED, FIELD_GOES_ON, FIELD_REQUEST, FIELD_TRACE, FRAME_BYTES,
    GAP, INVOCATION, LINE, Record, Request, SAMPLED,
};
use crate::invocation_id::InvocationId;
use crate::limits::{LOG_LINE_BYTES_MAX, NAME_BYTES_MAX};

/// The longest that a name in a record can be: a function's, a version's, a reason's.
const NAME_MAX: usize = 255;
/// More than any method that is in use.
const METHOD_MAX: usize = 32;
/// A function's name and what is meant of it, with what stands around them.
const PREFIX_MAX: usize = 130;
/// What a path that was cut ends in.
const CUT: &str = "...";
const _: () = assert!(NAME_BYTES_MAX <= NAME_MAX);

/// Puts `record` behind what is in `buffer`. A line beyond [`LOG_LINE_BYTES_MAX`] and a name beyond
/// 255 bytes are cut.
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
            numbers(
                buffer,
                [of.received_bytes, of.sent_bytes, of.queue_us, of.instantiate_us, of.run_us],
            );
            [of.outcome.name(), of.function, of.version]
                .into_iter()
                .for_each(|text| name(buffer, text));
            if let Some(arrival) = of.arrival {
                buffer.extend_from_slice(&[FIELD_ARRIVAL, 16]);
                numbers(buffer, [arrival.accepted_us, arrival.received_us]);
            }
            if let Some(trace) = of.trace {
                field(buffer, FIELD_TRACE, |buffer| {
                    buffer.extend_from_slice(&trace.id);
                    buffer.extend_from_slice(&trace.parent.unwrap_or_default());
                    // No method and no path: FIELD_REQUEST has them.
                    buffer.extend_from_slice(&[if trace.sampled { SAMPLED } else { 0 }, 0]);
                });
            }
            if of.request != Request::default() {
                field(buffer, FIELD_REQUEST, |buffer| request(buffer, of.request));
            }
            if of.number > 0 {
                field(buffer, FIELD_CALLED, |buffer| {
                    buffer.extend_from_slice(&of.number.to_le_bytes());
                    buffer.extend_from_slice(
                        &of.alias.as_bytes()[..of.alias.floor_char_boundary(NAME_BYTES_MAX)],
                    );
                });
            }
            if of.goes_on {
                field(buffer, FIELD_GOES_ON, |_| ());
            }
        }
        Record::Gap(gap) => {
            buffer.push(GAP);
            numbers(buffer, [gap.time_us, gap.records]);
            name(buffer, gap.reason);
        }
        Record::After(after) => {
            buffer.push(AFTER);
            id(buffer, after.id);
            numbers(buffer, [after.time_us, after.after_us, after.cpu_us, after.memory_bytes]);
            [after.outcome.name(), after.function].into_iter().for_each(|text| name(buffer, text));
        }
    }
    // No record is longer than RECORD_BYTES_MAX: everything in it is cut above.
    let length = u32::try_from(buffer.len() - start - FRAME_BYTES).unwrap_or(u32::MAX);
    buffer[start + 4..start + FRAME_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// A field with what `put` puts into it, which is no more than a length can say.
fn field(buffer: &mut Vec<u8>, tag: u8, put: impl FnOnce(&mut Vec<u8>)) {
    buffer.extend_from_slice(&[tag, 0]);
    let start = buffer.len();
    put(buffer);
    buffer[start - 1] = u8::try_from(buffer.len() - start).unwrap_or(u8::MAX);
}

fn request(buffer: &mut Vec<u8>, of: Request<'_>) {
    let start = buffer.len();
    name(buffer, &of.method[..of.method.floor_char_boundary(METHOD_MAX)]);
    name(buffer, &of.prefix[..of.prefix.floor_char_boundary(PREFIX_MAX)]);
    let left = NAME_MAX - (buffer.len() - start);
    let (path, cut) = match of.path.len() <= left {
        true => (of.path, ""),
        false => (&of.path[..of.path.floor_char_boundary(left - CUT.len())], CUT),
    };
    buffer.extend_from_slice(path.as_bytes());
    buffer.extend_from_slice(cut.as_bytes());
}

fn id(buffer: &mut Vec<u8>, id: InvocationId) {
    buffer.extend_from_slice(&id.bytes());
}

fn numbers<const N: usize>(buffer: &mut Vec<u8>, numbers: [u64; N]) {
    buffer.extend_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
}

fn name(buffer: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(NAME_MAX)];
    buffer.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    buffer.extend_from_slice(text.as_bytes());
}
