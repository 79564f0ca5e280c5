//! Which node a command talks to, and why that one. What the command line says counts before the
//! project's environment, this before variables, these before the context in use, and without all
//! of them it is the node on this machine.
//!
//! Pure: the variables and the contexts are arguments. Owns no fds.

use std::fmt;
use std::path::PathBuf;

use super::address::{Address, DATA_FOLDERS, Target};
use super::contexts::{Contexts, ContextsError, LOCAL, Token};
use super::tls::Trust;

/// The variables that say which node is meant, and how it is reached.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    context: Option<String>,
    node: Option<String>,
    data: Option<PathBuf>,
    ca: Option<PathBuf>,
    token: Option<Token>,
}

impl Variables {
    /// Those of this process. An empty one counts as none.
    pub(super) fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            context: text("SOCKHOP_CONTEXT"),
            node: text("SOCKHOP_NODE"),
            data: path("SOCKHOP_DATA"),
            ca: path("SOCKHOP_CA"),
            token: text(TOKEN_VARIABLE).map(Token),
        }
    }
}

/// What has the token for a node that is named by its address.
pub(super) const TOKEN_VARIABLE: &str = "SOCKHOP_TOKEN";

/// A node, and how it is reached.
#[derive(Debug)]
pub(super) struct Choice {
    /// None is the control socket in the first of `folders` that exists.
    pub(super) address: Option<Address>,
    /// The data folders that may be the node's.
    pub(super) folders: Vec<PathBuf>,
    pub(super) trust: Trust,
    /// The token, and where it was found. None is the file in the first of `folders` with one.
    pub(super) token: Option<(Token, String)>,
    pub(super) reason: Reason,
}

/// Why a node was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// This option says so.
    Option(&'static str),
    /// This variable does.
    Variable(&'static str),
    /// It is this context's.
    Context { name: String, by: String },
    /// Nothing says otherwise.
    OnThisMachine,
    /// The command has started it itself.
    Own,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(option) => write!(f, "by {option}"),
            Self::Variable(name) => write!(f, "by the variable {name}"),
            Self::Context { name, by } => write!(f, "the context {name:?}, {by}"),
            Self::OnThisMachine => f.write_str("found on this machine"),
            Self::Own => f.write_str("started by this command"),
        }
    }
}

/// Why no node can be chosen.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChoiceError {
    #[error(
        "the variables SOCKHOP_NODE and SOCKHOP_CONTEXT are both set, and each names a node; unset one of them"
    )]
    Both,
    #[error("the variable SOCKHOP_NODE is {text:?}: {reason}")]
    Node { text: String, reason: String },
    #[error("{source} (the context was named {by})")]
    Named { source: ContextsError, by: String },
    #[error(transparent)]
    Contexts(#[from] ContextsError),
}

/// Chooses the node that `target` means. The contexts are read only if they count.
pub(super) fn choose(
    target: &Target,
    variables: &Variables,
    contexts: impl Fn() -> Result<Contexts, ContextsError>,
) -> Result<Choice, ChoiceError> {
    let of_context = |name: &str, by: String| {
        let contexts = contexts()?;
        context(&contexts, name, by, target, variables)
    };
    let of_address = |address: &Address, reason| {
        // That of a socket needs none.
        let contexts = match address {
            Address::Socket(_) => Contexts::default(),
            Address::Http(_) | Address::Https(..) => contexts()?,
        };
        Ok(at(address, reason, &contexts, target, variables))
    };
    let of_project = target.project.as_ref();
    if target.own {
        Ok(local(target, variables, Reason::Own))
    } else if let Some(name) = &target.context {
        of_context(name, "by --context".to_owned())
    } else if let Some(address) = &target.node {
        of_address(address, Reason::Option("--node"))
    } else if target.data.is_some() {
        Ok(local(target, variables, Reason::Option("--data")))
    } else if let Some((name, by)) = of_project {
        of_context(name, format!("by {by}"))
    } else if variables.node.is_some() && variables.context.is_some() {
        Err(ChoiceError::Both)
    } else if let Some(text) = &variables.node {
        let address: Address =
            text.parse().map_err(|reason| ChoiceError::Node { text: text.clone(), reason })?;
        of_address(&address, Reason::Variable("SOCKHOP_NODE"))
    } else if let Some(name) = &variables.context {
        of_context(name, "by the variable SOCKHOP_CONTEXT".to_owned())
    } else if variables.data.is_some() {
        Ok(local(target, variables, Reason::Variable("SOCKHOP_DATA")))
    } else {
        let contexts = contexts()?;
        match contexts.current.clone() {
            Some(name) => {
                let by = "in use by `sockhop context use`".to_owned();
                context(&contexts, &name, by, target, variables)
            }
            None => Ok(local(target, variables, Reason::OnThisMachine)),
        }
    }
}

