//! `sockhop diff`: what one version of a function has otherwise than another, or a project otherwise
//! than what is deployed of it. Values of variables are never shown. Owns no fds.

use std::path::PathBuf;

use api::deploys::OptionChange;
use api::difference::changes;
use api::endpoints::{GetFunction, GetVersion, ListFunctions};
use api::functions::VersionDetails;
use bytesize::ByteSize;
use clap::Args;
use control::answers;
use host::files;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::manifest::Manifest;

use super::Show;
use super::changed::lines;
use super::client::Node;
use super::deploy;
use super::print::print_json;
use super::ready::{self, Ready};

/// So much of a digest tells files apart.
const DIGEST_SHOWN: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The function (default: those of the project)
    name: Option<String>,
    /// A version: its number (v12), id or its beginning (default: compare the project with what is
    /// deployed)
    #[arg(value_name = "VERSION")]
    from: Option<String>,
    /// Another version (default: the active one)
    #[arg(value_name = "OTHER")]
    to: Option<String>,
    /// The folder of the project (default: this folder); it is compared as it was built last
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    project: Option<PathBuf>,
    /// The environment of the project, a table [environment.NAME] of its sockhop.toml
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    environment: Option<String>,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn run(diff: Diff) -> anyhow::Result<()> {
    diff.name.as_deref().map_or(Ok(()), abi::name::check)?;
    match (&diff.name, &diff.from) {
        (Some(name), Some(from)) => of_versions(&diff, name, from).await,
        _ => of_project(&diff).await,
    }
}

async fn of_versions(diff: &Diff, name: &str, from: &str) -> anyhow::Result<()> {
    let node = Node::new(&diff.show.target)?;
    let version = async |of: &str| node.call(GetVersion::at(name, of)).await?.read();
    let from = version(from).await?;
    let to = match &diff.to {
        Some(to) => version(to).await?,
        None => node.call(GetFunction::at(name)).await?.read()?.function.version,
    };
    let names = [&from, &to].map(|version| format!("v{} of {name}", version.number));
    print(&from, &to, &names, diff.show.json);
    Ok(())
}

async fn of_project(diff: &Diff) -> anyhow::Result<()> {
    let given = diff.project.as_deref();
    let ready = ready::of_project(given, diff.name.as_deref(), diff.environment.as_deref())?;
    for Ready { name, options, artefact, kind, context, .. } in ready {
        let target = deploy::target(&diff.show.target, context);
        let functions = Node::new(&target)?.call(ListFunctions::at()).await?.read()?;
        let deployed = functions.into_iter().find(|function| function.version.name == name);
        let digest = files::hex(&Sha256::digest(&artefact));
        let here = Manifest::new(&name, kind, options, digest, artefact.len() as u64);
        let here = answers::version(&here);
        match deployed {
            Some(deployed) => {
                let number = deployed.version.number;
                let names = [format!("v{number} of {name}"), format!("{name} in this project")];
                print(&deployed.version, &here, &names, diff.show.json);
            }
            None if diff.show.json => {
                print_json(&json!({ "name": name, "deployed": false }));
            }
            None => say!("{name} is not deployed"),
        }
    }
    Ok(())
}

fn print(from: &VersionDetails, to: &VersionDetails, [one, other]: &[String; 2], as_json: bool) {
    let mut changed = changes(from, to);
    let is_same_file = from.artefact == to.artefact;
    if !is_same_file {
        let shown = |version: &VersionDetails| {
            let digest = version.artefact.get(..DIGEST_SHOWN).unwrap_or(&version.artefact);
            let size = ByteSize(version.artefact_bytes).display().iec();
            format!("sha256:{digest} ({size})")
        };
        let (from, to) = (shown(from), shown(to));
        changed.insert(0, OptionChange { option: "artefact".to_owned(), from, to });
    }
    if as_json {
        let name = &to.name;
        print_json(&json!({ "name": name, "from": one, "to": other, "changed": changed }));
    } else if changed.is_empty() {
        say!("{one} and {other} are the same");
    } else {
        say!("{one} -> {other}");
        lines(&changed).iter().for_each(|line| say!("{line}"));
    }
}
