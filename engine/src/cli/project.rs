//! `sockhop.toml`: which one belongs to what is deployed, and what it says. Owns no fds.
//!
//! A folder's is the one in it, which names the file to deploy as `source`. A file's is the nearest
//! one in its folder or above, as cargo and git look for theirs: a build puts the file far below.
//! One that names another file as its `source` is that file's, and says nothing of this one.
//!
//! `[build]` says how a function's file is made. One with tables `[function.NAME]` is of several functions; what stands above the tables is said
//! of each of them. Tables `[environment.NAME]` say what is otherwise in an environment.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use abi::name::NameError;
use api::options::{Build, Options};
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::environment::{EnvironmentError, Environments, in_environment, suffix};
use super::native;

const FILE: &str = "sockhop.toml";
/// The key whose tables are functions.
const FUNCTION: &str = "function";

/// What is asked for of a project.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// Of several functions, the only one; else what the function is to be called.
    pub(super) name: Option<&'a str>,
    /// The environment.
    pub(super) environment: Option<&'a str>,
}

/// A function to be deployed.
#[derive(Debug)]
pub(super) struct Project {
    /// The file with the function.
    pub(super) file: PathBuf,
    /// The `sockhop.toml` that was read.
    pub(super) read: Option<PathBuf>,
    /// What it says.
    pub(super) options: Options,
    /// What follows a name that comes from the file.
    pub(super) suffix: String,
    /// Whether a table names it, and `--name` says only which one is meant.
    pub(super) is_of_several: bool,
}

impl Project {
    /// A file that no `sockhop.toml` says anything of.
    pub(super) fn of_file_alone(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            read: None,
            options: Options::default(),
            suffix: String::new(),
            is_of_several: false,
        }
    }
}

/// What is built before a folder is deployed.
#[derive(Debug)]
pub(super) struct Builds {
    /// The folder of the `sockhop.toml`.
    pub(super) folder: PathBuf,
    /// Each build once, in the order of the functions.
    pub(super) builds: Vec<Build>,
    /// The functions' files, which a build may make.
    pub(super) sources: Vec<PathBuf>,
    /// The files of their variables.
    pub(super) env_files: Vec<PathBuf>,
}

/// What a `sockhop.toml` says.
#[derive(Debug)]
enum Said {
    /// Of one function.
    One(Box<Options>),
    /// Of several, in the order of the file.
    Several(Vec<Function>),
}

/// A function that a table `[function.NAME]` is of.
#[derive(Debug)]
struct Function {
    table: String,
    /// With its name, which in an environment is another.
    options: Options,
}

impl Function {
    fn is_wanted(&self, wanted: Wanted<'_>) -> bool {
        wanted.name.is_none_or(|name| name == self.table)
    }
}