fn folders(target: &Target, variables: &Variables) -> Vec<PathBuf> {
    let named = target.data.as_ref().or(variables.data.as_ref());
    named.map_or_else(|| DATA_FOLDERS.map(PathBuf::from).to_vec(), |data| vec![data.clone()])
}

fn local(target: &Target, variables: &Variables, reason: Reason) -> Choice {
    let folders = folders(target, variables);
    Choice { address: None, folders, trust: Trust::System, token: None, reason }
}

/// A context's node has its own token and certificates: those in variables may be another's.
fn context(
    contexts: &Contexts,
    name: &str,
    by: String,
    target: &Target,
    variables: &Variables,
) -> Result<Choice, ChoiceError> {
    let reason = Reason::Context { name: name.to_owned(), by: by.clone() };
    if name == LOCAL {
        return Ok(local(target, variables, reason));
    }
    let found = contexts.get(name).map_err(|source| ChoiceError::Named { source, by })?;
    let own = found.certificates.clone().map_or(Trust::System, Trust::Pem);
    Ok(Choice {
        address: Some(found.url.clone()),
        folders: Vec::new(),
        trust: target.ca.clone().map_or(own, Trust::File),
        token: Some((found.token.clone(), format!("the context {name:?}"))),
        reason,
    })
}

/// The node at an address. If the user has logged in there, its token and certificates are known.
fn at(
    address: &Address,
    reason: Reason,
    contexts: &Contexts,
    target: &Target,
    variables: &Variables,
) -> Choice {
    let known = contexts.of_url(address).filter(|_| target.data.is_none());
    let own = known.and_then(|(_, context)| context.certificates.clone());
    let ca = target.ca.as_ref().or(variables.ca.as_ref());
    let given = variables.token.clone();
    let given = given.map(|token| (token, format!("the variable {TOKEN_VARIABLE}")));
    let of_context =
        known.map(|(name, context)| (context.token.clone(), format!("the context {name:?}")));
    Choice {
        address: Some(address.clone()),
        folders: folders(target, variables),
        trust: ca.cloned().map(Trust::File).or(own.map(Trust::Pem)).unwrap_or(Trust::System),
        token: given.or(of_context),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::super::contexts::Context;
    use super::*;

    fn contexts(current: &str) -> Contexts {
        let mut contexts = Contexts::default();
        for name in ["one", "two"] {
            let context = Context {
                url: format!("https://{name}").parse().unwrap(),
                token: Token(format!("token-of-{name}")),
                certificates: Some(format!("pem-of-{name}")),
            };
            contexts.put(name, context).unwrap();
        }
        contexts.choose(current).unwrap();
        contexts
    }

    fn chosen(target: &Target, variables: &Variables, current: &str) -> Choice {
        choose(target, variables, || Ok(contexts(current))).unwrap()
    }

    fn told(choice: &Choice) -> String {
        let address = choice.address.as_ref().map_or("-".to_owned(), ToString::to_string);
        format!("{address}, {}", choice.reason)
    }

    #[test]
    fn a_flag_counts_before_the_project_before_a_variable_before_the_context_in_use() {
        let mut variables = Variables::default();
        let mut target = Target::default();
        let say = |target: &Target, variables: &Variables, current| {
            told(&chosen(target, variables, current))
        };
        assert_eq!(say(&target, &variables, LOCAL), "-, found on this machine");
        let in_use = "in use by `sockhop context use`";
        assert_eq!(
            say(&target, &variables, "one"),
            format!("https://one, the context \"one\", {in_use}")
        );
        variables.data = Some("/data".into());
        assert_eq!(say(&target, &variables, "one"), "-, by the variable SOCKHOP_DATA");
        variables.context = Some("two".to_owned());
        assert_eq!(
            say(&target, &variables, "one"),
            "https://two, the context \"two\", by the variable SOCKHOP_CONTEXT"
        );
        variables.context = None;
        variables.node = Some("http://h:1".to_owned());
        assert_eq!(say(&target, &variables, "one"), "http://h:1, by the variable SOCKHOP_NODE");
        target.project = Some(("two".to_owned(), "[environment.x]".to_owned()));
        assert_eq!(
            say(&target, &variables, "one"),
            "https://two, the context \"two\", by [environment.x]"
        );
        for (flag, expected) in [
            (Target { data: Some("/d".into()), ..target.clone() }, "-, by --data"),
            (Target { node: Some("s".parse().unwrap()), ..target.clone() }, "\"s\", by --node"),
            (
                Target { context: Some("one".to_owned()), ..target.clone() },
                "https://one, the context \"one\", by --context",
            ),
            (
                Target { context: Some(LOCAL.to_owned()), ..target.clone() },
                "-, the context \"local\", by --context",
            ),
        ] {
            assert_eq!(say(&flag, &variables, "two"), expected);
        }
    }

    #[test]
    fn a_context_has_its_own_token_and_a_known_url_has_that_of_its_context() {
        let variables = Variables {
            token: Some(Token("of-another".to_owned())),
            ca: Some("/ca".into()),
            ..Variables::default()
        };
        let choice = chosen(&Target::default(), &variables, "one");
        assert_eq!(choice.token.unwrap().0, Token("token-of-one".to_owned()));
        assert_eq!(choice.trust, Trust::Pem("pem-of-one".to_owned()));
        let at = |url: &str| Target { node: Some(url.parse().unwrap()), ..Target::default() };
        let choice = chosen(&at("https://two"), &variables, LOCAL);
        assert_eq!(choice.token.unwrap().0, Token("of-another".to_owned()));
        assert_eq!(choice.trust, Trust::File("/ca".into()));
        let choice = chosen(&at("https://two"), &Variables::default(), LOCAL);
        assert_eq!(choice.token.unwrap().0, Token("token-of-two".to_owned()));
        assert_eq!(choice.trust, Trust::Pem("pem-of-two".to_owned()));
        let with_data = Target { data: Some("/d".into()), ..at("https://two") };
        let choice = chosen(&with_data, &Variables::default(), LOCAL);
        assert!(choice.token.is_none() && choice.folders == [PathBuf::from("/d")]);
        assert!(chosen(&at("https://three"), &Variables::default(), "one").token.is_none());
    }

    #[test]
    fn what_cannot_be_chosen_is_told_with_what_named_it() {
        let why = |target: &Target, variables: &Variables| {
            choose(target, variables, || Ok(contexts(LOCAL))).unwrap_err().to_string()
        };
        let both = Variables {
            context: Some("one".to_owned()),
            node: Some("s".to_owned()),
            ..Variables::default()
        };
        assert!(why(&Target::default(), &both).contains("unset one"));
        let bad = Variables { node: Some("http://x".to_owned()), ..Variables::default() };
        assert!(why(&Target::default(), &bad).contains("SOCKHOP_NODE is \"http://x\""));
        let gone = Target { context: Some("three".to_owned()), ..Target::default() };
        let error = why(&gone, &Variables::default());
        assert!(error.contains("one, two, local") && error.contains("by --context"), "{error}");
        // A broken file is in nobody's way who names a folder.
        let broken = || Err(ContextsError::NoFolder);
        let folder = Target { data: Some("/d".into()), ..Target::default() };
        assert!(choose(&folder, &Variables::default(), broken).is_ok());
        assert!(choose(&Target::default(), &Variables::default(), broken).is_err());
    }
}
