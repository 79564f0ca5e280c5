//! Requests as they are, for handlers with `enableForwardingHttpRequest`. Heads only: bodies are
//! streamed by the caller. Pure; owns no fds.
//!
//! A request keeps its method, its path with the app's prefix, its query and its headers, `Host`
//! included, and gets the host's own. Unlike Azure's host, which joins query parameters of one name
//! by commas and drops bodies of unknown length, this changes neither.

use abi::invocation_id::InvocationId;
use http::header::EXPECT;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Uri, response};

use crate::function::{Function, Mode};
use crate::headers::{add_host_headers, remove_hop_by_hop};

/// Makes of a client's request for `function` the one that the handler gets. The body's
/// `Content-Length` stays, `Transfer-Encoding` does not: whoever sends the body frames it.
pub fn request(head: &mut Parts, function: &Function, invocation: InvocationId) {
    remove_hop_by_hop(&mut head.headers);
    // The node has answered it already.
    head.headers.remove(EXPECT);
    add_host_headers(&mut head.headers, invocation);
    let target = match (function.mode, head.uri.path_and_query()) {
        (Mode::ForwardToName, target) => {
            let query = target.and_then(PathAndQuery::query);
            let query = query.map_or(String::new(), |query| format!("?{query}"));
            // A function's name has only letters, digits, '_' and '-'.
            PathAndQuery::try_from(format!("/{}{query}", function.name)).ok()
        }
        (_, target) => target.cloned(),
    };
    // In the form that servers get, without scheme and authority (RFC 9112 3.2.1).
    head.uri = target.map_or_else(|| Uri::from_static("/"), Uri::from);
}

/// Makes of the handler's response the one that the client gets: whatever it is, but for what
/// concerns the handler's connection.
pub fn response(head: &mut response::Parts) {
    remove_hop_by_hop(&mut head.headers);
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Request, Response};

    use super::*;
    use crate::function::AuthLevel;

    fn function(mode: Mode) -> Function {
        Function {
            name: "items".to_owned(),
            methods: vec![],
            route: "items/{id}".to_owned(),
            trigger_name: "req".to_owned(),
            output_name: Some("res".to_owned()),
            output_is_binary: false,
            auth_level: AuthLevel::Anonymous,
            mode,
            route_place: Default::default(),
        }
    }

    fn head(target: &str) -> Parts {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(target)
            .header("host", "shop.example")
            .header("content-length", "3")
            .header("transfer-encoding", "chunked")
            .header("connection", "close, x-own")
            .header("x-own", "1")
            .header("expect", "100-continue")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn path_query_and_headers_stay() {
        let mut head = head("/api/items/7%2F8?a=1&a=2&b");
        let id = InvocationId::new();
        request(&mut head, &function(Mode::Forward), id);
        assert_eq!(head.method, Method::PUT);
        assert_eq!(head.uri, "/api/items/7%2F8?a=1&a=2&b");
        assert_eq!(head.headers["host"], "shop.example");
        assert_eq!(head.headers["content-length"], "3");
        assert_eq!(head.headers.get_all("cookie").iter().count(), 2);
        assert_eq!(head.headers["x-azure-functions-invocationid"], id.to_string());
        for gone in ["transfer-encoding", "connection", "x-own", "expect"] {
            assert!(!head.headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn the_older_section_forwards_to_the_functions_name() {
        for (target, forwarded) in [("/api/items/7?a=1", "/items?a=1"), ("/api/items/7", "/items")]
        {
            let mut head = head(target);
            request(&mut head, &function(Mode::ForwardToName), InvocationId::new());
            assert_eq!(head.uri, forwarded);
        }
    }

    #[test]
    fn a_target_in_absolute_form_loses_its_authority() {
        let mut head = head("http://shop.example/api/items?x");
        request(&mut head, &function(Mode::Forward), InvocationId::new());
        assert_eq!(head.uri, "/api/items?x");
    }

    #[test]
    fn responses_lose_only_what_concerns_the_connection() {
        let (mut head, ()) = Response::builder()
            .status(418)
            .header("connection", "close")
            .header("set-cookie", "a")
            .header("set-cookie", "b")
            .body(())
            .unwrap()
            .into_parts();
        response(&mut head);
        assert_eq!(head.status, 418);
        let cookies: Vec<&HeaderValue> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
        assert!(!head.headers.contains_key("connection"));
    }
}
