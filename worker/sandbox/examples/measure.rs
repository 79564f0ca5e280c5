//! Measures how long a sandbox takes: from the request to `exec`, to the end of `/bin/true`, and
//! until nothing is left, in microseconds over 200 spawns of each kind, taken in turn.
//!
//! `cargo run --release -p sockhop-sandbox --example measure [spawns]`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use abi::sandbox::{Begin, FromSandbox, Level, NetworkAccess, Sandbox, ToSandbox};
use sandbox::client::{Client, ClientError};

/// Spawns of each kind, if the command line does not say.
const SPAWNS: usize = 200;

fn sandbox(level: Level, network: NetworkAccess, begin: Begin) -> Sandbox {
    Sandbox {
        code: 1,
        program: "/bin/true".into(),
        args: Vec::new(),
        beside: Vec::new(),
        env: Vec::new(),
        working_directory: "/".into(),
        hostname: "measure".into(),
        listen: if network == NetworkAccess::Isolated { vec![9001] } else { Vec::new() },
        memory_bytes_max: 128 << 20,
        processes_max: 64,
        open_files_max: 1024,
        tmp_bytes_max: 64 << 20,
        file_bytes_max: u64::MAX,
        level,
        network,
        begin,
    }
}

/// Spawns one and returns the three times in microseconds.
fn one(client: &mut Client, sandbox: &Sandbox) -> Result<[u64; 3], ClientError> {
    let mut begun = Instant::now();
    let us = |begun: Instant| u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut process = client.spawn(sandbox)?;
    let mut times = [0; 3];
    loop {
        match process.receive()?.0 {
            FromSandbox::Prepared => {
                begun = Instant::now();
                process.send(&ToSandbox::Start)?;
            }
            FromSandbox::Started => times[0] = us(begun),
            FromSandbox::Exited { .. } => break times[1] = us(begun),
            FromSandbox::Failed { step, reason } => {
                return Err(ClientError::Unexpected(format!("{step:?}: {reason}")));
            }
            _ => {}
        }
    }
    client.wait_ended(process.number)?;
    times[2] = us(begun);
    Ok(times)
}

fn measure(program: &Path, spawns: usize) -> Result<(), Box<dyn std::error::Error>> {
    println!("{:#?}", sandbox::support());
    let folder = std::env::temp_dir().join(format!("sandbox-measure-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("task"))?;
    let mut client = Client::start(program)?;
    client.add_code(1, &folder)?;
    let kinds = [
        ("full, prepared before", sandbox(Level::Full, NetworkAccess::Isolated, Begin::WhenTold)),
        ("full, network isolated", sandbox(Level::Full, NetworkAccess::Isolated, Begin::AtOnce)),
        ("full, network host", sandbox(Level::Full, NetworkAccess::Host, Begin::AtOnce)),
        ("basic, no namespaces", sandbox(Level::Basic, NetworkAccess::Host, Begin::AtOnce)),
    ];
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..spawns {
        for ((_, sandbox), times) in kinds.iter().zip(&mut times) {
            times.push(one(&mut client, sandbox)?);
        }
    }
    println!(
        "{:<24} {:>22} {:>22} {:>22}",
        "least, p50 (p90) us", "to exec", "to end", "nothing left"
    );
    for ((name, _), times) in kinds.iter().zip(times) {
        print!("{name:<24}");
        for column in 0..3 {
            let mut column: Vec<u64> = times.iter().map(|row| row[column]).collect();
            column.sort_unstable();
            let at = |percent: usize| column[(column.len() - 1) * percent / 100];
            print!(" {:>6} {:>6} ({:>5})", at(0), at(50), at(90));
        }
        println!();
    }
    client.end()?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().map(String::as_str) == Some(sandbox::SPAWNER_ARGUMENT) {
        return sandbox::spawner_main();
    }
    let spawns = args.next().and_then(|text| text.parse().ok()).unwrap_or(SPAWNS);
    match measure(Path::new("/proc/self/exe"), spawns) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}
