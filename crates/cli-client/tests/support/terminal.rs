//! The client at a pseudo-terminal, as a person sees it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use proto::testing::PATIENCE;
use proto::testing::process::ChildProcess;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Client;

/// A terminal with a client that runs at it; dropping it ends the client.
pub(crate) struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What has been shown since the last thing that was waited for.
    shown: String,
    process: ChildProcess,
}

impl Terminal {
    /// Starts the client with all three of its streams at a terminal.
    pub(crate) fn start(client: Client) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there is a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it can be opened");
        let name = ptsname(&master, Vec::new()).expect("it has a name").into_string().expect("of letters");
        let slave = || Stdio::from(File::options().read(true).write(true).open(&name).expect("it opens"));
        let mut command = client.command;
        let process = ChildProcess::start(command.stdin(slave()).stdout(slave()).stderr(slave()));
        // The command keeps its copies of the terminal open, and with them the screen.
        drop(command);
        let keyboard = File::from(master);
        let mut reading = keyboard.try_clone().expect("it can be read");
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            // The end of a terminal is an error (EIO), when nobody has it open any more.
            while let Ok(length @ 1..) = reading.read(&mut bytes) {
                drop(sender.send(bytes[..length].to_vec()));
            }
        });
        Self { keyboard, screen, shown: String::new(), process }
    }

    /// Presses keys; `\x04` is Ctrl-D.
    pub(crate) fn press(&mut self, keys: &str) {
        self.press_bytes(keys.as_bytes());
    }

    /// Presses what is no text.
    pub(crate) fn press_bytes(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("the terminal takes it");
    }

    /// Sends the signal that Ctrl-C sends. (The key itself works only at the controlling terminal of a session.)
    pub(crate) fn interrupt(&self) {
        self.process.signal("INT");
    }

    /// Waits until this is shown, and gives what was shown before it.
    pub(crate) fn see(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
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

    /// Waits for the client's end, and gives its exit code.
    pub(crate) fn code(mut self) -> Option<i32> {
        self.process.wait()
    }
}
