//! The layer of the file. Reads all of its TOML, and reports every mistake, not only the first.
//! Pure; owns no fds.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Arg;
use toml::de::{DeTable, DeValue};

use super::layer::{Given, Origin, Place, definition, is_list};
use super::mistake::Mistake;
use super::spelling::only_text;

/// Parses the text of the file at `path`. Returns its settings and all mistakes.
pub(super) fn read(path: &Path, text: &str) -> (Vec<Given>, Vec<Mistake>) {
    let path = Arc::new(path.to_owned());
    let place = |span: Range<usize>| place(&path, text, span.start);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let syntax = |error: &toml::de::Error| Mistake::Syntax {
            place: place(error.span().unwrap_or_default()),
            message: error.message().replace('\n', " "),
        };
        return (Vec::new(), errors.iter().map(syntax).collect());
    }
    let (settings, mut layer, mut mistakes) = (definition(), Vec::new(), Vec::new());
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let Some(setting) =
            settings.get_arguments().find(|setting| setting.get_id().as_str() == name)
        else {
            mistakes.push(Mistake::unknown(place(key.span()), name, &settings));
            continue;
        };
        let origin = Origin::File(place(value.span()));
        let mut given = Given { key: name.to_owned(), values: Vec::new(), origin };
        match texts(setting, value.get_ref()) {
            Ok(values) => {
                given.values = values;
                layer.push(given);
            }
            Err(reason) => mistakes.push(Mistake::value(&given, setting, reason)),
        }
    }
    (layer, mistakes)
}

/// Returns the values as the command line would have them.
fn texts(setting: &Arg, value: &DeValue<'_>) -> Result<Vec<OsString>, String> {
    match value {
        DeValue::Array(array) if is_list(setting) && array.is_empty() => {
            Err("the list is empty".into())
        }
        DeValue::Array(array) if is_list(setting) => {
            array.iter().map(|item| text(setting, item.get_ref())).collect()
        }
        single => text(setting, single).map(|text| vec![text]),
    }
}

fn text(setting: &Arg, value: &DeValue<'_>) -> Result<OsString, String> {
    let only_text = only_text(setting);
    let what = match value {
        DeValue::String(text) => return Ok(text.as_ref().into()),
        DeValue::Integer(number) if !only_text => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            return number
                .map(|number| number.to_string().into())
                .map_err(|error| error.to_string());
        }
        DeValue::Float(number) if !only_text => return Ok(number.as_str().into()),
        DeValue::Boolean(flag) if !only_text => return Ok(flag.to_string().into()),
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Err(format!("{what} is no value for it"))
}

fn place(path: &Arc<PathBuf>, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].chars().count() + 1;
    Place { path: Arc::clone(path), line: before.matches('\n').count() + 1, column }
}
