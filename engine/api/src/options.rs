//! What a deployer may choose: one struct for the command line, for `sockhop.toml` and for the JSON
//! of a deploy, so that a flag and its key cannot come apart.
//!
//! What is absent is as the active version has it, or the default. Pure; owns no fds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use abi::destination::{Destination, URL_BYTES_MAX};
use abi::function::{
    FileKind, Instances, Isolation, Kind, LimitOptions, NetworkMode, OutOfRange, Output,
    WebSocketMode, fields, has_limit,
};
use abi::limits;
use abi::name;
use abi::outbound::{AllowList, PatternError};
use abi::state::DEFAULT_BUCKET;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cron::CronOptions;
use crate::path::is_path;

/// The most characters of a handler's name, of a description and of a role (Lambda's quotas, and
/// IAM's for an ARN).
const HANDLER_CHARACTERS_MAX: usize = 128;
const DESCRIPTION_CHARACTERS_MAX: usize = 256;
const ROLE_CHARACTERS_MAX: usize = 2048;
/// The most characters of where a file is from: a reference's name, tag and digest.
const ORIGIN_CHARACTERS_MAX: usize = 512;

/// What a version is to be like. What is absent or null is as the active version has it, except for
/// what `unset` names, or as its default if `fresh_options` is true.
// A field's documentation is its help on the command line; its description is what the OpenAPI
// document says of it. The limits have both of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", default)]
#[schemars(!remote, rename = "DeployOptions", deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Options {
    /// The function's name (default: from sockhop.toml, or the file's name); of several in
    /// sockhop.toml, the only one to deploy
    #[serde(skip_serializing)]
    #[schemars(
        description = "Ignored, so that what is in a `sockhop.toml` can be sent as it is: \
        the path has the name."
    )]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME"))]
    pub name: Option<String>,
    /// The file to deploy, relative to `sockhop.toml`, which alone has it.
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: the file itself is sent.")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub source: Option<PathBuf>,
    /// A zip whose files are in /opt of a native function, as a layer of AWS Lambda is (repeatable;
    /// those of later ones replace those of earlier ones)
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: its files are sent with the function's.")]
    #[cfg_attr(feature = "clap", arg(long = "layer", value_name = "ZIP"))]
    pub layers: Vec<PathBuf>,
    /// The program in the folder of a native server, relative to it (default: server)
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: it is among the files that are sent.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "PATH"))]
    pub entry: Option<PathBuf>,
    /// Answer paths without a file of a static site with its index.html, as a single-page
    /// application needs it
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: the site's file `_redirects` says it.")]
    #[cfg_attr(feature = "clap", arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
    ))]
    pub single_page: Option<bool>,
    /// Files that are served before the function is called, a table `[assets]`.
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: they are sent with the function.")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub assets: Option<Assets>,
    /// A file with environment variables, NAME=VALUE a line (repeatable; later ones count before
    /// earlier ones, and --env before them)
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: its variables are sent with the others.")]
    #[cfg_attr(feature = "clap", arg(long = "env-file", value_name = "FILE"))]
    pub env_files: Vec<PathBuf>,
    /// The hosts that the function is found by.
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: see `SetDomain`.")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub domains: Vec<String>,
    /// The context whose node it is deployed to.
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: it says which node is asked.")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub context: Option<String>,
    /// How the file is built, a table `[build]`.
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: it is built where it is deployed from.")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub build: Option<Build>,
    /// When the function is rung, a `[[cron]]` for each schedule.
    #[serde(skip_serializing)]
    #[schemars(description = "Ignored likewise: see `SetProjectCron`.")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub cron: Vec<CronOptions>,
    /// Start from the defaults, instead of from the options of the active version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub fresh_options: bool,
    /// An option to leave at its default, whatever sockhop.toml or the active version has: memory,
    /// allow-outbound, env, or one variable as env.NAME or config.NAME (repeatable)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(description = "Options to leave at their defaults: `memory`, `env`, or one \
        variable as `env.NAME`.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "OPTION", value_parser = unsettable))]
    pub unset: Vec<String>,
    /// What the file is (default: what it exports; a handler if it exports both). A native program
    /// is of the kind lambda, server or azure, and a folder of files that are served is static
    #[schemars(description = "What the file is. By default, what it exports, or as the active \
        version if that is native or a static site.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "KIND"))]
    pub kind: Option<FileKind>,
    /// Give the function a worker process of its own (native functions always have one)
    #[schemars(description = "Where it runs.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "WHERE"))]
    pub isolation: Option<Isolation>,
    /// A fresh instance for every request, or reuse=N: one serves N requests, one after another
    /// (default fresh)
    #[schemars(description = "`fresh` for an instance for each request, `reuse=N` for one that \
        serves N.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "POLICY"))]
    pub instances: Option<Instances>,
    /// An environment variable for the function (repeatable)
    #[serde(deserialize_with = "read_pairs", serialize_with = "write_pairs")]
    #[schemars(description = "Environment variables.", with = "BTreeMap<String, String>")]
    #[cfg_attr(feature = "clap", arg(long, short = 'e', value_name = "NAME=VALUE", value_parser = pair))]
    pub env: Vec<(String, String)>,
    /// A value that the function reads through wasi:config/store (repeatable)
    #[serde(deserialize_with = "read_pairs", serialize_with = "write_pairs")]
    #[schemars(description = "What the function reads through `wasi:config/store`.")]
    #[schemars(with = "BTreeMap<String, String>")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=VALUE", value_parser = pair))]
    pub config: Vec<(String, String)>,
    /// An argument of a command or a native program, after its own name (repeatable)
    #[schemars(description = "Arguments of a command or a native program, after its own name.")]
    #[cfg_attr(
        feature = "clap",
        arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)
    )]
    pub args: Vec<String>,
    /// What a command's stdout is: the reply's body, or headers as of CGI before it (default raw)
    #[schemars(description = "What a command's stdout is.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "FORM"))]
    pub output: Option<Output>,
    /// Where its outgoing requests may go: host and port, *.example.com:443 for all below a domain
    /// (repeatable; default nowhere)
    #[schemars(description = "Where its outgoing requests may go: `HOST:PORT`, or \
        `*.DOMAIN:PORT` for all below a domain.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "HOST:PORT"))]
    pub allow_outbound: Vec<String>,
    /// A bucket that functions share, and the name by which this one opens it (repeatable). Its own
    /// bucket needs none
    #[serde(deserialize_with = "read_pairs", serialize_with = "write_pairs")]
    #[schemars(description = "Buckets that functions share, by the name by which this one opens \
        each through `wasi:keyvalue`.")]
    #[schemars(with = "BTreeMap<String, String>")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=BUCKET", value_parser = pair))]
    pub kv: Vec<(String, String)>,
    /// What it may use.
    #[serde(flatten, skip_deserializing)]
    #[schemars(!skip_deserializing)]
    #[cfg_attr(feature = "clap", command(flatten))]
    pub limits: LimitOptions,
    /// Let anybody name versions and aliases in addresses: NAME@v12, NAME@staging (default: only
    /// `sockhop invoke` may)
    #[schemars(
        description = "Let anybody name versions and aliases of the function in addresses."
    )]
    #[cfg_attr(feature = "clap", arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
    ))]
    pub previews: Option<bool>,
    /// A path that must answer 2xx before the version becomes active (default: / must, with less
    /// than 500)
    #[schemars(description = "A path that must answer 2xx before the version becomes active.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "PATH"))]
    pub health_path: Option<String>,
    /// The name of the entry, which a lambda finds in _HANDLER (default bootstrap)
    #[schemars(description = "The name of the entry, which a lambda finds in `_HANDLER`.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME"))]
    pub handler: Option<String>,
    /// Write AWS's START, END and REPORT lines around each invocation of a lambda
    #[schemars(description = "Write AWS's `START`, `END` and `REPORT` lines around each \
        invocation of a lambda.")]
    #[cfg_attr(feature = "clap", arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
    ))]
    pub report_lines: Option<bool>,
    /// Which network a native function has: loopback alone, or the host's
    #[schemars(
        description = "Which network a native function has: loopback alone, or the host's."
    )]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NETWORK"))]
    pub network: Option<NetworkMode>,
    /// What becomes of clients that ask for WebSocket: with messages, the node keeps their
    /// connections, and calls the function for each message (default off)
    #[schemars(description = "What becomes of clients that ask for WebSocket: with `messages`, \
        the node keeps their connections, and calls the function for each message.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "MODE"))]
    pub websocket: Option<WebSocketMode>,
    /// Let clients have their requests run later: one with `Prefer: respond-async` becomes a job,
    /// and is answered 202 (default: each is run at once)
    #[schemars(description = "Let clients have their requests run later: one with \
        `Prefer: respond-async` becomes a job, and is answered 202.")]
    #[cfg_attr(feature = "clap", arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
    ))]
    pub respond_async: Option<bool>,
    /// Where its jobs go that are tried no more: a function as NAME or NAME@ALIAS, which is invoked
    /// with each, or a URL that it is posted to (default: they stay here)
    #[schemars(description = "Where its jobs go that are tried no more: a function as `NAME` or \
        `NAME@ALIAS`, or a URL.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TARGET"))]
    pub dead_letters: Option<String>,
    /// What the function is, for people
    #[schemars(description = "What the function is, for people.")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TEXT"))]
    pub description: Option<String>,
    /// The role that AWS's tools gave for a lambda, and get back. It means nothing here.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub role: Option<String>,
    /// Where the file is from, for people: a reference in a registry, with its digest. A version
    /// does not take it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub origin: Option<String>,
}

