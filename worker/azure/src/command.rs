//! The handler's command line, as Azure's host makes it. Pure; owns no fds.
//!
//! The host joins all arguments with spaces, and lets .NET divide that again. So one argument
//! `"--mode fast"` of `host.json` becomes two, and quotes keep one together. Handlers rely on it,
//! so it is done here as well (`DefaultWorkerProcessFactory.cs`, and `ProcessStartInfo.Arguments`
//! of .NET for the division).
//!
//! `%NAME%` is replaced by the variable `NAME`, here after the division and not before it, as on
//! Azure: a value with a space or a quote in it, such as a secret, stays the one argument that
//! `host.json` has it in, and cannot add others.

use std::path::{Path, PathBuf};

use crate::app::{App, Executable};

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program: an absolute path, or a name that is to be looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Its working directory, an absolute path if the app's folder is one.
    pub working_directory: PathBuf,
}

impl App {
    /// Returns what to start, when the process finds the app's folder at `root` and has the
    /// environment `variables`.
    #[must_use]
    pub fn command(&self, root: &Path, variables: &[(String, String)]) -> Command {
        let program = match &self.executable {
            Executable::InApp(path) => root.join(path),
            Executable::OnHost(path) => match path.to_str() {
                Some(text) => PathBuf::from(expand(text, variables)),
                None => path.clone(),
            },
        };
        let divided = divide(&self.command_line.join(" "));
        Command {
            program,
            arguments: divided
                .into_iter()
                .filter_map(|argument| expanded_argument(argument, variables))
                .collect(),
            working_directory: match self.working_directory.as_os_str().is_empty() {
                true => root.to_owned(),
                false => root.join(&self.working_directory),
            },
        }
    }
}

/// Expands one argument. One that has nothing but variables without a value is left out, as on
/// Azure.
fn expanded_argument(argument: String, variables: &[(String, String)]) -> Option<String> {
    let expanded = expand(&argument, variables);
    (!expanded.is_empty() || argument.is_empty()).then_some(expanded)
}

/// Replaces `%NAME%` by the value of the variable `NAME`, and by nothing if there is none.
fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        expanded.push_str(before);
        match behind.split_once('%') {
            Some((name, behind)) if is_name(name) => {
                let variable = variables.iter().find(|(known, _)| known == name);
                expanded.push_str(variable.map_or("", |(_, value)| value));
                rest = behind;
            }
            _ => {
                expanded.push('%');
                rest = behind;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    !text.is_empty() && text.bytes().all(letter)
}

/// Divides a command line by the rules of .NET, which are those of C programs for Windows: spaces
/// and tabs separate, double quotes keep together, two of them within quotes are one, and a
/// backslash makes a quote literal.
fn divide(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut argument: Option<String> = None;
    let mut is_quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            ' ' | '\t' if !is_quoted => arguments.extend(argument.take()),
            '\\' => {
                let mut count = 1;
                while rest.next_if_eq(&'\\').is_some() {
                    count += 1;
                }
                let is_before_quote = rest.peek() == Some(&'"');
                let literal = if is_before_quote { count / 2 } else { count };
                let argument = argument.get_or_insert_default();
                argument.extend(std::iter::repeat_n('\\', literal));
                if is_before_quote && count % 2 == 1 {
                    rest.next();
                    argument.push('"');
                }
            }
            '"' => {
                let argument = argument.get_or_insert_default();
                if is_quoted && rest.next_if_eq(&'"').is_some() {
                    argument.push('"');
                } else {
                    is_quoted = !is_quoted;
                }
            }
            other => argument.get_or_insert_default().push(other),
        }
    }
    arguments.extend(argument);
    arguments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn command_lines_are_divided_as_dotnet_does_it() {
        for (line, arguments) in [
            ("", vec![]),
            ("  a\tb ", vec!["a", "b"]),
            ("--mode fast", vec!["--mode", "fast"]),
            ("\"my app.jar\" -x", vec!["my app.jar", "-x"]),
            ("a\"b c\"d", vec!["ab cd"]),
            ("\"\"", vec![""]),
            ("\"a\"\"b\"", vec!["a\"b"]),
            (r#"\"a\" C:\x\y \\"b c\\""#, vec!["\"a\"", r"C:\x\y", r"\b c\"]),
            ("\"open end", vec!["open end"]),
        ] {
            assert_eq!(divide(line), arguments, "{line}");
        }
    }

    #[test]
    fn variables_are_replaced() {
        let variables = [("A".to_owned(), "x y".to_owned())];
        for (text, expanded) in [
            ("%A%", "x y"),
            ("--p=%A%/%B%", "--p=x y/"),
            ("100% of 5%", "100% of 5%"),
            ("%%", "%%"),
            ("%", "%"),
            ("50%%A%", "50%x y"),
        ] {
            assert_eq!(expand(text, &variables), expanded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn quoted_arguments_come_out_as_they_went_in(
            arguments in proptest::collection::vec("[a-zé \t]{0,8}", 0..6)
        ) {
            let quoted: Vec<String> =
                arguments.iter().map(|argument| format!("\"{argument}\"")).collect();
            prop_assert_eq!(divide(&quoted.join(" ")), arguments);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}", line in "[a\"\\\\ %A]{0,24}") {
            let _ = (divide(&text), expand(&text, &[]), divide(&line), expand(&line, &[]));
        }
    }
}
