//! The options of a deploy on their way from a client to the node: what a command line or
//! `sockhop.toml` says, and the same as JSON. Pure; owns no fds.

use api::deploys::{DeployOptions, FileKind, Size};
use api::functions as wire;
use bytesize::ByteSize;
use host::fault::Fault;

use crate::kind::{Kind, Wanted};
use crate::limits::{Limits, copy_limits};
use crate::manifest::{Instances, InstancesError, Isolation, Output};
use crate::options::{Options, Time};

/// Why an option that came as text cannot be what it says.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableOption {
    #[error(transparent)]
    Instances(#[from] InstancesError),
    #[error("{option}: {reason}")]
    Time { option: &'static str, reason: String },
    #[error("{option}: {given:?} is no size: {reason}; expected for example \"64MiB\"")]
    Size { option: &'static str, given: String, reason: String },
}

impl UnreadableOption {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Instances(_) | Self::Time { .. } | Self::Size { .. } => Fault::INVALID,
        }
    }
}

impl From<&Options> for DeployOptions {
    fn from(options: &Options) -> Self {
        let size = |size: ByteSize| Size::Bytes(size.as_u64());
        let Options {
            // The name is in the path, and the file is sent itself.
            name: _,
            source: _,
            fresh_options,
            unset,
            kind,
            isolation,
            instances,
            env,
            config,
            args,
            output,
            allow_outbound,
            memory,
            timeout,
            cpu_time,
            table_elements,
            core_instances,
            request_body,
            reply_head,
            log_size,
            concurrency,
            queue,
            queue_timeout,
            outbound_requests,
            previews,
            health_path,
        } = options.clone();
        Self {
            name: None,
            source: None,
            fresh_options,
            unset,
            kind: kind.map(Into::into),
            isolation: isolation.map(Into::into),
            instances: instances.map(Into::into),
            env: env.into_iter().collect(),
            config: config.into_iter().collect(),
            args,
            output: output.map(Into::into),
            allow_outbound,
            memory: memory.map(size),
            timeout: timeout.map(Into::into),
            cpu_time: cpu_time.map(Into::into),
            table_elements,
            core_instances,
            request_body: request_body.map(size),
            reply_head: reply_head.map(size),
            log_size: log_size.map(size),
            concurrency,
            queue,
            queue_timeout: queue_timeout.map(Into::into),
            outbound_requests,
            previews,
            health_path,
        }
    }
}

impl TryFrom<DeployOptions> for Options {
    type Error = UnreadableOption;

    fn try_from(options: DeployOptions) -> Result<Self, UnreadableOption> {
        let DeployOptions {
            name: _,
            source: _,
            fresh_options,
            unset,
            kind,
            isolation,
            instances,
            env,
            config,
            args,
            output,
            allow_outbound,
            memory,
            timeout,
            cpu_time,
            table_elements,
            core_instances,
            request_body,
            reply_head,
            log_size,
            concurrency,
            queue,
            queue_timeout,
            outbound_requests,
            previews,
            health_path,
        } = options;
        Ok(Self {
            name: None,
            source: None,
            fresh_options,
            unset,
            kind: kind.map(Into::into),
            isolation: isolation.map(Into::into),
            instances: instances.map(Instances::try_from).transpose()?,
            env: env.into_iter().collect(),
            config: config.into_iter().collect(),
            args,
            output: output.map(Into::into),
            allow_outbound,
            memory: size("memory", memory)?,
            timeout: time("timeout", timeout)?,
            cpu_time: time("cpu_time", cpu_time)?,
            table_elements,
            core_instances,
            request_body: size("request_body", request_body)?,
            reply_head: size("reply_head", reply_head)?,
            log_size: size("log_size", log_size)?,
            concurrency,
            queue,
            queue_timeout: time("queue_timeout", queue_timeout)?,
            outbound_requests,
            previews,
            health_path,
        })
    }
}

fn time(option: &'static str, given: Option<String>) -> Result<Option<Time>, UnreadableOption> {
    let unreadable = |reason| UnreadableOption::Time { option, reason };
    given.map(Time::try_from).transpose().map_err(unreadable)
}

fn size(option: &'static str, given: Option<Size>) -> Result<Option<ByteSize>, UnreadableOption> {
    let read =
        |size| match size {
            Size::Bytes(bytes) => Ok(ByteSize(bytes)),
            Size::Text(given) => given
                .parse::<ByteSize>()
                .map_err(|reason| UnreadableOption::Size { option, given, reason }),
        };
    given.map(read).transpose()
}

impl From<Wanted> for FileKind {
    fn from(kind: Wanted) -> Self {
        match kind {
            Wanted::Http => Self::Http,
            Wanted::Command => Self::Command,
        }
    }
}

impl From<FileKind> for Wanted {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Http => Self::Http,
            FileKind::Command => Self::Command,
        }
    }
}

impl From<wire::Isolation> for Isolation {
    fn from(isolation: wire::Isolation) -> Self {
        match isolation {
            wire::Isolation::Shared => Self::Shared,
            wire::Isolation::Process => Self::Process,
        }
    }
}

impl From<wire::Output> for Output {
    fn from(output: wire::Output) -> Self {
        match output {
            wire::Output::Raw => Self::Raw,
            wire::Output::Cgi => Self::Cgi,
        }
    }
}

impl From<Kind> for wire::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Http02 => Self::Http02,
            Kind::Http03 => Self::Http03,
            Kind::Command => Self::Command,
        }
    }
}

impl From<Isolation> for wire::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Shared => Self::Shared,
            Isolation::Process => Self::Process,
        }
    }
}

impl From<Output> for wire::Output {
    fn from(output: Output) -> Self {
        match output {
            Output::Raw => Self::Raw,
            Output::Cgi => Self::Cgi,
        }
    }
}

copy_limits!(Limits => wire::Limits);
copy_limits!(wire::Limits => Limits);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Options, String> {
        let options: DeployOptions =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        options.try_into().map_err(|error: UnreadableOption| error.to_string())
    }

    #[test]
    fn options_are_read_as_people_write_them() {
        let json = r#"{"memory": "64MiB", "request_body": 100001, "timeout": "1s 500ms",
            "kind": "command", "isolation": "process", "output": "cgi", "instances": "fresh",
            "env": {"A": "1"}, "queue": null, "name": "of-the-toml", "source": "a.wasm"}"#;
        let options = read(json).unwrap();
        let sizes = (options.memory, options.request_body);
        assert_eq!(sizes, (Some(ByteSize::mib(64)), Some(ByteSize(100_001))));
        assert_eq!(options.env, [("A".to_owned(), "1".to_owned())]);
        // And to the byte when they are sent on.
        assert_eq!(Options::try_from(DeployOptions::from(&options)).unwrap(), options);
        assert_eq!(read("{}").unwrap(), Options::default());
    }

    #[test]
    fn an_option_that_cannot_be_read_is_named_with_what_is_expected() {
        for (json, words) in [
            (r#"{"memory": "much"}"#, ["memory", "64MiB"]),
            (r#"{"memory": true}"#, ["size", "64MiB"]),
            (r#"{"cpu_time": "later"}"#, ["cpu_time", "5s"]),
            (r#"{"instances": "many"}"#, ["instances", "reuse=N"]),
            (r#"{"kind": "script"}"#, ["script", "command"]),
            (r#"{"memory_bytes_max": 1}"#, ["memory_bytes_max", "memory"]),
        ] {
            let error = read(json).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
