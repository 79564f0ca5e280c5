//! Tests of routes: which templates are read, which paths they take, and which function is found.

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::function::{AuthLevel, Mode};

fn function(name: &str, route: &str, methods: &[&str]) -> Function {
    Function {
        name: name.to_owned(),
        methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
        route: route.to_owned(),
        trigger_name: "req".to_owned(),
        output_name: None,
        output_is_binary: false,
        auth_level: AuthLevel::Anonymous,
        mode: Mode::Envelope,
        route_place: (format!("{name}/function.json"), "bindings[0].route".to_owned()),
    }
}

/// Returns the values that `template` takes from `path`, as `name=value`.
fn values(template: &str, path: &str) -> Option<String> {
    let template: Template = template.parse().unwrap();
    let values = template.matches(&Path::new(path))?;
    let texts: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(texts.join(" "))
}

fn error(template: &str) -> TemplateError {
    template.parse::<Template>().unwrap_err()
}

#[test]
fn paths_fit_templates() {
    for (template, path, expected) in [
        ("api/hello", "/api/hello", Some("")),
        ("api/hello", "/API/Hello/", Some("")),
        ("api/hello", "/api/hello/x", None),
        ("api/hello", "/api", None),
        ("api/hello", "//api/hello", None),
        ("items/{id}", "/items/a%20b", Some("id=a b")),
        ("items/{id}", "/items/", None),
        ("items/{id}", "/items//", None),
        ("items/{id?}", "/items", Some("")),
        ("items/{id?}", "/items/7", Some("id=7")),
        ("items/{id?}", "/items/7/8", None),
        ("items/{id:int?}", "/items", Some("")),
        ("items/{id:int?}", "/items/x", None),
        ("items/{id=9}/{part?}", "/items", Some("id=9")),
        ("items/{id:int:min(3)}", "/items/3", Some("id=3")),
        ("items/{id:int:min(3)}", "/items/2", None),
        ("items/{id:range(1,3)=2}", "/items", Some("id=2")),
        ("files/{*rest}", "/files/a/b%2Fc/", Some("rest=a/b%2Fc")),
        ("files/{**rest}", "/files", Some("")),
        ("files/{*rest=index}", "/files", Some("rest=index")),
        ("{*rest:int}", "/7", Some("rest=7")),
        ("{*rest:int}", "/7/8", None),
        ("files/{name}.{extension}", "/files/a.tar.gz", Some("name=a.tar extension=gz")),
        ("files/{name}.{extension}", "/files/.gz", None),
        ("files/{name}.{extension}", "/files/a.", None),
        ("v{version:int}/x", "/V2/X", Some("version=2")),
        ("v{version:int}/x", "/v/x", None),
        ("a{b}c{d}e", "/axcycze", Some("b=xcy d=z")),
        ("a{b}c", "/ac", None),
        ("a{{b}}", "/a{b}", Some("")),
        ("a{{b}}", "/a%7Bb%7D", Some("")),
        ("é{x}", "/%C3%A9%C3%BC", Some("x=ü")),
        ("{x}é", "/%C3%BC%C3%A9", Some("x=ü")),
        ("{x}é", "/%C3%BC", None),
        ("", "/", Some("")),
        ("", "/x", None),
    ] {
        assert_eq!(values(template, path).as_deref(), expected, "{template} and {path}");
    }
}

