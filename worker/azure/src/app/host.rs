//! What `host.json` says of the handler. Looks whether the executable is there; owns no fds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AppError, Executable, FunctionTimeout, stays_below};
use crate::document::{Document, DocumentError, Node};

/// The prefix of app settings that replace values of `host.json`.
const OVERRIDE_PREFIX: &str = "AzureFunctionsJobHost__";

/// The deepest value that an app setting replaces.
const OVERRIDE_DEPTH_MAX: usize = 16;

/// How requests that need no other binding reach the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forwarding {
    /// Not at all: every request is put into an envelope.
    Off,
    /// As they are.
    Original,
    /// As they are, but to the function's name, as the older section `httpWorker` has it.
    ToName,
}

/// What `host.json` says.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) executable: Executable,
    pub(super) command_line: Vec<String>,
    pub(super) working_directory: PathBuf,
    pub(super) port: Option<u16>,
    pub(super) forwarding: Forwarding,
    pub(super) route_prefix: String,
    pub(super) function_timeout: FunctionTimeout,
    pub(super) notes: Vec<String>,
}

/// Replaces values of `host.json` by app settings.
pub(super) fn override_by(host: &mut Document, variables: &[(String, String)]) {
    for (name, value) in variables {
        if let Some((prefix, path)) = name.split_at_checked(OVERRIDE_PREFIX.len())
            && prefix.eq_ignore_ascii_case(OVERRIDE_PREFIX)
        {
            let path: Vec<&str> = path.split("__").collect();
            if path.len() <= OVERRIDE_DEPTH_MAX && path.iter().all(|key| !key.is_empty()) {
                host.set(&path, value);
            }
        }
    }
}

impl Handler {
    /// Reads `host` of the app in the folder `root`.
    pub(super) fn read(host: &Node<'_>, root: &Path) -> Result<Self, AppError> {
        let mut notes = Vec::new();
        let (section, is_older) = match (host.get("customHandler"), host.get("httpWorker")) {
            (Some(section), Some(_)) => {
                notes.push(
                    "host.json has httpWorker beside customHandler; the latter counts".into(),
                );
                (section, false)
            }
            (Some(section), None) => (section, false),
            (None, Some(section)) => (section, true),
            (None, None) => return Err(AppError::NoHandler),
        };
        let description = section.get("description").ok_or(AppError::NoHandler)?;
        let path = description.get("defaultExecutablePath").ok_or(AppError::NoHandler)?;
        let boolean = |node: Option<Node<'_>>| node.map_or(Ok(false), |node| node.boolean());
        let forwarding = match boolean(section.get("enableForwardingHttpRequest"))? {
            _ if is_older => Forwarding::ToName,
            true => Forwarding::Original,
            false => Forwarding::Off,
        };
        Ok(Self {
            executable: executable(&path, root)?,
            command_line: command_line(&description)?,
            working_directory: working_directory(description.get("workingDirectory"))?,
            port: section.get("port").map(|node| port(&node)).transpose()?,
            forwarding,
            route_prefix: route_prefix(host)?,
            function_timeout: host
                .get("functionTimeout")
                .map_or(Ok(FunctionTimeout::Unset), |node| timeout(&node))?,
            notes,
        })
    }
}

/// Returns where the program is that `node` names: in the app if it is a file there, otherwise on
/// the host.
fn executable(node: &Node<'_>, root: &Path) -> Result<Executable, AppError> {
    let text = node.text()?;
    let (_, key) = node.place();
    let path = Path::new(&text);
    if text.trim().is_empty() {
        return Err(AppError::NoHandler);
    }
    if path.is_absolute() {
        return Ok(Executable::OnHost(path.to_owned()));
    }
    if !stays_below(path) {
        return Err(AppError::Outside { key, path: text });
    }
    if root.join(path).is_file() {
        return Ok(Executable::InApp(path.components().as_path().to_owned()));
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("exe")) {
        return Err(AppError::WindowsExecutable { key, path: text });
    }
    // A name with a variable is known only when the process is started.
    if text.contains(['/', '\\']) && !text.contains('%') {
        return Err(AppError::NoExecutable { key, path: text });
    }
    Ok(Executable::OnHost(path.to_owned()))
}

