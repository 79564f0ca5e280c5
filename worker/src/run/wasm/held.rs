//! What the node holds for a guest besides its memory: `fields`, requests, bodies and other
//! resources that the guest has handles to.
//!
//! It may be as much as the function's memory may be. All resources are counted, but not at each
//! call: one call adds a bounded amount. Pure; owns no fds.

use std::any::Any;

use abi::limits::{
    BODY_CHUNK_BYTES_MAX, FIELDS_BYTES_MAX, HELD_BYTES_MIN, HOST_CALL_BYTES_MAX, RESOURCE_BYTES,
};
use http::HeaderMap;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::types::{
    HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};
use wasmtime_wasi_http::{FieldMap, p3};

/// The resources that are counted for one call. The calls in between may add a quarter of the limit
/// at most.
const RESOURCES_PER_CALL: usize = 1024;
/// The bytes of a header besides its name and its value.
const HEADER_BYTES: usize = 64;
/// The bytes of a body that nobody takes: what was written last, what waits behind it, and its
/// trailers.
const BODY_BYTES: usize = 2 * BODY_CHUNK_BYTES_MAX + FIELDS_BYTES_MAX;

/// Holds an instance to its limit.
pub(super) struct Held {
    bytes_max: usize,
    /// The number of calls that cannot exceed the limit.
    calls_left: usize,
}

impl Held {
    pub(super) fn new(memory_bytes_max: u64) -> Self {
        let memory_bytes_max = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
        Self { bytes_max: memory_bytes_max.max(HELD_BYTES_MIN), calls_left: 0 }
    }

    /// Returns the limit.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Returns the most resources that there may be.
    pub(super) fn resources_max(&self) -> usize {
        self.bytes_max / RESOURCE_BYTES
    }

    /// Counts a call of the guest. Returns whether what is held so far is within the limit.
    #[inline]
    pub(super) fn is_within_limit(&mut self, table: &mut ResourceTable) -> bool {
        match self.calls_left.checked_sub(1) {
            Some(left) => {
                self.calls_left = left;
                true
            }
            None => self.count(table),
        }
    }

    /// Counts what is held. Returns whether it is within the limit.
    #[cold]
    fn count(&mut self, table: &mut ResourceTable) -> bool {
        let (held, entries) =
            table.iter_mut().fold((0_usize, 0_usize), |(held, entries), entry| {
                (held.saturating_add(bytes(entry)), entries + 1)
            });
        // Counting takes a step for each resource. Even at the limit, many calls must share one
        // count.
        let by_room = self.bytes_max.saturating_sub(held) / HOST_CALL_BYTES_MAX;
        self.calls_left = by_room.max(entries / RESOURCES_PER_CALL);
        held <= self.bytes_max
    }
}

/// Returns the approximate size of one resource.
fn bytes(entry: &(dyn Any + Send)) -> usize {
    RESOURCE_BYTES
        + if let Some(map) = entry.downcast_ref::<FieldMap>() {
            fields(map)
        } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            let HostOutgoingRequest { method, scheme, authority, path_with_query, headers, body } =
                request;
            let method = if let Method::Other(method) = method { method.len() } else { 0 };
            let scheme = if let Some(Scheme::Other(scheme)) = scheme { scheme.len() } else { 0 };
            let target =
                [authority, path_with_query].into_iter().flatten().map(String::len).sum::<usize>();
            method + scheme + target + fields(headers) + body.as_ref().map_or(0, |_| BODY_BYTES)
        } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            fields(&response.headers) + response.body.as_ref().map_or(0, |_| BODY_BYTES)
        } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            fields(&response.headers)
        } else if let Some(request) = entry.downcast_ref::<p3::Request>() {
            let authority =
                request.authority.as_ref().map_or(0, |authority| authority.as_str().len());
            let path = request.path_with_query.as_ref().map_or(0, |path| path.as_str().len());
            let scheme = request.scheme.as_ref().map_or(0, |scheme| scheme.as_str().len());
            request.method.as_str().len() + scheme + authority + path + fields(&request.headers)
        } else if let Some(response) = entry.downcast_ref::<p3::Response>() {
            fields(&response.headers)
        } else {
            0
        }
}

fn fields(map: &HeaderMap) -> usize {
    map.iter().map(|(name, value)| HEADER_BYTES + name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::Resource;

    const VALUE_BYTES: usize = 100_000;

    fn full() -> FieldMap {
        let mut map = FieldMap::new_mutable(FIELDS_BYTES_MAX);
        map.append_raw("a".parse().unwrap(), "x".repeat(VALUE_BYTES).parse().unwrap()).unwrap();
        map
    }

    #[test]
    fn what_is_held_is_found_to_exceed_the_limit_within_a_call_or_two_and_not_before() {
        let mut table = ResourceTable::new();
        let mut held = Held::new(8 * 1024 * 1024);
        let mut kept = Vec::<Resource<FieldMap>>::new();
        while held.is_within_limit(&mut table) {
            kept.push(table.push(full()).unwrap());
            assert!(kept.len() < 1000);
        }
        let bytes = kept.len() * VALUE_BYTES;
        assert!(bytes > held.bytes_max() * 9 / 10 && bytes < held.bytes_max() * 11 / 10, "{bytes}");
        kept.drain(1..).for_each(|map| drop(table.delete(map).unwrap()));
        assert!(held.is_within_limit(&mut table), "what was let go of does not count");
    }

    #[test]
    fn resources_count_however_small_and_so_do_a_requests_strings() {
        let mut table = ResourceTable::new();
        let mut held = Held::new(0);
        assert_eq!(held.bytes_max(), HELD_BYTES_MIN);
        assert!(held.is_within_limit(&mut table));
        let request = |length: usize| HostOutgoingRequest {
            method: Method::Other("x".repeat(length)),
            scheme: Some(Scheme::Other("x".repeat(length))),
            authority: Some("x".repeat(length)),
            path_with_query: Some("x".repeat(length)),
            headers: FieldMap::new_mutable(FIELDS_BYTES_MAX),
            body: None,
        };
        assert!(bytes(&request(1000)) >= 4000 + RESOURCE_BYTES);
        assert_eq!(bytes(&()), RESOURCE_BYTES);
    }
}
