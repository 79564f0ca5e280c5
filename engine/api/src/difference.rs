//! What one version has otherwise than another, as people read it. Pure; owns no fds.

use std::collections::{BTreeMap, BTreeSet};

use crate::deploys::OptionChange;
use crate::functions::VersionDetails;

/// Returns the buckets that a version shares, as they are given.
fn grants(kv: &BTreeMap<String, String>) -> Vec<String> {
    kv.iter().map(|(name, bucket)| format!("{name}={bucket}")).collect()
}

/// Returns the options that `version` has otherwise than `before`. Values of variables may be
/// sensitive and are not among it.
#[must_use]
pub fn changes(before: &VersionDetails, version: &VersionDetails) -> Vec<OptionChange> {
    let rows = |of: &VersionDetails| -> Vec<(String, String)> {
        let list =
            |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(" ") };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let limits = of.limits.describe().map(|limit| (limit.option, limit.text()));
        let others = [
            ("kind", of.kind.name().to_owned()),
            ("isolation", of.isolation.name().to_owned()),
            ("instances", of.instances.clone()),
            ("output", of.output.name().to_owned()),
            ("arg", list(&of.args)),
            ("allow-outbound", list(&of.allow_outbound)),
            ("kv", list(&grants(&of.kv))),
            ("previews", of.previews.to_string()),
            ("health-path", text(&of.health_path)),
            ("handler", text(&of.handler)),
            ("report-lines", of.report_lines.to_string()),
            ("network", of.network.name().to_owned()),
            ("websocket", of.websocket.name().to_owned()),
            ("respond-async", of.respond_async.to_string()),
            ("dead-letters", text(&of.dead_letters)),
            ("description", text(&of.description)),
            ("role", text(&of.role)),
        ];
        others.into_iter().chain(limits).map(|(option, text)| (option.to_owned(), text)).collect()
    };
    let changed = rows(before).into_iter().zip(rows(version)).filter(|(from, to)| from != to);
    let mut changes: Vec<OptionChange> =
        changed.map(|((option, from), (_, to))| OptionChange { option, from, to }).collect();
    for (kind, from, to) in
        [("env", &before.env, &version.env), ("config", &before.config, &version.config)]
    {
        let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        let state =
            |value: Option<&String>| if value.is_some() { "set" } else { "not set" }.to_owned();
        changes.extend(names.into_iter().filter(|name| from.get(*name) != to.get(*name)).map(
            |name| {
                let (was, is) = (from.get(name), to.get(name));
                let is = if was.is_some() && is.is_some() {
                    "set to another value".to_owned()
                } else {
                    state(is)
                };
                OptionChange { option: format!("{kind}.{name}"), from: state(was), to: is }
            },
        ));
    }
    changes
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn version(fields: Value) -> VersionDetails {
        let mut json = json!({
            "name": "a", "version": "y", "number": 4, "created_ms": 1, "kind": "http02",
            "artefact": "00", "artefact_bytes": 1, "isolation": "shared", "previews": false,
            "instances": "fresh", "limits": {}, "env": {}, "config": {}, "args": [],
            "output": "raw", "allow_outbound": [],
        });
        json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn changes_are_told_without_values_of_variables() {
        let before = version(json!({
            "limits": { "memory_bytes_max": 32 << 20 },
            "env": { "A": "secret", "B": "1", "D": "x" },
        }));
        let now = version(json!({
            "kind": "http03", "allow_outbound": ["a:1", "b:2"],
            "env": { "B": "other", "C": "hidden", "D": "x" },
        }));
        let lines: Vec<String> = changes(&before, &now)
            .into_iter()
            .map(|OptionChange { option, from, to }| format!("{option}: {from} -> {to}"))
            .collect();
        let expected = [
            "kind: http02 -> http03",
            "allow-outbound: none -> a:1 b:2",
            "memory: 32.0 MiB -> 64.0 MiB",
            "env.A: set -> not set",
            "env.B: set -> set to another value",
            "env.C: not set -> set",
        ];
        assert_eq!(lines, expected);
        assert_eq!(changes(&now, &now), []);
    }
}
