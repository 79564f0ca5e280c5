//! Who a request is from: the peer itself, or whom a proxy that is trusted names. Pure; owns no
//! fds.
//!
//! A proxy adds the address that it was connected from at the end of `X-Forwarded-For` (or of
//! `Forwarded`, RFC 7239); what stands before that came with the request, and anybody can have
//! written it. So the list is read from its end, for as long as the address just read is a trusted
//! proxy's. What functions are then told is what was found here, and nothing of what anybody else
//! said.

use std::net::{IpAddr, SocketAddr};

use abi::authority::is_authority;
use abi::network::Network;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::origin::Client;

static FORWARDED: HeaderName = http::header::FORWARDED;
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Finds out whom a request is from that `peer` has sent, and leaves in `headers` what its function
/// is to be told of that: `X-Forwarded-For` with the client's address alone, `X-Forwarded-Proto`,
/// and `X-Forwarded-Host` if a trusted proxy has set it. `peer_text` is the peer's address. Without
/// any such header in the request, `forwarded` may be false, and none is looked for.
pub(super) fn settle(
    headers: &mut HeaderMap,
    forwarded: bool,
    (peer, peer_text): (Client, &HeaderValue),
    trusted: &[Network],
) -> Client {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let (client, host) = if forwarded && is_trusted(peer.address) {
        named(headers, peer, is_trusted)
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
        // An address has no character that a header may not have.
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

/// What a trusted peer says of the client, and of the host that it asked for.
fn named(
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
        // What says who the client is was said by the proxy that it was connected to.
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

/// What stands between the commas of a value. Each is text by itself: a client's bytes, which a
/// proxy has put its own behind, must not hide these. One that is no text names nobody.
fn parts(value: &HeaderValue) -> impl DoubleEndedIterator<Item = &str> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(|part| std::str::from_utf8(part).unwrap_or_default())
}

/// The first that is no trusted proxy, of `itself` and then `names`, or else the last that is
/// known; and how many of `names` that was.
fn client(
    itself: Client,
    names: impl Iterator<Item = Option<(IpAddr, Option<u16>)>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> (Client, usize) {
    let (mut origin, mut steps) = (itself, 0);
    for name in names {
        let Some((address, port)) = name.filter(|_| is_trusted(origin.address)) else { break };
        origin = Client { address: address.to_canonical(), port, ..origin };
        steps += 1;
    }
    (origin, steps)
}

/// An address, perhaps with a port; IPv6 in brackets or not. `None` for what hides one (RFC 7239
/// 6.3).
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

/// What one proxy has added to `Forwarded`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    client: Option<String>,
    https: bool,
    host: Option<String>,
}

/// The elements of the `Forwarded` headers, the last one first. Of those before a malformed header
/// nobody knows which is whose.
fn forwarded(headers: &HeaderMap) -> Vec<Element> {
    let values = headers.get_all(&FORWARDED).iter().rev();
    let lines = values.map_while(|value| elements(value.to_str().ok()?));
    lines.flat_map(|line| line.into_iter().rev()).collect()
}

/// `1#( [ token "=" value ] *( ";" [ token "=" value ] ) )`, where a value is a token or a quoted
/// string (RFC 7239 4).
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

/// A value at the front of `text`, and what is behind it.
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
