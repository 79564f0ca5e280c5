//! Starts nginx with one worker and a constant reply, or before another server, with TLS or without.
//! The processes belong to `child`; the port is found by binding, so that it is free at least a
//! moment before nginx asks for it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::certificate::Certificate;
use super::child::{self, Child};
use super::{Error, SERVER_CORE, Server, free_addresses};
use crate::target::Target;

/// A body up to this stands in the configuration; a longer one is a file, as pages are.
const SHORT_BODY_BYTES: usize = 1024;
/// The idle connections to a server behind it: more than a load has.
const KEPT: u32 = 128;
/// Passes requests on, by HTTP/1.1 and without asking for the connection's end.
pub const PASS: &str =
    r#"proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";"#;
/// The same with bodies as they come.
pub const STREAM: &str = r#"proxy_pass http://behind; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffering off;"#;

pub fn start(
    binary: &Path,
    body: &[u8],
    certificate: Option<&Certificate>,
) -> Result<Server, Error> {
    run(binary, certificate, |folder| {
        let page = folder.join("page");
        fs::write(&page, body).map_err(|source| Error::Write { path: page.clone(), source })?;
        Ok(("".to_owned(), constant(folder, body)))
    })
}

/// Starts nginx before a server that runs already, which requests go on to by `pass`.
pub fn start_before(
    behind: Server,
    binary: &Path,
    pass: &str,
    certificate: Option<&Certificate>,
) -> Result<Server, Error> {
    let upstream = behind.target().authority().to_owned();
    let mut server = run(binary, certificate, |_| Ok((upstreams(&upstream), pass.to_owned())))?;
    server.commands.splice(..0, behind.commands);
    server.children.extend(behind.children);
    Ok(server)
}

/// Runs it with a configuration: what stands beside the server, and what stands in its location.
fn run(
    binary: &Path,
    certificate: Option<&Certificate>,
    configure: impl FnOnce(&Path) -> Result<(String, String), Error>,
) -> Result<Server, Error> {
    let scratch = child::scratch("nginx")?;
    let folder = scratch.path().to_owned();
    let addresses = free_addresses(1)?;
    let [address] = addresses[..] else { unreachable!("one was asked for") };
    let (beside, location) = configure(&folder)?;
    let (scheme, listen) = match certificate {
        None => ("http", format!("listen {address};")),
        Some(certificate) => ("https", secure(address, certificate)),
    };
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(&folder, &listen, &beside, &location))
        .map_err(|source| Error::Write { path: file.clone(), source })?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    let mut child = Child::start("nginx", SERVER_CORE, command, scratch)?;
    child.wait_until(|_| TcpStream::connect(address).ok())?;
    Ok(Server::one(child, vec![Target::parse(&format!("{scheme}://{address}/"))?]))
}

/// Listens inside of TLS, with the curve that all servers have and with HTTP/2.
fn secure(address: SocketAddr, Certificate { chain, key }: &Certificate) -> String {
    format!(
        "listen {address} ssl http2;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ecdh_curve X25519;",
        chain.display(),
        key.display()
    )
}

/// Returns what replies with `body`, which is also in the file `page`.
fn constant(folder: &Path, body: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" ,.!".contains(byte);
    let short = body.len() <= SHORT_BODY_BYTES && body.iter().all(plain);
    match std::str::from_utf8(body) {
        Ok(text) if short => format!("return 200 \"{text}\";"),
        _ => format!("root {}; try_files /page =500;", folder.display()),
    }
}

/// Connections to the server behind are kept, as a proxy that is meant to be fast has it: nginx by
/// itself makes one for each request.
fn upstreams(authority: &str) -> String {
    format!(
        "    upstream behind {{
        server {authority};
        keepalive {KEPT};
        keepalive_requests 1000000000;
    }}\n"
    )
}

/// Everything nginx writes goes to the scratch folder, and its connections are never closed for
/// their age.
fn configuration(folder: &Path, listen: &str, beside: &str, location: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {}/{kind};\n", folder.display()))
        .collect();
    format!(
        r#"daemon off;
worker_processes 1;
pid {}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 65536; }}
http {{
{temporary}{beside}    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    default_type text/plain;
    server {{
        {listen}
        location / {{ {location} }}
    }}
}}
"#,
        folder.display()
    )
}
