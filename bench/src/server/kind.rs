//! Which servers there are, what each is called, and which of them are on this machine. Owns the
//! folder of what was prepared; removed on drop.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::certificate::Certificate;
use super::{Error, Instances, SERVER_CORE, Server, Serving, child, find, find_sockhop};
use super::{cargo_lambda, hyper, nginx, null, program, sockhop, spin, wasmtime, workerd};

/// What stands behind the name of one that has no TLS where the others have it.
pub const PLAIN: &str = "+plain";

/// Something to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The product: `sockhop serve` and its deployed functions.
    Sockhop {
        /// The `sockhop` binary.
        binary: PathBuf,
        /// Which build, where several are compared.
        label: Option<String>,
        /// Requests one instance serves.
        instances: Instances,
    },
    /// `wasmtime serve`: a process a function.
    Wasmtime {
        /// The `wasmtime` binary.
        binary: PathBuf,
        /// With flags that make it faster, or as it comes.
        tuned: bool,
        /// Requests one instance serves.
        instances: Instances,
    },
    /// `spin up`.
    Spin {
        /// The `spin` binary.
        binary: PathBuf,
    },
    /// workerd, with a script of the same meaning.
    Workerd {
        /// The `workerd` binary.
        binary: PathBuf,
    },
    /// nginx with one worker and a constant reply: what HTTP itself costs.
    Nginx {
        /// The `nginx` binary.
        binary: PathBuf,
    },
    /// A native program without any node: what the program itself costs.
    Direct,
    /// nginx with one worker before the same program: what a plain proxy costs.
    Proxy {
        /// The `nginx` binary.
        binary: PathBuf,
    },
    /// nginx with one worker before `wasmtime serve`: how one has TLS before a function otherwise.
    Fronted {
        /// The `nginx` binary.
        nginx: PathBuf,
        /// The `wasmtime` binary.
        wasmtime: PathBuf,
        /// With flags that make it faster, or as it comes.
        tuned: bool,
    },
    /// hyper and rustls in the harness's own process: what TLS and HTTP themselves cost in Rust.
    Hyper,
    /// Another one, without TLS where the others have it: what TLS costs.
    Plain(Box<Kind>),
    /// `cargo lambda watch`, which invokes a `bootstrap` for those who develop it.
    CargoLambda {
        /// The `cargo-lambda` binary.
        binary: PathBuf,
    },
    /// The harness's own, which does nothing: what the harness costs.
    Null,
}

/// Where to look for servers.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Folders of sockhop's binaries, each with the build's name if it has one; beside this program
    /// and on PATH if there are none.
    pub sockhop: Vec<(Option<String>, PathBuf)>,
    /// Of the others' binaries, looked into before PATH.
    pub peers: PathBuf,
    /// The one that no registry has.
    pub spin: Option<PathBuf>,
}

/// The servers of this machine.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Those that are there.
    pub kinds: Vec<Kind>,
    /// The names of those that are not.
    pub missing: Vec<&'static str>,
}

impl Places {
    /// Looks.
    pub fn look(&self) -> Found {
        let mut found = Found::default();
        let builds: Vec<(Option<String>, PathBuf)> = if self.sockhop.is_empty() {
            find_sockhop(None).map(|binary| (None, binary)).into_iter().collect()
        } else {
            let binary = |(label, folder): &(Option<String>, PathBuf)| {
                Some((label.clone(), find_sockhop(Some(folder))?))
            };
            self.sockhop.iter().filter_map(binary).collect()
        };
        if builds.len() < self.sockhop.len().max(1) {
            found.missing.push("sockhop");
        }
        let peer = |name| find(Some(&self.peers.join(name)), name).or_else(|| find(None, name));
        let wasmtime = peer("wasmtime");
        for instances in [Instances::Fresh, Instances::Reuse] {
            for (label, binary) in &builds {
                found.kinds.push(Kind::Sockhop {
                    binary: binary.clone(),
                    label: label.clone(),
                    instances,
                });
            }
            for tuned in [false, true] {
                found.kinds.extend(wasmtime.clone().map(|binary| Kind::Wasmtime {
                    binary,
                    tuned,
                    instances,
                }));
            }
        }
        let nginx = peer("nginx");
        if wasmtime.is_none() {
            found.missing.push("wasmtime");
        }
        let spin = self.spin.as_deref().and_then(|path| find(Some(path), "spin"));
        let kinds = [
            ("spin", spin.map(|binary| Kind::Spin { binary })),
            ("workerd", peer("workerd").map(|binary| Kind::Workerd { binary })),
            ("nginx", nginx.clone().map(|binary| Kind::Nginx { binary })),
            ("cargo-lambda", peer("cargo-lambda").map(|binary| Kind::CargoLambda { binary })),
        ];
        for (name, kind) in kinds {
            match kind {
                Some(kind) => found.kinds.push(kind),
                None => found.missing.push(name),
            }
        }
        found.kinds.push(Kind::Hyper);
        if let (Some(nginx), Some(wasmtime)) = (&nginx, &wasmtime) {
            let fronted =
                |tuned| Kind::Fronted { nginx: nginx.clone(), wasmtime: wasmtime.clone(), tuned };
            found.kinds.extend([false, true].map(fronted));
        }
        let is_single = |kind: &&Kind| kind.ends_tls() && !matches!(kind, Kind::Fronted { .. });
        let plain: Vec<Kind> = found.kinds.iter().filter(is_single).cloned().collect();
        found.kinds.extend(plain.into_iter().map(|kind| Kind::Plain(Box::new(kind))));
        found.kinds.extend(nginx.map(|binary| Kind::Proxy { binary }));
        found.kinds.extend([Kind::Direct, Kind::Null]);
        found
    }
}

