//! The log's records: `abi::spool` on any bytes, and on good segments that were damaged.
//!
//! Nothing panics or reads on for ever; what is found whole is found again when it is written
//! again; and of a good segment, damage in one place costs no more than the records it touches.
#![no_main]

use abi::invocation_id::InvocationId;
use abi::spool::{self, Found, Gap, HEADER, Line, Record, Records, Stream};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // An error is an input too short to say what is to happen.
    let _ = damaged(&mut Unstructured::new(bytes));
});

/// Reads any bytes.
fn check(bytes: &[u8]) {
    let mut records = Records::of(bytes);
    let mut again = Vec::new();
    let mut count = 0;
    for record in records.by_ref().flatten() {
        spool::append(&mut again, &record);
        count += 1;
    }
    let mut second = Records::of(&again);
    assert_eq!(
        second.by_ref().flatten().count(),
        count,
        "what was read and written again is read again"
    );
    assert_eq!(second.damaged(), 0);
    if let Found::Record { bytes: length, record } = spool::read(bytes) {
        assert!(length <= bytes.len());
        assert_eq!(spool::record(&bytes[..length]), record);
    }
    let _ = Records::of_segment(bytes).map(|records| records.flatten().count());
}

/// Damages one place in a good segment.
fn damaged(input: &mut Unstructured<'_>) -> Result<()> {
    let mut segment = HEADER.to_vec();
    let mut starts = Vec::new();
    for _ in 0..input.int_in_range(1..=8)? {
        let id = InvocationId::from_bytes(input.arbitrary()?);
        let text: &[u8] = input.arbitrary()?;
        starts.push(segment.len());
        let record = match input.arbitrary()? {
            true => Record::Gap(Gap {
                time_us: input.arbitrary()?,
                records: input.arbitrary()?,
                reason: "reason",
            }),
            false => Record::Line(Line {
                id,
                time_us: input.arbitrary()?,
                stream: Stream::Stderr,
                function: "f",
                text,
            }),
        };
        spool::append(&mut segment, &record);
    }
    assert_eq!(
        Records::of_segment(&segment).expect("it has a header").flatten().count(),
        starts.len()
    );
    let at = input.int_in_range(HEADER.len()..=segment.len() - 1)?;
    let to: u8 = input.arbitrary()?;
    let changed = segment[at] != to;
    segment[at] = to;
    let mut records = Records::of_segment(&segment).expect("its header is as it was");
    let left = records.by_ref().flatten().count();
    assert_eq!(left, starts.len() - usize::from(changed), "damage at {at}");
    // What was damaged may have the beginning of a record in its middle, and then counts as often.
    assert_eq!(records.damaged() > 0, changed);
    Ok(())
}
