//! The trace that an invocation belongs to, by the W3C's Trace Context (level 1): the headers
//! `traceparent` and `tracestate`.
//!
//! If a request belongs to a trace, its function sees this node's own span as the parent. So do the
//! servers that the function sends requests to, unless the function names a span itself. A
//! malformed header is not passed on: the trace begins here. A request without a trace is left
//! alone, unless the node records traces and samples this request. The span's id is the second half
//! of the invocation's id, and a trace that begins here has the whole of the invocation's id, so
//! that each id leads to the other. Pure; owns no fds.

use abi::invocation_id::InvocationId;
use abi::limits::TRACE_SAMPLE_MAX;
use abi::trace::Span;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

static TRACEPARENT: HeaderName = HeaderName::from_static(abi::trace::TRACEPARENT);
static TRACESTATE: HeaderName = HeaderName::from_static(abi::trace::TRACESTATE);

/// The most entries of a tracestate.
const STATE_ENTRIES_MAX: usize = 32;

/// An invocation's span as it is propagated to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    traceparent: HeaderValue,
    tracestate: Vec<HeaderValue>,
}

/// An invocation's span as it is recorded in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedSpan {
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
    sampled: bool,
}

impl Trace {
    /// Returns the trace that a request belongs to, for the function and for the log. Returns
    /// `None` if the request has no trace and none begins here; of a million such requests,
    /// `sample` begin one. Afterwards the request's headers name the invocation's own span.
    pub(crate) fn join(
        request: &mut Request<()>,
        invocation: InvocationId,
        sample: u32,
    ) -> Option<(Self, RecordedSpan)> {
        let headers = request.headers_mut();
        // Two traceparents are as bad as a malformed one: nobody knows which is the caller's.
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let (first, second) = (values.next(), values.next());
        let caller =
            first.filter(|_| second.is_none()).and_then(|only| Span::parse(only.as_bytes()));
        let begins = caller.is_none() && is_sampled(sample);
        if first.is_none() && !begins {
            return None;
        }
        let span = own_span(invocation, caller, begins);
        // A tracestate belongs to its traceparent, and goes with it.
        if caller.is_none()
            || !is_tracestate(headers.get_all(&TRACESTATE).iter().map(HeaderValue::as_bytes))
        {
            headers.remove(&TRACESTATE);
        }
        let traceparent = to_header(span);
        headers.insert(&TRACEPARENT, traceparent.clone());
        let trace = Self {
            traceparent,
            tracestate: headers.get_all(&TRACESTATE).iter().cloned().collect(),
        };
        let parent = caller.map(|caller| caller.id);
        let recorded = RecordedSpan { trace: span.trace, parent, sampled: span.sampled };
        Some((trace, recorded))
    }

    /// Puts the trace into the headers of a request that the function sends. If the function names
    /// exactly one span itself, its headers stay. Two are ambiguous and are replaced.
    pub(crate) fn propagate(trace: Option<&Self>, headers: &mut HeaderMap) {
        let named = headers.get_all(&TRACEPARENT).iter().count();
        if named == 1 || named == 0 && trace.is_none() {
            return;
        }
        headers.remove(&TRACEPARENT);
        headers.remove(&TRACESTATE);
        if let Some(Self { traceparent, tracestate }) = trace {
            headers.insert(&TRACEPARENT, traceparent.clone());
            headers.extend(tracestate.iter().map(|state| (TRACESTATE.clone(), state.clone())));
        }
    }
}

impl RecordedSpan {
    /// Returns the trace as the log's record has it.
    pub(crate) fn record(&self) -> abi::spool::Trace {
        let Self { trace: id, parent, sampled } = *self;
        abi::spool::Trace { id, parent, sampled }
    }
}

/// Returns whether a trace begins here and is recorded.
fn is_sampled(sample: u32) -> bool {
    sample > 0 && fastrand::u32(..TRACE_SAMPLE_MAX) < sample
}

/// Returns an invocation's own span, in its caller's trace or in a new one. A new one is sampled if
/// `sampled` is set.
fn own_span(invocation: InvocationId, caller: Option<Span>, sampled: bool) -> Span {
    let new = || (invocation.bytes(), sampled);
    let (trace, sampled) = caller.map_or_else(new, |caller| (caller.trace, caller.sampled));
    Span { trace, id: invocation.span(), sampled }
}

