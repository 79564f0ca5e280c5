//! `bundle`: a deployed function as what another platform runs. The node makes the program, and the
//! command packs it and writes it to a file or folder. Owns no fds beyond a call.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ::bundle::{Contents, Packed, PackedFile, Platform, machine, pack};
use abi::reference::split;
use anyhow::{Context as _, bail};
use api::bundles::BundleQuery;
use api::endpoints::GetBundle;
use bytesize::ByteSize;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use control::names::check_called;
use package::Machine;

use super::Target;
use super::client::Node;

#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The function; NAME@ALIAS or NAME@VERSION for one of its versions
    name: String,
    /// The platform: a zip for AWS Lambda, a program that listens on $PORT for Cloud Run, a folder
    /// for Azure Functions, or an OCI image as a tar
    #[arg(long = "for", value_name = "PLATFORM", value_parser = platforms())]
    platform: Platform,
    /// The file or folder to write, which must not be there yet
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

fn platforms() -> impl TypedValueParser<Value = Platform> {
    let names = PossibleValuesParser::new(Platform::ALL.map(Platform::name));
    names.try_map(|name| name.parse::<Platform>())
}

/// Returns what to do with what was written to `path`, a program for `machine`.
fn next_step(platform: Platform, name: &str, path: &Path, machine: Machine) -> String {
    // A program in this folder is not looked for in PATH.
    let here = if path.is_absolute() { "" } else { "./" };
    let path = path.display();
    match platform {
        Platform::Lambda => {
            // Who says nothing has it started on x86-64.
            let architecture = match machine {
                Machine::Aarch64 => " --architectures arm64",
                Machine::X86_64 | Machine::Other(_) => "",
            };
            format!(
                "aws lambda create-function --function-name {name} --runtime provided.al2023\
                 {architecture} --handler bootstrap --zip-file fileb://{path} --role ROLE"
            )
        }
        Platform::CloudRun => format!("PORT=8080 {here}{path}"),
        Platform::Azure => format!("cd {path} && func azure functionapp publish APP"),
        Platform::Oci => format!("skopeo copy oci-archive:{path} docker://REGISTRY/{name}"),
    }
}

pub(super) async fn run(bundle: Bundle) -> anyhow::Result<()> {
    let Bundle { name, platform, output, target } = bundle;
    check_called(&name)?;
    let (function, reference) = split(&name);
    let query = BundleQuery { reference: reference.map(str::to_owned) };
    let program = Node::new(&target)?.file(GetBundle::at(function).with(&query)).await?;
    let packed = pack(platform, &Contents { name: function, executable: &program })?;
    let path = output.unwrap_or_else(|| match &packed {
        Packed::File { name, .. } | Packed::Folder { name, .. } => name.into(),
    });
    let bytes = write(&packed, &path)?;
    say!("{} has {} for {name}", path.display(), ByteSize(bytes));
    say!("next: {}", next_step(platform, function, &path, machine(&program)?));
    say!("the function's secrets are not in it: set them as environment variables there");
    Ok(())
}

/// Writes a file or folder that is not there yet. Returns how many bytes it has.
fn write(packed: &Packed, path: &Path) -> anyhow::Result<u64> {
    match packed {
        Packed::File { mode, bytes, .. } => write_file(path, *mode, bytes),
        Packed::Folder { files, .. } => {
            match fs::create_dir(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    bail!(there_already(path))
                }
                created => {
                    created.with_context(|| format!("the folder {path:?} cannot be created"))?
                }
            }
            let mut sum = 0;
            for PackedFile { path: name, mode, bytes } in files {
                let file = path.join(name);
                if let Some(parent) = file.parent() {
                    fs::create_dir_all(parent)
                        .with_context(|| format!("the folder {parent:?} cannot be created"))?;
                }
                sum += write_file(&file, *mode, bytes)?;
            }
            Ok(sum)
        }
    }
}

fn there_already(path: &Path) -> String {
    format!("{path:?} is there already; remove it, or name another with --output")
}

fn write_file(path: &Path, mode: u32, bytes: &[u8]) -> anyhow::Result<u64> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    match written {
        Ok(()) => Ok(bytes.len() as u64),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(there_already(path)),
        Err(error) => {
            // Nothing that is cut short is left for somebody to publish.
            let _ = fs::remove_file(path);
            Err(error).with_context(|| format!("{path:?} cannot be written"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_is_told_of_a_machine_that_it_does_not_take_for_granted() {
        let step = |machine| next_step(Platform::Lambda, "f", Path::new("f.zip"), machine);
        assert!(step(Machine::Aarch64).contains(" --architectures arm64 --handler"));
        assert!(step(Machine::X86_64).contains("provided.al2023 --handler"));
    }
}
