//! A line of the access log: one invocation, for people or as JSON. Pure; owns no fds.
//!
//! Text that the client chose is shortened and escaped: it can neither flood the log nor forge a
//! line of it.

use std::time::{Duration, SystemTime};

use abi::catalogue::{ArchivedFunction, ArchivedVersion};
use abi::invocation_id::InvocationId;
use abi::message::AccessLog;
use http::Request;

use crate::origin::{Client, FORWARDED_PREFIX};

/// The longest path that is logged whole. A longer one is cut.
const PATH_BYTES_MAX: usize = 1024;
/// The longest method that is logged whole.
const METHOD_BYTES_MAX: usize = 32;

/// What is known about an invocation when it begins.
pub(super) struct Access {
    time: SystemTime,
    function: String,
    version: String,
    number: u32,
    /// The alias that it was called by. Empty if it was called by its version.
    alias: String,
    method: String,
    path: String,
    client: Client,
}

/// What is known about an invocation when it is over.
pub(super) struct End {
    /// The reply's status. `None` if there was no reply.
    pub(super) status: Option<u16>,
    /// Whether the reply was cut short.
    pub(super) cut: bool,
    pub(super) sent_bytes: u64,
    pub(super) duration: Duration,
}

impl Access {
    /// Notes a request as its client made it: the path includes the function's name, but not the
    /// query, which may hold secrets.
    pub(super) fn note(
        (function, version, alias): (&ArchivedFunction, &ArchivedVersion, &str),
        request: &Request<()>,
        client: Client,
    ) -> Self {
        let prefix =
            request.headers().get(&FORWARDED_PREFIX).and_then(|prefix| prefix.to_str().ok());
        let path = [prefix.unwrap_or_default(), request.uri().path()].concat();
        Self {
            time: SystemTime::now(),
            function: function.name.as_str().to_owned(),
            version: version.id_text().to_string(),
            number: version.number.to_native(),
            alias: alias.to_owned(),
            method: shortened(request.method().as_str(), METHOD_BYTES_MAX),
            path: shortened(&path, PATH_BYTES_MAX),
            client,
        }
    }

    /// Returns the line with its newline, or `None` if the access log is off.
    pub(super) fn line(&self, format: AccessLog, id: InvocationId, end: &End) -> Option<String> {
        let time = humantime::format_rfc3339_micros(self.time);
        let Self { function, version, number, alias, method, path, client, .. } = self;
        let End { status, cut, sent_bytes, duration } = end;
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let client = client.to_string();
        match format {
            AccessLog::Off => None,
            AccessLog::Text => {
                let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
                let alias = if alias.is_empty() { "-" } else { alias };
                let cut = if *cut { " cut" } else { "" };
                Some(format!(
                    "{time} access function={function} version={version} number={number} \
                     alias={alias} invocation={id} client={client} method={method} path={path:?} \
                     status={status} duration_us={duration_us} sent_bytes={sent_bytes}{cut}\n"
                ))
            }
            AccessLog::Json => {
                let line = serde_json::json!({
                    "event": "access",
                    "time": time.to_string(),
                    "function": function,
                    "version": version,
                    "number": number,
                    "alias": (!alias.is_empty()).then_some(alias),
                    "invocation": id.to_string(),
                    "client": client,
                    "method": method,
                    "path": path,
                    "status": status,
                    "duration_us": duration_us,
                    "sent_bytes": sent_bytes,
                    "cut": cut,
                });
                Some(format!("{line}\n"))
            }
        }
    }
}

fn shortened(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(bytes_max)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn access(path: &str) -> Access {
        let client = Client { address: "192.0.2.1".parse().unwrap(), port: Some(99), https: false };
        let (function, version) = ("hello".to_owned(), "v1".to_owned());
        let path = shortened(path, PATH_BYTES_MAX);
        let (time, alias, method) = (SystemTime::UNIX_EPOCH, "active".to_owned(), "GET".to_owned());
        Access { time, function, version, number: 1, alias, method, path, client }
    }

    const END: End =
        End { status: Some(200), cut: false, sent_bytes: 7, duration: Duration::from_micros(1234) };

    #[test]
    fn both_formats_tell_the_same() {
        let (access, id) = (access("/hello/x"), InvocationId::new());
        assert_eq!(access.line(AccessLog::Off, id, &END), None);
        let text = access.line(AccessLog::Text, id, &END).unwrap();
        let expected = format!(
            "1970-01-01T00:00:00.000000Z access function=hello version=v1 number=1 alias=active invocation={id} \
             client=192.0.2.1:99 method=GET path=\"/hello/x\" status=200 duration_us=1234 sent_bytes=7\n"
        );
        assert_eq!(text, expected);
        let gone = End { status: None, cut: true, ..END };
        assert!(
            access
                .line(AccessLog::Text, id, &gone)
                .unwrap()
                .ends_with("status=- duration_us=1234 sent_bytes=7 cut\n")
        );
        let json: serde_json::Value =
            serde_json::from_str(&access.line(AccessLog::Json, id, &END).unwrap()).unwrap();
        assert_eq!(
            (&json["path"], &json["status"], &json["cut"]),
            (&"/hello/x".into(), &200.into(), &false.into())
        );
    }

    proptest! {
        /// Whatever stands in a path, a line is one line, and a value in it ends where it says.
        #[test]
        fn no_path_forges_a_line(path in ".{0,2000}") {
            let (access, id) = (access(&path), InvocationId::new());
            for format in [AccessLog::Text, AccessLog::Json] {
                let line = access.line(format, id, &END).unwrap();
                let inner = line.strip_suffix('\n').unwrap();
                prop_assert_eq!(inner.find(['\n', '\r', '\x1b']), None);
                prop_assert!(line.len() < 12 * 1024);
            }
            let json: serde_json::Value = serde_json::from_str(&access.line(AccessLog::Json, id, &END).unwrap()).unwrap();
            prop_assert_eq!(json["path"].as_str().unwrap(), access.path);
        }
    }
}
