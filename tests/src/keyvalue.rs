//! Loads of the guest `keyvalue`. Owns no fds beyond those of its clients.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::json;

use crate::Connection;
use crate::client::request;

/// Adds one to a counter of the guest `a` as often as it can, until told to stop. Returns how often
/// that was not acknowledged.
pub fn count_up(
    address: SocketAddr,
    key: &str,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> u64 {
    let body = json!([["increment", key, 1]]).to_string();
    let mut unknown = 0;
    while !stop.load(Relaxed) {
        let reply = Connection::try_open(address).ok().and_then(|mut connection| {
            connection.try_send(request("POST", "/a/2", &[], body.as_bytes())).ok()?;
            connection.try_reply().ok()
        });
        match reply {
            Some(reply) if reply.status() == 200 && reply.json()[0].get("ok").is_some() => {
                acknowledged.fetch_add(1, Relaxed);
            }
            _ => unknown += 1,
        }
    }
    unknown
}
