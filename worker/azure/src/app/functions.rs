//! What `function.json` says, and which of an app's functions can be served. Pure; owns no fds.

use std::collections::HashMap;

use http::Method;

use super::host::{Forwarding, Handler};
use super::{AppError, AuthLevels, FUNCTIONS_MAX, ReadOptions};
use crate::document::{DocumentError, Node};
use crate::function::{AuthLevel, Function, Mode};

/// The methods of routes in `host.json`, which name none.
const ALL_METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
];

/// The functions found so far, and why others are not served.
#[derive(Debug, Default)]
pub(super) struct Selection {
    functions: Vec<Function>,
    skipped: Vec<String>,
    notes: Vec<String>,
    /// The names seen, in lower case.
    names: HashMap<String, String>,
}

impl Selection {
    /// Adds the function in the folder `name` with the `function.json` `file`, unless it cannot be
    /// served.
    pub(super) fn add(
        &mut self,
        name: &str,
        file: &Node<'_>,
        handler: &Handler,
        options: ReadOptions<'_>,
    ) -> Result<(), AppError> {
        if !is_name(name) {
            return Err(AppError::FunctionName { folder: name.to_owned() });
        }
        if let Some(other) = self.names.insert(name.to_ascii_lowercase(), name.to_owned()) {
            return Err(AppError::FunctionTwice { one: other, other: name.to_owned() });
        }
        if is_disabled(name, file, options.variables)? {
            self.skipped.push(format!("{name} is disabled"));
            return Ok(());
        }
        let bindings = file.get("bindings").map_or(Ok(Vec::new()), |node| node.elements())?;
        let Some(bindings) = Bindings::sort(name, &bindings, &mut self.skipped)? else {
            return Ok(());
        };
        let function = bindings.function(name, file, handler.forwarding)?;
        let level = (bindings.trigger, "authLevel");
        self.check_level(&function, level, options.auth_levels)?;
        self.functions.push(function);
        Ok(())
    }

    /// Adds the functions that `host.json` itself has as `customHandler.http.routes`. Azure names
    /// them by their number.
    pub(super) fn add_routes(
        &mut self,
        host: &Node<'_>,
        options: ReadOptions<'_>,
    ) -> Result<(), AppError> {
        let Some(section) = host.at(&["customHandler", "http"]) else { return Ok(()) };
        let routes = section.get("routes").map_or(Ok(Vec::new()), |node| node.elements())?;
        if routes.is_empty() {
            return Ok(());
        }
        if !self.names.is_empty() {
            return Err(AppError::TwoSources);
        }
        if routes.len() > FUNCTIONS_MAX {
            return Err(AppError::TooManyFunctions { max: FUNCTIONS_MAX });
        }
        let forwards = host.at(&["customHandler", "enableForwardingHttpRequest"]);
        let mode = match forwards.map_or(Ok(false), |node| node.boolean())? {
            true => Mode::Forward,
            false => Mode::Envelope,
        };
        for (index, entry) in routes.iter().enumerate() {
            let route = entry.get("route").ok_or_else(|| entry.expected("a route"))?;
            let level = entry
                .get("authorizationLevel")
                .or_else(|| section.get("defaultAuthorizationLevel"));
            let function = Function {
                name: format!("http-handler{}", index + 1),
                methods: ALL_METHODS.to_vec(),
                route: route.text()?,
                trigger_name: "req".to_owned(),
                output_name: Some("res".to_owned()),
                output_is_binary: false,
                auth_level: level.as_ref().map_or(Ok(AuthLevel::Function), auth_level)?,
                mode,
                route_place: route.place(),
            };
            let level = (entry, "authorizationLevel");
            self.check_level(&function, level, options.auth_levels)?;
            self.functions.push(function);
        }
        Ok(())
    }

    /// Returns the functions, and adds what is to be said of them to `notes`.
    pub(super) fn finish(self, notes: &mut Vec<String>) -> Result<Vec<Function>, AppError> {
        match (self.functions.is_empty(), self.skipped.is_empty()) {
            (true, true) => Err(AppError::NoFunctions),
            (true, false) => Err(AppError::NothingToServe { reasons: self.skipped.join("; ") }),
            (false, _) => {
                notes
                    .extend(self.skipped.into_iter().map(|reason| format!("not served: {reason}")));
                notes.extend(self.notes);
                Ok(self.functions)
            }
        }
    }

