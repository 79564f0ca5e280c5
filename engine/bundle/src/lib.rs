//! A function packed as another platform takes it, so that nobody is locked in.
//!
//! What is packed is one executable that has the function in it and needs nothing else. [`shrink`]
//! takes off an executable what is never loaded; it comes first, since it would take off what
//! somebody has put behind the executable too. [`pack`] makes of it what a [`Platform`] deploys.
//!
//! Pure: everything is handed in and handed out as bytes, and the same contents make the same
//! bytes, with times of 1980 or 1970. Owns no fds.
//!
//! # Example
//!
//! ```
//! use bundle::{Contents, Packed, Platform, pack, shrink};
//!
//! let executable = std::fs::read("/proc/self/exe")?;
//! let executable = shrink(&executable)?;
//! let contents = Contents { name: "hello", executable: &executable };
//! let platform: Platform = "cloud-run".parse()?;
//! let Packed::File { name, mode, bytes } = pack(platform, &contents)? else { unreachable!() };
//! assert_eq!((name.as_str(), mode), ("hello", 0o755));
//! assert_eq!(bytes, executable);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod azure_app;
mod elf;
mod error;
mod image;
mod lambda_zip;
mod platform;
#[cfg(test)]
mod samples;

pub use elf::{interpreter, machine, shrink};
pub use error::BundleError;
pub use platform::{Platform, UnknownPlatform};

/// What is packed.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The function's name, which is the bundle's.
    pub name: &'a str,
    /// The executable. It answers as a Lambda bootstrap, on `$PORT` or as an Azure handler, by what
    /// its environment says.
    pub executable: &'a [u8],
}

/// A bundle: what is to be written for the deployer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// One file.
    File {
        /// Its name, such as `hello.zip`.
        name: String,
        /// Its permissions.
        mode: u32,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// A folder.
    Folder {
        /// Its name.
        name: String,
        /// The files in it, each in a folder of at most one level.
        files: Vec<PackedFile>,
    },
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile {
    /// Its path below the folder, such as `function/function.json`.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Packs `contents` for `platform`:
///
/// * for Lambda, a zip with the executable as `bootstrap`, for the runtime `provided.al2023`;
/// * for Cloud Run, the executable itself, which listens on `$PORT`;
/// * for Azure, the folder of a function app that has the executable as its custom handler. The app
///   setting `AzureWebJobsDisableHomepage` must be `true` for it to get requests of `/`;
/// * for OCI, a tar of an image layout. The image has the executable, an empty `/tmp`, and nothing
///   else: for TLS connections of its own, the function needs certificates, which the deployer
///   mounts or adds in a further layer.
///
/// # Errors
///
/// Returns a [`BundleError`] if the platform does not take such an executable.
pub fn pack(platform: Platform, contents: &Contents<'_>) -> Result<Packed, BundleError> {
    abi::name::check(contents.name)?;
    machine(contents.executable)?;
    let name = contents.name.to_owned();
    Ok(match platform {
        Platform::Lambda => {
            let bytes = lambda_zip::zip(contents.executable)?;
            Packed::File { name: format!("{name}.zip"), mode: 0o644, bytes }
        }
        Platform::CloudRun => {
            Packed::File { name, mode: 0o755, bytes: contents.executable.to_vec() }
        }
        Platform::Azure => Packed::Folder { name, files: azure_app::files(contents.executable) },
        Platform::Oci => {
            let bytes = image::layout(contents)?;
            Packed::File { name: format!("{name}.tar"), mode: 0o644, bytes }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::STATIC;

    #[test]
    fn the_same_contents_make_the_same_bytes() {
        let executable = STATIC.bytes();
        let contents = Contents { name: "f", executable: &executable };
        for platform in Platform::ALL {
            assert_eq!(pack(platform, &contents).unwrap(), pack(platform, &contents).unwrap());
        }
    }

    #[test]
    fn what_a_platform_does_not_run_is_refused() {
        let executable = STATIC.bytes();
        let contents = Contents { name: "f", executable: &executable };
        for platform in Platform::ALL {
            let pack = |contents| pack(platform, &contents).unwrap_err().to_string();
            let error = pack(Contents { name: "../f", ..contents });
            assert!(error.contains("'.'"), "{error}");
            let error = pack(Contents { executable: b"#!/bin/sh", ..contents });
            assert!(error.contains("is no 64-bit little-endian ELF executable"), "{error}");
        }
        let mut riscv = STATIC;
        riscv.machine = 243;
        let executable = riscv.bytes();
        let contents = Contents { name: "f", executable: &executable };
        for platform in [Platform::Lambda, Platform::CloudRun, Platform::Azure, Platform::Oci] {
            let error = pack(platform, &contents).unwrap_err().to_string();
            assert!(error.contains("RISC-V"), "{error}");
        }
    }
}
