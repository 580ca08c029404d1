//! The file of a listening Unix socket. It depends on no other module.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

/// The permissions of a socket file: its owner and group can connect (unix(7)).
const MODE: u32 = 0o660;

/// The file of a socket is stale if no process listens on it after this time. A starting process binds its socket some
/// microseconds before it listens.
const LISTEN_GRACE: Duration = Duration::from_millis(50);

/// The file of a listening socket. Dropping it removes the file, unless another process has replaced it. Drop it while
/// the socket still listens.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The device and the inode, which tell it from a file that another process has created at the same path. The
    /// kernel gives the inode to no other file before the listening socket is closed.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// Opens a listening socket at `path`. Replaces the file of a socket on which no process listens.
///
/// # Errors
///
/// Fails if another process listens on `path`, the file is not a socket, or it cannot be created.
pub(super) fn bind(path: &Path, backlog: u32) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        match remove_stale(path) {
            // Another process has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        socket.bind(&address)?;
    }
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    // Before the listen: until then, no client can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((socket.into(), file))
}

/// Removes the file of a socket on which no process listens.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = identity(path)?;
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket; remove it"));
    }
    // Non-blocking: while the accept queue of the other process is full, connect(2) would block.
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = SockAddr::unix(path)?;
    if socket.connect(&address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        thread::sleep(LISTEN_GRACE);
    }
    match socket.connect(&address) {
        // Another process may have replaced it in the meantime.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && identity(path)? == found => {
            fs::remove_file(path)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => Err(error),
        // Another process listens on it.
        _ => Err(Errno::ADDRINUSE.into()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (first, file) = bind(&path, 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let error = bind(&path, 16).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::AddrInUse, "Address already in use (os error 98)")
        );
        // As after a crash.
        std::mem::forget(file);
        drop(first);
        let (_second, second_file) = bind(&path, 16).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(second_file);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_whose_accept_queue_is_full_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_first, _file) = bind(&path, 0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        assert_eq!(bind(&path, 0).unwrap_err().to_string(), "Address already in use (os error 98)");
    }

    #[test]
    fn the_file_of_another_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_first, first_file) = bind(&path, 16).unwrap();
        fs::remove_file(&path).unwrap();
        let (_second, _file) = bind(&path, 16).unwrap();
        drop(first_file);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "text").unwrap();
        assert!(bind(&path, 16).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(fs::read(&path).unwrap(), b"text");
        let missing = folder.path().join("missing/socket");
        assert_eq!(bind(&missing, 16).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