/// Why it is not known what to deploy, or how.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProjectError {
    #[error(
        "{folder:?} has no {FILE}; name the file: `sockhop deploy FILE.wasm`, or write a {FILE} there with the key \
         source = \"FILE.wasm\". A folder that is a native function has the program `bootstrap` or `server` in it, or \
         `host.json`; a static site has `index.html`, or is deployed with --kind static"
    )]
    NoProject { folder: PathBuf },
    #[error(
        "{path:?} does not say what to deploy{of}; write for example source = {example:?}, relative to it"
    )]
    NoSource { path: PathBuf, of: String, example: &'static str },
    #[error("the file {file:?}, the source in {path:?}{of}, does not exist; {next}")]
    Missing { file: PathBuf, path: PathBuf, of: String, next: String },
    #[error(
        "{0:?} does not exist; expected a .wasm file, a native program (see --kind), or a folder with one or with a {FILE}"
    )]
    NoFile(PathBuf),
    #[error("{path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{path:?} is not understood; expected the options of `sockhop deploy`, with _ for -: {source}"
    )]
    Unknown { path: PathBuf, source: Box<toml::de::Error> },
    #[error(
        "{path:?} is not understood in [function.{table}]; expected the options of `sockhop deploy`, with _ for -: {source}"
    )]
    Table { path: PathBuf, table: String, source: Box<toml::de::Error> },
    #[error(
        "{path:?} has the key unset{of}, which is for the command line: leave the option itself out"
    )]
    Unset { path: PathBuf, of: String },
    #[error(
        "{path:?} has the key name{of}; where there are tables [function.NAME], these name the functions"
    )]
    Named { path: PathBuf, of: String },
    #[error("{path:?} has a table [function.{table}]: {source}")]
    BadName { path: PathBuf, table: String, source: NameError },
    #[error("{path:?} has the key function, and no table [function.NAME]")]
    NoTable { path: PathBuf },
    #[error("{path:?}: {source}")]
    Environment { path: PathBuf, source: EnvironmentError },
    #[error("{path:?} has no table [environment.{name}]; {there}")]
    NoEnvironment { path: PathBuf, name: String, there: String },
    #[error(
        "--environment {name}: {file:?} is not what a {FILE} with a table [environment.{name}] names as its source; leave \
         it out, or deploy the folder with the {FILE}"
    )]
    EnvironmentOfNothing { file: PathBuf, name: String },
    #[error("{path:?} has no table [function.{name}]; it has {there}")]
    NotThere { path: PathBuf, name: String, there: String },
    #[error(
        "{file:?} is the source of several functions in {path:?}: {names}; say which with --name"
    )]
    Which { file: PathBuf, path: PathBuf, names: String },
}

/// What `sockhop deploy` means with `given`, a file or folder, or without: then it is this folder.
pub(super) fn find(given: Option<&Path>, wanted: Wanted<'_>) -> Result<Vec<Project>, ProjectError> {
    let given = given.unwrap_or(Path::new("."));
    match std::fs::metadata(given) {
        Ok(meta) if meta.is_dir() => of_folder(given, wanted),
        Ok(_) => Ok(vec![of_file(given, wanted)?]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ProjectError::NoFile(given.to_owned()))
        }
        Err(source) => Err(ProjectError::Unreadable { path: given.to_owned(), source }),
    }
}

/// What is to be built of the project in `folder`. Returns `None` if the folder has no
/// `sockhop.toml`.
pub(super) fn builds(folder: &Path, wanted: Wanted<'_>) -> Result<Option<Builds>, ProjectError> {
    let all = match read(&folder.join(FILE), wanted.environment)? {
        None => return Ok(None),
        Some(Said::One(options)) => vec![*options],
        Some(Said::Several(all)) => {
            let all = all.into_iter().filter(|function| function.is_wanted(wanted));
            all.map(|function| function.options).collect()
        }
    };
    let sources = all.iter().filter_map(source).map(|source| folder.join(source)).collect();
    let env_files = all.iter().flat_map(|options| &options.env_files);
    let env_files = env_files.map(|file| folder.join(file)).collect();
    let mut builds: Vec<Build> = Vec::new();
    for build in all.into_iter().filter_map(|options| options.build) {
        if !build.command.is_empty() && !builds.contains(&build) {
            builds.push(build);
        }
    }
    Ok(Some(Builds { folder: folder.to_owned(), builds, sources, env_files }))
}

/// The file that is deployed: what the file says, or what its build makes.
fn source(options: &Options) -> Option<&PathBuf> {
    let made = || options.build.as_ref().and_then(|build| build.output.as_ref());
    options.source.as_ref().or_else(made)
}