#[test]
fn templates_that_cannot_be_served_are_refused() {
    use TemplateError as E;
    for (template, expected) in [
        ("a//b", E::EmptySegment),
        ("a/{id", E::Brace),
        ("a/id}", E::Brace),
        ("a/{i{d}", E::Brace),
        ("a?b", E::QuestionMark),
        ("{}", E::Name { name: String::new() }),
        ("{***a}", E::Name { name: "***a".to_owned() }),
        ("{a/b}", E::Name { name: "a/b".to_owned() }),
        ("{a}/{A}", E::Duplicate { name: "A".to_owned() }),
        ("{a}{b}", E::Adjacent),
        ("{*a}/b", E::CatchAllPlace { name: "a".to_owned() }),
        ("x{*a}", E::CatchAllPlace { name: "a".to_owned() }),
        ("{*a?}", E::CatchAllPlace { name: "a".to_owned() }),
        ("{a?}/b", E::OptionalPlace { name: "a".to_owned() }),
        ("{a?}/{b}", E::OptionalPlace { name: "a".to_owned() }),
        ("x.{a?}", E::OptionalPlace { name: "a".to_owned() }),
        ("{a=1?}", E::OptionalDefault { name: "a".to_owned() }),
        ("{a:int=x}", E::Default { name: "a".to_owned() }),
        ("{a:regex(^\\d{{3}}(x)$)}", E::Regex),
        ("{a:nonsense}", E::Constraint { constraint: "nonsense".to_owned() }),
        ("{a:min(1}", E::ConstraintArguments { constraint: "min(1".to_owned() }),
        ("{a:min(1)x}", E::ConstraintArguments { constraint: "a:min(1)x".to_owned() }),
    ] {
        assert_eq!(error(template), expected, "{template}");
    }
    assert_eq!(error(&"a".repeat(5000)), E::TooLong);
}

fn found(functions: &[Function], prefix: &str, method: &str, path: &str) -> String {
    let (router, _) = Router::new(prefix, functions).unwrap();
    match router.find(functions, &method.parse::<Method>().unwrap(), path) {
        Found::Function { function, .. } => function.name.clone(),
        Found::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Found::NotFound => "404".to_owned(),
    }
}

#[test]
fn the_most_specific_route_is_taken() {
    let functions = [
        function("any", "{*path}", &[]),
        function("by-id", "items/{id}", &["GET"]),
        function("by-number", "items/{id:int}", &["GET"]),
        function("change", "items/{id}", &["PUT", "DELETE"]),
        function("latest", "items/latest", &["GET"]),
        function("list", "items", &["GET", "POST"]),
        function("page", "items/page-{number}", &["GET"]),
        function("under", "items/{id}/{*rest}", &["GET"]),
    ];
    for (method, path, expected) in [
        ("GET", "/api/items", "list"),
        ("HEAD", "/api/items", "list"),
        ("GET", "/api/items/latest", "latest"),
        ("GET", "/api/items/7", "by-number"),
        ("GET", "/api/items/page-2", "page"),
        ("GET", "/api/items/x", "by-id"),
        ("PUT", "/api/items/latest", "change"),
        ("GET", "/api/items/7/a/b", "under"),
        ("PATCH", "/api/items/7", "any"),
        ("GET", "/api/other", "any"),
        ("GET", "/items", "404"),
    ] {
        assert_eq!(found(&functions, "api", method, path), expected, "{method} {path}");
    }
}

#[test]
fn another_method_is_answered_with_those_that_are_allowed() {
    let functions = [
        function("read", "items/{id}", &["GET"]),
        function("write", "items/{id:int}", &["PUT", "DELETE"]),
    ];
    let answer = found(&functions, "", "POST", "/items/7");
    assert_eq!(answer, "405 DELETE, GET, HEAD, PUT");
    assert_eq!(found(&functions, "", "POST", "/items/x"), "405 GET, HEAD");
    assert_eq!(found(&functions, "", "HEAD", "/items/x"), "read");
    assert_eq!(found(&functions, "", "POST", "/items"), "404");
}

#[test]
fn the_prefix_can_be_empty_or_have_parameters() {
    let functions = [function("hello", "/hello", &[])];
    assert_eq!(found(&functions, "", "GET", "/hello"), "hello");
    assert_eq!(found(&functions, "a/v{version:int}", "GET", "/a/v1/hello"), "hello");
}

