//! What a version takes over of the one before it, and what it changes. Pure; owns no fds.

use std::collections::{BTreeMap, BTreeSet};

use api::deploys::OptionChange;
use bytesize::ByteSize;

use super::limits::Limits;
use super::manifest::Manifest;
use super::options::{Options, OptionsError, Time};
use crate::kind::Kind;

impl Options {
    /// The options that `version` was made with, as far as a file of the kind `kind` can have them.
    /// What is the default is left out, so that it follows what it depends on.
    pub fn of(version: &Manifest, kind: Kind) -> Self {
        let (limits, default, command) =
            (&version.limits, Limits::default(), kind == Kind::Command);
        let size = |is: u64, default: u64| (is != default).then_some(ByteSize(is));
        let number = |is: u32, default: u32| (is != default).then_some(is);
        let time = |is: u32, default: u32| (is != default).then(|| Time::of_millis(is));
        let pairs = |map: &BTreeMap<String, String>| map.clone().into_iter().collect();
        let instances = (version.instances != Default::default()).then_some(version.instances);
        Self {
            isolation: (version.isolation != Default::default()).then_some(version.isolation),
            instances: instances.filter(|instances| !command || instances.requests_max() == 1),
            env: pairs(&version.env),
            config: pairs(&version.config),
            args: if command { version.args.clone() } else { Vec::new() },
            output: (command && version.output != Default::default()).then_some(version.output),
            allow_outbound: version.allow_outbound.clone(),
            memory: size(limits.memory_bytes_max, default.memory_bytes_max),
            timeout: time(limits.timeout_ms, default.timeout_ms),
            cpu_time: time(limits.cpu_time_ms, limits.timeout_ms),
            table_elements: number(limits.table_elements_max, default.table_elements_max),
            core_instances: number(limits.core_instances_max, default.core_instances_max),
            request_body: size(limits.request_body_bytes_max, default.request_body_bytes_max),
            reply_head: size(
                limits.reply_head_bytes_max.into(),
                default.reply_head_bytes_max.into(),
            ),
            log_size: size(limits.log_bytes_max.into(), default.log_bytes_max.into()),
            concurrency: number(limits.concurrency_max, default.concurrency_max),
            queue: number(limits.queue_max, default.queue_max),
            queue_timeout: time(limits.queue_timeout_ms, default.queue_timeout_ms),
            outbound_requests: number(limits.outbound_requests_max, default.outbound_requests_max),
            previews: version.previews.then_some(true),
            health_path: version.health_path.clone(),
            ..Self::default()
        }
    }

    /// These without what `unset` names.
    ///
    /// # Errors
    /// [`OptionsError::Unset`] for what is no option.
    pub fn without(mut self, unset: &[String]) -> Result<Self, OptionsError> {
        match unset.iter().find(|key| !self.drop_one(key)) {
            Some(key) => Err(OptionsError::Unset(key.clone())),
            None => Ok(self),
        }
    }

    fn drop_one(&mut self, key: &str) -> bool {
        if let Some(name) = key.strip_prefix("env.") {
            self.env.retain(|(other, _)| other != name);
        } else if let Some(name) = key.strip_prefix("config.") {
            self.config.retain(|(other, _)| other != name);
        } else {
            match key.replace('_', "-").as_str() {
                "isolation" => self.isolation = None,
                "instances" => self.instances = None,
                "env" => self.env.clear(),
                "config" => self.config.clear(),
                "arg" | "args" => self.args.clear(),
                "output" => self.output = None,
                "allow-outbound" => self.allow_outbound.clear(),
                "memory" => self.memory = None,
                "timeout" => self.timeout = None,
                "cpu-time" => self.cpu_time = None,
                "table-elements" => self.table_elements = None,
                "core-instances" => self.core_instances = None,
                "request-body" => self.request_body = None,
                "reply-head" => self.reply_head = None,
                "log-size" => self.log_size = None,
                "concurrency" => self.concurrency = None,
                "queue" => self.queue = None,
                "queue-timeout" => self.queue_timeout = None,
                "outbound-requests" => self.outbound_requests = None,
                "previews" => self.previews = None,
                "health-path" => self.health_path = None,
                _ => return false,
            }
        }
        true
    }
}

/// What `--unset` may name.
///
/// # Errors
/// A sentence for the command line.
pub fn unsettable(text: &str) -> Result<String, String> {
    match Options::default().drop_one(text) {
        true => Ok(text.to_owned()),
        false => Err("expected an option's name, as memory, or a variable, as env.NAME".into()),
    }
}

