//! Servers that inherit their listening sockets, which `scripts/pass_sockets.py` opens. It needs python3.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{self, ChildProcess};
use super::program::Binary;
use super::{TEST_TIMEOUT, eventually};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/pass_sockets.py");

/// The last line of the log before a server is ready. The binaries of tests have no configuration file.
const READY: &str = "no configuration file at the default path";

/// Returns the command that runs a program with these listening sockets, each a `NAME=ENDPOINT`. It replaces itself with
/// the program.
pub fn with_sockets(binary: &Binary, sockets: &[&str], arguments: &[&str]) -> Command {
    command(binary, &[], sockets, arguments)
}

fn command(binary: &Binary, options: &[&str], sockets: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    // python3 may need the environment, so only the variables that the servers read are removed.
    for variable in binary.listeners.iter().chain(&["RUST_LOG", "NOTIFY_SOCKET", "WATCHDOG_USEC"]) {
        command.env_remove(variable);
    }
    command.arg(SCRIPT).args(options).args(sockets).arg("--").arg(binary.path).args(arguments);
    command.current_dir(binary.folder);
    command
}

/// A server whose sockets stay open between its runs. Dropping it ends the server.
#[derive(Debug)]
pub struct RestartedServer {
    process: ChildProcess,
    addresses: HashMap<String, SocketAddr>,
    runs: usize,
}

impl RestartedServer {
    /// Starts a server that is restarted at most `restarts` times.
    pub fn start(binary: &Binary, restarts: usize, sockets: &[&str], arguments: &[&str]) -> Self {
        let mut command = command(binary, &["--restart", &restarts.to_string()], sockets, arguments);
        let process = ChildProcess::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let addresses = process.stderr.wait_for("the endpoints", |text| {
            let lines: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
            (lines.len() == sockets.len() && text.ends_with('\n')).then(|| {
                let address = |(name, endpoint): (&str, &str)| Some((name.to_owned(), endpoint.parse().ok()?));
                lines.into_iter().filter_map(address).collect()
            })
        });
        let server = Self { process, addresses, runs: 1 };
        server.wait_until_ready();
        server
    }

    /// Returns the address of the TCP socket with this name.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    /// Returns the process ID of the last run that has started.
    fn id(&self) -> u32 {
        let log = self.log();
        let last = log.lines().filter_map(|line| line.strip_prefix("started ")).next_back();
        last.unwrap().parse().unwrap()
    }

    /// Stops the threads of the server with SIGSTOP.
    pub fn stop_process(&self) {
        process::signal(self.id(), "STOP");
        assert!(eventually(TEST_TIMEOUT, || process::is_stopped(self.id())), "{self:?}");
    }

    /// Lets a stopped server go on.
    pub fn continue_process(&self) {
        process::signal(self.id(), "CONT");
    }

    /// Kills the server. The next one starts at the next restart.
    pub fn kill(&self) {
        process::signal(self.id(), "KILL");
    }

    /// Sends SIGTERM to the server. The next one starts after its exit.
    pub fn begin_restart(&mut self) {
        self.process.write("\n");
        self.runs += 1;
    }

    /// Waits until the last run is ready.
    pub fn wait_until_ready(&self) {
        self.process.stdout.wait_for("a ready server", |text| (text.matches(READY).count() == self.runs).then_some(()));
    }

    /// Restarts the server. Returns the time from SIGTERM until the next run is ready.
    pub fn restart(&mut self) -> Duration {
        let started = Instant::now();
        self.begin_restart();
        self.wait_until_ready();
        started.elapsed()
    }

    /// Returns the log of all runs so far.
    pub fn log(&self) -> String {
        self.process.stdout.text()
    }

    /// Stops the server. Returns whether every run has ended with the exit code 0, and the log of all runs.
    pub fn stop(mut self) -> (bool, String) {
        drop(self.process.take_stdin());
        let is_right = self.process.wait() == Some(0);
        (is_right, self.process.stdout.wait_for_end())
    }
}
