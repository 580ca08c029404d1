//! A server's binary as a child process: where it listens, its log, its admin listener, and what the kernel knows of it.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{self, ChildProcess};
use super::{PATIENCE, eventually};

/// The binary of a server. Cargo gives its path only to the tests of its own crate.
#[derive(Clone, Copy, Debug)]
pub struct Binary {
    /// `CARGO_BIN_EXE_…`.
    pub path: &'static str,
    /// A directory without a configuration file, so that a test's settings are all that there is.
    pub folder: &'static str,
    /// The environment variables for its addresses.
    pub listeners: &'static [&'static str],
    /// Its listeners' names in the log.
    pub services: &'static [&'static str],
}

impl Binary {
    /// The program with an empty environment.
    pub fn clean_command(&self) -> Command {
        let mut command = Command::new(self.path);
        command.current_dir(self.folder).env_clear();
        command
    }

    /// The program with these arguments, listening on free ports unless they say otherwise.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.clean_command();
        command.envs(self.listeners.iter().map(|name| (name, "127.0.0.1:0"))).args(arguments);
        command
    }

    /// Starts the program with these arguments, listening on free ports unless they say otherwise.
    pub fn start(&self, arguments: &[&str]) -> ServerProcess {
        ServerProcess::start(&mut self.command(arguments), self.services)
    }
}

/// A server that runs. Dropping it kills it.
#[derive(Debug)]
pub struct ServerProcess {
    process: ChildProcess,
    id: u32,
    addresses: HashMap<String, SocketAddr>,
}

/// What a server has to return to after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    open_files: usize,
}

impl ServerProcess {
    /// Starts a program and waits until its log says that it listens for each of these `services`.
    pub fn start(command: &mut Command, services: &[&str]) -> Self {
        let process = ChildProcess::start(command.stdout(Stdio::piped()));
        let address = |service: &&str| process.stdout.wait_for(service, |log| address_in(log, service));
        let addresses = services.iter().map(|service| ((*service).to_owned(), address(service))).collect();
        Self { id: process.id(), addresses, process }
    }

    /// Starts a program whose log goes elsewhere, and waits until its admin listener accepts connections.
    pub fn start_at(command: &mut Command, addresses: &[(&str, SocketAddr)]) -> Self {
        let process = ChildProcess::start(command);
        let addresses = addresses.iter().map(|&(name, address)| (name.to_owned(), address)).collect();
        let program = Self { id: process.id(), addresses, process };
        program.eventually(|program| TcpStream::connect(program.address("admin")).is_ok(), "listens");
        program
    }

    /// Where it listens for `service`.
    pub fn address(&self, service: &str) -> SocketAddr {
        self.addresses[service]
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.stdout.text()
    }

    /// The process ID. It differs from the child's where the child runs the server.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Sets the process ID that signals and `/proc` are about.
    pub fn set_id(&mut self, id: u32) {
        self.id = id;
    }

    /// Whether the child is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Sends a signal: `TERM`, for instance.
    pub fn signal(&self, name: &str) {
        process::signal(self.id, name);
    }

    /// Requests `path` of the admin listener and returns the status and the body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address("admin")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Returns the value of one series of `/metrics`.
    pub fn metric(&self, series: &str) -> u64 {
        self.shown(series).parse().unwrap()
    }

    /// The same for a series in seconds.
    pub fn seconds(&self, series: &str) -> f64 {
        self.shown(series).parse().unwrap()
    }

    fn shown(&self, series: &str) -> String {
        let (status, body) = self.get("/metrics").unwrap();
        assert_eq!(status, 200);
        let line = body.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        assert!(line.is_some(), "no {series} in\n{body}");
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// Whether SIGSTOP has reached all of its threads (proc(5), the state behind the name).
    pub fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).unwrap();
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
            let state = stat.rsplit_once(") ").unwrap().1;
            state.starts_with('T')
        })
    }

    /// The number of its open files.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id)).unwrap().count()
    }

    /// Its resident memory in KiB (proc(5), `VmRSS`).
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The CPU time that it has used (proc(5), `utime` and `stime`, in hundredths of a second).
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Returns what it has to return to. The server has to be without clients.
    pub fn baseline(&self) -> Baseline {
        // A connection to the admin listener is among its files until it is closed, so the fewest seen are its own.
        let mut open_files = usize::MAX;
        eventually(Duration::from_millis(200), || {
            open_files = open_files.min(self.open_files());
            false
        });
        Baseline { open_files }
    }

    /// Checks that it lives, has had no panic, and has released everything that connections held.
    pub fn returns_to(&self, rest: Baseline, prefix: &str) {
        self.eventually(|program| program.metric(&format!("{prefix}_connections")) == 0, "has no connection");
        self.eventually(|program| program.open_files() <= rest.open_files, "has as few open files as before");
        assert_eq!(self.get("/healthz"), Some((200, "ok\n".to_owned())));
        assert!(self.metric(&format!("{prefix}_connections_closed_total{{reason=\"panic\"}}")) == 0);
    }

    /// Waits until `is_so` returns true.
    pub fn eventually(&self, is_so: impl Fn(&Self) -> bool, what: &str) {
        assert!(eventually(PATIENCE, || is_so(self)), "{what}: not within {PATIENCE:?}\n{}", self.log());
    }

    /// Waits for its end and returns the exit code and the whole log.
    pub fn wait_for_exit(mut self) -> (Option<i32>, String) {
        let code = self.process.wait();
        (code, self.process.stdout.wait_for_end())
    }

    /// Stops it with SIGTERM and checks that it exits with 0.
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (code, log) = self.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

/// Returns the address on which a log, as text or JSON, says that `service` listens.
fn address_in(log: &str, service: &str) -> Option<SocketAddr> {
    let text = format!("listening service=\"{service}\" address=");
    let json = format!("\"message\":\"listening\",\"service\":\"{service}\",\"address\":\"");
    let behind = log.split_once(&text).or_else(|| log.split_once(&json))?.1;
    // A line that is not whole yet may have a part of the address.
    behind.split_once(['\n', '"', ' '])?.0.parse().ok()
}