/// Files that are served before a function is called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assets {
    /// Their folder, relative to `sockhop.toml`.
    pub directory: PathBuf,
}

/// How a function's file is built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Build {
    /// The command, for the shell, in the folder of `sockhop.toml`.
    pub command: String,
    /// What it is built from, as patterns of a `.gitignore`; by default, all that git would not
    /// ignore.
    pub watch: Vec<String>,
    /// The file that it makes, which is deployed unless `source` names another.
    pub output: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (own, limits) = fields::with_limits(deserializer, |own| Self::deserialize(own))?;
        Ok(Self { limits, ..own })
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence")]
pub enum OptionsError {
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error(
        "--{option} is given {count} times with {bytes} bytes together; at most {} with {} bytes are allowed",
        limits::ENV_VARIABLES_MAX,
        limits::ENV_BYTES_MAX
    )]
    TooMuch { option: &'static str, count: usize, bytes: usize },
    #[error(
        "--{option} {name:?} has no name, or '=' or a zero byte in it; expected --{option} NAME=VALUE"
    )]
    Pair { option: &'static str, name: String },
    #[error("--arg {arg:?} has a zero byte in it, which no argument can have")]
    Arg { arg: String },
    #[error("--health-path {0:?} is no path; expected for example /health")]
    HealthPath(String),
    #[error(
        "--unset {0:?} names no option; expected for example memory, or a variable as env.NAME"
    )]
    Unset(String),
    #[error(
        "--{option} is longer than {characters_max} characters, or has a zero byte in it; shorten it"
    )]
    TooLong { option: &'static str, characters_max: usize },
    #[error("--allow-outbound: {0}")]
    Outbound(#[from] PatternError),
    #[error(
        "--kv {name}={bucket}: expected NAME=BUCKET, each of a-z, 0-9 and '-', for example \
         --kv orders=shop-orders; {DEFAULT_BUCKET:?} is the function's own bucket"
    )]
    Kv { name: String, bucket: String },
    #[error(
        "--dead-letters {0:?} is no destination; expected a function as NAME or NAME@ALIAS, or \
         http://HOST/PATH or https://HOST/PATH without a user, of at most {URL_BYTES_MAX} bytes"
    )]
    DeadLetters(String),
    #[error("--kv is given {count} times; at most {} are allowed", limits::STATE_GRANTS_MAX)]
    KvCount { count: usize },
    #[error(
        "--{option} is for commands, and this file handles requests itself (kind {kind}); leave it out"
    )]
    OnlyCommands { option: &'static str, kind: &'static str },
    #[error(
        "--{option} is for native functions, and this file is WebAssembly (kind {kind}); leave it out"
    )]
    OnlyNative { option: &'static str, kind: &'static str },
    #[error(
        "--{option} is for WebAssembly, and this is a native function (kind {kind}); leave it out"
    )]
    OnlyWasm { option: &'static str, kind: &'static str },
    #[error(
        "--{option} is for functions of the kind lambda, and this is of the kind {kind}; leave it out"
    )]
    OnlyLambda { option: &'static str, kind: &'static str },
    #[error(
        "--{option} is for programs, and this is a static site, whose files run nowhere; leave it out"
    )]
    OnlyPrograms { option: &'static str },
    #[error(
        "--isolation shared: a native function (kind {kind}) has a worker process of its own; leave it out"
    )]
    NativeShared { kind: &'static str },
    #[error(
        "--websocket is for WebAssembly, and this is a native function (kind {kind}): a server speaks WebSocket itself; leave it out"
    )]
    NativeWebSocket { kind: &'static str },
    #[error(
        "--processes-min is {min}, and --processes is {max}; expected no more to be kept than there may be"
    )]
    ProcessesMin { min: u32, max: u32 },
    #[error(
        "--allow-outbound holds in a network of the function's own, and --network host gives it the host's, with all that can be reached there; leave out one, or take it back with --unset"
    )]
    OutboundOfHost,
    #[error(
        "--instances {given}: a command runs from its start to its end for each request, and cannot be used again; leave it out"
    )]
    CommandReused { given: String },
}

