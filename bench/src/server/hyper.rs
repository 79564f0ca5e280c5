//! Starts the harness's own server of hyper and rustls. The process belongs to `child`.

use std::path::Path;

use super::certificate::Certificate;
use super::null::{body, own, spawn};
use super::{Error, SERVER_CORE, Server};

pub fn start(folder: &Path, certificate: Option<&Certificate>) -> Result<Server, Error> {
    let mut serve = own("hyper-server")?;
    serve.arg("--body-file").arg(body(folder));
    if let Some(Certificate { chain, key }) = certificate {
        serve.arg("--tls-cert").arg(chain).arg("--tls-key").arg(key);
    }
    let (child, target) = spawn("hyper", serve, SERVER_CORE)?;
    Ok(Server::one(child, vec![target]))
}
