//! `sockhop new`: the beginning of a function, in a folder of its own. The templates are in the
//! binary, so this needs no network. Owns no fds beyond a call.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Misused;

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The function's name, and the folder's, which must not be there
    name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// How it is called: an HTTP handler, a program that is run for each request, an AWS Lambda, or
    /// a server on $PORT (default: the first of them that the language has)
    #[arg(long, value_name = "KIND")]
    kind: Option<Called>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Go,
    C,
    Js,
    Ts,
    Python,
    Zig,
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Called {
    Http,
    Command,
    Lambda,
    Server,
}

impl fmt::Display for Called {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.to_possible_value();
        formatter.write_str(named.as_ref().map_or("", |value| value.get_name()))
    }
}

/// A file of a template: where it goes, and what is in it.
type File = (&'static str, &'static str);

/// What a function begins with.
struct Template {
    language: Language,
    called: Called,
    files: &'static [File],
    /// What must be installed.
    tools: &'static str,
    /// The command that tests it, and what that does.
    test: &'static str,
}

/// The files of a folder of templates, by their names there. `gitignore` gets its dot.
macro_rules! files {
    ($folder:literal, $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../templates/", $folder, "/", $name)))),+]
    };
}

const README: &str = include_str!("../../templates/README.md");
/// The interfaces that a handler is made for, for the tools that want them as files.
const WIT: &[File] = &[
    ("wit/world.wit", include_str!("../../templates/wit/world.wit")),
    ("wit/deps/io.wit", include_str!("../../templates/wit/io.wit")),
    ("wit/deps/clocks.wit", include_str!("../../templates/wit/clocks.wit")),
    ("wit/deps/http.wit", include_str!("../../templates/wit/http.wit")),
];

const CARGO_TEST: &str = "cargo test              # tests it";
const GO_TEST: &str = "go test                 # tests it";
const BY_CURL: &str = "curl http://127.0.0.1:8080/{{name}}/     # calls it there";

const TEMPLATES: &[Template] = &[
    Template {
        language: Language::Rust,
        called: Called::Http,
        files: files!("rust-http", "Cargo.toml", "src/main.rs", "sockhop.toml", "gitignore"),
        tools: "Rust with `rustup target add wasm32-wasip2`",
        test: CARGO_TEST,
    },
    Template {
        language: Language::Rust,
        called: Called::Command,
        files: files!("rust-command", "Cargo.toml", "src/main.rs", "sockhop.toml", "gitignore"),
        tools: "Rust with `rustup target add wasm32-wasip2`",
        test: CARGO_TEST,
    },
    Template {
        language: Language::Rust,
        called: Called::Lambda,
        files: files!("rust-lambda", "Cargo.toml", "src/main.rs", "sockhop.toml", "gitignore"),
        tools: "Rust",
        test: CARGO_TEST,
    },
    Template {
        language: Language::Rust,
        called: Called::Server,
        files: files!("rust-server", "Cargo.toml", "src/main.rs", "sockhop.toml", "gitignore"),
        tools: "Rust",
        test: CARGO_TEST,
    },
    Template {
        language: Language::Go,
        called: Called::Command,
        files: files!(
            "go-command",
            "go.mod",
            "main.go",
            "main_test.go",
            "sockhop.toml",
            "gitignore"
        ),
        tools: "Go 1.21 or newer",
        test: GO_TEST,
    },
    Template {
        language: Language::Go,
        called: Called::Lambda,
        files: files!(
            "go-lambda",
            "go.mod",
            "main.go",
            "runtime.go",
            "main_test.go",
            "sockhop.toml",
            "gitignore"
        ),
        tools: "Go 1.21 or newer",
        test: GO_TEST,
    },
    Template {
        language: Language::Go,
        called: Called::Server,
        files: files!(
            "go-server",
            "go.mod",
            "main.go",
            "main_test.go",
            "sockhop.toml",
            "gitignore"
        ),
        tools: "Go 1.21 or newer",
        test: GO_TEST,
    },
    Template {
        language: Language::C,
        called: Called::Command,
        files: files!("c-command", "main.c", "sockhop.toml", "gitignore"),
        tools: "clang, lld and wasi-libc (Debian: `clang lld wasi-libc libclang-rt-dev-wasm32`)",
        test: BY_CURL,
    },
    Template {
        language: Language::C,
        called: Called::Server,
        files: files!("c-server", "main.c", "sockhop.toml", "gitignore"),
        tools: "a C compiler",
        test: BY_CURL,
    },
    Template {
        language: Language::Js,
        called: Called::Http,
        files: files!(
            "js-http",
            "package.json",
            "app.js",
            "build.mjs",
            "sockhop.toml",
            "gitignore"
        ),
        tools: "Node.js 20 or newer with npm, which installs componentize-js at the first build",
        test: BY_CURL,
    },
    Template {
        language: Language::Js,
        called: Called::Server,
        files: files!("js-server", "server", "sockhop.toml", "gitignore"),
        tools: "Node.js on the node's machine, in /usr/bin",
        test: BY_CURL,
    },
    Template {
        language: Language::Ts,
        called: Called::Http,
        files: files!(
            "ts-http",
            "package.json",
            "tsconfig.json",
            "app.ts",
            "build.mjs",
            "sockhop.toml",
            "gitignore"
        ),
        tools: "Node.js 20 or newer with npm, which installs componentize-js at the first build",
        test: "npm run check           # checks its types",
    },
    Template {
        language: Language::Python,
        called: Called::Http,
        files: files!("python-http", "app.py", "sockhop.toml", "gitignore"),
        tools: "componentize-py (`pip install componentize-py`)",
        test: BY_CURL,
    },
    Template {
        language: Language::Python,
        called: Called::Server,
        files: files!("python-server", "server", "sockhop.toml", "gitignore"),
        tools: "Python 3 on the node's machine, in /usr/bin",
        test: BY_CURL,
    },
    Template {
        language: Language::Zig,
        called: Called::Command,
        files: files!("zig-command", "main.zig", "sockhop.toml", "gitignore"),
        tools: "Zig 0.17 (`pip install ziglang` has it as `python3 -m ziglang`)",
        test: BY_CURL,
    },
];

