//! Attempts on files and file descriptors.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::mem::zeroed;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Query, checked, name, outcome};

pub fn attempt(path: &str, query: &Query) -> Option<Value> {
    let at = query.text("path", "/etc/shadow");
    Some(match path {
        "/read" => outcome(read(at)),
        "/write" => outcome(write(at)),
        "/list" => outcome(list(at)),
        "/fds" => outcome(fds()),
        "/send-fds" => outcome(fds().map(|fds| send_to_all(&fds))),
        "/identity" => outcome(identity()),
        _ => return None,
    })
}

fn read(path: &str) -> io::Result<Value> {
    let mut bytes = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into())
}

fn write(path: &str) -> io::Result<Value> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(b"hostile\n")?;
    Ok(Value::Null)
}

fn list(path: &str) -> io::Result<Value> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.into())
}

/// The open file descriptors and what each is.
fn fds() -> io::Result<Value> {
    let folder = Path::new("/proc/self/fd");
    // The folder has an fd, too, until it is listed.
    let listed = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let listed = listed.collect::<io::Result<Vec<_>>>()?;
    let mut fds = serde_json::Map::new();
    for fd in listed {
        if let Ok(target) = fs::read_link(folder.join(&fd)) {
            let target = target.to_string_lossy().into_owned();
            fds.insert(fd.to_string_lossy().into_owned(), target.into());
        }
    }
    Ok(fds.into())
}

/// Tries to pass junk fds through each fd that is open, but for those of this server's own
/// connections, where the kernel would send the byte without them. Returns the result for each.
fn send_to_all(fds: &Value) -> Value {
    let numbers = fds.as_object().into_iter().flatten().filter_map(|(fd, _)| fd.parse().ok());
    let sent = |fd: i32| {
        if is_tcp(fd) {
            return "TCP".to_owned();
        }
        send_junk(fd).map_or_else(|error| name(&error), |_| "ok".to_owned())
    };
    numbers
        .map(|fd: i32| (fd.to_string(), json!(sent(fd))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn is_tcp(fd: i32) -> bool {
    let (mut family, mut size) = (0_i32, 4);
    // SAFETY: both pointers are to locals that outlive the call, and the size is that of the first.
    let result = unsafe {
        let family = (&raw mut family).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, family, &raw mut size)
    };
    result == 0 && [libc::AF_INET, libc::AF_INET6].contains(&family)
}

fn send_junk(socket: i32) -> io::Result<libc::c_long> {
    const FDS: usize = 3;
    let junk = [0; FDS];
    let mut byte = b'x';
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0_u64; 8];
    let bytes = u32::try_from(size_of::<[i32; FDS]>()).unwrap_or_default();
    // SAFETY: every pointer of the message is to a local that outlives the call, `control` is
    // aligned for a header and has room for one with three fds.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(bytes) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(bytes) as usize;
        libc::CMSG_DATA(header).cast::<[i32; FDS]>().write_unaligned(junk);
        checked(
            libc::sendmsg(socket, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _
        )
    }
}

/// Who the program is, and what the kernel says of it.
fn identity() -> io::Result<Value> {
    let status = fs::read_to_string("/proc/self/status")?;
    let fields: serde_json::Map<_, _> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().into()))
        .collect();
    Ok(json!({
        "status": fields,
        "mounts": fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        "cgroup": fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        "limits": fs::read_to_string("/proc/self/limits").unwrap_or_default(),
        "uid_map": fs::read_to_string("/proc/self/uid_map").unwrap_or_default(),
        "hostname": fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "folder": std::env::current_dir()?.to_string_lossy(),
        "env": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
    }))
}
