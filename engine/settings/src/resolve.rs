//! How the layers are merged: flags over environment over file over defaults. Each setting keeps
//! its origin.
//!
//! [`merge`] is the rule, and pure. [`Sources`] names what a node reads its settings from, at its
//! start and at each SIGHUP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use abi::limits::TRUSTED_PROXIES_MAX;
use clap::{Arg, FromArgMatches as _};
use toml::Value;

use super::layer::{Flags, Given, Origin, definition, environment};
use super::mistake::{Mistake, Mistakes, check};
use super::spelling::{as_arguments, as_toml, defaults};
use super::{Settings, file};

/// The most bytes that a file of settings may have, far more than it can need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the settings of a node come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    pub flags: Flags,
}

impl Sources {
    /// Reads all layers, and merges them.
    ///
    /// # Errors
    /// All mistakes, each with its place.
    pub fn resolve(&self) -> Result<Resolved, Mistakes> {
        let (file, mut mistakes) = match self.file.as_ref().map(|path| (path, read_text(path))) {
            None => Default::default(),
            Some((path, Ok(text))) => file::read(path, &text),
            Some((path, Err(source))) => {
                (Vec::new(), vec![Mistake::Unreadable { path: path.clone(), source }])
            }
        };
        let environment = environment(|name| std::env::var_os(name));
        let settings = definition();
        for given in environment.iter().chain(&file) {
            let setting =
                settings.get_arguments().find(|setting| setting.get_id().as_str() == given.key);
            mistakes.extend(setting.and_then(|setting| check(given, setting, &settings).err()));
        }
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        Resolved::new(merge([self.flags.0.clone(), environment, file]))
    }
}

fn read_text(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))),
        false => Ok(text),
    }
}

/// Merges `layers`, of which the first takes precedence. A setting is taken whole from one layer:
/// lists are not joined.
pub(super) fn merge(layers: impl IntoIterator<Item = Vec<Given>>) -> BTreeMap<String, Given> {
    let mut counts = BTreeMap::new();
    for given in layers.into_iter().flatten() {
        counts.entry(given.key.clone()).or_insert(given);
    }
    counts
}

/// Settings, each with its origin.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub settings: Settings,
    pub(super) given: BTreeMap<String, Given>,
}

impl Resolved {
    pub(super) fn new(given: BTreeMap<String, Given>) -> Result<Self, Mistakes> {
        let arguments = given.values().flat_map(|given| as_arguments(&given.key, &given.values));
        let matches = definition().try_get_matches_from(arguments);
        let settings = matches.and_then(|matches| Settings::from_arg_matches(&matches));
        let settings =
            settings.map_err(|error| Mistakes(vec![Mistake::Together(error.to_string())]))?;
        let proxies = settings.trusted_proxies.len();
        if proxies > TRUSTED_PROXIES_MAX {
            let many = format!(
                "trusted_proxies has {proxies} networks, and may have {TRUSTED_PROXIES_MAX}; name larger ones"
            );
            return Err(Mistakes(vec![Mistake::Together(many)]));
        }
        if let Some(mistake) = acme_mistake(&settings).or_else(|| nats_mistake(&settings)) {
            return Err(Mistakes(vec![Mistake::Together(mistake.to_owned())]));
        }
        Ok(Self { settings, given })
    }

    /// Returns where a setting comes from, to begin a message about its value with.
    pub fn source_of(&self, key: &str) -> String {
        let default = || Given { key: key.to_owned(), values: Vec::new(), origin: Origin::Default };
        self.given.get(key).cloned().unwrap_or_else(default).to_string()
    }

    /// Returns the value of a setting as TOML. Returns `None` if it is not set and has no default.
    pub(super) fn value(&self, setting: &Arg) -> Option<Value> {
        let given = self.given.get(setting.get_id().as_str());
        let values = given.map_or_else(|| defaults(setting), |given| given.values.clone());
        (!values.is_empty()).then(|| as_toml(setting, &values))
    }

    /// Returns a file with these settings, and the origin of each.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for setting in definition().get_arguments() {
            let key = setting.get_id().as_str();
            // Writing to a String cannot fail.
            let _ = match (self.value(setting), self.given.get(key)) {
                (Some(value), Some(given)) => writeln!(text, "{key} = {value}  # {given}"),
                (Some(value), None) => writeln!(text, "{key} = {value}  # default"),
                (None, _) => writeln!(text, "# {key} is not set"),
            };
        }
        text
    }
}

/// Returns what does not go together of the settings about certificates.
fn acme_mistake(settings: &Settings) -> Option<&'static str> {
    let Settings { acme_email, acme_staging, acme_directory, acme_root, .. } = settings;
    let external = (settings.acme_eab_key_id.is_some(), settings.acme_eab_hmac_file.is_some());
    let any = *acme_staging
        || acme_directory.is_some()
        || acme_root.is_some()
        || settings.acme_challenge.is_some()
        || external != (false, false);
    if any && acme_email.is_none() {
        return Some("acme settings are there without acme_email, and nothing is ordered; add it");
    }
    if *acme_staging && acme_directory.is_some() {
        return Some("acme_staging and acme_directory name two CAs; leave one of them out");
    }
    if acme_root.is_some() && acme_directory.is_none() {
        return Some("acme_root is for another CA than Let's Encrypt; name that by acme_directory");
    }
    match external {
        (true, false) => Some("acme_eab_key_id is there without acme_eab_hmac_file; set both"),
        (false, true) => Some("acme_eab_hmac_file is there without acme_eab_key_id; set both"),
        _ => None,
    }
}

/// Returns what does not go together of the settings about NATS. It shows no address, as there may
/// be a password in it.
fn nats_mistake(settings: &Settings) -> Option<&'static str> {
    if settings.nats.iter().any(|server| server.contains('@')) {
        return Some(
            "an address of nats has credentials; write them to a file, and name that by nats_credentials",
        );
    }
    let any = settings.nats_credentials.is_some() || settings.nats_root.is_some();
    (any && settings.nats.is_empty())
        .then_some("settings of NATS are there without nats, and nothing is kept there; add it")
}
