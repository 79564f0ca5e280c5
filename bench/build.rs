//! Tells the harness how it was built: it says so beside every number.

use std::env;

fn main() {
    let get = |name: &str| env::var(name).unwrap_or_default();
    println!(
        "cargo::rustc-env=SOCKHOP_BENCH_PROFILE={} (opt-level {})",
        get("PROFILE"),
        get("OPT_LEVEL")
    );
    println!(
        "cargo::rustc-env=SOCKHOP_BENCH_FLAGS={}",
        get("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ")
    );
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    println!("cargo::rerun-if-changed=build.rs");
}
