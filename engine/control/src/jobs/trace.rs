//! Traces of jobs: the headers of a job's request name the span of its enqueuing, so that each
//! attempt, and who is told what came of it, is part of the same trace. Owns no fds.
//!
//! A node that sends no spans leaves the headers as they came.

use std::sync::Arc;

use abi::limits::TRACE_SAMPLE_MAX;
use abi::trace::{Span, TRACEPARENT, TRACESTATE};
use host::clock;
use jobs::JobId;
use jobs::record::Head;
use logs::Logs;
use logs::traces::{Kind, NodeSpan, Traces};

/// Headers of a request.
pub(super) type Headers = Vec<(String, Vec<u8>)>;

/// Returns those headers of a request that say which trace it belongs to.
pub(super) fn of(head: &Head) -> Headers {
    let is = |name: &str| name == TRACEPARENT || name == TRACESTATE;
    head.headers.iter().filter(|(name, _)| is(name)).cloned().collect()
}

/// Whether a trace may begin with something that belongs to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// With as many as the node samples.
    Sampled,
    /// Whoever has passed it on has decided already.
    Never,
}

/// What the node does in traces of jobs.
#[derive(Debug)]
pub(super) struct Tracer {
    logs: Arc<Logs>,
    /// Of a million submissions without a trace, so many begin one.
    sample: u32,
}

/// A span that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    span: Span,
    parent: Option<[u8; 8]>,
    started_us: u64,
}

impl Tracer {
    pub(super) fn new(logs: Arc<Logs>, sample: u32) -> Self {
        Self { logs, sample }
    }

    /// Begins the span of the enqueuing of `id`, which `headers` name afterwards. Returns `None` if
    /// nothing of it is recorded.
    pub(super) fn enqueue(
        &self,
        id: JobId,
        headers: &mut Headers,
        begins: Begins,
    ) -> Option<Begun> {
        self.traces()?;
        begun(id.span(), headers).or_else(|| {
            let is_of_none = !headers.iter().any(|(name, _)| name == TRACEPARENT);
            let is_sampled = || fastrand::u32(..TRACE_SAMPLE_MAX) < self.sample;
            (is_of_none && begins == Begins::Sampled && is_sampled()).then(|| {
                let span = Span { trace: id.bytes(), id: id.span(), sampled: true };
                headers.retain(|(name, _)| name != TRACESTATE);
                headers.push((TRACEPARENT.to_owned(), span.to_string().into_bytes()));
                Begun { span, parent: None, started_us: clock::unix_us() }
            })
        })
    }

    /// Begins the span of a request of the node's own, which `headers` name afterwards.
    pub(super) fn call(&self, headers: &mut Headers) -> Option<Begun> {
        self.traces()?;
        begun(fastrand::u64(1..).to_be_bytes(), headers)
    }

    /// Ends a span.
    pub(super) fn end(
        &self,
        begun: Option<Begun>,
        (kind, name): (Kind, String),
        attributes: Vec<(&'static str, String)>,
        error: Option<String>,
    ) {
        let Some((Begun { span, parent, started_us }, traces)) = begun.zip(self.traces()) else {
            return;
        };
        let ended_us = clock::unix_us();
        let ended = NodeSpan { span, parent, kind, name, started_us, ended_us, attributes, error };
        traces.record(&ended);
    }

    fn traces(&self) -> Option<&Traces> {
        self.logs.traces.as_ref()
    }
}

/// Begins a span in the sampled trace that `headers` name.
fn begun(id: [u8; 8], headers: &mut Headers) -> Option<Begun> {
    let mut named = headers.iter_mut().filter(|(name, _)| name == TRACEPARENT);
    let (only, None) = (named.next()?, named.next()) else { return None };
    let caller = Span::parse(&only.1).filter(|caller| caller.sampled)?;
    let span = Span { id, ..caller };
    only.1 = span.to_string().into_bytes();
    Some(Begun { span, parent: Some(caller.id), started_us: clock::unix_us() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_goes_on_in_the_trace_of_who_is_sampled() {
        let named = |value: &str| (TRACEPARENT.to_owned(), value.as_bytes().to_vec());
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = vec![("a".to_owned(), b"b".to_vec()), named(caller)];
        let ours = begun([0x22; 8], &mut headers).unwrap();
        let expected = "00-0af7651916cd43dd8448eb211c80319c-2222222222222222-01";
        assert_eq!(headers[1], named(expected));
        assert_eq!(ours.parent, Span::parse(caller.as_bytes()).map(|span| span.id));
        let unsampled = caller.replace("-01", "-00");
        for others in [vec![], vec![named(&unsampled)], vec![named(caller), named(caller)]] {
            let mut headers = others.clone();
            assert!(begun([0x22; 8], &mut headers).is_none());
            assert_eq!(headers, others);
        }
    }
}
