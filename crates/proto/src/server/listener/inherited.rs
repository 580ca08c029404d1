//! The listening sockets that the process inherits: the socket activation of systemd.
//!
//! It depends on `socket`. The protocol is that of `sd_listen_fds(3)`: the sockets are the open files
//! from 3 on, `LISTEN_FDS` is their number, `LISTEN_PID` the process that they are for, and `LISTEN_FDNAMES` has their
//! names, with colons in between.

use std::env::{self, VarError};
use std::fs;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use socket2::{Domain, Protocol, SockRef, Type};

use super::socket::ListeningSocket;
use crate::endpoint::SocketName;

/// The number of the first inherited file (`SD_LISTEN_FDS_START`).
const FIRST_FILE: usize = 3;

/// Maximum number of inherited sockets: many more than a server needs, and the usual limit of a process on open files.
const MAX_SOCKETS: usize = 1024;

/// The name of a socket without one (`sd_listen_fds(3)`).
const NO_NAME: &str = "unknown";

/// The inherited sockets of the process. Those that are not taken stay open and untouched.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(Vec<Inherited>);

#[derive(Debug)]
struct Inherited {
    /// The number of the file in this process.
    number: usize,
    name: String,
    /// `None` after it is taken.
    file: Option<OwnedFd>,
}

impl InheritedSockets {
    /// Finds the inherited sockets. Call it once, before the process opens many files. A second call finds none, because the
    /// sockets already have an owner.
    ///
    /// # Errors
    ///
    /// Fails if a variable is malformed, or if one of the files is not open or was not inherited.
    pub(crate) fn from_environment() -> io::Result<Self> {
        static IS_CALLED: AtomicBool = AtomicBool::new(false);
        if IS_CALLED.swap(true, Ordering::Relaxed) {
            return Ok(Self::default());
        }
        let names = names(variable, process::id())?;
        // The crate takes ownership of the files with these numbers, so check first that they are the inherited ones.
        for number in FIRST_FILE..FIRST_FILE + names.len() {
            check_inherited(number)?;
        }
        let files = sd_listen_fds::get().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let files = files.into_iter().map(|(_, file)| file.into_std());
        Self::new(names.into_iter().zip(files))
    }