fn of_folder(folder: &Path, wanted: Wanted<'_>) -> Result<Vec<Project>, ProjectError> {
    let path = if folder == Path::new(".") { PathBuf::from(FILE) } else { folder.join(FILE) };
    let said = match read(&path, wanted.environment)? {
        // The folder itself is the function.
        None if native::is_function(folder) => return Ok(vec![alone(folder, wanted)?]),
        None => return Err(ProjectError::NoProject { folder: folder.to_owned() }),
        Some(said) => said,
    };
    let of_path = |options: Options, of: String, is_of_several: bool| {
        let project = sourced(folder, &path, options, of)?;
        let suffix = wanted.environment.map(suffix).unwrap_or_default();
        Ok(Project { suffix, is_of_several, ..project })
    };
    let all = match said {
        Said::One(options) => return Ok(vec![of_path(*options, String::new(), false)?]),
        Said::Several(all) => all,
    };
    let there = names(&all);
    let chosen: Vec<Function> =
        all.into_iter().filter(|function| function.is_wanted(wanted)).collect();
    match wanted.name {
        Some(name) if chosen.is_empty() => {
            Err(ProjectError::NotThere { path, name: name.to_owned(), there })
        }
        _ => {
            let one = |Function { table, options }| of_path(options, in_table(&table), true);
            chosen.into_iter().map(one).collect()
        }
    }
}

/// A file of which no `sockhop.toml` says anything, and so no environment either.
fn alone(file: &Path, wanted: Wanted<'_>) -> Result<Project, ProjectError> {
    match wanted.environment {
        None => Ok(Project::of_file_alone(file)),
        Some(name) => {
            Err(ProjectError::EnvironmentOfNothing { file: file.to_owned(), name: name.to_owned() })
        }
    }
}

/// A function with its source, which is there. `of` says where in the file it is told.
fn sourced(
    folder: &Path,
    path: &Path,
    options: Options,
    of: String,
) -> Result<Project, ProjectError> {
    let path = path.to_owned();
    let cargo = folder.join("Cargo.toml").exists();
    let Some(source) = source(&options) else {
        let example = if cargo { "target/wasm32-wasip2/release/NAME.wasm" } else { "NAME.wasm" };
        return Err(ProjectError::NoSource { path, of, example });
    };
    let file = path.with_file_name(source);
    if !file.exists() {
        let next = match build_target(source) {
            _ if options.build.is_some() => {
                "its build has not made it: mend the key output or source".to_owned()
            }
            Some(target) if cargo => {
                format!("build it first, for example with: cargo build --release --target {target}")
            }
            _ => "build it first, or mend the key source".to_owned(),
        };
        return Err(ProjectError::Missing { file, path, of, next });
    }
    Ok(Project { read: Some(path), options, ..Project::of_file_alone(&file) })
}

fn in_table(name: &str) -> String {
    format!(" in [function.{name}]")
}

fn names(all: &[Function]) -> String {
    all.iter().map(|function| function.table.as_str()).collect::<Vec<_>>().join(", ")
}

/// The target that cargo's path to a file names.
fn build_target(source: &Path) -> Option<&str> {
    source.iter().filter_map(|part| part.to_str()).find(|part| part.starts_with("wasm32-"))
}