#[test]
fn functions_that_are_hidden_are_named() {
    let functions = [
        function("a", "items/{id:int}", &["GET"]),
        function("b", "Items/{number:int}", &["GET", "PUT"]),
        function("c", "items/{id}", &["GET"]),
        function("d", "items/{id:int}", &["POST"]),
    ];
    let (_, hidden) = Router::new("api", &functions).unwrap();
    assert_eq!(hidden.len(), 1, "{hidden:?}");
    assert!(hidden[0].starts_with("b has the same route as a"), "{hidden:?}");
}

#[test]
fn a_wrong_route_is_named_with_its_file_and_key() {
    let functions = [function("x", "items/{id", &[])];
    let error = Router::new("api", &functions).unwrap_err().to_string();
    assert!(
        error.starts_with("x/function.json: bindings[0].route is \"api/items/{id\""),
        "{error}"
    );
    assert!(error.ends_with("write {{ or }} for a brace itself"), "{error}");
}

/// A segment of a template, a text for it in a path, and the value of its parameter.
fn segment() -> impl Strategy<Value = (Option<&'static str>, String)> {
    let values = prop_oneof!["[a-z0-9]{1,4}", "[ é./%?#{}+]{1,3}"]
        .prop_filter("a path's dots", |v| !v.is_empty());
    prop_oneof![
        "[a-z]{1,4}".prop_map(|text| (None, text)),
        values.prop_map(|value| (Some(""), value)),
        any::<i32>().prop_map(|number| (Some(":int"), number.to_string())),
        any::<bool>().prop_map(|flag| (Some(":bool"), flag.to_string())),
    ]
}

/// Encodes every byte but letters and digits.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn a_path_made_by_a_template_gives_back_its_values(
        segments in proptest::collection::vec(segment(), 1..6),
        slash in any::<bool>(),
    ) {
        let mut template = Vec::new();
        let mut path = String::new();
        let mut expected = Vec::new();
        for (number, (constraint, text)) in segments.iter().enumerate() {
            match constraint {
                None => template.push(text.clone()),
                Some(constraint) => {
                    template.push(format!("{{p{number}{constraint}}}"));
                    // A slash that was encoded stays so.
                    expected.push((format!("p{number}"), text.replace('/', "%2F")));
                }
            }
            path = format!("{path}/{}", encoded(text));
        }
        if slash {
            path.push('/');
        }
        let template: Template = template.join("/").parse().unwrap();
        prop_assert_eq!(template.matches(&Path::new(&path)), Some(expected));
        let longer = format!("{}/x", path.trim_end_matches('/'));
        prop_assert_eq!(template.matches(&Path::new(&longer)), None);
    }

    #[test]
    fn parts_of_a_segment_make_it_up(
        first in "[a-c]{1,3}", between in "[.-]{1,2}", second in "[a-c]{1,3}",
        text in "[a-c.-]{0,9}",
    ) {
        let template: Template = format!("{{x}}{between}{{y}}").parse().unwrap();
        let values = vec![("x".to_owned(), first.clone()), ("y".to_owned(), second.clone())];
        let path = format!("/{first}{between}{second}");
        prop_assert_eq!(template.matches(&Path::new(&path)), Some(values));
        if let Some(values) = template.matches(&Path::new(&format!("/{text}"))) {
            prop_assert_eq!(format!("{}{between}{}", values[0].1, values[1].1), text);
        }
    }

    #[test]
    fn any_template_and_any_path_are_survived(
        text in "[a{}:*?=()/.é,0-9]{0,24}", other in ".{0,24}", path in "[/a%.é0-9{}]{0,24}"
    ) {
        for template in [text, other] {
            if let Ok(template) = template.parse::<Template>() {
                let _ = template.matches(&Path::new(&path));
                prop_assert_eq!(template.shape(), template.clone().shape());
            }
        }
    }

    #[test]
    fn any_constraint_is_survived(
        name in "(int|min|length|regex|range)?", list in "[(),0-9a-]{0,8}"
    ) {
        let _ = format!("{{a:{name}({list})}}").parse::<Template>();
        let _ = format!("{{a:{name}{list}}}").parse::<Template>();
    }
}
