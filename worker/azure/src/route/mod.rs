//! Which function a request is for. Pure; owns no fds.
//!
//! Routes are templates of ASP.NET Core ([`template`]), below the app's prefix. Unlike Azure, which
//! takes the first route that fits in the order of the folders, the most specific one is taken, by
//! ASP.NET Core's own order of precedence; and a path whose routes take other methods is answered
//! 405 with `Allow`, not 404.

mod constraint;
mod matching;
mod path;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderValue, Method};

use self::path::Path;
use self::template::Template;
pub use self::template::TemplateError;
use crate::function::Function;

/// Why a function's route cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key} is {template:?}, which cannot be served: {source}")]
pub struct RouteError {
    /// The file, relative to the app's folder.
    pub file: String,
    /// The key in it.
    pub key: String,
    /// The route, with the app's prefix.
    pub template: String,
    /// What is wrong with it.
    pub source: TemplateError,
}

/// The function that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// This function.
    Function {
        /// The function.
        function: &'a Function,
        /// The route's parameters and their values, percent-decoded. Optional ones that the path
        /// does not have are left out.
        parameters: Vec<(String, String)>,
    },
    /// None for this method: the reply is 405.
    MethodNotAllowed {
        /// The methods that there are functions for, as the header `Allow` has them.
        allow: HeaderValue,
    },
    /// None: the reply is 404.
    NotFound,
}

/// The routes of an app, the most specific ones first.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    /// Each route with the position of its function.
    routes: Vec<(Template, usize)>,
}

impl Router {
    /// Returns a router for `functions`, whose routes begin with `prefix`, and a sentence for each
    /// function that another one hides.
    pub(crate) fn new(
        prefix: &str,
        functions: &[Function],
    ) -> Result<(Self, Vec<String>), RouteError> {
        let mut routes = Vec::new();
        for (position, function) in functions.iter().enumerate() {
            let route = function.route.trim_start_matches('/');
            let text = if prefix.is_empty() { route.into() } else { format!("{prefix}/{route}") };
            let template = text.parse::<Template>().map_err(|source| {
                let (file, key) = function.route_place.clone();
                let key = if key.is_empty() { "the route".to_owned() } else { key };
                RouteError { file, key, template: text, source }
            })?;
            routes.push((template, position));
        }
        routes.sort_by_cached_key(|(template, position)| (template.precedence(), *position));
        let hidden = hidden(&routes, functions);
        Ok((Self { routes }, hidden))
    }

    /// Returns the function of `functions` that a request is for.
    pub(crate) fn find<'a>(
        &self,
        functions: &'a [Function],
        method: &Method,
        path: &str,
    ) -> Found<'a> {
        let path = Path::new(path);
        let mut allowed = BTreeSet::new();
        for (template, position) in &self.routes {
            let Some(function) = functions.get(*position) else { continue };
            let takes = takes(function, method);
            // What is known to be allowed already needs no matching.
            if !takes && function.methods.iter().all(|method| allowed.contains(method.as_str())) {
                continue;
            }
            let Some(parameters) = template.matches(&path) else { continue };
            if takes {
                return Found::Function { function, parameters };
            }
            allowed.extend(function.methods.iter().map(Method::as_str));
            if function.methods.contains(&Method::GET) {
                allowed.insert("HEAD");
            }
        }
        if allowed.is_empty() {
            return Found::NotFound;
        }
        let allow = allowed.into_iter().collect::<Vec<_>>().join(", ");
        // Methods are tokens, which a header can have.
        HeaderValue::try_from(allow)
            .map_or(Found::NotFound, |allow| Found::MethodNotAllowed { allow })
    }
}

/// Returns whether `function` takes `method`. One that takes GET takes HEAD (RFC 9110 9.3.2).
fn takes(function: &Function, method: &Method) -> bool {
    let methods = &function.methods;
    methods.is_empty()
        || methods.contains(method)
        || (method == Method::HEAD && methods.contains(&Method::GET))
}

/// Returns a sentence for each function of which an equal route of another function takes requests.
fn hidden(routes: &[(Template, usize)], functions: &[Function]) -> Vec<String> {
    let mut by_shape: BTreeMap<String, Vec<&Function>> = BTreeMap::new();
    let mut sentences = Vec::new();
    for (template, position) in routes {
        let Some(function) = functions.get(*position) else { continue };
        let earlier = by_shape.entry(template.shape()).or_default();
        let overlaps = |other: &&&Function| {
            other.methods.is_empty()
                || function.methods.is_empty()
                || function.methods.iter().any(|method| takes(other, method))
        };
        if let Some(other) = earlier.iter().find(overlaps) {
            sentences.push(format!(
                "{} has the same route as {} and shares methods with it; the latter is called",
                function.name, other.name
            ));
        }
        earlier.push(function);
    }
    sentences
}

#[cfg(test)]
mod tests;
