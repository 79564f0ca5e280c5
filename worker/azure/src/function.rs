//! A function of an app, as `function.json` describes it. Pure; owns no fds.

use http::Method;

/// The name of the binding that stands for what a function returns.
pub(crate) const RETURN_BINDING: &str = "$return";

/// Who may call a function, as its trigger says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthLevel {
    /// Everybody.
    Anonymous,
    /// Whoever has a key of the function. What a trigger without `authLevel` means.
    Function,
    /// Whoever has the app's master key.
    Admin,
    /// Whoever is logged in. Azure has given it up.
    User,
    /// Azure's own extensions.
    System,
}

/// How the handler gets a function's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As JSON, with a JSON reply: [`envelope`](crate::envelope).
    Envelope,
    /// As they are: [`forward`](crate::forward).
    Forward,
    /// As they are, but with the function's name as the path.
    ForwardToName,
}

/// A function with an HTTP trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name, which is its folder's.
    pub name: String,
    /// The methods that it takes. Empty means all. One that takes GET takes HEAD, too.
    pub methods: Vec<Method>,
    /// Its route, a template below the app's prefix. Without one in `function.json` it is the name.
    pub route: String,
    /// The name of the trigger's binding, under which an envelope has the request.
    pub trigger_name: String,
    /// The name of the HTTP output's binding, `$return` included. `None` if it has none; its
    /// reply is then empty.
    pub output_name: Option<String>,
    /// Whether the output's `dataType` is `binary`, so that text is not tried as base64.
    pub output_is_binary: bool,
    /// Who may call it.
    pub auth_level: AuthLevel,
    /// How the handler gets its requests.
    pub mode: Mode,
    /// Where the route stands: the file, and the key in it.
    pub(crate) route_place: (String, String),
}

impl AuthLevel {
    /// Returns its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Function => "function",
            Self::Admin => "admin",
            Self::User => "user",
            Self::System => "system",
        }
    }
}
