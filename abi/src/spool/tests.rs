//! What is written is read, and what is damaged is passed over, whatever else is there.

use proptest::prelude::*;

use super::*;
use crate::limits::RECORD_BYTES_MAX;

/// A record that owns what it says.
#[derive(Debug, Clone)]
struct Owned {
    kind: u8,
    id: [u8; 16],
    numbers: [u64; 12],
    status: u16,
    text: Vec<u8>,
    names: [String; 3],
    arrival: bool,
    traced: bool,
    asked: bool,
    goes_on: bool,
}

impl Owned {
    fn record(&self) -> Record<'_> {
        let (id, n) = (InvocationId::from_bytes(self.id), self.numbers);
        let [outcome, function, version] = self.names.each_ref().map(String::as_str);
        match self.kind {
            0..3 => {
                let stream = Stream::ALL[usize::from(self.kind)];
                Record::Line(Line { id, time_us: n[0], stream, function, text: &self.text })
            }
            3 => Record::Gap(Gap { time_us: n[0], records: n[1], reason: outcome }),
            4 => Record::After(After {
                id,
                time_us: n[0],
                after_us: n[1],
                cpu_us: n[2],
                memory_bytes: n[3],
                outcome: Outcome::of_name(outcome),
                function,
            }),
            _ => Record::Invocation(Invocation {
                id,
                started_us: n[0],
                duration_us: n[1],
                cpu_us: n[2],
                memory_bytes: n[3],
                status: self.status,
                received_bytes: n[4],
                sent_bytes: n[5],
                queue_us: n[6],
                instantiate_us: n[7],
                run_us: n[8],
                outcome: Outcome::of_name(outcome),
                function,
                version,
                number: u32::from(self.status),
                alias: if self.status > 0 {
                    &outcome[..outcome.floor_char_boundary(60)]
                } else {
                    ""
                },
                request: if self.asked {
                    Request {
                        method: &version[..version.floor_char_boundary(32)],
                        prefix: function,
                        path: outcome,
                    }
                } else {
                    Request::default()
                },
                goes_on: self.goes_on,
                arrival: self.arrival.then_some(Arrival { accepted_us: n[9], received_us: n[10] }),
                trace: self.traced.then_some(Trace {
                    id: self.id,
                    parent: Some(n[11].to_le_bytes()).filter(|parent| *parent != [0; 8]),
                    sampled: n[11] % 2 == 0,
                }),
            }),
        }
    }
}

fn record() -> impl Strategy<Value = Owned> {
    let names = proptest::array::uniform3("[a-zé-]{0,60}");
    let text = proptest::collection::vec(any::<u8>(), 0..200);
    let fields = any::<[bool; 4]>();
    (0u8..7, any::<[u8; 16]>(), any::<[u64; 12]>(), any::<u16>(), text, names, fields).prop_map(
        |(kind, id, numbers, status, text, names, [arrival, traced, asked, goes_on])| Owned {
            kind,
            id,
            numbers,
            status,
            text,
            names,
            arrival,
            traced,
            asked,
            goes_on,
        },
    )
}

fn segment(records: &[Owned]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (HEADER.to_vec(), Vec::new());
    for record in records {
        starts.push(bytes.len());
        append(&mut bytes, &record.record());
    }
    (bytes, starts)
}

fn records(bytes: &[u8]) -> (Vec<Record<'_>>, u64) {
    let mut records = Records::of_segment(bytes).unwrap();
    let found = records.by_ref().flatten().collect();
    (found, records.damaged())
}

#[test]
fn the_format_is_what_its_description_says() {
    let line = Record::Line(Line {
        id: InvocationId::from_bytes([7; 16]),
        time_us: 0x0102,
        stream: Stream::Stderr,
        function: "f",
        text: b"hi",
    });
    let mut bytes = Vec::new();
    append(&mut bytes, &line);
    let mut expected =
        [&[30, 0, 0, 0, 1][..], &[7; 16], &[2, 1, 0, 0, 0, 0, 0, 0], &[1, 1, b'f'], b"hi"].concat();
    expected.splice(..0, crc32fast::hash(&expected).to_le_bytes());
    assert_eq!(bytes, expected);
    assert_eq!(&HEADER, b"sockhop spool\n\x01\x00");
}

#[test]
fn what_a_later_build_adds_is_passed_over() {
    let known = Owned {
        kind: 5,
        id: [1; 16],
        numbers: [9; 12],
        status: 200,
        text: Vec::new(),
        names: ["ok", "f", "v"].map(str::to_owned),
        arrival: true,
        traced: true,
        asked: true,
        goes_on: true,
    };
    let (bytes, starts) = segment(&[known.clone(), known.clone()]);
    let framed = |payload: &[u8]| {
        let mut frame =
            [&u32::try_from(payload.len()).unwrap().to_le_bytes()[..], payload].concat();
        frame.splice(..0, crc32fast::hash(&frame).to_le_bytes());
        frame
    };
    let payload = [&bytes[starts[0] + FRAME_BYTES..starts[1]], &[200, 3, 1, 2, 3]].concat();
    let later =
        [&HEADER[..], &framed(&payload), &framed(&[99, 1, 2]), &bytes[starts[1]..]].concat();
    assert_eq!(records(&later), (vec![known.record(), known.record()], 0));
}

