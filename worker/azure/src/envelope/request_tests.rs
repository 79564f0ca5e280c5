//! Tests of requests as JSON.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::function::{AuthLevel, Mode};

fn function() -> Function {
    Function {
        name: "Items".to_owned(),
        methods: vec![],
        route: "items/{id}".to_owned(),
        trigger_name: "req".to_owned(),
        output_name: Some("res".to_owned()),
        output_is_binary: false,
        auth_level: AuthLevel::Anonymous,
        mode: Mode::Envelope,
        route_place: Default::default(),
    }
}

/// Returns the request for the handler, and its JSON.
fn made(target: &str, headers: &[(&str, &str)], content: &[u8]) -> (http::Request<Bytes>, Value) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        map.append(name.parse::<http::HeaderName>().unwrap(), value);
    }
    let made = request(Request {
        function: &function(),
        parameters: &[("id".to_owned(), "7".to_owned())],
        method: &Method::PUT,
        uri: &target.parse().unwrap(),
        headers: &map,
        body: content,
        scheme: "https",
        authority: "shop.example",
        invocation: "01900000-0000-7000-8000-000000000001".parse().unwrap(),
        now: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_004_275),
    });
    let json = serde_json::from_slice(made.body()).unwrap();
    (made, json)
}

#[test]
fn the_envelope_is_as_azures_host_makes_it() {
    let headers = [
        ("host", "shop.example"),
        ("content-type", "application/json"),
        ("x-tag", "a"),
        ("x-tag", "b"),
        ("traceparent", "00-1-2-01"),
    ];
    let (made, json) = made("/api/items/7?name=a&name=b&Name=c&code=k", &headers, b"{\"hi\":1}");
    assert_eq!(made.method(), Method::POST);
    assert_eq!(made.uri(), "/Items");
    assert_eq!(made.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(made.headers()["content-length"], made.body().len().to_string());
    assert_eq!(made.headers()["traceparent"], "00-1-2-01");
    let id = "01900000-0000-7000-8000-000000000001";
    assert_eq!(made.headers()["x-azure-functions-invocationid"], id);
    let tags = json!(["a", "b"]);
    let expected = json!({
        "Data": { "req": {
            "Url": "https://shop.example/api/items/7?name=a&name=b&Name=c&code=k",
            "Method": "PUT",
            "Query": { "name": "a,b,c", "code": "k" },
            "Headers": {
                "Host": ["shop.example"], "Content-Type": ["application/json"],
                "X-Tag": tags, "traceparent": ["00-1-2-01"],
            },
            "Params": { "id": "7" },
            "Identities": json["Data"]["req"]["Identities"],
            "Body": "{\"hi\":1}",
        } },
        "Metadata": {
            "id": "\"7\"",
            "name": "\"a,b,c\"",
            "Query": { "name": "a,b,c", "code": "k" },
            "Headers": {
                "Host": "shop.example", "Content-Type": "application/json",
                "X-Tag": "a,b", "traceparent": "00-1-2-01",
            },
            "sys": {
                "MethodName": "Items", "UtcNow": "2023-11-14T22:13:20.004275Z", "RandGuid": id,
            },
        },
    });
    assert_eq!(json, expected);
    assert_eq!(json["Data"]["req"]["Identities"][0]["IsAuthenticated"], false);
}

#[test]
fn bodies_are_text_or_base64() {
    let body = |kind: &str, content: &[u8]| {
        let (_, json) = made("/api/items/7", &[("content-type", kind)], content);
        json["Data"]["req"].get("Body").cloned()
    };
    assert_eq!(body("text/plain", b""), None);
    assert_eq!(body("text/plain", "\u{feff}é".as_bytes()), Some(json!("é")));
    assert_eq!(body("application/octet-stream", b"hi"), Some(json!("aGk=")));
    assert_eq!(body("Multipart/Form-Data; boundary=x", b"hi"), Some(json!("aGk=")));
    assert_eq!(body("image/png", b"\x89PNG"), Some(json!("iVBORw==")));
    assert_eq!(body("image/svg+xml", b"<svg/>"), Some(json!("<svg/>")));
}

#[test]
fn the_parameters_of_the_route_win_over_those_of_the_query() {
    let (_, json) = made("/api/items/7?ID=8&sys=x&timeTrigger=y", &[], b"");
    let metadata = &json["Metadata"];
    assert_eq!(metadata["id"], "\"7\"");
    assert!(metadata.get("ID").is_none() && metadata.get("timeTrigger").is_none());
    assert_eq!(metadata["sys"]["MethodName"], "Items");
    assert_eq!(json["Data"]["req"]["Query"]["ID"], "8");
}

#[test]
fn header_values_that_are_no_utf_8_are_survived() {
    let mut map = HeaderMap::new();
    map.insert("x-old", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    assert_eq!(headers(&map)["X-Old"], ["café"]);
}

proptest! {
    #[test]
    fn no_byte_of_a_body_is_lost(content in proptest::collection::vec(any::<u8>(), 1..64)) {
        let binary = [("content-type", "application/octet-stream")];
        let (_, json) = made("/api/items/7", &binary, &content);
        let text = json["Data"]["req"]["Body"].as_str().unwrap();
        prop_assert_eq!(STANDARD.decode(text).unwrap(), content.clone());

        let (_, json) = made("/api/items/7", &[], &content);
        let text = json["Data"]["req"]["Body"].as_str().unwrap();
        match std::str::from_utf8(&content) {
            Ok(known) => prop_assert_eq!(text, known.strip_prefix('\u{feff}').unwrap_or(known)),
            Err(_) => prop_assert_eq!(STANDARD.decode(text).unwrap(), content),
        }
    }

    #[test]
    fn queries_round_trip(pairs in proptest::collection::btree_map("[a-z]{1,4}", ".{0,6}", 0..5)) {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        prop_assert_eq!(query(&text), pairs);
    }

    #[test]
    fn any_query_is_survived(text in ".{0,40}") {
        let _ = query(&text);
    }
}