/// Returns the pieces of the command line behind the program. The host puts `defaultWorkerPath`
/// behind the arguments, in quotes, and `workerArguments` behind that.
fn command_line(description: &Node<'_>) -> Result<Vec<String>, DocumentError> {
    let texts = |name| description.get(name).map_or(Ok(Vec::new()), |node| node.texts());
    let mut pieces = texts("arguments")?;
    if let Some(path) = description.get("defaultWorkerPath") {
        let path = path.text()?;
        if !path.is_empty() {
            pieces.push(format!("\"{path}\""));
        }
    }
    pieces.extend(texts("workerArguments")?);
    Ok(pieces)
}

fn working_directory(node: Option<Node<'_>>) -> Result<PathBuf, AppError> {
    let Some(node) = node else { return Ok(PathBuf::new()) };
    let text = node.text()?;
    let path = Path::new(&text);
    if path.is_relative() && !stays_below(path) {
        let (_, key) = node.place();
        return Err(AppError::Outside { key, path: text });
    }
    Ok(path.to_owned())
}

fn port(node: &Node<'_>) -> Result<u16, DocumentError> {
    let port = node.text()?.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| node.expected("a port, 1 to 65535"))
}

fn route_prefix(host: &Node<'_>) -> Result<String, DocumentError> {
    match host.at(&["extensions", "http", "routePrefix"]) {
        Some(node) => Ok(node.text()?.trim_matches('/').to_owned()),
        None => Ok("api".to_owned()),
    }
}

/// Reads a time span of .NET: `[days.]hours:minutes[:seconds[.fraction]]`, or `-1`.
fn timeout(node: &Node<'_>) -> Result<FunctionTimeout, DocumentError> {
    let text = node.text()?;
    if text.trim() == "-1" {
        return Ok(FunctionTimeout::Unlimited);
    }
    let limit = time_span(text.trim()).filter(|limit| !limit.is_zero());
    let limit = limit.ok_or_else(|| node.expected("a time such as \"00:05:00\", or \"-1\""))?;
    Ok(FunctionTimeout::Limited(limit))
}

