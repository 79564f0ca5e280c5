//! Puts the [hash of what archives are made of](schema) into `SOCKHOP_SCHEMA_HASH`, and how far the
//! compiler was told to optimise into `SOCKHOP_OPT_LEVEL`.
//!
//! rkyv archives have no schema of their own: two processes may only exchange them when both were
//! built from the same definitions. The hash stands in every envelope, so that a mixed pair refuses
//! each other instead of misreading memory. Owns no fds.

mod schema;

use std::path::Path;
use std::{env, io, process};

fn main() -> io::Result<()> {
    let lock = Path::new("../Cargo.lock");
    for path in ["src", "build", "Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = process::Command::new(rustc).arg("--version").output()?;
    let hash = schema::hash(Path::new("."), lock, &version.stdout)?;
    println!("cargo::rustc-env=SOCKHOP_SCHEMA_HASH={hash:016x}");
    println!("cargo::rustc-env=SOCKHOP_OPT_LEVEL={}", env::var("OPT_LEVEL").unwrap_or_default());
    Ok(())
}
