//! Starts the product, as its user would: `serve`, then `deploy`. The processes belong to `child`.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::certificate::Certificate;
use super::child::{self, Child, url_after};
use super::{Error, Instances, Program, REUSE, SERVER_CORE, Server, Serving, Signer};
use crate::copies::Copies;
use crate::target::Target;

/// The key id that requests to a node's Lambda API are signed with.
const KEY_ID: &str = "sockhop";

/// A node with one worker, on one core. Ends with this value.
#[derive(Debug)]
pub struct Node {
    /// The engine; the worker is its child.
    pub child: Child,
    binary: PathBuf,
    data: PathBuf,
    base: String,
}

impl Node {
    /// Starts it, with an empty data folder.
    pub fn start(binary: &Path) -> Result<Self, Error> {
        Self::start_with(binary, &[])
    }

    /// The same with more options.
    pub fn start_with(binary: &Path, options: &[&str]) -> Result<Self, Error> {
        let scratch = child::scratch("sockhop")?;
        let data = scratch.path().join("data");
        Self::start_in(binary, options, scratch, data, None)
    }

    /// The same with a worker on each of some cores, and a data folder that may outlive it.
    pub fn start_on(
        cores: &[usize],
        binary: &Path,
        options: &[&str],
        data: PathBuf,
    ) -> Result<Self, Error> {
        Self::serve(cores, binary, options, child::scratch("sockhop")?, data, None)
    }

    /// The same inside of TLS, with a certificate of its own.
    pub fn start_secure(binary: &Path, options: &[&str]) -> Result<Self, Error> {
        let scratch = child::scratch("sockhop")?;
        let data = scratch.path().join("data");
        let certificate = Certificate::make(scratch.path())?;
        Self::start_in(binary, options, scratch, data, Some(&certificate))
    }

    /// The same with a data folder that may outlive it, and inside of TLS if there is a
    /// certificate.
    fn start_in(
        binary: &Path,
        options: &[&str],
        scratch: TempDir,
        data: PathBuf,
        certificate: Option<&Certificate>,
    ) -> Result<Self, Error> {
        Self::serve(&[SERVER_CORE], binary, options, scratch, data, certificate)
    }