    /// Refuses a function that asks callers for a key, or notes that everybody can call it. Its
    /// level is, or would be, the member `key` of `node`.
    fn check_level(
        &mut self,
        function: &Function,
        (node, key): (&Node<'_>, &str),
        levels: AuthLevels,
    ) -> Result<(), AppError> {
        let level = function.auth_level.name();
        match (function.auth_level, levels) {
            (AuthLevel::Anonymous, _) => {}
            (_, AuthLevels::NotEnforced) => self.notes.push(format!(
                "{}: the authorization level {level} is not enforced, so everybody can call it",
                function.name
            )),
            (_, AuthLevels::AnonymousOnly) => {
                let (file, place) = node.place();
                let key = format!("{place}.{key}");
                return Err(AppError::KeyNeeded { file, key, level });
            }
        }
        Ok(())
    }
}

fn auth_level(node: &Node<'_>) -> Result<AuthLevel, DocumentError> {
    // .NET reads the names of an enum in any case, and its numbers too.
    match node.text()?.to_ascii_lowercase().as_str() {
        "anonymous" | "0" => Ok(AuthLevel::Anonymous),
        "user" | "1" => Ok(AuthLevel::User),
        "function" | "2" => Ok(AuthLevel::Function),
        "system" | "3" => Ok(AuthLevel::System),
        "admin" | "4" => Ok(AuthLevel::Admin),
        _ => Err(node.expected("anonymous, function or admin")),
    }
}

/// The bindings of a function that can be served.
struct Bindings<'a, 'n> {
    trigger: &'a Node<'n>,
    output: Option<&'a Node<'n>>,
}

impl<'a, 'n> Bindings<'a, 'n> {
    /// Sorts the bindings of the function `name`. Returns `None`, and adds the reason to `skipped`,
    /// if the function cannot be served.
    fn sort(
        name: &str,
        bindings: &'a [Node<'n>],
        skipped: &mut Vec<String>,
    ) -> Result<Option<Self>, DocumentError> {
        let (mut trigger, mut output, mut other) = (None, None, None);
        for binding in bindings {
            let kind =
                binding.get("type").ok_or_else(|| binding.expected("a binding with a type"))?;
            let kind = kind.text()?;
            if kind.eq_ignore_ascii_case("httpTrigger") {
                trigger = Some(binding);
            } else if kind.eq_ignore_ascii_case("http") {
                output = Some(binding);
            } else if kind.to_ascii_lowercase().ends_with("trigger") {
                skipped.push(format!(
                    "{name} has the trigger {kind}, and only httpTrigger is served here"
                ));
                return Ok(None);
            } else {
                other = Some(kind);
            }
        }
        // What such a binding should fill or send would be missing without a word.
        if let Some(kind) = other {
            skipped.push(format!(
                "{name} has a binding of the type {kind}, which needs Azure's services; \
                 let the handler call the service itself"
            ));
            return Ok(None);
        }
        let Some(trigger) = trigger else {
            skipped.push(format!("{name} has no trigger in its bindings"));
            return Ok(None);
        };
        Ok(Some(Self { trigger, output }))
    }

    fn function(
        &self,
        name: &str,
        file: &Node<'_>,
        forwarding: Forwarding,
    ) -> Result<Function, DocumentError> {
        let trigger = self.trigger;
        let binding_name = |node: &Node<'_>| {
            node.get("name").ok_or_else(|| node.expected("a binding with a name"))?.text()
        };
        let route = trigger.get("route");
        let template = route.as_ref().map_or(Ok(String::new()), Node::text)?;
        let mode = match (forwarding, self.output) {
            (Forwarding::Off, _) | (_, None) => Mode::Envelope,
            (Forwarding::Original, Some(_)) => Mode::Forward,
            (Forwarding::ToName, Some(_)) => Mode::ForwardToName,
        };
        let is_binary = |node: &Node<'_>| match node.get("dataType") {
            Some(node) => Ok(node.text()?.eq_ignore_ascii_case("binary")),
            None => Ok::<_, DocumentError>(false),
        };
        let level = trigger.get("authLevel");
        Ok(Function {
            name: name.to_owned(),
            methods: trigger.get("methods").map_or(Ok(Vec::new()), |node| methods(&node))?,
            route: if template.is_empty() { name.to_owned() } else { template },
            trigger_name: binding_name(trigger)?,
            output_name: self.output.map(binding_name).transpose()?,
            output_is_binary: self.output.map_or(Ok(false), is_binary)?,
            auth_level: level.as_ref().map_or(Ok(AuthLevel::Function), auth_level)?,
            mode,
            route_place: route.as_ref().unwrap_or(file).place(),
        })
    }
}

fn methods(node: &Node<'_>) -> Result<Vec<Method>, DocumentError> {
    let mut methods = Vec::new();
    for text in node.texts()? {
        let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes());
        methods.push(method.map_err(|_| node.expected("an array of HTTP methods"))?);
    }
    Ok(methods)
}

/// Returns whether Azure takes `name` for a function's.
fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= 128
        && name.bytes().all(rest)
        && !name.eq_ignore_ascii_case("host")
}

/// Returns whether the function is disabled, by its file or by an app setting. In the file it can
/// be the name of a setting, too.
fn is_disabled(
    name: &str,
    file: &Node<'_>,
    variables: &[(String, String)],
) -> Result<bool, DocumentError> {
    let is_set = |setting: &str| {
        variables.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case(setting)
                && (value.eq_ignore_ascii_case("true") || value == "1")
        })
    };
    let by_file = match file.get("disabled") {
        Some(node) => {
            let text = node.text()?;
            text.eq_ignore_ascii_case("true") || is_set(text.trim_matches('%'))
        }
        None => false,
    };
    // A variable's name has no dots in most shells, so Azure takes underscores on Linux.
    Ok(by_file
        || is_set(&format!("AzureWebJobs.{name}.Disabled"))
        || is_set(&format!("AzureWebJobs_{name}_Disabled")))
}
