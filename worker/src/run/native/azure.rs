//! A custom handler of Azure Functions: which of the app's functions a request is for, and how the
//! handler gets it, in an envelope of JSON or as it is. Owns no fds.

use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use abi::invocation_id::InvocationId;
use azure::app::{App, AuthLevels, ReadOptions};
use azure::envelope::{self, InvocationResult};
use azure::environment::{Process as AzureProcess, environment};
use azure::forward;
use azure::function::{Function, Mode};
use azure::route::Found;
use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};

use super::http::{Http, NotSent, Replied};
use super::output::Output;
use crate::origin::Origin;
use crate::run::Spec;
use crate::run::body::{BodyError, GuestBody, RequestBody};

/// Where the app is, as the handler has it.
const APP_ROOT: &str = "/var/task";
/// The longest body of a request or reply that goes in an envelope: it is held as a whole. Azure's
/// host takes 100 MB.
const ENVELOPE_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Where a handler is looked for that `host.json` names without its folder, such as `python3`.
const SEARCHED: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// What is started for an app.
pub(super) struct Started {
    pub(super) app: App,
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) working_directory: String,
    pub(super) env: Vec<(String, String)>,
}

/// Reads an app, whose files are in `folder` here.
///
/// # Errors
/// A sentence for whoever deploys.
pub(super) fn read(folder: &Path, spec: &Spec, port: u16) -> Result<Started, String> {
    let options = ReadOptions { auth_levels: AuthLevels::default(), variables: &spec.env };
    let app = App::read(folder, options).map_err(|error| error.to_string())?;
    if let Some(fixed) = app.port.filter(|fixed| *fixed != port) {
        return Err(format!(
            "host.json fixes the port {fixed}; leave it out, the node chooses one and names it in \
             FUNCTIONS_CUSTOMHANDLER_PORT"
        ));
    }
    let root = Path::new(APP_ROOT);
    let id = format!("{:x}", fastrand::u64(..));
    let made = environment(AzureProcess { port, worker_id: &id, app_root: root }, &spec.env);
    let command = app.command(root, &made.variables);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(Started {
        program: text(&found(&command.program)),
        args: command.arguments,
        working_directory: text(&command.working_directory),
        env: made.variables,
        app,
    })
}

/// Returns where a program is that is named without its folder.
fn found(program: &Path) -> std::path::PathBuf {
    if program.is_absolute() {
        return program.to_owned();
    }
    // The sandbox has the same programs of the system as this host.
    let found = SEARCHED.iter().map(|folder| Path::new(folder).join(program));
    let mut found = found.filter(|path| path.exists());
    found.next().unwrap_or_else(|| Path::new("/usr/bin").join(program))
}

/// Has the handler answer a request.
///
/// # Errors
/// As of [`Http::send`]. A request that was rewritten for the handler is not given back.
pub(super) async fn send(
    http: &Rc<Http>,
    app: &App,
    (request, origin, id): (Request<RequestBody>, &Origin, InvocationId),
    output: &Output,
) -> Result<Replied, NotSent> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (function, parameters) = match app.find(&method, &path) {
        Found::Function { function, parameters } => (function, parameters),
        Found::MethodNotAllowed { allow } => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, allow);
            return Ok(Replied::at_once(response));
        }
        Found::NotFound => return Ok(Replied::at_once(plain(StatusCode::NOT_FOUND))),
    };
    match function.mode {
        Mode::Envelope => {
            let sent = in_envelope(http, function, &parameters, request, origin, id, output).await;
            sent.map_err(NotSent::begun)
        }
        Mode::Forward | Mode::ForwardToName => {
            let (mut head, body) = request.into_parts();
            forward::request(&mut head, function, id);
            let replied = http.send(Request::from_parts(head, body)).await;
            let replied = replied.map_err(|not_sent| NotSent::begun(not_sent.reason))?;
            let (mut head, body) = replied.response.into_parts();
            if head.status != StatusCode::SWITCHING_PROTOCOLS {
                forward::response(&mut head);
            }
            Ok(Replied { response: Response::from_parts(head, body), ended: replied.ended })
        }
    }
}

async fn in_envelope(
    http: &Rc<Http>,
    function: &Function,
    parameters: &[(String, String)],
    request: Request<RequestBody>,
    origin: &Origin,
    id: InvocationId,
    output: &Output,
) -> Result<Replied, String> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, ENVELOPE_BYTES_MAX).collect().await;
    let body =
        body.map_err(|error| format!("the request's body was not read: {error}"))?.to_bytes();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let made = envelope::request(envelope::Request {
        function,
        parameters,
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body: &body,
        scheme: if origin.client.https { "https" } else { "http" },
        authority: host.unwrap_or("localhost"),
        invocation: id,
        now: SystemTime::now(),
    });
    let made = made.map(|body| {
        RequestBody::new(Full::new(body).map_err(|never| -> BodyError { match never {} }))
    });
    let sent = http.send(made).await.map_err(|not_sent| not_sent.reason);
    let Replied { response, ended } = sent?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ENVELOPE_BYTES_MAX).collect().await;
    let body =
        body.map_err(|error| format!("the handler's reply was not read: {error}"))?.to_bytes();
    ended.await;
    let result = InvocationResult::parse(head.status, &body).map_err(|error| error.to_string())?;
    for line in &result.logs {
        output.log_line(line);
    }
    let response = result.response(function).map_err(|error| error.to_string())?;
    Ok(Replied::at_once(
        response.map(|body| GuestBody::new(Full::new(body).map_err(|never| match never {}))),
    ))
}

fn plain(status: StatusCode) -> Response<GuestBody> {
    let text = status.canonical_reason().unwrap_or_default();
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(GuestBody::new(body));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