impl Kind {
    /// What the report calls it.
    pub fn name(&self) -> String {
        let with = |name: &str, parts: &[(bool, &str)]| {
            let parts =
                parts.iter().filter(|(there, _)| *there).map(|(_, part)| format!("+{part}"));
            parts.fold(name.to_owned(), |name, part| name + &part)
        };
        match self {
            Self::Sockhop { label, instances, .. } => {
                let name = label
                    .as_ref()
                    .map_or_else(|| "sockhop".to_owned(), |label| format!("sockhop:{label}"));
                with(&name, &[(*instances == Instances::Reuse, "reuse")])
            }
            Self::Wasmtime { tuned, instances, .. } => {
                with("wasmtime", &[(*tuned, "tuned"), (*instances == Instances::Reuse, "reuse")])
            }
            Self::Spin { .. } => "spin".to_owned(),
            Self::Workerd { .. } => "workerd".to_owned(),
            Self::Nginx { .. } => "nginx".to_owned(),
            Self::Direct => "direct".to_owned(),
            Self::Proxy { .. } => "nginx+proxy".to_owned(),
            Self::Fronted { tuned, .. } => with("nginx+wasmtime", &[(*tuned, "tuned")]),
            Self::Hyper => "hyper".to_owned(),
            Self::Plain(kind) => kind.name() + PLAIN,
            Self::CargoLambda { .. } => "cargo-lambda".to_owned(),
            Self::Null => "null".to_owned(),
        }
    }

    /// Whether it runs components or, if it is the product, programs: then what it replies is
    /// computed.
    pub fn runs_functions(&self) -> bool {
        match self {
            Self::Plain(kind) => kind.runs_functions(),
            Self::Sockhop { .. }
            | Self::Wasmtime { .. }
            | Self::Spin { .. }
            | Self::Fronted { .. } => true,
            _ => false,
        }
    }

    /// Whether it speaks TLS, and HTTP/2 inside of it.
    pub fn ends_tls(&self) -> bool {
        matches!(
            self,
            Self::Sockhop { .. } | Self::Nginx { .. } | Self::Hyper | Self::Fronted { .. }
        )
    }

    /// The product's binaries, or the peer's.
    pub fn binaries(&self) -> Vec<PathBuf> {
        match self {
            Self::Sockhop { binary, .. } => {
                vec![binary.clone(), binary.with_file_name("sockhop-worker")]
            }
            Self::Wasmtime { binary, .. }
            | Self::Spin { binary }
            | Self::Workerd { binary }
            | Self::Nginx { binary }
            | Self::Proxy { binary }
            | Self::CargoLambda { binary } => vec![binary.clone()],
            Self::Fronted { nginx, wasmtime, .. } => vec![nginx.clone(), wasmtime.clone()],
            Self::Plain(kind) => kind.binaries(),
            Self::Direct | Self::Hyper | Self::Null => Vec::new(),
        }
    }

    /// Whatever has to be done once: for sockhop, deploying.
    pub fn prepare(&self, serving: &Serving) -> Result<Prepared, Error> {
        let folder = child::scratch("prepared")?;
        let mut commands = Vec::new();
        match self {
            Self::Sockhop { binary, instances, .. } => {
                commands = sockhop::prepare(binary, serving, *instances, folder.path())?;
            }
            Self::Wasmtime { .. } | Self::Spin { .. } => copies(serving, folder.path())?,
            Self::Workerd { .. }
            | Self::Nginx { .. }
            | Self::Direct
            | Self::Proxy { .. }
            | Self::Fronted { .. }
            | Self::CargoLambda { .. } => {}
            Self::Plain(kind) => {
                return kind.prepare(&Serving { tls: false, ..serving.clone() });
            }
            Self::Hyper | Self::Null => {
                let path = null::body(folder.path());
                std::fs::write(&path, &serving.fixed)
                    .map_err(|source| Error::Write { path, source })?;
            }
        }
        if serving.tls {
            Certificate::make(folder.path())?;
        }
        Ok(Prepared { kind: self.clone(), serving: serving.clone(), commands, folder })
    }