    fn new(files: impl Iterator<Item = (String, OwnedFd)>) -> io::Result<Self> {
        let sockets = (FIRST_FILE..).zip(files).map(|(number, (name, file))| {
            // A socket that is not taken must not leak into other programs either.
            SockRef::from(&file).set_cloexec(true)?;
            Ok(Inherited { number, name, file: Some(file) })
        });
        sockets.collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes all sockets of this name, each with its name; for `None`, the only inherited socket. They are non-blocking, and
    /// closed at exec.
    ///
    /// # Errors
    ///
    /// Fails if no socket has the name, if one was taken before or is not a listening stream socket, or if `None` is
    /// ambiguous.
    pub(crate) fn take(&mut self, name: Option<&SocketName>) -> io::Result<Vec<(String, ListeningSocket)>> {
        let inherited = self.quoted(|_| true);
        let mut sockets: Vec<_> = match name {
            _ if self.0.is_empty() => {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the process inherits no sockets; start it from a socket unit",
                ));
            }
            None if self.0.len() > 1 => {
                let count = self.0.len();
                let text = format!("the process inherits {count} sockets: name one of {inherited}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            None => self.0.iter_mut().collect(),
            Some(name) => self.0.iter_mut().filter(|socket| socket.name == name.as_str()).collect(),
        };
        if sockets.is_empty() {
            let name = name.map(SocketName::as_str).unwrap_or_default();
            let text = format!("no inherited socket is named {name:?}; inherited: {inherited}");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        sockets.iter_mut().map(|socket| Ok((socket.name.clone(), socket.take()?))).collect()
    }

    /// Returns the name of the inherited socket on which the process cannot listen itself, because it has this address or
    /// includes it.
    pub(crate) fn name_at(&self, address: SocketAddr) -> Option<&str> {
        let has_address = |socket: &&Inherited| {
            let inherited = socket.file.as_ref().and_then(|file| SockRef::from(file).local_addr().ok()?.as_socket());
            inherited.is_some_and(|inherited| {
                let is_any = address.ip().is_unspecified() || inherited.ip().is_unspecified();
                inherited.port() == address.port() && (inherited.ip() == address.ip() || is_any)
            })
        };
        self.0.iter().find(has_address).map(|socket| socket.name.as_str())
    }

    /// Returns the names of the sockets that are not taken, for a warning; `None` if all are.
    pub(crate) fn untaken(&self) -> Option<String> {
        let names = self.quoted(|socket| socket.file.is_some());
        (!names.is_empty()).then_some(names)
    }

    /// Returns the names of these sockets, each once.
    fn quoted(&self, is_included: impl Fn(&Inherited) -> bool) -> String {
        let mut names = Vec::new();
        for socket in self.0.iter().filter(|socket| is_included(socket)) {
            let name = format!("{:?}", socket.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

impl Drop for InheritedSockets {
    fn drop(&mut self) {
        // Closing the last copy of a listening socket resets the clients in its accept queue, so leave the files open.
        for socket in &mut self.0 {
            mem::forget(socket.file.take());
        }
    }
}

impl Inherited {
    fn take(&mut self) -> io::Result<ListeningSocket> {
        let Self { number, name, file } = self;
        let invalid = |what: &str| {
            let text = format!("the inherited file {number} ({name:?}) is {what}, not a listening stream socket");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let Some(file) = file.take() else {
            let text = format!(
                "the inherited socket {number} ({name:?}) already belongs to another endpoint: fd: and fd:NAME can be the same socket"
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        };
        let socket = SockRef::from(&file);
        let Ok(kind) = socket.r#type() else {
            return Err(invalid("not a socket"));
        };
        if kind != Type::STREAM {
            return Err(invalid(if kind == Type::DGRAM { "a datagram socket" } else { "a socket of another type" }));
        }
        if !socket.is_listener()? {
            return Err(invalid("a socket that does not listen"));
        }
        let domain = socket.domain()?;
        let is_tcp = matches!(domain, Domain::IPV4 | Domain::IPV6)
            && matches!(socket.protocol()?, Some(Protocol::TCP | Protocol::MPTCP));
        if !is_tcp && domain != Domain::UNIX {
            return Err(invalid("a socket of a protocol other than TCP and Unix"));
        }
        socket.set_nonblocking(true)?;
        Ok(if is_tcp { ListeningSocket::Tcp(file.into()) } else { ListeningSocket::Unix(file.into()) })
    }
}

fn variable(name: &str) -> Result<String, VarError> {
    env::var(name)
}

/// Returns the name of each inherited socket. Those of another process do not count.
fn names(variable: impl Fn(&str) -> Result<String, VarError>, process: u32) -> io::Result<Vec<String>> {
    let variable = |name: &str| match variable(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(malformed(name, &value, "not UTF-8")),
    };
    let number = |name: &str| {
        let number = |value: String| {
            value.parse::<u32>().map_err(|_| malformed(name, &value, "not a whole number, or too large"))
        };
        variable(name)?.map(number).transpose()
    };
    if number("LISTEN_PID")? != Some(process) {
        return Ok(Vec::new());
    }
    let Some(count) = number("LISTEN_FDS")? else {
        return Ok(Vec::new());
    };
    let count = count as usize;
    if count > MAX_SOCKETS {
        return Err(malformed("LISTEN_FDS", &count, &format!("more than {MAX_SOCKETS}")));
    }
    // An empty variable counts as unset.
    let Some(names) = variable("LISTEN_FDNAMES")?.filter(|names| !names.is_empty()) else {
        return Ok(vec![NO_NAME.to_owned(); count]);
    };
    let given = names.split(':').count();
    if given != count {
        return Err(malformed("LISTEN_FDNAMES", &names, &format!("{given} names for LISTEN_FDS={count}")));
    }
    Ok(names.split(':').map(|name| if name.is_empty() { NO_NAME } else { name }.to_owned()).collect())
}

fn malformed(variable: &str, value: &dyn std::fmt::Debug, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{variable}={value:?}: {why}"))
}

/// Checks that this file is open and that the process has inherited it.
///
/// An inherited file lacks close-on-exec; otherwise exec would have closed it. The standard library and tokio set
/// close-on-exec on every file that they open. So a file without it was inherited.
fn check_inherited(number: usize) -> io::Result<()> {
    // proc(5): the line "flags:" is octal.
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(|error| {
        let text = format!("the inherited file {number} of LISTEN_FDS is not open, or /proc is missing: {error}");
        io::Error::new(error.kind(), text)
    })?;
    let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    if flags.is_some_and(|flags| flags & OFlags::CLOEXEC.bits() == 0) {
        Ok(())
    } else {
        let text = format!("the file {number} of LISTEN_FDS was opened by this process: the number is too large");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

#[cfg(test)]
mod tests;
