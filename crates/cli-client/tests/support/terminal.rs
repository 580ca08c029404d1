//! Runs the client on a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use proto::testing::process::ChildProcess;
use proto::testing::{TEST_TIMEOUT, eventually};
use rustix::io::ioctl_fionread;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::ClientCommand;

/// A terminal with a running client; dropping it ends the client.
pub(crate) struct Terminal {
    keyboard: File,
    /// The path of the slave side.
    path: String,
    screen: Receiver<Vec<u8>>,
    /// Output after the last text that was waited for.
    shown: String,
    process: ChildProcess,
}

impl Terminal {
    /// Starts the client with all three standard streams on the terminal, whose width is unknown.
    pub(crate) fn start(client: ClientCommand) -> Self {
        Self::start_with_columns(client, 0)
    }

    /// Starts the client on a terminal of this width.
    pub(crate) fn start_with_columns(client: ClientCommand, columns: u16) -> Self {
        Self::start_in(client.command, columns)
    }

    /// Starts another program with all three standard streams on the terminal.
    pub(crate) fn start_command(command: Command) -> Self {
        Self::start_in(command, 0)
    }

    fn start_in(mut command: Command, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there is a terminal");
        grantpt(&master).expect("this user owns the terminal");
        unlockpt(&master).expect("the terminal can be unlocked");
        let name =
            ptsname(&master, Vec::new()).expect("the terminal has a name").into_string().expect("the name is UTF-8");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("the terminal has a size");
        let slave = || Stdio::from(File::options().read(true).write(true).open(&name).expect("the terminal opens"));
        let process = ChildProcess::start(command.stdin(slave()).stdout(slave()).stderr(slave()));
        // The command holds copies of the terminal's slave side, which would keep the screen open.
        drop(command);
        let keyboard = File::from(master);
        let mut reading = keyboard.try_clone().expect("the descriptor can be duplicated");
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            // After the last slave is closed, reading a terminal fails with EIO.
            while let Ok(length @ 1..) = reading.read(&mut bytes) {
                drop(sender.send(bytes[..length].to_vec()));
            }
        });
        Self { keyboard, path: name, screen, shown: String::new(), process }
    }

    /// Presses keys; `\x04` is Ctrl-D.
    pub(crate) fn press(&mut self, keys: &str) {
        self.press_bytes(keys.as_bytes());
    }

    /// Presses keys that are not UTF-8.
    pub(crate) fn press_bytes(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("the terminal accepts input");
    }

    /// Sends SIGINT, as Ctrl-C does. (The key itself works only at the controlling terminal of a session.)
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Whether the terminal shows the keys that are pressed.
    pub(crate) fn echoes(&self) -> bool {
        let settings = tcgetattr(self.slave()).expect("the terminal has settings");
        settings.local_modes.contains(LocalModes::ECHO)
    }

    /// Waits until this many bytes of whole lines have been typed that the client has not read.
    pub(crate) fn wait_for_keys(&self, bytes: u64) {
        let slave = self.slave();
        let arrived = || ioctl_fionread(&slave).expect("a terminal has a queue") >= bytes;
        assert!(eventually(TEST_TIMEOUT, arrived), "{bytes} bytes do not arrive");
    }

    fn slave(&self) -> File {
        File::options().read(true).write(true).open(&self.path).expect("the terminal opens")
    }

    /// Waits for the end of the client, which keeps the terminal.
    pub(crate) fn wait_for_end(&mut self) {
        assert!(eventually(TEST_TIMEOUT, || !self.process.is_running()), "the client does not end");
    }

    /// Waits until this text is shown, and returns the output before it.
    pub(crate) fn see(&mut self, text: &str) -> String {
        let until = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(place) = self.shown.find(text) {
                let rest = self.shown.split_off(place + text.len());
                let mut before = std::mem::replace(&mut self.shown, rest);
                before.truncate(place);
                return before;
            }
            let left = until.saturating_duration_since(Instant::now());
            let more = self.screen.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("{text:?} is not shown: {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Waits until the client closes the terminal, and returns the output after the last text that was waited for.
    pub(crate) fn see_rest(&mut self) -> String {
        let until = Instant::now() + TEST_TIMEOUT;
        let mut bytes = std::mem::take(&mut self.shown).into_bytes();
        while let Ok(more) = self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
            bytes.extend(more);
        }
        String::from_utf8(bytes).expect("the output is UTF-8")
    }

    /// Waits for the end of the client, and returns the signal that terminated it.
    pub(crate) fn termination_signal(mut self) -> Option<i32> {
        self.process.wait_status().signal()
    }

    /// Waits for the end of the client, and returns its exit code.
    pub(crate) fn code(mut self) -> Option<i32> {
        self.process.wait()
    }
}
