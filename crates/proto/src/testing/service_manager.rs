//! The part of a service manager for a server's binary: the socket that `NOTIFY_SOCKET` names.
//!
//! It uses `program`.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use tempfile::TempDir;

use super::program::ServerProcess;
use super::{TEST_TIMEOUT, eventually};

/// The socket of a service manager, which receives the notifications of one server.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    folder: TempDir,
}

/// The notification of the watchdog.
pub const WATCHDOG: &str = "WATCHDOG=1\n";

impl NotifySocket {
    /// Starts to listen.
    #[expect(clippy::new_without_default, reason = "it opens a socket")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self { socket, folder }
    }

    /// Sets `NOTIFY_SOCKET` of a command, and `WATCHDOG_USEC` to these microseconds.
    pub fn manage<'a>(&self, command: &'a mut Command, watchdog: Option<u64>) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.envs(watchdog.map(|microseconds| ("WATCHDOG_USEC", microseconds.to_string())))
    }

    /// Waits for the next notification, and returns its lines.
    pub fn next(&self) -> String {
        self.receive().unwrap_or_else(|| panic!("no notification within {TEST_TIMEOUT:?}"))
    }

    /// Waits for the next notification that is not of the watchdog.
    pub fn next_state(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|notification| notification != WATCHDOG).unwrap()
    }

    /// Waits for a notification of the watchdog, which must be the next one.
    pub fn expect_watchdog(&self) {
        assert_eq!(self.next(), WATCHDOG);
    }

    /// Returns the notifications that have been sent and not received.
    pub fn queued(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let queued = std::iter::from_fn(|| self.receive()).collect();
        self.socket.set_nonblocking(false).unwrap();
        queued
    }

    /// Receives all notifications until the server has exited, and returns them.
    pub fn until_exit(&self, server: &mut ServerProcess) -> Vec<String> {
        let mut received = Vec::new();
        let has_exited = eventually(TEST_TIMEOUT, || {
            let has_exited = !server.is_running();
            received.extend(self.queued());
            has_exited
        });
        assert!(has_exited, "the server did not exit within {TEST_TIMEOUT:?}");
        received
    }

    fn receive(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}
