//! Notifications to the service manager: systemd, or another program that speaks its protocol.
//!
//! It depends on no other module. The protocol is that of `sd_notify(3)`: each notification is a datagram to the socket
//! that `NOTIFY_SOCKET` names. Without that variable, nothing is sent. A notification that cannot be sent never fails the
//! server.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::mem;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

/// Maximum time for which a notification waits for room in the manager's queue. A manager that hangs delays one thread
/// for this long.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// The service manager, if there is one. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct ServiceManager(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    address: SocketAddr,
    /// Open from the start, so that notifications need no file descriptor when none is left.
    socket: UnixDatagram,
    /// Held while a notification is sent, so that none but the watchdog's follows `STOPPING=1`.
    state: Mutex<ManagerState>,
}

#[derive(Debug, Default)]
struct ManagerState {
    is_stopping: bool,
    has_failed: bool,
}

impl ServiceManager {
    /// Finds the service manager in the environment.
    pub(crate) fn from_environment() -> Self {
        // An empty variable counts as unset.
        let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        let Some(socket) = socket else { return Self(None) };
        address(&socket).and_then(Self::at).unwrap_or_else(|error| {
            tracing::warn!(?socket, %error, "invalid NOTIFY_SOCKET; the service manager gets no notifications");
            Self(None)
        })
    }

    fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self(Some(Arc::new(Manager { address, socket, state: Mutex::default() }))))
    }

    /// Returns the time within which the manager expects each [watchdog](Self::watchdog) notification. `None` if it expects
    /// none from this process.
    pub(crate) fn watchdog_timeout(&self) -> Option<Duration> {
        self.0.as_ref()?;
        sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
    }

    /// Reports that all sockets listen.
    pub(crate) fn ready(&self) {
        self.send(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    /// Reports that the drain starts. Later calls of the other methods, except [`watchdog`](Self::watchdog), have no effect.
    pub(crate) fn stopping(&self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// Reports that a reload starts.
    pub(crate) fn reloading(&self) {
        // The manager compares the time with that of its SIGHUP. If the clock fails, which it does not on Linux, it would
        // reject the pair, so send neither.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.send(&[NotifyState::Reloading, now, NotifyState::Status("reloading the configuration")]);
        }
    }

    /// Reports that a reload has ended: applied, or rejected. The protocol has no failure of a reload but this status.
    pub(crate) fn reloaded(&self, is_applied: bool) {
        let status = if is_applied {
            "serving; config reloaded"
        } else {
            "serving; config reload rejected; keeping the current configuration"
        };
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Reports that the server makes progress. Returns whether the notification could be sent.
    pub(crate) fn watchdog(&self) -> bool {
        self.send(&[NotifyState::Watchdog])
    }

    fn send(&self, notification: &[NotifyState<'_>]) -> bool {
        let Some(manager) = &self.0 else { return true };
        let mut state = manager.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_stopping && !matches!(notification, [NotifyState::Watchdog]) {
            return true;
        }
        state.is_stopping |= matches!(notification, [NotifyState::Stopping, ..]);
        let sent = manager.send(notification);
        if let Err(error) = &sent
            && !mem::replace(&mut state.has_failed, true)
        {
            tracing::warn!(%error, "cannot notify the service manager; later failures are not logged");
        }
        sent.is_ok()
    }
}

impl Manager {
    /// Sends one datagram. `sd_notify::notify` is not used: it knows no abstract addresses, opens a socket each time, and
    /// would wait forever for a manager that hangs.
    fn send(&self, notification: &[NotifyState<'_>]) -> io::Result<()> {
        let mut text = String::new();
        for line in notification {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{line}");
        }
        // Not connected: a manager that was restarted has a new socket.
        self.socket.send_to_addr(text.as_bytes(), &self.address).map(drop)
    }
}

/// Parses `NOTIFY_SOCKET`: a path, or `@` and an abstract name (unix(7)).
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "not a path and not an abstract name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binds the socket of a manager to an abstract name, which needs no file.
    fn manager(name: &str) -> (UnixDatagram, ServiceManager) {
        let name = format!("@proto-{name}-{}", std::process::id());
        let address = address(name.as_ref()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, ServiceManager::at(address).unwrap())
    }

    fn received(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).ok()?;
        Some(str::from_utf8(&buffer[..length]).unwrap().to_owned())
    }

    #[test]
    fn each_notification_is_one_datagram() {
        let (socket, manager) = manager("each");
        manager.ready();
        assert_eq!(received(&socket).unwrap(), "READY=1\nSTATUS=serving\n");
        manager.reloading();
        let text = received(&socket).unwrap();
        let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let time = time.strip_suffix("\nSTATUS=reloading the configuration\n").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        manager.reloaded(true);
        assert_eq!(received(&socket).unwrap(), "READY=1\nSTATUS=serving; config reloaded\n");
        manager.reloaded(false);
        let rejected = "READY=1\nSTATUS=serving; config reload rejected; keeping the current configuration\n";
        assert_eq!(received(&socket).unwrap(), rejected);
        manager.watchdog();
        assert_eq!(received(&socket).unwrap(), "WATCHDOG=1\n");
        manager.stopping();
        assert_eq!(received(&socket).unwrap(), "STOPPING=1\nSTATUS=draining\n");
        assert_eq!(received(&socket), None);
    }

    #[test]
    fn after_stopping_only_the_watchdog_is_notified() {
        let (socket, manager) = manager("stopping");
        manager.stopping();
        assert!(received(&socket).unwrap().starts_with("STOPPING=1\n"));
        // A reload that was in progress ends, and the start of the program goes on.
        manager.clone().reloaded(true);
        manager.ready();
        manager.stopping();
        assert_eq!(received(&socket), None);
        manager.watchdog();
        assert_eq!(received(&socket).unwrap(), "WATCHDOG=1\n");
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_fails_nothing() {
        ServiceManager(None).ready();
        let (socket, gone) = manager("gone");
        drop(socket);
        gone.ready();
        assert!(!gone.watchdog());
        let (_full, hangs) = manager("hangs");
        // Until the queue is full, in which `net.unix.max_dgram_qlen` datagrams have room.
        assert!((0..100_000).any(|_| !hangs.watchdog()));
    }

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        assert_eq!(address("/run/notify".as_ref()).unwrap().as_pathname(), Some("/run/notify".as_ref()));
        assert_eq!(address("@notify".as_ref()).unwrap().as_abstract_name(), Some(&b"notify"[..]));
        let long = format!("/{}", "x".repeat(200));
        for invalid in ["notify", "vsock:2:1234", long.as_str()] {
            assert!(address(invalid.as_ref()).is_err(), "{invalid}");
        }
    }
}
