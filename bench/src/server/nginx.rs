//! Starts nginx with one worker and a constant reply. The processes belong to `child`; the port is
//! found by binding, so that it is free at least a moment before nginx asks for it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::child::{self, Child};
use super::{Error, SERVER_CORE, Server, free_addresses};
use crate::target::Target;

/// A body up to this stands in the configuration; a longer one is a file, as pages are.
const SHORT_BODY_BYTES: usize = 1024;

pub fn start(binary: &Path, body: &[u8]) -> Result<Server, Error> {
    let scratch = child::scratch("nginx")?;
    let folder = scratch.path().to_owned();
    let addresses = free_addresses(1)?;
    let [address] = addresses[..] else { unreachable!("one was asked for") };
    let page = folder.join("page");
    fs::write(&page, body).map_err(|source| Error::Write { path: page.clone(), source })?;
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(&folder, address, body))
        .map_err(|source| Error::Write { path: file.clone(), source })?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    let mut child = Child::start("nginx", SERVER_CORE, command, scratch)?;
    child.wait_until(|_| TcpStream::connect(address).ok())?;
    Ok(Server::one(child, vec![Target::parse(&format!("http://{address}/"))?]))
}

/// Everything nginx writes goes to the scratch folder, and its connections are never closed for
/// their age.
fn configuration(folder: &Path, address: SocketAddr, body: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" ,.!".contains(byte);
    let short = body.len() <= SHORT_BODY_BYTES && body.iter().all(plain);
    let reply = match std::str::from_utf8(body) {
        Ok(text) if short => format!("return 200 \"{text}\";"),
        _ => format!("root {}; try_files /page =500;", folder.display()),
    };
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
{temporary}    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    default_type text/plain;
    server {{
        listen {address};
        location / {{ {reply} }}
    }}
}}
"#,
        folder.display()
    )
}