fn to_header(span: Span) -> HeaderValue {
    // Hexadecimal digits are a valid header value.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(span.to_string()))
        .unwrap_or(HeaderValue::from_static(""))
}

/// Returns whether these are the headers of one well-formed tracestate: a list of entries with
/// distinct keys.
fn is_tracestate<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    for value in values {
        // A header's value has no other white space than blanks and tabs.
        for entry in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if entry.is_empty() {
                continue;
            }
            let Some(equals) = entry.iter().position(|byte| *byte == b'=') else { return false };
            let (key, value) = (&entry[..equals], &entry[equals + 1..]);
            if !is_key(key)
                || !is_value(value)
                || keys.contains(&key)
                || keys.len() == STATE_ENTRIES_MAX
            {
                return false;
            }
            keys.push(key);
        }
    }
    true
}

/// Returns whether `key` is `vendor` or `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let rest = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    let named = |part: &[u8], length_max: usize| {
        part.first().is_some_and(u8::is_ascii_lowercase) && part.len() <= length_max && rest(part)
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => named(key, 256),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            let begins = tenant
                .first()
                .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            begins && tenant.len() <= 241 && rest(tenant) && named(vendor, 14)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    // Blanks around it are trimmed.
    let fits = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    /// Joins the trace of a request with `headers`, and changes them as the request's.
    fn join(
        headers: &mut HeaderMap,
        id: InvocationId,
        sample: u32,
    ) -> Option<(Trace, RecordedSpan)> {
        let mut request = Request::new(());
        *request.uri_mut() = "/path?query".parse().unwrap();
        std::mem::swap(request.headers_mut(), headers);
        let recorded = Trace::join(&mut request, id, sample);
        std::mem::swap(request.headers_mut(), headers);
        recorded
    }

    fn all(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_request_goes_on_in_its_trace_as_the_nodes_own_span() {
        let id = InvocationId::new();
        let span: String = id.to_string().replace('-', "")[16..].to_owned();
        for (flags, ours) in [("01", "01"), ("00", "00"), ("ff", "01"), ("fe", "00")] {
            let mut map = headers(&[
                ("traceparent", &format!("{}{flags}", &GOOD[..53])),
                ("tracestate", "a=1, b@c=x y"),
                ("tracestate", "z=2"),
                ("x-other", "o"),
            ]);
            let (trace, recorded) = join(&mut map, id, TRACE_SAMPLE_MAX).unwrap();
            let sampled = ours == "01";
            assert_eq!(
                (recorded.sampled, recorded.parent),
                (sampled, Span::parse(GOOD.as_bytes()).map(|span| span.id))
            );
            let expected = format!("{}{span}-{ours}", &GOOD[..36]);
            assert_eq!(all(&map, &TRACEPARENT), [expected.as_str()]);
            assert_eq!(all(&map, &TRACESTATE), ["a=1, b@c=x y", "z=2"]);
            assert_eq!((map.len(), trace.traceparent.to_str().unwrap()), (4, expected.as_str()));
        }
    }

    #[test]
    fn what_is_malformed_begins_a_trace_and_what_says_nothing_is_left_alone() {
        let id = InvocationId::new();
        let digits = id.to_string().replace('-', "");
        let ours = format!("00-{digits}-{}-00", &digits[16..]);
        for bad in [
            "",
            "x",
            &GOOD[1..],
            &GOOD.to_uppercase(),
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &format!("ff{}", &GOOD[2..]),
            &format!("01{}x", &GOOD[2..]),
            &format!("0g{}", &GOOD[2..]),
            &format!("{}0g", &GOOD[..53]),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("b7ad6b71", "b7ad-b71"),
        ] {
            let mut map = headers(&[("traceparent", bad), ("tracestate", "a=1")]);
            assert_eq!(
                join(&mut map, id, 0).map(|(_, recorded)| (recorded.trace, recorded.parent)),
                Some((id.bytes(), None))
            );
            assert_eq!((all(&map, &TRACEPARENT), map.len()), (vec![ours.clone()], 1), "{bad:?}");
        }
        let mut map = headers(&[("traceparent", GOOD), ("traceparent", GOOD)]);
        assert!(join(&mut map, id, 0).is_some());
        assert_eq!(all(&map, &TRACEPARENT), std::slice::from_ref(&ours));
        let mut map = headers(&[("tracestate", "a=1")]);
        assert_eq!(join(&mut map, id, 0), None);
        assert_eq!(map, headers(&[("tracestate", "a=1")]));
        // Where traces are recorded, one begins with the request.
        let (_, recorded) = join(&mut map, id, TRACE_SAMPLE_MAX).unwrap();
        assert_eq!((recorded.sampled, recorded.parent), (true, None));
        assert_eq!((all(&map, &TRACEPARENT), map.len()), (vec![format!("{}01", &ours[..53])], 1));
    }

    #[test]
    fn a_state_that_is_malformed_is_dropped_and_its_trace_goes_on() {
        let many: String = (0..33).map(|number| format!("k{number}=v,")).collect();
        let long = format!("a={}", "x".repeat(257));
        for bad in [
            "a", "=1", "a=", "A=1", "a=1,a=2", "a=b=c", "1=2", "a@=1", "@a=1", "a@1=1", "a=\t1",
            &many, &long,
        ] {
            let mut map = headers(&[("traceparent", GOOD), ("tracestate", bad)]);
            assert!(
                join(&mut map, InvocationId::new(), 0).unwrap().0.tracestate.is_empty(),
                "{bad:?}"
            );
            assert!(
                all(&map, &TRACEPARENT)[0].starts_with(&GOOD[..36]) && map.len() == 1,
                "{bad:?}"
            );
        }
        for good in ["", " , a=1 ,,", "1@a=1", "a*/-_0=!~", &many[..many.len() - "k32=v,".len()]] {
            assert!(is_tracestate([good.as_bytes()].into_iter()), "{good:?}");
        }
    }

    #[test]
    fn what_a_function_sends_names_one_span_at_most() {
        let mut called =
            headers(&[("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "z=2")]);
        let trace = join(&mut called, InvocationId::new(), 0).map(|(trace, _)| trace);
        let ours = trace.clone().unwrap().traceparent;
        let sent = |trace: Option<&Trace>, lines: &[(&'static str, &str)]| {
            let mut map = headers(lines);
            Trace::propagate(trace, &mut map);
            (all(&map, &TRACEPARENT), all(&map, &TRACESTATE))
        };
        let with_ours =
            (vec![ours.to_str().unwrap().to_owned()], vec!["a=1".to_owned(), "z=2".to_owned()]);
        assert_eq!(sent(trace.as_ref(), &[]), with_ours);
        assert_eq!(sent(trace.as_ref(), &[("tracestate", "b=2")]), with_ours);
        assert_eq!(
            sent(
                trace.as_ref(),
                &[("traceparent", "x"), ("traceparent", "y"), ("tracestate", "b=2")]
            ),
            with_ours
        );
        let own = [("traceparent", "x"), ("tracestate", "b=2")];
        assert_eq!(sent(trace.as_ref(), &own), (vec!["x".to_owned()], vec!["b=2".to_owned()]));
        assert_eq!(sent(None, &own), (vec!["x".to_owned()], vec!["b=2".to_owned()]));
        assert_eq!(sent(None, &[("traceparent", "x"), ("traceparent", "y")]), (vec![], vec![]));
        assert_eq!(sent(None, &[]), (vec![], vec![]));
    }

    proptest! {
        #[test]
        fn nothing_that_can_be_sent_panics_and_what_leaves_is_well_formed(
            parent in "[ -~]{0,60}", state in "[ -~\t]{0,80}", cut in 0usize..56, to in "[ -~]",
        ) {
            let mut damaged = GOOD.to_owned();
            damaged.truncate(cut.min(GOOD.len()));
            damaged.push_str(&to);
            for parent in [parent, damaged] {
                let mut map = headers(&[("traceparent", &parent), ("tracestate", &state)]);
                let (trace, _) = join(&mut map, InvocationId::new(), 0).unwrap();
                prop_assert!(Span::parse(trace.traceparent.as_bytes()).is_some());
                prop_assert!(is_tracestate(trace.tracestate.iter().map(HeaderValue::as_bytes)));
            }
        }
    }
}
