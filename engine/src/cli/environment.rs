//! Environments of a project: tables `[environment.NAME]` of its `sockhop.toml`, each with what is
//! otherwise there than in the rest of the file. Pure; owns no fds.

use std::collections::BTreeMap;

use abi::name::NameError;
use api::options::Options;

/// The key whose tables are environments.
const ENVIRONMENT: &str = "environment";

/// Why environments are not understood. Where they stand is told by who reads the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentError {
    #[error("the key environment has no tables [environment.NAME]")]
    NoTable,
    #[error("a table [environment.{name}]: {source}")]
    Name { name: String, source: NameError },
    #[error(
        "[environment.{name}] is not understood; expected the options of `sockhop deploy`, with _ for -: {source}"
    )]
    Unknown { name: String, source: Box<toml::de::Error> },
    #[error(
        "[environment.{name}] has the key unset, which is for the command line: give the option its default"
    )]
    Unset { name: String },
    #[error(
        "[env.{0}] is a table, and [env] has variables; an environment is a table [environment.{0}]"
    )]
    InEnv(String),
}

/// The environments of a table of the file, by name.
#[derive(Debug, Default)]
pub(super) struct Environments(BTreeMap<String, Options>);

impl Environments {
    /// Takes them out of a table.
    pub(super) fn take(table: &mut toml::Table) -> Result<Self, EnvironmentError> {
        let env = table.get("env").and_then(toml::Value::as_table).into_iter().flatten();
        if let Some((name, _)) = env.into_iter().find(|(_, value)| value.is_table()) {
            return Err(EnvironmentError::InEnv(name.clone()));
        }
        let tables = match table.remove(ENVIRONMENT) {
            None => return Ok(Self::default()),
            Some(toml::Value::Table(tables)) if !tables.is_empty() => tables,
            Some(_) => return Err(EnvironmentError::NoTable),
        };
        let one = |(name, table): (String, toml::Value)| {
            abi::name::check(&name)
                .map_err(|source| EnvironmentError::Name { name: name.clone(), source })?;
            let options: Options = table.try_into().map_err(|source| {
                EnvironmentError::Unknown { name: name.clone(), source: Box::new(source) }
            })?;
            match options.unset.is_empty() {
                true => Ok((name, options)),
                false => Err(EnvironmentError::Unset { name }),
            }
        };
        tables.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Options> {
        self.0.get(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

/// What a function is called in an environment that gives it no other name.
pub(super) fn suffix(environment: &str) -> String {
    format!("-{environment}")
}

/// Returns `base` as it is in the environment `name`. Its hosts stay those of `base`: in another
/// environment it is another function.
pub(super) fn in_environment(base: Options, own: Options, name: &str) -> Options {
    let suffixed = base.name.as_ref().map(|base| format!("{base}{}", suffix(name)));
    let called = own.name.clone().or(suffixed);
    Options { name: called, ..own.over(Options { domains: Vec::new(), ..base }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn an_environment_has_what_is_otherwise_and_no_host_of_the_others() {
        let text = "name = \"shop\"\nmemory = \"32MiB\"\ndomains = [\"shop.example\"]\n\
            context = \"far\"\n[env]\nA = \"1\"\nB = \"1\"\n\
            [environment.staging]\nmemory = \"64MiB\"\n[environment.staging.env]\nB = \"2\"\n\
            [environment.live]\nname = \"store\"\ndomains = [\"store.example\"]\n";
        let mut whole = table(text);
        let environments = Environments::take(&mut whole).unwrap();
        let base: Options = whole.try_into().unwrap();
        let of = |name: &str| {
            let own = environments.get(name).unwrap().clone();
            in_environment(base.clone(), own, name)
        };
        let staging = of("staging");
        let env: Vec<String> =
            staging.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            (staging.name.as_deref(), env.join(" ").as_str()),
            (Some("shop-staging"), "A=1 B=2")
        );
        assert!(staging.domains.is_empty() && staging.context.as_deref() == Some("far"));
        assert_eq!(staging.limits.memory.unwrap().0, 64 << 20);
        let live = of("live");
        assert_eq!(
            (live.name.as_deref(), live.domains),
            (Some("store"), vec!["store.example".to_owned()])
        );
        assert_eq!(environments.names().collect::<Vec<_>>(), ["live", "staging"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, words) in [
            ("environment = 3", "[environment.NAME]"),
            ("[environment]", "[environment.NAME]"),
            ("[environment.a]\nmemroy = 3", "[environment.a]"),
            ("[environment.A]", "[environment.A]"),
            ("[environment.a]\nunset = [\"memory\"]", "unset"),
            ("[env.staging]\nmemory = \"1MiB\"", "[environment.staging]"),
        ] {
            let error = Environments::take(&mut table(text)).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(Environments::take(&mut table("[env]\nA = \"1\"")).unwrap().is_empty());
    }
}
