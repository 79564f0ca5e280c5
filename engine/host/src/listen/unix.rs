//! Listening Unix sockets, and their files. A caller owns the socket; its file stays when that is
//! closed, until somebody removes it.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, ListenError};

/// Who may connect: the node's user and group.
const MODE: u32 = 0o660;

/// Listens at `path`, in place of a socket that nobody listens on any more.
///
/// # Errors
/// [`ListenError::Unix`] naming the path: something else is there, or the file system refuses.
pub(super) fn open(path: &Path) -> Result<Socket, ListenError> {
    let failed =
        |source: io::Error, hint| ListenError::Unix { path: path.to_owned(), source, hint };
    let by_kind = |source: io::Error| {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => "; its folder must be there",
            io::ErrorKind::PermissionDenied => "; its folder must be writable for the node's user",
            _ => "",
        };
        failed(source, hint)
    };
    match what_is_at(path).map_err(by_kind)? {
        Found::Nothing => {}
        Found::Left => std::fs::remove_file(path).map_err(by_kind)?,
        Found::Live => {
            let hint = "; another program listens there: stop it, or choose another path";
            return Err(failed(io::ErrorKind::AddrInUse.into(), hint));
        }
        Found::Other => {
            let hint = "; what is there is no socket: remove it, or choose another path";
            return Err(failed(io::ErrorKind::AlreadyExists.into(), hint));
        }
    }
    let listen = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before it listens: until then nobody can connect, whatever the umask has left.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    listen().map_err(by_kind)
}

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A socket that a process has left.
    Left,
    /// A socket that a process listens on.
    Live,
    /// No socket.
    Other,
}

fn what_is_at(path: &Path) -> io::Result<Found> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A live one may have a full backlog, and is not waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Left),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Also a socket of another type, which somebody has.
        Ok(()) | Err(_) => Ok(Found::Live),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_left_file_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let first = open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let _client = UnixStream::connect(&path).unwrap();
        let said = open(&path).unwrap_err().to_string();
        assert!(said.contains("another program listens there"), "{said}");
        drop(first);
        assert!(UnixStream::connect(&path).is_err());
        let _second = open(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();

        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        assert!(open(&file).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let said = open(&folder.path().join("no/a.sock")).unwrap_err().to_string();
        assert!(said.contains("its folder must be there"), "{said}");
    }
}
