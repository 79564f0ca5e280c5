//! Tests of the names of functions.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> (String, Option<String>) {
    let reference = FunctionReference::parse(text).unwrap();
    (reference.name.to_string(), reference.qualifier.map(|qualifier| qualifier.to_string()))
}

#[test]
fn a_function_is_named_in_each_of_the_forms() {
    let arn = "arn:aws:lambda:us-east-1:123456789012:function";
    for (text, name, qualifier) in [
        ("hello".to_owned(), "hello", None),
        ("hello:prod".to_owned(), "hello", Some("prod")),
        ("hello:$LATEST".to_owned(), "hello", Some("$LATEST")),
        ("hello:12".to_owned(), "hello", Some("12")),
        ("123456789012:function:hello".to_owned(), "hello", None),
        ("123456789012:function:hello:7".to_owned(), "hello", Some("7")),
        (format!("{arn}:hello"), "hello", None),
        (format!("{arn}:Hello_2-x:prod"), "Hello_2-x", Some("prod")),
        ("arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:a".to_owned(), "a", None),
        ("function".to_owned(), "function", None),
        ("function:1".to_owned(), "function", Some("1")),
        ("x".repeat(64), &"x".repeat(64), None),
    ] {
        assert_eq!(read(&text), (name.to_owned(), qualifier.map(str::to_owned)), "{text}");
    }
}

#[test]
fn anything_else_is_no_function() {
    let arn = "arn:aws:lambda:us-east-1:123456789012";
    for text in [
        "",
        ":",
        "a:",
        ":a",
        "a b",
        "a/b",
        "a.b",
        "é",
        "a:b:c",
        "a:$latest",
        "a:4294967296",
        "12345:function:a",
        "123456789012:layer:a",
        &format!("{arn}:function:a:b:c"),
        &format!("{arn}:function"),
        &format!("{arn}:function:"),
        &format!("{arn}:layer:a"),
        "arn:aws:s3:us-east-1:123456789012:function:a",
        "arn:azure:lambda:us-east-1:123456789012:function:a",
        "arn:aws:lambda::123456789012:function:a",
        &"x".repeat(65),
        &"x:".repeat(10_000),
    ] {
        assert!(FunctionReference::parse(text).is_err(), "{text}");
    }
}

#[test]
fn two_qualifiers_must_be_one() {
    let named = || FunctionReference::parse("hello:prod").unwrap();
    assert_eq!(named().with_qualifier(None).unwrap().to_string(), "hello:prod");
    assert_eq!(named().with_qualifier(Some("prod")).unwrap().to_string(), "hello:prod");
    assert!(matches!(named().with_qualifier(Some("1")), Err(NameError::Qualifiers { .. })));
    let bare = FunctionReference::parse("hello").unwrap();
    assert_eq!(bare.with_qualifier(Some("$LATEST")).unwrap().to_string(), "hello:$LATEST");
}

#[test]
fn what_is_of_a_function_takes_no_version() {
    for (text, allowed) in [("a", true), ("a:$LATEST", true), ("a:1", false), ("a:prod", false)] {
        assert_eq!(
            FunctionReference::parse(text).unwrap().unqualified().is_ok(),
            allowed,
            "{text}"
        );
    }
}

#[test]
fn an_alias_is_not_a_number() {
    assert!(AliasName::parse("1a").is_ok());
    assert!(AliasName::parse("12").is_err());
    assert!(AliasName::parse("$LATEST").is_err());
    assert!(AliasName::parse(&"x".repeat(129)).is_err());
    for text in ["", "+1", "-1", "1.0", "4294967296"] {
        assert!(VersionName::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC*") {
        let _ = FunctionReference::parse(&text);
        let _ = Qualifier::parse(&text);
    }

    #[test]
    fn what_is_shown_is_read_again(
        name in "[a-zA-Z0-9_-]{1,64}",
        qualifier in proptest::option::of("[$a-zA-Z0-9_-]{1,20}"),
    ) {
        let text = match &qualifier {
            Some(qualifier) => format!("{name}:{qualifier}"),
            None => name,
        };
        if let Ok(reference) = FunctionReference::parse(&text) {
            let arn = format!("arn:aws:lambda:eu-west-1:000000000000:function:{reference}");
            prop_assert_eq!(FunctionReference::parse(&arn), Ok(reference.clone()));
            prop_assert_eq!(FunctionReference::parse(&reference.to_string()), Ok(reference));
        }
    }
}