    fn serve(
        cores: &[usize],
        binary: &Path,
        options: &[&str],
        scratch: TempDir,
        data: PathBuf,
        certificate: Option<&Certificate>,
    ) -> Result<Self, Error> {
        let mut serve = Command::new(binary);
        serve.args(["serve", "--listen"]);
        match certificate {
            None => serve.arg("127.0.0.1:0"),
            Some(Certificate { chain, key }) => serve
                .arg("https://127.0.0.1:0")
                .arg("--tls-cert")
                .arg(chain)
                .arg("--tls-key")
                .arg(key),
        };
        serve.arg("--cores").arg(child::list(cores));
        serve.arg("--data").arg(&data).args(options);
        let mut child = Child::start_on("sockhop", cores, serve, scratch)?;
        let base = child.wait_until(|log| url_after(log, "ready "))?;
        Ok(Self {
            child,
            binary: binary.to_owned(),
            data,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// Deploys a function; returns the command as typed.
    pub fn deploy(
        &self,
        component: &Path,
        name: &str,
        instances: Instances,
    ) -> Result<String, Error> {
        match instances {
            Instances::Fresh => self.deploy_with(component, name, &[]),
            Instances::Reuse => {
                self.deploy_with(component, name, &["--instances", &format!("reuse={REUSE}")])
            }
        }
    }

    /// The same with options of its own.
    pub fn deploy_with(
        &self,
        component: &Path,
        name: &str,
        options: &[&str],
    ) -> Result<String, Error> {
        let mut deploy = Command::new(&self.binary);
        deploy.arg("deploy").arg(component).args(["--name", name]).args(options);
        Ok(self.tell(deploy)?.0)
    }

    /// Where the control API answers over TCP, on a node that was started with `--admin`.
    pub fn admin(&self) -> Result<String, Error> {
        self.listener("/node/admin")?.map_err(|output| Error::NoAdmin { output })
    }

    /// Where the API of AWS Lambda answers, on a node that was started with `--lambda-api`, and
    /// what signs requests to it.
    fn lambda_api(&self) -> Result<(String, Signer), Error> {
        let url =
            self.listener("/node/lambda_api")?.map_err(|output| Error::NoLambdaApi { output })?;
        Ok((url.trim_end_matches('/').to_owned(), Signer::new(KEY_ID, &self.token()?)))
    }

    /// What its control API wants to see over TCP.
    pub fn token(&self) -> Result<String, Error> {
        let path = self.data.join("admin.token");
        let token = fs::read_to_string(&path).map_err(|source| Error::Token { path, source })?;
        Ok(token.trim().to_owned())
    }

    /// Returns what `sockhop COMMAND...` prints.
    pub fn ask(&self, command: &[&str]) -> Result<String, Error> {
        let mut asked = Command::new(&self.binary);
        asked.args(command);
        Ok(self.tell(asked)?.1)
    }

    /// Runs `sockhop COMMAND...`, whose input `write` writes.
    pub fn feed(
        &self,
        command: &[&str],
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut fed = Command::new(&self.binary);
        fed.args(command).arg("--data").arg(&self.data);
        fed.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let command = child::typed(&fed);
        let failed = |source| child::Error::Start { command: command.clone(), source };
        let mut process = fed.spawn().map_err(failed)?;
        if let Some(input) = process.stdin.take() {
            // Who has stopped reading has a reason, and says it.
            let mut input = BufWriter::new(input);
            let _ = write(&mut input).and_then(|()| input.flush());
        }
        let ended = process.wait_with_output().map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        Err(Error::Told { command, status: ended.status, output })
    }

    /// What the node's status says of a listener, or else all of it.
    fn listener(&self, pointer: &str) -> Result<Result<String, String>, Error> {
        let mut status = Command::new(&self.binary);
        status.args(["status", "--json"]);
        let (_, output) = self.tell(status)?;
        let status: serde_json::Value = serde_json::from_str(&output).unwrap_or_default();
        let url = status.pointer(pointer).and_then(|url| url.as_str()).map(str::to_owned);
        Ok(url.ok_or(output))
    }

    /// Runs a command of the node's; returns it as typed, and what it printed.
    fn tell(&self, mut command: Command) -> Result<(String, String), Error> {
        command.arg("--data").arg(&self.data);
        let typed = child::typed(&command);
        let (status, output) = child::run("sockhop", SERVER_CORE, command)?;
        if status.success() {
            Ok((typed, output))
        } else {
            Err(Error::Told { command: typed, status, output })
        }
    }

    /// Has the engine end by a signal, and waits for that.
    pub fn end(self, signal: Signal) -> Result<(), Error> {
        Ok(self.child.end(signal)?)
    }

    /// Where a function answers.
    pub fn target(&self, name: &str) -> Result<Target, Error> {
        Ok(Target::parse(&format!("{}/{name}/", self.base))?)
    }
}

/// Deploys all functions in a data folder below `folder`; returns the first commands.
pub fn prepare(
    binary: &Path,
    serving: &Serving,
    instances: Instances,
    folder: &Path,
) -> Result<Vec<String>, Error> {
    let node = Node::start_in(binary, &[], child::scratch("sockhop")?, folder.join("data"), None)?;
    let reuse = format!("reuse={REUSE}");
    let mut options: Vec<&str> = serving.options.iter().map(String::as_str).collect();
    if instances == Instances::Reuse {
        options.extend(["--instances", &reuse]);
    }
    if let Some(kind) = serving.program.kind() {
        options.extend(["--kind", kind]);
    }
    let mut commands = vec![node.child.command().to_owned()];
    if serving.functions == 1 {
        commands.push(node.deploy_with(&serving.component, &name(0), &options)?);
        return Ok(commands);
    }
    let copies = Copies::of(&serving.component)?;
    for number in 0..serving.functions {
        let deployed = node.deploy_with(&copies.make(number)?, &name(number), &options)?;
        if number == 0 {
            commands.push(deployed);
        }
        if (number + 1) % 100 == 0 {
            eprintln!("deployed {} of {}", number + 1, serving.functions);
        }
    }
    Ok(commands)
}

/// A node that finds its functions where they were deployed.
pub fn start(
    binary: &Path,
    serving: &Serving,
    folder: &Path,
    certificate: Option<&Certificate>,
) -> Result<Server, Error> {
    let invoked = serving.program == Program::Invoked;
    let options: &[&str] = if invoked { &["--lambda-api", "127.0.0.1:0"] } else { &[] };
    let (scratch, data) = (child::scratch("sockhop")?, folder.join("data"));
    let node = Node::start_in(binary, options, scratch, data, certificate)?;
    let names = (0..serving.functions).map(name);
    if invoked {
        let (api, signer) = node.lambda_api()?;
        let target = |name: String| Target::parse(&format!("{api}{}", invocations(&name)));
        let targets: Result<Vec<_>, _> = names.map(target).collect();
        return Ok(Server { signer: Some(signer), ..Server::one(node.child, targets?) });
    }
    let targets: Result<Vec<_>, _> = names.map(|name| node.target(&name)).collect();
    Ok(Server::one(node.child, targets?))
}

/// The path by which the API of AWS Lambda invokes a function.
pub fn invocations(function: &str) -> String {
    format!("/2015-03-31/functions/{function}/invocations")
}

fn name(number: u32) -> String {
    format!("f-{number}")
}
