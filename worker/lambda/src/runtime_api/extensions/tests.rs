//! Tests of [`super`]: who may register for what, and who gets which events.

use super::*;

const ID: &str = "0190e7a0-0000-7000-8000-000000000001";

fn extensions() -> Extensions {
    Extensions::new(vec!["outside".into()], Concurrency::One)
}

fn register(extensions: &mut Extensions, name: &str, body: &str) -> Result<(), ExtensionRefused> {
    extensions.register(Some(name), body.as_bytes(), false, ID.to_owned())
}

#[test]
fn kinds_are_told_by_name() {
    let mut extensions = extensions();
    assert_eq!(extensions.kinds(), RegisteredExtensions::default());
    register(&mut extensions, "inside", r#"{"events":[]}"#).unwrap();
    let kinds = RegisteredExtensions { internal: true, external: false };
    assert_eq!(extensions.kinds(), kinds);
    register(&mut extensions, "outside", r#"{"events":["INVOKE","SHUTDOWN"]}"#).unwrap();
    let kinds = RegisteredExtensions { internal: true, external: true };
    assert_eq!(extensions.kinds(), kinds);
}

#[test]
fn registrations_are_refused_with_the_apis_types() {
    let mut several = Extensions::new(Vec::new(), Concurrency::Several);
    let refused = register(&mut several, "x", r#"{"events":["INVOKE"]}"#).unwrap_err();
    assert_eq!(refused.error_type(), "Extension.InvalidEventType");
    let mut extensions = extensions();
    for (name, body, error_type) in [
        ("", "{}", "Extension.InvalidExtensionName"),
        ("x", "", "InvalidRequestFormat"),
        ("x", "[5]", "InvalidRequestFormat"),
        ("x", r#"{"events":["SHUTDOWN"]}"#, "Extension.InvalidEventType"),
        ("x", r#"{"events":["OTHER"]}"#, "Extension.InvalidEventType"),
    ] {
        let refused = register(&mut extensions, name, body).unwrap_err();
        assert_eq!(refused.error_type(), error_type, "{name} {body}");
    }
    register(&mut extensions, "x", "{}").unwrap();
    let refused = register(&mut extensions, "x", "{}").unwrap_err();
    assert_eq!(refused.error_type(), "Extension.InvalidExtensionState");
    for number in 1..EXTENSIONS_MAX {
        register(&mut extensions, &number.to_string(), "{}").unwrap();
    }
    let refused = register(&mut extensions, "y", "{}").unwrap_err();
    assert_eq!(refused.error_type(), "Extension.TooManyExtensions");
    let refused = extensions.register(Some("y"), b"{}", true, String::new()).unwrap_err();
    assert_eq!(refused.error_type(), "Extension.RegistrationClosed");
    for (identifier, error_type) in [
        (None, "Extension.MissingExtensionIdentifier"),
        (Some("x"), "Extension.InvalidExtensionIdentifier"),
        (Some("0190e7a0-0000-7000-8000-000000000009"), "Extension.UnknownExtensionIdentifier"),
    ] {
        assert_eq!(extensions.next(identifier).unwrap_err().error_type(), error_type);
    }
}

#[test]
fn events_wait_for_those_that_asked_for_them() {
    let mut extensions = extensions();
    assert!(!extensions.invoke(|| unreachable!()));
    register(&mut extensions, "outside", r#"{"events":["INVOKE","SHUTDOWN"]}"#).unwrap();
    for number in 0..EXTENSION_EVENTS_MAX {
        assert!(extensions.invoke(|| Bytes::from(number.to_string())));
    }
    assert!(extensions.shutdown(|| "end".into()));
    // The first was dropped for the last.
    assert_eq!(extensions.next(Some(ID)).unwrap().unwrap(), "1");
    for _ in 2..EXTENSION_EVENTS_MAX {
        extensions.next(Some(ID)).unwrap().unwrap();
    }
    assert_eq!(extensions.next(Some(ID)).unwrap().unwrap(), "end");
    assert_eq!(extensions.next(Some(ID)), Ok(None));
}
