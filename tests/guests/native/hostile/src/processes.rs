//! Attempts on other processes, and on outliving its own end.

use std::ffi::{CString, c_void};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::process::Command;
use std::ptr::null_mut;

use serde_json::{Value, json};

use crate::{Query, checked, name, outcome};

pub fn attempt(path: &str, query: &Query) -> Option<Value> {
    // SAFETY: the call takes nothing and cannot fail.
    let parent = unsafe { libc::getppid() };
    let pid = query.number("pid", parent);
    Some(match path {
        "/processes" => outcome(processes()),
        "/memory" => outcome(File::open(format!("/proc/{pid}/mem")).map(|_| Value::Null)),
        "/ptrace" => outcome(ptrace(pid)),
        "/process-vm" => outcome(process_vm(pid)),
        "/kill" => outcome(kill(query.number("pid", -1), query.number("signal", libc::SIGKILL))),
        "/daemon" => outcome(daemon(query.text("name", "left-behind"))),
        "/ignore-term" => outcome(ignore_term()),
        "/exec" => outcome(exec(query.text("path", "/usr/bin/true"))),
        _ => return None,
    })
}

/// All processes that are seen, and what of each can be read.
fn processes() -> io::Result<Value> {
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |file: &str| {
            let path = entry.path().join(file);
            let read = File::open(path).and_then(|mut file| file.read(&mut [0; 16]));
            read.map_or_else(|error| name(&error), |_| "ok".to_owned())
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let list = |folder: &str| {
            let listed = fs::read_dir(entry.path().join(folder));
            listed.map_or_else(|error| name(&error), |_| "ok".to_owned())
        };
        seen.push(json!({
            "pid": pid,
            "own": pid == std::process::id(),
            "command": String::from_utf8_lossy(&line).replace('\0', " ").trim(),
            "environ": read("environ"),
            "maps": read("maps"),
            "fd": list("fd"),
            "root": list("root"),
        }));
    }
    Ok(seen.into())
}

fn ptrace(pid: i32) -> io::Result<Value> {
    // SAFETY: attaching takes no pointers.
    checked(unsafe {
        libc::ptrace(libc::PTRACE_SEIZE, pid, null_mut::<c_void>(), null_mut::<c_void>())
    })?;
    Ok(Value::Null)
}

fn process_vm(pid: i32) -> io::Result<Value> {
    let mut bytes = [0_u8; 8];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: 0x40_0000 as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the local part is `bytes`; the remote one is checked by the kernel.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    checked(read as libc::c_long)?;
    Ok(Value::Null)
}

fn kill(pid: i32, signal: i32) -> io::Result<Value> {
    // SAFETY: the call takes no pointers.
    checked(libc::c_long::from(unsafe { libc::kill(pid, signal) }))?;
    Ok(Value::Null)
}

/// Leaves a process behind that has a session of its own and takes no notice of SIGTERM.
fn daemon(name: &str) -> io::Result<Value> {
    let name = CString::new(name)?;
    // SAFETY: between fork and its end the child makes system calls only: it allocates nothing and
    // takes no lock.
    unsafe {
        match checked(libc::c_long::from(libc::fork()))? {
            0 => {
                libc::setsid();
                if libc::fork() != 0 {
                    libc::_exit(0);
                }
                for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
                    libc::signal(signal, libc::SIG_IGN);
                }
                libc::prctl(libc::PR_SET_NAME, name.as_ptr());
                for fd in 0..1024 {
                    libc::close(fd);
                }
                loop {
                    libc::pause();
                }
            }
            child => {
                let child = i32::try_from(child).unwrap_or_default();
                libc::waitpid(child, null_mut(), 0);
                Ok(Value::Null)
            }
        }
    }
}

fn ignore_term() -> io::Result<Value> {
    // SAFETY: no handler of ours runs.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    Ok(Value::Null)
}

fn exec(path: &str) -> io::Result<Value> {
    let done = Command::new(path).output()?;
    Ok(json!({
        "status": done.status.to_string(),
        "stdout": String::from_utf8_lossy(&done.stdout),
        "stderr": String::from_utf8_lossy(&done.stderr),
    }))
}
