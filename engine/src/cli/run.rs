//! `sockhop run`: runs what would be deployed, on a node of its own that is gone at the end. What
//! is called over HTTP is served; a command is run once, with this command's stdin and stdout, and
//! ends with its exit code. Owns the node and its folder.

use std::cell::Cell;
use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use abi::function::{Kind, Output, exit_code};
use abi::problem::INVOCATION_ID_HEADER;
use abi::spool::Stream;
use anyhow::{Context as _, bail};
use api::endpoints::{GetInvocation, Invoke};
use api::logs::{Entry, Line, LogsQuery};
use api::options::Options;
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc::{Receiver, channel};

use super::client::{Node, OTHER_BUILD, reason};
use super::deploy::{self, Deploy};
use super::logs::{self, Events};
use super::private_node::{PrivateNode, Starting, Stop};
use super::ready;
use super::{Target, print_bytes};

/// How much of stdin is sent at once, and how many pieces may wait.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES_WAITING_MAX: usize = 2;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What would be deployed: a .wasm file, a native program, or a folder with a sockhop.toml
    /// (default: this folder)
    #[arg(value_name = "FILE|DIR")]
    given: Option<PathBuf>,
    /// Where it is served (default: a free port of 127.0.0.1); a command is then served too,
    /// instead of being run once
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Arguments of a command or a native program
    #[arg(last = true, value_name = "ARGS")]
    passed: Vec<String>,
}

/// Runs until what is run has ended, or a signal comes.
pub(super) async fn run(run: Run) -> anyhow::Result<()> {
    let Run { given, listen, mut options, passed } = run;
    options.args.extend(passed);
    let mut stop = Stop::watch()?;
    let folder = tempfile::Builder::new()
        .prefix("sockhop-run-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .context("no temporary folder can be made")?;
    let (data, serves) = (folder.path().to_owned(), Cell::new(false));
    let address = listen.as_deref().unwrap_or("127.0.0.1:0");
    // If this process is killed, nobody but the node is there to remove the folder.
    let (mut node, ready) = PrivateNode::start(&data, address, &["--temporary"])?;
    let deploy = Deploy::untried(given, options, Target::own(data));
    let ended = tokio::select! {
        signal = stop.asked() => Ok(if serves.get() { 0 } else { 128 + signal }),
        failed = node.ended() => Err(failed),
        ended = work(&deploy, ready, listen.is_some(), &serves) => ended,
    };
    node.end().await;
    drop(folder);
    match ended? {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

/// Deploys what there is, and runs or serves it. Returns the exit code of what was run.
async fn work(
    deploy: &Deploy,
    ready: Starting,
    listens: bool,
    serves: &Cell<bool>,
) -> anyhow::Result<i32> {
    // While the node starts.
    let mut functions = ready::prepare(deploy.wanted()).await?;
    let mut once = None;
    if let [only] = functions.as_mut_slice()
        && only.kind == Kind::Command
        && only.options.output != Some(Output::Cgi)
        && !listens
    {
        only.options.output = Some(Output::Always);
        once = Some(only.name.clone());
    }
    ready.wait().await?;
    let node = Node::new(deploy.target())?;
    for function in functions {
        let sent = deploy::send(deploy, &node, function).await?;
        if once.is_none() {
            sent.urls.iter().for_each(|url| say!("{url}"));
        }
    }
    match once {
        Some(name) => run_once(&node, &name).await,
        None => {
            serves.set(true);
            logs::follow(&node).await?;
            Ok(0)
        }
    }
}

/// Runs a command. Returns its exit code.
async fn run_once(node: &Node, name: &str) -> anyhow::Result<i32> {
    let mut told = Told::begin(node, name).await?;
    let called = tokio::select! {
        called = call(node, name) => called,
        failed = told.follow() => return Err(failed),
    };
    let Called { id, failed } = called?;
    told.end(node, &id).await?;
    match failed {
        Some(failed) => bail!("{failed}"),
        None => Ok(told.exit_code & 0xff),
    }
}

/// A call that has come to its end.
struct Called {
    id: String,
    /// Why it has, if it was not by an exit.
    failed: Option<String>,
}

/// Calls a command with stdin, and prints its stdout as it comes.
async fn call(node: &Node, name: &str) -> anyhow::Result<Called> {
    let call = Invoke::at(name, "");
    let response = node.pass_on(Method::POST, call.path(), &[], Stdin::begin()).await?;
    let status = response.status();
    let id = response.headers().get(INVOCATION_ID_HEADER).and_then(|id| id.to_str().ok());
    let id = id.map(str::to_owned);
    let mut body = response.into_body();
    if !status.is_success() {
        let bytes = body.collect().await?.to_bytes();
        let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let detail = problem.and_then(|problem| Some(problem["detail"].as_str()?.to_owned()));
        let why = detail.or_else(|| reason(&bytes)).unwrap_or_else(|| status.to_string());
        return match id {
            Some(id) => Ok(Called { id, failed: Some(why) }),
            None => bail!("{why}"),
        };
    }
    let id = id.context(OTHER_BUILD)?;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let failed = "it was ended before it had; what the node says of it stands above";
            return Ok(Called { id, failed: Some(failed.to_owned()) });
        };
        if let Some(data) = frame.data_ref() {
            print_bytes(data);
        }
    }
    Ok(Called { id, failed: None })
}

/// What the program writes to stderr, and what the node says of it, on stderr.
struct Told {
    events: Events,
    /// Lines so far.
    lines: usize,
    exit_code: i32,
}

impl Told {
    async fn begin(node: &Node, function: &str) -> anyhow::Result<Self> {
        let function = Some(function.to_owned());
        let query = LogsQuery { function, follow: true, ..LogsQuery::default() };
        Ok(Self { events: Events::open(node, query).await?, lines: 0, exit_code: 0 })
    }

    /// Prints lines as they come, until the node tells no more.
    async fn follow(&mut self) -> anyhow::Error {
        loop {
            let entry = match self.events.next().await {
                Ok(Some((name, data))) if name.is_empty() => serde_json::from_str(&data),
                Ok(Some(_)) => continue,
                Ok(None) => return anyhow::anyhow!("the node has ended"),
                Err(error) => return error,
            };
            match entry {
                Ok(Entry::Line(line)) => self.line(&line),
                Ok(_) => {}
                Err(error) => return anyhow::Error::new(error).context(OTHER_BUILD),
            }
        }
    }

    /// Prints the lines of the invocation that did not come in time.
    async fn end(&mut self, node: &Node, id: &str) -> anyhow::Result<()> {
        let found = node.call(GetInvocation::at(id)).await?.read()?;
        found.lines.iter().skip(self.lines).for_each(|line| self.line(line));
        Ok(())
    }

    fn line(&mut self, line: &Line) {
        self.lines += 1;
        match exit_code(&line.text).filter(|_| line.stream == Stream::Node.name()) {
            Some(code) => self.exit_code = code,
            None => eprintln!("{}", line.text),
        }
    }
}

/// Stdin as the body of a request. A thread reads it, for which nobody waits at the end.
struct Stdin(Receiver<std::io::Result<Bytes>>);

impl Stdin {
    fn begin() -> Self {
        let (sender, receiver) = channel(PIECES_WAITING_MAX);
        std::thread::spawn(move || {
            let (mut stdin, mut piece) = (std::io::stdin().lock(), vec![0; PIECE_BYTES]);
            loop {
                let read = match stdin.read(&mut piece) {
                    Ok(0) => return,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    read => read.map(|count| Bytes::copy_from_slice(&piece[..count])),
                };
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        Self(receiver)
    }
}

impl Body for Stdin {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
