//! How a setting is spelt: as arguments of the command line, and as TOML in a file. Pure; owns no
//! fds.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Arg;
use toml::Value;

use super::layer::is_list;
use super::store_location::StoreLocation;

/// Returns the default of `setting`, as the command line would have it.
pub(super) fn defaults(setting: &Arg) -> Vec<OsString> {
    setting.get_default_values().iter().map(|value| value.to_os_string()).collect()
}

/// Returns a setting as arguments of the command line. Each is one word, so that a value may begin
/// with a hyphen.
pub(super) fn as_arguments(key: &str, values: &[OsString]) -> Vec<OsString> {
    let argument = |value: &OsString| {
        let mut argument = OsString::from(format!("--{}=", key.replace('_', "-")));
        argument.push(value);
        argument
    };
    values.iter().map(argument).collect()
}

/// Returns the value of a setting as a file would have it.
pub(super) fn as_toml(setting: &Arg, values: &[OsString]) -> Value {
    // A number or a boolean is written as such.
    let one = |text: &OsString| {
        let text = text.to_string_lossy();
        let number = text
            .parse::<i64>()
            .ok()
            .filter(|number| number.to_string() == text)
            .map(Value::Integer);
        let number = number.or_else(|| text.parse().ok().map(Value::Boolean));
        let number = number.or_else(|| {
            let float = text
                .parse::<f64>()
                .ok()
                .filter(|float| float.to_string() == text && text.contains('.'));
            float.map(Value::Float)
        });
        number.filter(|_| !only_text(setting)).unwrap_or_else(|| Value::String(text.into_owned()))
    };
    match values {
        [only] if !is_list(setting) => one(only),
        several => Value::Array(several.iter().map(one).collect()),
    }
}

/// Returns whether any text is a value of `setting`. A number in its place is then most likely a
/// mistake.
pub(super) fn only_text(setting: &Arg) -> bool {
    let takes = setting.get_value_parser().type_id();
    [TypeId::of::<String>(), TypeId::of::<PathBuf>(), TypeId::of::<StoreLocation>()]
        .into_iter()
        .any(|text| takes == text)
}