fn of_file(file: &Path, wanted: Wanted<'_>) -> Result<Project, ProjectError> {
    let unreadable = |source| ProjectError::Unreadable { path: file.to_owned(), source };
    let mut path = file.with_file_name(FILE);
    let mut read_there = read(&path, wanted.environment)?;
    if read_there.is_none() {
        let whole = std::path::absolute(file).map_err(unreadable)?;
        for folder in whole.ancestors().skip(2) {
            path = folder.join(FILE);
            read_there = read(&path, wanted.environment)?;
            if read_there.is_some() {
                break;
            }
        }
    }
    let is_source = |options: &Options| {
        source(options).is_some_and(|source| same(&path.with_file_name(source), file))
    };
    let (options, is_of_several) = match read_there {
        Some(Said::One(options)) if source(&options).is_none() || is_source(&options) => {
            (*options, false)
        }
        Some(Said::Several(all)) => {
            let of_this = all.into_iter().filter(|function| is_source(&function.options));
            let mut of_this: Vec<Function> =
                of_this.filter(|function| function.is_wanted(wanted)).collect();
            if of_this.len() > 1 {
                return Err(ProjectError::Which {
                    file: file.to_owned(),
                    names: names(&of_this),
                    path,
                });
            }
            match of_this.pop() {
                Some(function) => (function.options, true),
                None => return alone(file, wanted),
            }
        }
        _ => return alone(file, wanted),
    };
    let suffix = wanted.environment.map(suffix).unwrap_or_default();
    Ok(Project { file: file.to_owned(), read: Some(path), options, suffix, is_of_several })
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// What the file says of an environment, or without. None if there is no such file.
fn read(path: &Path, environment: Option<&str>) -> Result<Option<Said>, ProjectError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ProjectError::Unreadable { path: path.to_owned(), source }),
    };
    let unknown =
        |source| ProjectError::Unknown { path: path.to_owned(), source: Box::new(source) };
    let in_environments = |source| ProjectError::Environment { path: path.to_owned(), source };
    let tables = toml::from_str::<Tables>(&text).map_err(unknown)?.function;
    let mut shared: toml::Table = toml::from_str(&text).map_err(unknown)?;
    let environments = Environments::take(&mut shared).map_err(in_environments)?;
    let Some(tables) = tables else {
        // Of the text itself, a mistake is told with its line.
        let options: Options = match environments.is_empty() {
            true => toml::from_str(&text).map_err(unknown)?,
            false => shared.try_into().map_err(unknown)?,
        };
        let options = without_unset(path, options, String::new())?;
        let options = match (environment, environment.and_then(|name| environments.get(name))) {
            (Some(name), Some(own)) => in_environment(options, own.clone(), name),
            (Some(name), None) => return Err(no_environment(path, name, environments.names())),
            (None, _) => options,
        };
        return Ok(Some(Said::One(Box::new(options))));
    };
    let mut order: Vec<(usize, String)> =
        tables.into_iter().map(|(name, table)| (table.span().start, name)).collect();
    order.sort_unstable();
    let mut tables = match shared.remove(FUNCTION) {
        Some(toml::Value::Table(tables)) if !tables.is_empty() => tables,
        _ => return Err(ProjectError::NoTable { path: path.to_owned() }),
    };
    let shared: Options = shared.try_into().map_err(unknown)?;
    let shared = unnamed(path, without_unset(path, shared, String::new())?, String::new())?;
    let mut all = Vec::with_capacity(order.len());
    let mut of_functions = Vec::with_capacity(order.len());
    for (_, name) in order {
        let Some(mut table) = tables.remove(&name) else { continue };
        let of = in_table(&name);
        abi::name::check(&name).map_err(|source| ProjectError::BadName {
            path: path.to_owned(),
            table: name.clone(),
            source,
        })?;
        let own_environments = match table.as_table_mut() {
            Some(table) => Environments::take(table).map_err(in_environments)?,
            None => Environments::default(),
        };
        let own: Options = table.try_into().map_err(|source| ProjectError::Table {
            path: path.to_owned(),
            table: name.clone(),
            source: Box::new(source),
        })?;
        let own = unnamed(path, without_unset(path, own, of.clone())?, of)?;
        let options = Options { name: Some(name.clone()), ..own.over(shared.clone()) };
        all.push(Function { table: name, options });
        of_functions.push(own_environments);
    }
    let Some(name) = environment else { return Ok(Some(Said::Several(all))) };
    let of_all = environments.get(name);
    if of_all.is_none() && of_functions.iter().all(|own| own.get(name).is_none()) {
        let names = of_functions.iter().flat_map(Environments::names).chain(environments.names());
        return Err(no_environment(path, name, names));
    }
    let of_all = of_all.cloned().unwrap_or_default();
    let of_all = unnamed(path, of_all, format!(" in [environment.{name}]"))?;
    let all = all.into_iter().zip(of_functions).map(|(function, own)| {
        let own = own.get(name).cloned().unwrap_or_default().over(of_all.clone());
        Function { options: in_environment(function.options, own, name), ..function }
    });
    Ok(Some(Said::Several(all.collect())))
}

