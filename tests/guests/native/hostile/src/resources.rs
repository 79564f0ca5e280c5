//! Attempts to take all there is of something.

use std::fs::{File, remove_file};
use std::hint::{black_box, spin_loop};
use std::io::{self, Write as _};
use std::path::Path;
use std::ptr::null_mut;
use std::thread;

use serde_json::{Value, json};

use crate::{Query, name, outcome};

const MIB: usize = 1024 * 1024;

pub fn attempt(path: &str, query: &Query) -> Option<Value> {
    Some(match path {
        "/fork-bomb" => fork_bomb(query.number("max", 10_000)),
        "/threads" => threads(query.number("max", 10_000)),
        "/fill" => fill(query.text("path", "/tmp"), query.number("mib", 4096)),
        "/allocate" => allocate(query.number("mib", 4096)),
        "/open-files" => open_files(query.number("max", 100_000)),
        "/spam" => outcome(spam(query.number("mib", 16))),
        "/spin" => spin(),
        _ => return None,
    })
}

/// Forks until it may not, and ends what it has forked.
fn fork_bomb(max: usize) -> Value {
    let mut children = Vec::new();
    let mut refused = None;
    while children.len() < max && refused.is_none() {
        // SAFETY: the child makes system calls only: it allocates nothing and takes no lock.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: the call takes nothing.
                unsafe { libc::pause() };
            },
            -1 => refused = Some(name(&io::Error::last_os_error())),
            child => children.push(child),
        }
    }
    for child in &children {
        // SAFETY: it is a child of ours, which nobody has waited for.
        unsafe {
            libc::kill(*child, libc::SIGKILL);
            libc::waitpid(*child, null_mut(), 0);
        }
    }
    json!({ "result": refused.unwrap_or("ok".to_owned()), "children": children.len() })
}

fn threads(max: usize) -> Value {
    let mut started = 0;
    while started < max {
        let thread = thread::Builder::new().stack_size(64 * 1024).spawn(thread::park);
        if let Err(error) = thread {
            return json!({ "result": name(&error), "threads": started });
        }
        started += 1;
    }
    json!({ "result": "ok", "threads": started })
}

/// Writes a file of so many MiB in a folder, or until it may not, and removes it.
fn fill(folder: &str, mib: usize) -> Value {
    let path = Path::new(folder).join("fill");
    let mut written = 0;
    let result = File::create(&path).and_then(|mut file| {
        let piece = vec![b'x'; 64 * 1024];
        while written < mib * MIB {
            written += file.write(&piece)?;
        }
        Ok(())
    });
    // It is not there where it could not be made.
    let _ = remove_file(&path);
    let result = result.map_or_else(|error| name(&error), |()| "ok".to_owned());
    json!({ "result": result, "bytes": written })
}

/// Takes memory and writes to each page of it.
fn allocate(mib: usize) -> Value {
    let mut taken = Vec::new();
    for _ in 0..mib {
        let mut piece = Vec::<u8>::new();
        if piece.try_reserve_exact(MIB).is_err() {
            return json!({ "result": "ENOMEM", "mib": taken.len() });
        }
        piece.resize(MIB, 1);
        taken.push(black_box(piece));
    }
    json!({ "result": "ok", "mib": taken.len() })
}

fn open_files(max: usize) -> Value {
    let mut files = Vec::new();
    while files.len() < max {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => return json!({ "result": name(&error), "files": files.len() }),
        }
    }
    json!({ "result": "ok", "files": files.len() })
}

/// Writes to stdout, in lines of 1,024 bytes.
fn spam(mib: usize) -> io::Result<Value> {
    let mut line = [b'x'; 1024];
    line[1023] = b'\n';
    let mut stdout = io::stdout().lock();
    for _ in 0..mib * 1024 {
        stdout.write_all(&line)?;
    }
    Ok(Value::Null)
}

/// Computes for ever, on a core of its own.
fn spin() -> Value {
    thread::spawn(|| {
        loop {
            spin_loop();
        }
    });
    json!({ "result": "ok" })
}
