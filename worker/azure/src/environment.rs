//! The environment of a handler's process (`HttpWorkerProcess.cs` of Azure's host). Pure; owns no
//! fds.

use std::path::Path;

/// What a process is told about itself.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// The port that it is to listen on, at 127.0.0.1.
    pub port: u16,
    /// Something that tells it from the app's other processes.
    pub worker_id: &'a str,
    /// Where it finds the app's folder.
    pub app_root: &'a Path,
}

/// The variables of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Names and values, each name once.
    pub variables: Vec<(String, String)>,
    /// The function's own variables that were left out, because the host sets them.
    pub reserved: Vec<String>,
}

/// What Azure's host sets unless the app's settings do.
const DEFAULTS: [(&str, &str); 3] = [
    ("FUNCTIONS_WORKER_RUNTIME", "custom"),
    ("FUNCTIONS_EXTENSION_VERSION", "~4"),
    ("AZURE_FUNCTIONS_ENVIRONMENT", "Production"),
];

/// Returns the environment of `process` for a function with the variables `own`. What else a
/// process needs, such as `PATH`, is the caller's to add.
#[must_use]
pub fn environment(process: Process<'_>, own: &[(String, String)]) -> Environment {
    let port = process.port.to_string();
    let root = process.app_root.to_string_lossy();
    // Each under its present name and the one from the time of `httpWorker`.
    let set = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", &*port),
        ("FUNCTIONS_HTTPWORKER_PORT", &*port),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", process.worker_id),
        ("FUNCTIONS_HTTPWORKER_ID", process.worker_id),
        ("FUNCTIONS_APP_ROOT_PATH", &*root),
    ];
    let mut environment = Environment {
        variables: set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        reserved: Vec::new(),
    };
    for (name, value) in own {
        if set.iter().any(|(reserved, _)| reserved == name) {
            environment.reserved.push(name.clone());
            continue;
        }
        // The last one counts, as in a shell.
        environment.variables.retain(|(known, _)| known != name);
        environment.variables.push((name.clone(), value.clone()));
    }
    for (name, value) in DEFAULTS {
        if !environment.variables.iter().any(|(known, _)| known == name) {
            environment.variables.push((name.to_owned(), value.to_owned()));
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_sets_its_own_and_keeps_the_functions() {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let process = Process { port: 8081, worker_id: "w1", app_root: Path::new("/app") };
        let variables = [
            own("GREETING", "hello"),
            own("FUNCTIONS_CUSTOMHANDLER_PORT", "1"),
            own("AZURE_FUNCTIONS_ENVIRONMENT", "Development"),
            own("GREETING", "hi"),
        ];
        let environment = environment(process, &variables);
        let value = |name: &str| {
            let mut found = environment.variables.iter().filter(|(known, _)| known == name);
            let value = found.next().unwrap().1.as_str();
            assert!(found.next().is_none(), "{name} is there twice");
            value
        };
        for (name, expected) in [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "8081"),
            ("FUNCTIONS_HTTPWORKER_PORT", "8081"),
            ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "w1"),
            ("FUNCTIONS_HTTPWORKER_ID", "w1"),
            ("FUNCTIONS_APP_ROOT_PATH", "/app"),
            ("FUNCTIONS_WORKER_RUNTIME", "custom"),
            ("AZURE_FUNCTIONS_ENVIRONMENT", "Development"),
            ("GREETING", "hi"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        assert_eq!(environment.reserved, ["FUNCTIONS_CUSTOMHANDLER_PORT"]);
    }
}
