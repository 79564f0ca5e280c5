//! The client of a request: the peer itself, or the client that a trusted proxy names. Pure; owns
//! no fds.
//!
//! A proxy appends the address of its own peer to `X-Forwarded-For` (or to `Forwarded`, RFC 7239).
//! The entries before that came with the request, and anybody can have written them. So the list is
//! read from its end, as long as the address just read belongs to a trusted proxy. Functions then
//! see only what was found here, and nothing that anybody else has claimed.

use std::net::{IpAddr, SocketAddr};

use abi::authority::is_authority;
use abi::network::Network;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::wire::Peer;
use crate::origin::Client;

static FORWARDED: HeaderName = http::header::FORWARDED;
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Returns the client of a request that `peer` has sent. Replaces the headers that describe the
/// client: `X-Forwarded-For` has the client's address alone, `X-Forwarded-Proto` its scheme, and
/// `X-Forwarded-Host` is there if a trusted proxy has set it. If the request has no such header,
/// `forwarded` may be `false`, and none is looked for.
pub(in crate::edge) fn resolve_client(
    headers: &mut HeaderMap,
    forwarded: bool,
    peer: &Peer,
    trusted: &[Network],
) -> Client {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let Peer { client: peer, text: peer_text, is_trusted: is_peer_trusted, .. } = peer;
    let peer = *peer;
    let (client, host) = if forwarded && (*is_peer_trusted || is_trusted(peer.address)) {
        named_by_proxy(headers, peer, is_trusted)
    } else {
        (peer, None)
    };
    if forwarded {
        for name in [&FORWARDED, &FORWARDED_HOST] {
            headers.remove(name);
        }
    }
    let address = if client == peer {
        peer_text.clone()
    } else {
        // An address has only characters that a header may have.
        HeaderValue::try_from(client.address.to_string()).unwrap_or_else(|_| peer_text.clone())
    };
    headers.insert(&FORWARDED_FOR, address);
    headers.insert(
        &FORWARDED_PROTO,
        HeaderValue::from_static(if client.https { "https" } else { "http" }),
    );
    if let Some(host) = host {
        headers.insert(&FORWARDED_HOST, host);
    }
    client
}

/// Returns the client that a trusted peer names, and the host that the client asked for.
fn named_by_proxy(
    headers: &HeaderMap,
    itself: Client,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> (Client, Option<HeaderValue>) {
    let last = |name: &HeaderName| {
        headers.get_all(name).iter().next_back().and_then(|value| parts(value).next_back())
    };
    if !headers.contains_key(&FORWARDED_FOR) && headers.contains_key(&FORWARDED) {
        let elements = forwarded(headers);
        let names = elements.iter().map(|element| element.client.as_deref().and_then(node));
        let (mut origin, steps) = client(itself, names, is_trusted);
        // The element that names the client was written by the proxy that the client was connected
        // to; its scheme and host are the client's.
        let element = steps.checked_sub(1).and_then(|at| elements.get(at));
        origin.https = element.is_some_and(|element| element.https);
        return (origin, element.and_then(|element| host(element.host.as_deref()?)));
    }
    let values = headers.get_all(&FORWARDED_FOR).iter().rev();
    let names = values.flat_map(|value| parts(value).rev()).map(|name| node(name.trim()));
    let (mut origin, _) = client(itself, names, is_trusted);
    origin.https =
        last(&FORWARDED_PROTO).is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"));
    (origin, last(&FORWARDED_HOST).and_then(|text| host(text.trim())))
}

/// Returns the parts between the commas of a value. Each is decoded by itself: a client's bytes
/// must not hide what a proxy has appended to them. A part that is not text names nobody.
fn parts(value: &HeaderValue) -> impl DoubleEndedIterator<Item = &str> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(|part| std::str::from_utf8(part).unwrap_or_default())
}

/// Returns the first of `names` that is not a trusted proxy, or else the last known one; and how
/// many of `names` were used. `itself`, which is trusted, is the client if it names nobody.
fn client(
    itself: Client,
    names: impl Iterator<Item = Option<(IpAddr, Option<u16>)>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> (Client, usize) {
    let (mut origin, mut steps) = (itself, 0);
    for name in names {
        let may_name = steps == 0 || is_trusted(origin.address);
        let Some((address, port)) = name.filter(|_| may_name) else { break };
        origin = Client { address: address.to_canonical(), port, ..origin };
        steps += 1;
    }
    (origin, steps)
}

/// Parses an address, perhaps with a port; IPv6 in brackets or not. Returns `None` for an
/// obfuscated name (RFC 7239 6.3).
fn node(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let literal = text.strip_prefix('[')?.strip_suffix(']')?;
    Some((IpAddr::V6(literal.parse().ok()?), None))
}

fn host(text: &str) -> Option<HeaderValue> {
    if text.is_empty() || !is_authority(text) { None } else { HeaderValue::from_str(text).ok() }
}

/// An element of `Forwarded`: what one proxy has added.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    client: Option<String>,
    https: bool,
    host: Option<String>,
}

/// Returns the elements of the `Forwarded` headers, the last one first. Stops at a malformed
/// header: which proxy wrote the elements before it is unknown.
fn forwarded(headers: &HeaderMap) -> Vec<Element> {
    let values = headers.get_all(&FORWARDED).iter().rev();
    let lines = values.map_while(|value| elements(value.to_str().ok()?));
    lines.flat_map(|line| line.into_iter().rev()).collect()
}

/// Parses `1#( [ token "=" value ] *( ";" [ token "=" value ] ) )`, where a value is a token or a
/// quoted string (RFC 7239 4).
fn elements(text: &str) -> Option<Vec<Element>> {
    let mut elements = vec![Element::default()];
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = value(behind)?;
        let element = elements.last_mut()?;
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => element.client = Some(value),
            "proto" => element.https = value.eq_ignore_ascii_case("https"),
            "host" => element.host = Some(value),
            _ => {}
        }
        let behind = behind.trim_start();
        rest = match behind.as_bytes().first() {
            Some(b';') => behind[1..].trim_start(),
            Some(b',') => {
                elements.push(Element::default());
                behind[1..].trim_start()
            }
            Some(_) => return None,
            None => behind,
        };
    }
    Some(elements)
}

/// Returns the value at the front of `text`, and the rest.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let value = text[..end].trim_end();
        return (!value.contains('"')).then(|| (value.to_owned(), &text[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            '"' if !escaped => return Some((value, &quoted[at + 1..])),
            '\\' if !escaped => escaped = true,
            _ => {
                value.push(character);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
#[path = "forwarded_tests.rs"]
mod tests;
