//! Files of variables, `NAME=VALUE` a line, as `.env` files are written. Owns no fds beyond a call.
//!
//! dotenvy reads them: comments, quotes, `export`, and `$OTHER` for another variable of the file or
//! of this process. A value is never shown, so neither is a line that is not understood.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use api::options::Options;

/// The most bytes of a file: many times what a function may have of variables.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a file of variables is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvFileError {
    #[error("the variables in {place} cannot be read: {source}")]
    Unreadable { place: String, source: std::io::Error },
    #[error(
        "the variables in {place} are not understood after {after}; expected NAME=VALUE a line, with quotes around a value \
         that has spaces, and single ones around one with $"
    )]
    Line { place: String, after: String },
}

/// The variables of a file, in its order.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    let place = format!("{path:?}");
    match std::fs::File::open(path) {
        Ok(file) => parse(file, place),
        Err(source) => Err(EnvFileError::Unreadable { place, source }),
    }
}

/// The same of what is in no file, as stdin.
pub(super) fn parse(text: impl Read, place: String) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in dotenvy::from_read_iter(text.take(FILE_BYTES_MAX)) {
        match pair {
            Ok(pair) => pairs.push(pair),
            Err(dotenvy::Error::Io(source)) => {
                return Err(EnvFileError::Unreadable { place, source });
            }
            Err(_) => {
                let last = pairs.last();
                let after = last.map_or("its beginning".to_owned(), |(name, _)| name.clone());
                return Err(EnvFileError::Line { place, after });
            }
        }
    }
    Ok(pairs)
}

/// Puts the variables of the options' files among their others, which count before them. A relative
/// path is made whole by `whole`.
pub(super) fn load(
    options: Options,
    whole: impl Fn(&Path) -> PathBuf,
) -> Result<Options, EnvFileError> {
    let mut env = BTreeMap::new();
    for path in &options.env_files {
        env.extend(read(&whole(path))?);
    }
    env.extend(options.env);
    Ok(Options { env: env.into_iter().collect(), env_files: Vec::new(), ..options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String)>, EnvFileError> {
        parse(text.as_bytes(), "stdin".to_owned())
    }

    #[test]
    fn variables_are_read_as_in_other_tools() {
        let text = "# a comment\nA=1\nexport B=\"two words\"\n\nC='$A stays'\nD=\"$A ${B}\"\nE=\nF=x # y\n";
        let pairs = of(text).unwrap();
        let lines: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(lines, ["A=1", "B=two words", "C=$A stays", "D=1 two words", "E=", "F=x"]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_told_without_what_it_has() {
        for text in ["A=1\nhush hush\n", "A=1\nB=hush hush\n", "A=1\nB='hush\n"] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains("after A") && !error.contains("hush"), "{error}");
        }
        assert!(of("hush hush").unwrap_err().to_string().contains("its beginning"));
        let error = read(Path::new("/nowhere/.env")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/.env") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn later_files_count_before_earlier_ones_and_single_variables_before_both() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), "A=1\nB=1\nC=1\n").unwrap();
        std::fs::write(folder.path().join("two"), "B=2\nC=2\n").unwrap();
        let options = Options {
            env: vec![("C".to_owned(), "3".to_owned())],
            env_files: vec!["one".into(), "two".into()],
            ..Options::default()
        };
        let loaded = load(options, |path| folder.path().join(path)).unwrap();
        let env: Vec<String> =
            loaded.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((env.join(" ").as_str(), loaded.env_files.len()), ("A=1 B=2 C=3", 0));
    }
}