#[test]
fn the_longest_line_fits_a_record() {
    let mut long = Owned {
        kind: 1,
        id: [1; 16],
        numbers: [u64::MAX; 12],
        status: 0,
        text: vec![b'x'; crate::limits::LOG_LINE_BYTES_MAX + 5],
        names: [(); 3].map(|()| "é".repeat(200)),
        arrival: true,
        traced: true,
        asked: true,
        goes_on: true,
    };
    for kind in 0..7 {
        long.kind = kind;
        let mut bytes = Vec::new();
        append(&mut bytes, &long.record());
        assert!(bytes.len() <= FRAME_BYTES + RECORD_BYTES_MAX);
        assert!(matches!(read(&bytes), Found::Record { record: Some(_), .. }), "{kind}");
    }
}

fn invocation<'a>(request: Request<'a>, trace: Option<Trace>) -> Invocation<'a> {
    let owned = Owned {
        kind: 5,
        id: [1; 16],
        numbers: [9; 12],
        status: 0,
        text: Vec::new(),
        names: [const { String::new() }; 3],
        arrival: false,
        traced: false,
        asked: false,
        goes_on: false,
    };
    let Record::Invocation(invocation) = owned.record() else { panic!("it is one") };
    Invocation {
        request,
        trace,
        outcome: Outcome::Unknown(""),
        function: "",
        version: "",
        alias: "",
        ..invocation
    }
}

#[test]
fn a_path_that_does_not_fit_is_marked_as_cut() {
    let path = format!("/{}", "é".repeat(300));
    let mut bytes = Vec::new();
    let request = Request { method: "PROPFIND", prefix: "/f@canary", path: &path };
    append(&mut bytes, &Record::Invocation(invocation(request, None)));
    let Some(Record::Invocation(read)) = super::record(&bytes) else { panic!("it is one") };
    assert_eq!((read.request.method, read.request.prefix), (request.method, request.prefix));
    let cut = read.request.path.strip_suffix("...").unwrap();
    assert!(path.starts_with(cut) && cut.len() > 200, "{cut}");
}

#[test]
fn a_trace_of_an_earlier_build_says_what_was_asked() {
    let mut bytes = Vec::new();
    let trace = Trace { id: [3; 16], parent: None, sampled: true };
    append(&mut bytes, &Record::Invocation(invocation(Request::default(), Some(trace))));
    // As it was written: a method and a path in the trace's field, and no field for the request.
    let mut payload = bytes[FRAME_BYTES..].to_vec();
    assert_eq!((payload.pop(), payload.len()), (Some(0), bytes.len() - FRAME_BYTES - 1));
    payload.extend_from_slice(b"\x03PUT/a/b");
    let length_at = payload.len() - b"\x03PUT/a/b".len() - 16 - 8 - 1 - 1;
    payload[length_at] += u8::try_from(b"PUT/a/b".len()).unwrap();
    let whole = [&[0; FRAME_BYTES][..], &payload].concat();
    let Some(Record::Invocation(read)) = super::record(&whole) else { panic!("it is one") };
    assert_eq!(read.trace, Some(trace));
    assert_eq!(read.request, Request { method: "PUT", prefix: "", path: "/a/b" });
}

proptest! {
    #[test]
    fn what_is_written_is_read(all in proptest::collection::vec(record(), 0..20)) {
        let (bytes, _) = segment(&all);
        prop_assert_eq!(records(&bytes), (all.iter().map(Owned::record).collect::<Vec<_>>(), 0));
    }

    /// However a crash has torn the end, everything before is there, and the torn part is counted
    /// once.
    #[test]
    fn a_torn_end_costs_what_it_tore(all in proptest::collection::vec(record(), 1..10), cut: prop::sample::Index) {
        let (bytes, starts) = segment(&all);
        let cut = HEADER.len() + cut.index(bytes.len() - HEADER.len());
        let whole = starts.iter().filter(|start| **start <= cut).count().saturating_sub(1);
        let (found, damaged) = records(&bytes[..cut]);
        let expected: Vec<_> = all[..whole].iter().map(Owned::record).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(damaged, u64::from(!starts.contains(&cut)));
    }

    /// A damaged byte costs its record, and no other.
    #[test]
    fn a_damaged_record_costs_itself(all in proptest::collection::vec(record(), 1..10), at: prop::sample::Index, by in 1u8..) {
        let (mut bytes, starts) = segment(&all);
        let at = HEADER.len() + at.index(bytes.len() - HEADER.len());
        bytes[at] ^= by;
        let hit = starts.iter().filter(|start| **start <= at).count() - 1;
        let mut expected: Vec<_> = all.iter().map(Owned::record).collect();
        expected.remove(hit);
        let (found, damaged) = records(&bytes);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(damaged, 1);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Records::of(&bytes).flatten().count();
    }
}