fn no_environment<'a>(
    path: &Path,
    name: &str,
    there: impl Iterator<Item = &'a String>,
) -> ProjectError {
    let mut there: Vec<&str> = there.map(String::as_str).collect();
    there.sort_unstable();
    there.dedup();
    let there = match there.is_empty() {
        true => "it has none; what is otherwise there is said in one".to_owned(),
        false => format!("it has {}", there.join(", ")),
    };
    ProjectError::NoEnvironment { path: path.to_owned(), name: name.to_owned(), there }
}

/// Which functions a file is of, and where in it each is.
#[derive(Deserialize)]
struct Tables {
    function: Option<BTreeMap<String, Spanned<IgnoredAny>>>,
}

fn without_unset(path: &Path, options: Options, of: String) -> Result<Options, ProjectError> {
    match options.unset.is_empty() {
        true => Ok(options),
        false => Err(ProjectError::Unset { path: path.to_owned(), of }),
    }
}

fn unnamed(path: &Path, options: Options, of: String) -> Result<Options, ProjectError> {
    match options.name {
        None => Ok(options),
        Some(_) => Err(ProjectError::Named { path: path.to_owned(), of }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use abi::function::Size;

    use super::*;

    #[test]
    fn a_files_project_is_beside_it_or_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let built = folder.path().join("target/wasm32-wasip2/release");
        fs::create_dir_all(&built).unwrap();
        let wasm = built.join("a.wasm");
        fs::write(&wasm, "").unwrap();
        let found = || find(Some(&wasm), named(None)).unwrap().remove(0);
        assert_eq!(found().options, Options::default());
        let above = folder.path().join(FILE);
        fs::write(&above, "name = \"b\"\nmemory = \"32MiB\"\n[env]\nA = \"1\"\n").unwrap();
        assert_eq!(
            (found().read, found().options.name.as_deref()),
            (Some(above.clone()), Some("b"))
        );
        assert_eq!(found().options.limits.memory, Some(Size(32 << 20)));
        fs::write(&above, "name = \"b\"\nsource = \"target/wasm32-wasip2/release/a.wasm\"\n")
            .unwrap();
        assert_eq!(found().read, Some(above.clone()));
        fs::write(&above, "name = \"b\"\nsource = \"target/wasm32-wasip2/release/other.wasm\"\n")
            .unwrap();
        assert_eq!((found().read, found().options), (None, Options::default()));
        let beside = built.join(FILE);
        fs::write(&beside, "").unwrap();
        assert_eq!(found().read, Some(beside));
    }

    #[test]
    fn a_folder_says_what_to_deploy() {
        let folder = tempfile::tempdir().unwrap();
        let why = || find(Some(folder.path()), named(None)).unwrap_err().to_string();
        assert!(why().contains("has no sockhop.toml") && why().contains("source = "), "{}", why());
        let toml = folder.path().join(FILE);
        fs::write(&toml, "name = \"b\"\n").unwrap();
        assert!(why().contains("source = \"NAME.wasm\""), "{}", why());
        fs::write(&toml, "source = \"target/wasm32-wasip2/release/a.wasm\"\n").unwrap();
        assert!(why().contains("a.wasm") && why().contains("build it first"), "{}", why());
        fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        assert!(why().contains("cargo build --release --target wasm32-wasip2"), "{}", why());
        fs::create_dir_all(folder.path().join("target/wasm32-wasip2/release")).unwrap();
        let wasm = folder.path().join("target/wasm32-wasip2/release/a.wasm");
        fs::write(&wasm, "").unwrap();
        assert_eq!(find(Some(folder.path()), named(None)).unwrap()[0].file, wasm);
    }

    #[test]
    fn a_build_makes_what_is_deployed_and_is_named_once_for_several() {
        let text = "[build]\ncommand = \"make\"\noutput = \"a.wasm\"\n";
        let one = project(text, &["a.wasm"]);
        assert_eq!(find(Some(one.path()), named(None)).unwrap()[0].file, one.path().join("a.wasm"));
        let found = builds(one.path(), named(None)).unwrap().unwrap();
        assert_eq!((found.builds.len(), found.sources), (1, vec![one.path().join("a.wasm")]));
        let unmade = project(text, &[]);
        let why = find(Some(unmade.path()), named(None)).unwrap_err().to_string();
        assert!(why.contains("its build has not made it"), "{why}");
        let several = format!(
            "{text}[function.a]\n[function.b]\n[function.c]\nsource = \"c\"\n\
             [function.c.build]\ncommand = \"make c\"\n"
        );
        let several = project(&several, &[]);
        let commands = |name| -> Vec<String> {
            let found = builds(several.path(), named(name)).unwrap().unwrap();
            found.builds.into_iter().map(|build| build.command).collect()
        };
        assert_eq!(commands(None), ["make", "make c"]);
        assert_eq!(commands(Some("c")), ["make c"]);
        let none = tempfile::tempdir().unwrap();
        assert!(builds(none.path(), named(None)).unwrap().is_none());
    }

    #[test]
    fn mistakes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "memroy = 3\n").unwrap();
        let error = find(Some(folder.path()), named(None)).unwrap_err().to_string();
        assert!(error.contains("memroy") && error.contains("expected"), "{error}");
        fs::write(folder.path().join(FILE), "unset = [\"memory\"]\n").unwrap();
        assert!(find(Some(folder.path()), named(None)).unwrap_err().to_string().contains("unset"));
        let missing = folder.path().join("x.wasm");
        assert!(find(Some(&missing), named(None)).unwrap_err().to_string().contains("x.wasm"));
    }

    fn named(name: Option<&str>) -> Wanted<'_> {
        Wanted { name, environment: None }
    }

    /// A folder with these files and a `sockhop.toml` that says `text`.
    fn project(text: &str, files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|file| fs::write(folder.path().join(file), "").unwrap());
        fs::write(folder.path().join(FILE), text).unwrap();
        folder
    }

    #[test]
    fn a_project_of_several_functions_has_them_in_its_order_with_what_they_share() {
        let folder = project(
            "memory = \"32MiB\"\nsource = \"a.wasm\"\n[env]\nA = \"1\"\nB = \"1\"\n\
             [function.web]\n[function.web.env]\nB = \"2\"\n\
             [function.jobs]\nsource = \"b.wasm\"\nmemory = \"16MiB\"\n[function.admin]\n",
            &["a.wasm", "b.wasm", "c.wasm"],
        );
        let at = |file: &str| folder.path().join(file);
        let all = find(Some(folder.path()), named(None)).unwrap();
        let told = all.iter().map(|one| {
            (one.options.name.as_deref().unwrap(), one.file.clone(), one.options.limits.memory)
        });
        let (small, large) = (Some(Size(16 << 20)), Some(Size(32 << 20)));
        let expected = [
            ("web", at("a.wasm"), large),
            ("jobs", at("b.wasm"), small),
            ("admin", at("a.wasm"), large),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        let env = |at: usize| {
            let pairs = all[at].options.env.iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!([env(0), env(1)], ["A=1 B=2", "A=1 B=1"]);
        let one = find(Some(folder.path()), named(Some("jobs"))).unwrap();
        assert_eq!((one.len(), &one[0].file), (1, &at("b.wasm")));
        // A file's table is the one that has it for its source.
        let of = |file: &str, name| {
            find(Some(&at(file)), named(name)).map(|found| found[0].options.name.clone())
        };
        assert_eq!(of("b.wasm", None).unwrap().as_deref(), Some("jobs"));
        assert_eq!(of("c.wasm", None).unwrap(), None);
        assert_eq!(of("a.wasm", Some("admin")).unwrap().as_deref(), Some("admin"));
        let why = of("a.wasm", None).unwrap_err().to_string();
        assert!(why.contains("web, admin") && why.contains("--name"), "{why}");
    }

    #[test]
    fn mistakes_in_a_table_are_told_with_it() {
        for (text, words) in [
            ("[function.a]\nmemroy = 3\n", &["[function.a]", "memroy"][..]),
            ("[function.a]\nmemory = true\n", &["[function.a]", "memory"]),
            ("[function.a]\ntimeout = \"x\"\n", &["[function.a]", "timeout"]),
            ("[function.a]\nmemory = \"32MiB\"\n", &["[function.a]", "source = "]),
            ("[function.a]\nsource = \"x.wasm\"\n", &["[function.a]", "x.wasm", "does not exist"]),
            ("[function.a]\nname = \"b\"\n", &["[function.a]", "key name"]),
            ("[function.a]\nunset = [\"memory\"]\n", &["[function.a]", "unset"]),
            ("[function.A]\nsource = \"a.wasm\"\n", &["[function.A]", "\"A\""]),
            ("name = \"b\"\n[function.a]\nsource = \"a.wasm\"\n", &["key name", "tables"]),
            ("memroy = 3\n[function.a]\nsource = \"a.wasm\"\n", &["memroy"]),
            ("[function]\n", &["[function.NAME]"]),
            ("function = 3\n", &["function"]),
        ] {
            let folder = project(text, &["a.wasm"]);
            let why = find(Some(folder.path()), named(None)).unwrap_err().to_string();
            assert!(
                why.contains(FILE) && words.iter().all(|word| why.contains(word)),
                "{text}: {why}"
            );
        }
        let folder = project("source = \"a.wasm\"\n[function.a]\n[function.b]\n", &["a.wasm"]);
        let why = find(Some(folder.path()), named(Some("c"))).unwrap_err().to_string();
        assert!(why.contains("[function.c]") && why.contains("a, b"), "{why}");
    }

    #[test]
    fn an_environment_is_of_one_function_or_of_several() {
        let staging = |name| Wanted { name, environment: Some("staging") };
        let one = project(
            "source = \"a.wasm\"\n[environment.staging]\nsource = \"b.wasm\"\n",
            &["a.wasm", "b.wasm"],
        );
        let found = find(Some(one.path()), staging(None)).unwrap().remove(0);
        assert_eq!((found.file, found.suffix.as_str()), (one.path().join("b.wasm"), "-staging"));
        assert_eq!(find(Some(one.path()), named(None)).unwrap()[0].suffix, "");
        let why = find(Some(one.path()), Wanted { name: None, environment: Some("live") });
        let why = why.unwrap_err().to_string();
        assert!(why.contains("[environment.live]") && why.contains("it has staging"), "{why}");
        let why = find(Some(&one.path().join("a.wasm")), staging(None)).unwrap_err().to_string();
        assert!(why.contains("--environment staging"), "{why}");

        let text = "source = \"a.wasm\"\n[environment.staging]\nmemory = \"16MiB\"\n\
            [function.web]\n[function.web.environment.staging]\nname = \"site\"\n\
            [function.jobs]\nmemory = \"32MiB\"\n";
        let several = project(text, &["a.wasm"]);
        let told = |wanted| -> Vec<(String, Option<Size>)> {
            let found = find(Some(several.path()), wanted).unwrap().into_iter();
            found.map(|one| (one.options.name.unwrap(), one.options.limits.memory)).collect()
        };
        let small = Some(Size(16 << 20));
        let both = [("site".to_owned(), small), ("jobs-staging".to_owned(), small)];
        assert_eq!(told(staging(None)), both);
        assert_eq!(told(staging(Some("web"))), both[..1]);
        assert_eq!(told(named(Some("jobs"))), [("jobs".to_owned(), Some(Size(32 << 20)))]);
        let named_for_all = project(&text.replacen("memory", "name", 1), &["a.wasm"]);
        let why = find(Some(named_for_all.path()), staging(None)).unwrap_err().to_string();
        assert!(why.contains("key name in [environment.staging]"), "{why}");
    }
}