/// Why nothing is begun.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error("{0:?} is there already; choose another name, or remove it")]
    Exists(PathBuf),
    #[error("{path:?} cannot be written: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes what the command line asks for, and says how to go on.
pub(super) fn run(new: &New) -> anyhow::Result<()> {
    abi::name::check(&new.name).map_err(|error| Misused(error.to_string()))?;
    let template = find(new.lang, new.kind).map_err(Misused)?;
    let folder = Path::new(&new.name);
    write(template, folder, &new.name)?;
    say!("{} has a function in it; go on with", folder.display());
    say!("  cd {} && sockhop dev", folder.display());
    eprintln!("it takes {}", template.tools);
    Ok(())
}

/// Returns the template, or a sentence about what there is instead.
fn find(language: Language, called: Option<Called>) -> Result<&'static Template, String> {
    let of_language = || TEMPLATES.iter().filter(|template| template.language == language);
    let found =
        of_language().find(|template| called.is_none_or(|called| template.called == called));
    found.ok_or_else(|| {
        let kinds: Vec<String> =
            of_language().map(|template| format!("--kind {}", template.called)).collect();
        let why = match (language, called) {
            (Language::Go, Some(Called::Http)) => {
                ": Go's own compiler makes no components; as a command it has net/http all the same"
            }
            (Language::Js | Language::Ts | Language::Python, Some(Called::Lambda)) => {
                ": what is built for AWS Lambda with its own tools runs as it is (`sockhop guide native`)"
            }
            _ => "",
        };
        let [language, called] =
            [language.to_possible_value(), called.and_then(|called| called.to_possible_value())];
        let named = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        format!(
            "there is no template for --lang {} --kind {}{why}; there is {}",
            named(language),
            named(called),
            kinds.join(" and ")
        )
    })
}

fn write(template: &Template, folder: &Path, name: &str) -> Result<(), NewError> {
    let what = format!("A function for sockhop, of the kind {}.", template.called);
    let readme = README
        .replace("{{what}}", &what)
        .replace("{{test}}", template.test)
        .replace("{{tools}}", template.tools);
    let wit = if wants_wit(template) { WIT } else { &[] };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => NewError::Exists(path),
            _ => NewError::Write { path, source },
        }
    };
    fs::create_dir(folder).map_err(failed(folder))?;
    let files = template.files.iter().chain(wit).copied();
    for (file, text) in files.chain([("README.md", readme.as_str())]) {
        let path = folder.join(if file == "gitignore" { ".gitignore" } else { file });
        let written = path.parent().map_or(Ok(()), fs::create_dir_all);
        written
            .and_then(|()| fs::write(&path, text.replace("{{name}}", name)))
            .and_then(|()| match text.starts_with("#!") {
                true => fs::set_permissions(&path, fs::Permissions::from_mode(0o755)),
                false => Ok(()),
            })
            .map_err(failed(&path))?;
    }
    Ok(())
}

/// Returns whether the tool that builds it reads the interfaces from files.
fn wants_wit(template: &Template) -> bool {
    template.called == Called::Http && template.language != Language::Rust
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::project;

    #[test]
    fn each_template_is_a_project_with_a_readme_of_ten_lines_or_so() {
        for template in TEMPLATES {
            let above = tempfile::tempdir().unwrap();
            let folder = above.path().join("my-function");
            write(template, &folder, "my-function").unwrap();
            let found = project::builds(&folder, project::Wanted::default()).unwrap().unwrap();
            assert_eq!(found.sources.len(), 1, "{folder:?}");
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            assert!(readme.lines().count() <= 12 && !readme.contains("{{"), "{readme}");
            for (file, _) in template.files.iter().filter(|(file, _)| *file != "gitignore") {
                let text = fs::read_to_string(folder.join(file)).unwrap();
                assert!(!text.contains("{{"), "{file}: {text}");
            }
            assert!(fs::read_to_string(folder.join(".gitignore")).unwrap().contains(".sockhop/"));
            let again = write(template, &folder, "my-function").unwrap_err().to_string();
            assert!(again.contains("is there already"), "{again}");
        }
    }

    #[test]
    fn what_there_is_no_template_for_is_refused_with_what_there_is() {
        assert!(find(Language::Rust, None).is_ok_and(|found| found.called == Called::Http));
        assert!(find(Language::Zig, None).is_ok_and(|found| found.called == Called::Command));
        let why = |language, called| find(language, Some(called)).err().unwrap_or_default();
        let go = why(Language::Go, Called::Http);
        assert!(
            go.contains("--kind command and --kind lambda and --kind server")
                && go.contains("no components"),
            "{go}"
        );
        assert!(why(Language::Python, Called::Lambda).contains("as it is"));
    }
}