fn time_span(text: &str) -> Option<Duration> {
    let number = |text: &str, below: u64| {
        let digits = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number < below)
    };
    let (hours, rest) = text.split_once(':')?;
    let (days, hours) = match hours.split_once('.') {
        Some((days, hours)) => (number(days, 100_000)?, number(hours, 24)?),
        None => (0, number(hours, 24)?),
    };
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let minutes = number(minutes, 60)?;
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let seconds = number(seconds, 60)?;
    number(fraction, 10_000_000)?;
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    Some(Duration::from_secs(whole) + Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, root: &Path) -> Result<Handler, AppError> {
        let document = Document::parse("host.json", text.as_bytes()).unwrap();
        Handler::read(&document.root(), root)
    }

    fn of_description(description: &str) -> Result<Handler, AppError> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        std::fs::write(root.path().join("bin/handler"), "").unwrap();
        read(&format!(r#"{{"customHandler":{{"description":{description}}}}}"#), root.path())
    }

    #[test]
    fn the_program_is_in_the_app_or_on_the_host() {
        for (path, executable) in [
            ("bin/handler", Executable::InApp("bin/handler".into())),
            ("./bin/handler", Executable::InApp("bin/handler".into())),
            ("python3", Executable::OnHost("python3".into())),
            ("/usr/bin/env", Executable::OnHost("/usr/bin/env".into())),
            ("%JAVA_HOME%/bin/java", Executable::OnHost("%JAVA_HOME%/bin/java".into())),
        ] {
            let handler = of_description(&format!(r#"{{"defaultExecutablePath":"{path}"}}"#));
            let found = handler.unwrap().executable;
            // A path's "." is no part of what it names.
            let components = |executable: &Executable| match executable {
                Executable::InApp(path) | Executable::OnHost(path) => {
                    path.components().filter(|c| c.as_os_str() != ".").collect::<PathBuf>()
                }
            };
            assert_eq!(components(&found), components(&executable), "{path}");
            assert_eq!(
                std::mem::discriminant(&found),
                std::mem::discriminant(&executable),
                "{path}"
            );
        }
    }

    #[test]
    fn a_program_that_cannot_be_there_is_refused() {
        let error = |path: &str| {
            of_description(&format!(r#"{{"defaultExecutablePath":"{path}"}}"#)).unwrap_err()
        };
        assert!(matches!(error("bin/other"), AppError::NoExecutable { .. }));
        assert!(matches!(error("handler.exe"), AppError::WindowsExecutable { .. }));
        assert!(matches!(error("../handler"), AppError::Outside { .. }));
        assert!(matches!(error(""), AppError::NoHandler));
        assert!(matches!(of_description("{}"), Err(AppError::NoHandler)));
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(read("{}", root.path()), Err(AppError::NoHandler)));
    }

    #[test]
    fn the_command_line_has_arguments_and_the_worker_path_in_quotes() {
        let handler = of_description(
            r#"{"defaultExecutablePath":"java","defaultWorkerPath":"my app.jar",
                "arguments":["-jar"],"workerArguments":["--x"],"workingDirectory":"bin"}"#,
        );
        let handler = handler.unwrap();
        assert_eq!(handler.command_line, ["-jar", "\"my app.jar\"", "--x"]);
        assert_eq!(handler.working_directory, Path::new("bin"));
        let error =
            of_description(r#"{"defaultExecutablePath":"java","workingDirectory":"../../etc"}"#);
        assert!(matches!(error, Err(AppError::Outside { .. })));
    }

    #[test]
    fn forwarding_prefix_port_and_timeout_are_read() {
        let root = tempfile::tempdir().unwrap();
        let description = r#""description":{"defaultExecutablePath":"x"}"#;
        let one = |text: &str| read(text, root.path()).unwrap();
        let handler = one(&format!(
            r#"{{"customHandler":{{{description},"enableForwardingHttpRequest":true,"port":"81"}},
                "extensions":{{"http":{{"routePrefix":"/v1/"}}}},"functionTimeout":"00:00:30.5"}}"#
        ));
        assert_eq!(handler.forwarding, Forwarding::Original);
        assert_eq!(handler.route_prefix, "v1");
        assert_eq!(handler.port, Some(81));
        let half_a_minute = FunctionTimeout::Limited(Duration::from_millis(30_500));
        assert_eq!(handler.function_timeout, half_a_minute);

        let handler = one(&format!(r#"{{"customHandler":{{{description}}}}}"#));
        assert_eq!(handler.forwarding, Forwarding::Off);
        assert_eq!(handler.route_prefix, "api");
        assert_eq!(handler.function_timeout, FunctionTimeout::Unset);

        let older = one(&format!(r#"{{"httpWorker":{{{description}}}}}"#));
        assert_eq!(older.forwarding, Forwarding::ToName);
        let both = format!(r#"{{"httpWorker":{{}},"customHandler":{{{description}}}}}"#);
        assert_eq!(one(&both).notes.len(), 1);
        let port = format!(r#"{{"customHandler":{{{description},"port":0}}}}"#);
        assert!(matches!(
            read(&port, root.path()),
            Err(AppError::Document(DocumentError::Key { .. }))
        ));
    }

    #[test]
    fn time_spans() {
        for (text, seconds) in
            [("00:05:00", 300), ("00:05", 300), ("1.00:00:01", 86_401), ("23:59:59", 86_399)]
        {
            assert_eq!(time_span(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "24:00:00", "00:60:00", "00:00:60", "-1:00:00", "00:05:00.", "a:b"] {
            assert_eq!(time_span(text), None, "{text}");
        }
    }

    #[test]
    fn settings_replace_what_the_file_says() {
        let root = tempfile::tempdir().unwrap();
        let text = r#"{"customHandler":{"description":{"defaultExecutablePath":"local"}}}"#;
        let mut document = Document::parse("host.json", text.as_bytes()).unwrap();
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        override_by(
            &mut document,
            &[
                setting(
                    "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath",
                    "x",
                ),
                setting(
                    "azurefunctionsjobhost__customhandler__enableForwardingHttpRequest",
                    "true",
                ),
                setting("AzureFunctionsJobHost__customHandler__description__arguments", "[\"-v\"]"),
                setting("AzureFunctionsJobHost____", "x"),
                setting("AzureFunctionsJobHost", "x"),
            ],
        );
        let handler = Handler::read(&document.root(), root.path()).unwrap();
        assert_eq!(handler.executable, Executable::OnHost("x".into()));
        assert_eq!(handler.forwarding, Forwarding::Original);
        assert_eq!(handler.command_line, ["-v"]);
    }

    proptest! {
        #[test]
        fn any_text_for_a_time_span_is_survived(text in "[0-9:.é-]{0,20}") {
            let _ = time_span(&text);
        }
    }
}
