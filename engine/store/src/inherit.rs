//! What a version takes over of the one before it. Pure; owns no fds.

use std::collections::BTreeMap;

use abi::function::{Kind, LimitOptions};
use api::options::Options;

use super::manifest::Manifest;

impl Manifest {
    /// Returns the options that this version was made with, as far as a file of the kind `kind` can
    /// have them. What is the default is left out, so that it follows what it depends on.
    #[must_use]
    pub fn options(&self, kind: Kind) -> Options {
        let (command, native) = (kind == Kind::Command, kind.is_native());
        let (program, wasm) = (kind != Kind::Static, kind.is_wasm());

        let pairs = |map: &BTreeMap<String, String>| map.clone().into_iter().collect();
        let instances = chosen(self.instances);
        let lambda = kind == Kind::Lambda;
        Options {
            // Of a native function it is no choice.
            isolation: chosen(self.isolation).filter(|_| !native && !self.kind.is_native()),
            instances: instances
                .filter(|instances| wasm && (!command || instances.requests_max() == 1)),
            env: if program { pairs(&self.env) } else { Vec::new() },
            config: if wasm { pairs(&self.config) } else { Vec::new() },
            args: if command || native { self.args.clone() } else { Vec::new() },
            output: chosen(self.output).filter(|_| command),
            allow_outbound: if program { self.allow_outbound.clone() } else { Vec::new() },
            kv: if wasm { pairs(&self.kv) } else { Vec::new() },
            limits: LimitOptions::from(&self.limits).of_kind(kind),
            previews: self.previews.then_some(true),
            health_path: self.health_path.clone(),
            handler: self.handler.clone().filter(|_| lambda),
            report_lines: chosen(self.report_lines).filter(|_| lambda),
            network: chosen(self.network).filter(|_| native),
            websocket: chosen(self.websocket).filter(|_| wasm),
            respond_async: chosen(self.respond_async).filter(|_| program),
            dead_letters: self.dead_letters.clone().filter(|_| program),
            description: self.description.clone(),
            role: self.role.clone().filter(|_| lambda),
            ..Options::default()
        }
    }
}

/// Returns `value` if it is not the default.
fn chosen<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use abi::function::{Size, Time};
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
        websocket = "messages"
        respond_async = true
        dead_letters = "letters@beta"
        [env]
        A = "1"
        [config]
        B = "2"
    "#;

    #[test]
    fn a_version_gives_back_the_options_it_was_made_with() {
        let all = options(ALL);
        assert_eq!(version(Kind::Http02, all.clone()).options(Kind::Http03), all);
        assert_eq!(
            version(Kind::Http02, Options::default()).options(Kind::Http02),
            Options::default()
        );
        let command = options("args = [\"-v\"]\noutput = \"cgi\"");
        assert_eq!(version(Kind::Command, command.clone()).options(Kind::Command), command);
        let text =
            "handler = \"app.handler\"\nreport_lines = true\ndescription = \"d\"\nrole = \"r\"";
        let lambda = options(text);
        assert_eq!(version(Kind::Lambda, lambda.clone()).options(Kind::Lambda), lambda);
        let server = version(Kind::Lambda, lambda).options(Kind::Server);
        assert_eq!(server, options("description = \"d\""));
    }

    #[test]
    fn what_the_new_file_cannot_have_is_left_out() {
        let command =
            version(Kind::Command, options("args = [\"-v\"]\noutput = \"cgi\"\nmemory = \"1MiB\""));
        assert_eq!(command.options(Kind::Http02), options("memory = \"1MiB\""));
        let reused = version(Kind::Http02, options("instances = \"reuse=3\""));
        assert_eq!(reused.options(Kind::Command), Options::default());
    }

    #[test]
    fn processor_time_goes_on_following_wall_time() {
        let before = version(Kind::Http02, options("timeout = \"20s\""));
        let now = options("timeout = \"5s\"").over(before.options(Kind::Http02));
        assert_eq!(now.limits.limits().cpu_time_ms, 5000);
    }

    proptest! {
        #[test]
        fn what_was_deployed_can_be_deployed_again(memory in 65_536u64..1 << 32, times in [10u32..900_000, 10..900_000]) {
            let time = |millis: u32| Some(Time(Duration::from_millis(millis.into())));
            let limits = LimitOptions {
                memory: Some(Size(memory)),
                timeout: time(times[0]),
                cpu_time: time(times[1]),
                ..LimitOptions::default()
            };
            let options = Options { limits, ..Options::default() };
            let first = version(Kind::Http02, options);
            let second = version(Kind::Http02, first.options(Kind::Http02));
            prop_assert_eq!(&first.limits, &second.limits);
            let same = Manifest { version: first.version.clone(), created_ms: first.created_ms, ..second };
            prop_assert_eq!(first, same);
        }
    }
}