impl Options {
    /// Returns these options, and where one is absent, that of `file`. Of `env` and `config` each
    /// variable counts for itself.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        let pairs = |ours: Vec<(String, String)>, theirs: Vec<_>| {
            theirs.into_iter().chain(ours).collect::<BTreeMap<_, _>>().into_iter().collect()
        };
        let list = |ours: Vec<String>, theirs| if ours.is_empty() { theirs } else { ours };
        Self {
            name: self.name.or(file.name),
            source: self.source.or(file.source),
            entry: self.entry.or(file.entry),
            single_page: self.single_page.or(file.single_page),
            assets: self.assets.or(file.assets),
            build: self.build.or(file.build),
            cron: if self.cron.is_empty() { file.cron } else { self.cron },
            layers: if self.layers.is_empty() { file.layers } else { self.layers },
            env_files: if self.env_files.is_empty() { file.env_files } else { self.env_files },
            domains: list(self.domains, file.domains),
            context: self.context.or(file.context),
            fresh_options: self.fresh_options || file.fresh_options,
            unset: list(self.unset, file.unset),
            kind: self.kind.or(file.kind),
            isolation: self.isolation.or(file.isolation),
            instances: self.instances.or(file.instances),
            // Of two with one name the later counts.
            env: pairs(self.env, file.env),
            config: pairs(self.config, file.config),
            args: list(self.args, file.args),
            output: self.output.or(file.output),
            allow_outbound: list(self.allow_outbound, file.allow_outbound),
            kv: pairs(self.kv, file.kv),
            limits: self.limits.over(file.limits),
            previews: self.previews.or(file.previews),
            health_path: self.health_path.or(file.health_path),
            handler: self.handler.or(file.handler),
            report_lines: self.report_lines.or(file.report_lines),
            network: self.network.or(file.network),
            websocket: self.websocket.or(file.websocket),
            respond_async: self.respond_async.or(file.respond_async),
            dead_letters: self.dead_letters.or(file.dead_letters),
            description: self.description.or(file.description),
            role: self.role.or(file.role),
            origin: self.origin.or(file.origin),
        }
    }

    /// Returns these options without those that `unset` names.
    ///
    /// # Errors
    /// Returns [`OptionsError::Unset`] with the first that is no option's name.
    pub fn without(mut self, unset: &[String]) -> Result<Self, OptionsError> {
        match unset.iter().find(|key| !self.drop_one(key)) {
            Some(key) => Err(OptionsError::Unset(key.clone())),
            None => Ok(self),
        }
    }

    /// Removes the option called `key`. Returns whether there is such an option, chosen or not.
    fn drop_one(&mut self, key: &str) -> bool {
        if let Some(name) = key.strip_prefix("env.") {
            self.env.retain(|(other, _)| other != name);
        } else if let Some(name) = key.strip_prefix("config.") {
            self.config.retain(|(other, _)| other != name);
        } else if let Some(name) = key.strip_prefix("kv.") {
            self.kv.retain(|(other, _)| other != name);
        } else {
            match key.replace('_', "-").as_str() {
                "isolation" => self.isolation = None,
                "instances" => self.instances = None,
                "env" => self.env.clear(),
                "config" => self.config.clear(),
                "kv" => self.kv.clear(),
                "arg" | "args" => self.args.clear(),
                "output" => self.output = None,
                "allow-outbound" => self.allow_outbound.clear(),
                "previews" => self.previews = None,
                "health-path" => self.health_path = None,
                "handler" => self.handler = None,
                "report-lines" => self.report_lines = None,
                "network" => self.network = None,
                "websocket" => self.websocket = None,
                "respond-async" => self.respond_async = None,
                "dead-letters" => self.dead_letters = None,
                "description" => self.description = None,
                "role" => self.role = None,
                limit => return self.limits.unset(limit),
            }
        }
        true
    }

    /// Checks every option against its limits, and against what the file is.
    ///
    /// # Errors
    /// Returns an [`OptionsError`] that names the option, what was given and what is expected.
    pub fn check(&self, kind: Kind) -> Result<(), OptionsError> {
        self.limits.limits().check()?;
        for (option, pairs) in [("env", &self.env), ("config", &self.config)] {
            check_pairs(option, pairs.iter().map(|(name, value)| (name, value)))?;
        }
        let size = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        check_size("arg", self.args.len(), size(&self.args), limits::ARGS_MAX)?;
        if let Some(arg) = self.args.iter().find(|arg| arg.contains('\0')) {
            return Err(OptionsError::Arg { arg: arg.clone() });
        }
        AllowList::new(self.allow_outbound.iter().map(String::as_str))?;
        self.check_kv()?;
        if let Some(path) = self.health_path.as_ref().filter(|path| !is_path(path)) {
            return Err(OptionsError::HealthPath(path.clone()));
        }
        let is_bad = |to: &&String| Destination::read(to).is_none();
        if let Some(to) = self.dead_letters.as_ref().filter(is_bad) {
            return Err(OptionsError::DeadLetters(to.clone()));
        }
        self.check_texts(kind)?;
        if kind.is_native() {
            self.check_native(kind)?
        } else if kind == Kind::Static {
            self.check_static()?
        } else {
            self.check_wasm(kind)?
        }
        match self.limits.chosen().into_iter().find(|option| !has_limit(kind, option)) {
            Some(option) if kind.is_native() => {
                Err(OptionsError::OnlyWasm { option, kind: kind.name() })
            }
            Some(option) if kind == Kind::Static => Err(OptionsError::OnlyPrograms { option }),
            Some(option) => Err(OptionsError::OnlyNative { option, kind: kind.name() }),
            None => Ok(()),
        }
    }

    /// Checks the buckets that it shares with others.
    fn check_kv(&self) -> Result<(), OptionsError> {
        if self.kv.len() > limits::STATE_GRANTS_MAX {
            return Err(OptionsError::KvCount { count: self.kv.len() });
        }
        let is_bad = |(name, bucket): &&(String, String)| {
            name == DEFAULT_BUCKET || [name, bucket].iter().any(|of| name::check(of).is_err())
        };
        match self.kv.iter().find(is_bad) {
            Some((name, bucket)) => {
                Err(OptionsError::Kv { name: name.clone(), bucket: bucket.clone() })
            }
            None => Ok(()),
        }
    }

    /// Checks what a lambda alone has, and what people read.
    fn check_texts(&self, kind: Kind) -> Result<(), OptionsError> {
        let texts = [
            ("handler", &self.handler, HANDLER_CHARACTERS_MAX),
            ("description", &self.description, DESCRIPTION_CHARACTERS_MAX),
            ("role", &self.role, ROLE_CHARACTERS_MAX),
            ("origin", &self.origin, ORIGIN_CHARACTERS_MAX),
        ];
        for (option, text, characters_max) in texts {
            let fits = |text: &str| text.chars().count() <= characters_max && !text.contains('\0');
            if !text.as_deref().is_none_or(fits) {
                return Err(OptionsError::TooLong { option, characters_max });
            }
        }
        let given = [
            ("handler", self.handler.is_some()),
            ("report-lines", self.report_lines.is_some()),
            ("role", self.role.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given && kind != Kind::Lambda) {
            Some((option, _)) => Err(OptionsError::OnlyLambda { option, kind: kind.name() }),
            None => Ok(()),
        }
    }

    /// Checks the options that a native function has otherwise than WebAssembly.
    fn check_native(&self, kind: Kind) -> Result<(), OptionsError> {
        let kind = kind.name();
        let limits = self.limits.limits();
        let (min, max) = (limits.processes_min, limits.processes_max);
        if self.isolation == Some(Isolation::Shared) {
            Err(OptionsError::NativeShared { kind })
        } else if self.instances.is_some() {
            Err(OptionsError::OnlyWasm { option: "instances", kind })
        } else if self.output.is_some() {
            Err(OptionsError::OnlyWasm { option: "output", kind })
        } else if !self.config.is_empty() {
            Err(OptionsError::OnlyWasm { option: "config", kind })
        } else if !self.kv.is_empty() {
            Err(OptionsError::OnlyWasm { option: "kv", kind })
        } else if self.websocket.is_some() {
            Err(OptionsError::NativeWebSocket { kind })
        } else if min > max {
            Err(OptionsError::ProcessesMin { min, max })
        } else if self.network == Some(NetworkMode::Host) && !self.allow_outbound.is_empty() {
            Err(OptionsError::OutboundOfHost)
        } else {
            Ok(())
        }
    }

    /// Checks that nothing is chosen that only programs have.
    fn check_static(&self) -> Result<(), OptionsError> {
        let chosen = [
            ("instances", self.instances.is_some()),
            ("env", !self.env.is_empty()),
            ("config", !self.config.is_empty()),
            ("arg", !self.args.is_empty()),
            ("output", self.output.is_some()),
            ("allow-outbound", !self.allow_outbound.is_empty()),
            ("kv", !self.kv.is_empty()),
            ("network", self.network.is_some()),
            ("websocket", self.websocket.is_some()),
            ("respond-async", self.respond_async.is_some()),
        ];
        match chosen.into_iter().find(|(_, chosen)| *chosen) {
            Some((option, _)) => Err(OptionsError::OnlyPrograms { option }),
            None => Ok(()),
        }
    }

    fn check_wasm(&self, kind: Kind) -> Result<(), OptionsError> {
        let command = kind == Kind::Command;
        match self.instances {
            Some(given) if command && given.requests_max() > 1 => {
                return Err(OptionsError::CommandReused { given: given.into() });
            }
            _ => {}
        }
        if self.network.is_some() {
            Err(OptionsError::OnlyNative { option: "network", kind: kind.name() })
        } else if !command && !self.args.is_empty() {
            Err(OptionsError::OnlyCommands { option: "arg", kind: kind.name() })
        } else if !command && self.output.is_some() {
            Err(OptionsError::OnlyCommands { option: "output", kind: kind.name() })
        } else {
            Ok(())
        }
    }
}