    /// What the binary says its version is, in one line.
    pub fn version(&self) -> String {
        let (binary, flags): (_, &[&str]) = match self {
            Self::Sockhop { binary, .. }
            | Self::Wasmtime { binary, .. }
            | Self::Spin { binary }
            | Self::Workerd { binary } => (binary, &["--version"]),
            Self::Nginx { binary } | Self::Proxy { binary } => (binary, &["-v"]),
            Self::CargoLambda { binary } => (binary, &["lambda", "--version"]),
            Self::Fronted { wasmtime, .. } => (wasmtime, &["--version"]),
            Self::Plain(kind) => return kind.version(),
            Self::Direct => return "the program itself".to_owned(),
            Self::Hyper | Self::Null => {
                return format!("sockhop-bench {}", env!("CARGO_PKG_VERSION"));
            }
        };
        let mut command = Command::new(binary);
        command.args(flags);
        match child::run("version", SERVER_CORE, command) {
            Ok((_, text)) => text.lines().next().unwrap_or("unknown").to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }
}

/// A server that only has to be started.
#[derive(Debug)]
pub struct Prepared {
    kind: Kind,
    serving: Serving,
    /// How it was prepared.
    commands: Vec<String>,
    folder: TempDir,
}

impl Prepared {
    /// Starts it and waits until it says that it is ready.
    pub fn start(&self) -> Result<Server, Error> {
        let Self { serving, folder, .. } = self;
        let folder = folder.path();
        let certificate = serving.tls.then(|| Certificate::in_folder(folder));
        let certificate = certificate.as_ref();
        let mut server = match &self.kind {
            Kind::Sockhop { binary, .. } => sockhop::start(binary, serving, folder, certificate),
            Kind::Wasmtime { binary, tuned, instances } => {
                wasmtime::start(binary, *tuned, *instances, &files(serving, folder))
            }
            Kind::Spin { binary } => spin::start(binary, &files(serving, folder)),
            Kind::Workerd { binary } => {
                workerd::start(binary, serving.script.unwrap_or_default(), serving.functions)
            }
            Kind::Nginx { binary } => nginx::start(binary, &serving.fixed, certificate),
            Kind::Direct => program::start(&serving.component),
            Kind::Proxy { binary } => {
                let behind = program::start(&serving.component)?;
                nginx::start_before(behind, binary, nginx::PASS, certificate)
            }
            Kind::Fronted { nginx: binary, wasmtime, tuned } => {
                let component = std::slice::from_ref(&serving.component);
                let behind = wasmtime::start(wasmtime, *tuned, Instances::Fresh, component)?;
                nginx::start_before(behind, binary, nginx::STREAM, certificate)
            }
            Kind::Hyper => hyper::start(folder, certificate),
            Kind::Plain(_) => unreachable!("it is prepared as what it is without TLS"),
            Kind::CargoLambda { binary } => cargo_lambda::start(binary, &serving.component),
            Kind::Null => null::start(folder),
        }?;
        server.commands.splice(..0, self.commands.iter().cloned());
        Ok(server)
    }
}

/// Where the components are of a server that reads them at its start.
fn files(serving: &Serving, folder: &Path) -> Vec<PathBuf> {
    match serving.functions {
        1 => vec![serving.component.clone()],
        many => (0..many).map(|number| folder.join(format!("f-{number}.wasm"))).collect(),
    }
}

fn copies(serving: &Serving, folder: &Path) -> Result<(), Error> {
    if serving.functions == 1 {
        return Ok(());
    }
    let copies = crate::copies::Copies::of(&serving.component)?;
    for (number, path) in (0..).zip(files(serving, folder)) {
        copies.write(number, &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_differs() {
        let binary = PathBuf::from("x");
        let sockhop = |label: Option<&str>, instances| Kind::Sockhop {
            binary: binary.clone(),
            label: label.map(str::to_owned),
            instances,
        };
        assert_eq!(sockhop(None, Instances::Fresh).name(), "sockhop");
        assert_eq!(sockhop(Some("new"), Instances::Reuse).name(), "sockhop:new+reuse");
        let wasmtime =
            Kind::Wasmtime { binary: binary.clone(), tuned: true, instances: Instances::Reuse };
        assert_eq!(wasmtime.name(), "wasmtime+tuned+reuse");
        let (nginx, wasmtime) = (binary.clone(), binary.clone());
        let fronted = Kind::Fronted { nginx, wasmtime, tuned: true };
        assert_eq!(Kind::Plain(Box::new(fronted)).name(), "nginx+wasmtime+tuned+plain");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let nowhere = PathBuf::from("/nonexistent");
        let places = Places {
            sockhop: vec![(None, nowhere.clone())],
            peers: nowhere.clone(),
            spin: Some(nowhere),
        };
        let found = places.look();
        assert!(found.missing.contains(&"sockhop") && found.missing.contains(&"spin"));
        assert!(found.kinds.contains(&Kind::Null));
    }
}