/// What `version` has otherwise than `before`. Values of variables may be sensitive and are not
/// among it.
pub fn changes(before: &Manifest, version: &Manifest) -> Vec<OptionChange> {
    let rows = |of: &Manifest| -> Vec<(String, String)> {
        let list =
            |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(" ") };
        let path = of.health_path.clone().unwrap_or_else(|| "none".to_owned());
        let output = serde_json::to_value(of.output).ok();
        let isolation = serde_json::to_value(of.isolation).ok();
        let word = |value: Option<serde_json::Value>| {
            value.as_ref().and_then(|v| v.as_str()).unwrap_or("-").to_owned()
        };
        let limits =
            of.limits.describe().map(|(option, unit, amount, _)| (option, unit.text(amount)));
        let others = [
            ("kind", of.kind.name().to_owned()),
            ("isolation", word(isolation)),
            ("instances", of.instances.into()),
            ("output", word(output)),
            ("arg", list(&of.args)),
            ("allow-outbound", list(&of.allow_outbound)),
            ("previews", of.previews.to_string()),
            ("health-path", path),
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
    use clap::{Args as _, Command};
    use proptest::prelude::*;

    use super::*;

    fn version(kind: Kind, options: Options) -> Manifest {
        Manifest::new("a", kind, options, String::new(), 0)
    }

    fn options(toml: &str) -> Options {
        toml::from_str(toml).unwrap()
    }

    const ALL: &str = r#"
        isolation = "process"
        instances = "reuse=3"
        allow_outbound = ["a:443"]
        memory = "32MiB"
        timeout = "2s"
        cpu_time = "1s"
        table_elements = 10
        core_instances = 5
        request_body = "1MiB"
        reply_head = "8KiB"
        log_size = 0
        concurrency = 7
        queue = 0
        queue_timeout = "1s"
        outbound_requests = 3
        health_path = "/health"
        [env]
        A = "1"
        [config]
        B = "2"
    "#;

    #[test]
    fn a_version_gives_back_the_options_it_was_made_with() {
        let all = options(ALL);
        assert_eq!(Options::of(&version(Kind::Http02, all.clone()), Kind::Http03), all);
        assert_eq!(
            Options::of(&version(Kind::Http02, Options::default()), Kind::Http02),
            Options::default()
        );
        let command = options("args = [\"-v\"]\noutput = \"cgi\"");
        assert_eq!(Options::of(&version(Kind::Command, command.clone()), Kind::Command), command);
    }

    #[test]
    fn what_the_new_file_cannot_have_is_left_out() {
        let command =
            version(Kind::Command, options("args = [\"-v\"]\noutput = \"cgi\"\nmemory = \"1MiB\""));
        assert_eq!(Options::of(&command, Kind::Http02), options("memory = \"1MiB\""));
        let reused = version(Kind::Http02, options("instances = \"reuse=3\""));
        assert_eq!(Options::of(&reused, Kind::Command), Options::default());
    }

    #[test]
    fn processor_time_goes_on_following_wall_time() {
        let before = version(Kind::Http02, options("timeout = \"20s\""));
        let now = options("timeout = \"5s\"").over(Options::of(&before, Kind::Http02));
        assert_eq!(now.limits().cpu_time_ms, 5000);
    }

    #[test]
    fn every_option_can_be_unset() {
        let definition = Options::augment_args(Command::new("deploy"));
        let not = ["name", "kind", "fresh_options", "unset"];
        let keys = definition.get_arguments().filter(|arg| !not.contains(&arg.get_id().as_str()));
        let keys: Vec<String> = keys.filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        assert!(keys.len() > 15, "{keys:?}");
        let all = options(ALL);
        assert_eq!(all.clone().without(&keys).unwrap(), Options::default());
        let one = all
            .clone()
            .without(&["env.A".to_owned(), "cpu_time".to_owned(), "env.OTHER".to_owned()])
            .unwrap();
        assert_eq!((one.env, one.cpu_time, one.config), (Vec::new(), None, all.config.clone()));
        let error = all.without(&["memroy".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("memroy"), "{error}");
        assert!(unsettable("env.A").is_ok() && unsettable("env_A").is_err());
    }

    #[test]
    fn changes_are_told_without_values_of_variables() {
        let before = version(
            Kind::Http02,
            options("memory = \"32MiB\"\n[env]\nA = \"secret\"\nB = \"1\"\nD = \"x\""),
        );
        let now = version(
            Kind::Http03,
            options(
                "allow_outbound = [\"a:1\", \"b:2\"]\n[env]\nB = \"other\"\nC = \"hidden\"\nD = \"x\"",
            ),
        );
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

    proptest! {
        #[test]
        fn what_was_deployed_can_be_deployed_again(memory in 65_536u64..1 << 32, times in [10u32..900_000, 10..900_000]) {
            let options = Options {
                memory: Some(ByteSize(memory)),
                timeout: Some(Time::of_millis(times[0])),
                cpu_time: Some(Time::of_millis(times[1])),
                ..Options::default()
            };
            let first = version(Kind::Http02, options);
            let second = version(Kind::Http02, Options::of(&first, Kind::Http02));
            prop_assert_eq!(&first.limits, &second.limits);
            prop_assert!(changes(&first, &second).is_empty());
        }
    }
}
