//! Starts nginx with one worker and a constant reply. The processes belong to `child`; the port is found by
//! binding, so that it is free at least a moment before nginx asks for it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use super::child::{self, Child};
use super::{Error, SERVER_CORE, Server};
use crate::target::Target;

pub fn start(binary: &Path) -> Result<Server, Error> {
    let scratch = child::scratch("nginx")?;
    let folder = scratch.path().to_owned();
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(Error::Port)?;
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(&folder, address))
        .map_err(|source| child::Error::Scratch { name: "nginx", source })?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    let mut child = Child::start("nginx", SERVER_CORE, command, scratch)?;
    child.wait_until(|_| TcpStream::connect(address).ok())?;
    let commands = vec![child.command().to_owned()];
    Ok(Server { target: Target::parse(&format!("http://{address}/"))?, child, commands })
}

/// Everything nginx writes goes to the scratch folder, and its connections are never closed for their age.
fn configuration(folder: &Path, address: SocketAddr) -> String {
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
    keepalive_requests 1000000000;
    default_type text/plain;
    server {{
        listen {address};
        location / {{ return 200 "Hello, world!"; }}
    }}
}}
"#,
        folder.display()
    )
}