fn check_size(
    option: &'static str,
    count: usize,
    bytes: usize,
    count_max: usize,
) -> Result<(), OptionsError> {
    if count > count_max || bytes > limits::ENV_BYTES_MAX {
        return Err(OptionsError::TooMuch { option, count, bytes });
    }
    Ok(())
}

/// Checks names and values of variables.
///
/// # Errors
/// Returns an [`OptionsError`] that names the option and what is wrong.
pub fn check_pairs<'a, T: AsRef<str> + 'a>(
    option: &'static str,
    pairs: impl IntoIterator<Item = (&'a T, &'a T)>,
) -> Result<(), OptionsError> {
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in pairs {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(OptionsError::Pair { option, name: name.to_owned() });
        }
        (count, bytes) = (count + 1, bytes + name.len() + value.len());
    }
    check_size(option, count, bytes, limits::ENV_VARIABLES_MAX)
}

/// Returns `text` if `--unset` may have it: if it names an option or a variable.
///
/// # Errors
/// Returns a sentence for the command line.
#[cfg(feature = "clap")]
fn unsettable(text: &str) -> Result<String, String> {
    match Options::default().drop_one(text) {
        true => Ok(text.to_owned()),
        false => Err("expected an option's name, as memory, or a variable, as env.NAME".into()),
    }
}

/// Reads NAME=VALUE, as the command line has variables.
///
/// # Errors
/// Returns a sentence for the command line.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// Reads pairs from a map, which is what they are in TOML and JSON.
fn read_pairs<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
}

/// Writes pairs as a map. Of two with one name the later counts.
fn write_pairs<S: Serializer>(
    pairs: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let map: BTreeMap<_, _> = pairs.iter().map(|(name, value)| (name, value)).collect();
    map.serialize(serializer)
}

#[cfg(all(test, feature = "clap"))]
#[path = "options_tests.rs"]
mod tests;
