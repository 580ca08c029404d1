//! Servers that inherit their listening sockets, which `scripts/pass_sockets.py` opens. It needs python3.

use std::collections::HashMap;
use std::env;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{self, ChildProcess};
use super::program::Binary;
use super::service_manager::NotifySocket;
use super::{TEST_TIMEOUT, eventually};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/pass_sockets.py");

/// Returns the command that runs a program with these listening sockets, each a `NAME=ENDPOINT`. It replaces itself
/// with the program.
pub fn with_sockets(binary: &Binary, sockets: &[&str], arguments: &[&str]) -> Command {
    command(binary, &[], sockets, arguments)
}

fn command(binary: &Binary, options: &[&str], sockets: &[&str], arguments: &[&str]) -> Command {
    let mut command = clean_command("python3");
    command.arg(SCRIPT).args(options).args(sockets).arg("--").arg(binary.path).args(arguments);
    // Off unless the arguments turn it on, because two servers cannot listen on its default port.
    let admin = binary.listeners.iter().find(|name| name.ends_with("_ADMIN_LISTEN"));
    command.current_dir(binary.folder).envs(admin.map(|name| (name, "")));
    command
}

/// Returns the command of a program that runs a server. The server inherits its environment, so it has only the
/// variables that the program itself may need to start.
pub fn clean_command(program: &str) -> Command {
    let mut command = Command::new(program);
    let variables = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command.env_clear().envs(variables);
    command
}

/// A server whose sockets stay open between its runs. Dropping it ends the server.
#[derive(Debug)]
pub struct RestartedServer {
    process: ChildProcess,
    manager: NotifySocket,
    addresses: HashMap<String, SocketAddr>,
}

impl RestartedServer {
    /// Starts a server that is restarted at most `restarts` times.
    pub fn start(binary: &Binary, restarts: usize, sockets: &[&str], arguments: &[&str]) -> Self {
        let mut command = command(binary, &["--restart", &restarts.to_string()], sockets, arguments);
        let manager = NotifySocket::new();
        manager.manage(&mut command, None);
        let process = ChildProcess::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let addresses = process.stderr.wait_for("the endpoints", |text| {
            let lines: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
            (lines.len() == sockets.len() && text.ends_with('\n')).then(|| {
                let address = |(name, endpoint): (&str, &str)| Some((name.to_owned(), endpoint.parse().ok()?));
                lines.into_iter().filter_map(address).collect()
            })
        });
        let server = Self { process, manager, addresses };
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

    /// Kills the server. The next one starts at the next restart.
    pub fn kill(&self) {
        process::signal(self.id(), "KILL");
    }

    /// Sends SIGTERM to the server. The next one starts after its exit.
    pub fn begin_restart(&mut self) {
        self.process.write("\n");
    }

    /// Sends SIGTERM to a server that [`Self::stop_process`] has stopped, and then lets it go on. The next one starts
    /// after its exit.
    pub fn begin_restart_of_stopped(&mut self) {
        let id = self.id();
        self.begin_restart();
        assert!(eventually(TEST_TIMEOUT, || process::is_pending(id, "TERM")), "{self:?}");
        process::signal(id, "CONT");
    }

    /// Waits until the next run is ready: it listens on all sockets.
    pub fn wait_until_ready(&self) {
        while !self.manager.next().starts_with("READY=1\n") {}
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
