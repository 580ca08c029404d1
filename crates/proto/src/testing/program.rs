//! A server's binary as a child process: its addresses, its log, its admin listener, and its resources in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{self, ChildProcess, Exit};
use super::{TEST_TIMEOUT, eventually};

/// The binary of a server. Cargo sets the path of a binary only for tests of the same crate.
#[derive(Clone, Copy, Debug)]
pub struct Binary {
    /// `CARGO_BIN_EXE_…`.
    pub path: &'static str,
    /// The working directory. It has no configuration file, so a test controls all settings.
    pub folder: &'static str,
    /// The environment variables that set its listen addresses.
    pub listeners: &'static [&'static str],
    /// The names of its listeners in the log.
    pub services: &'static [&'static str],
}

impl Binary {
    /// Returns the command of the program with an empty environment.
    pub fn clean_command(&self) -> Command {
        let mut command = Command::new(self.path);
        command.current_dir(self.folder).env_clear();
        command
    }

    /// Returns the command of the program with these arguments. It listens on free ports unless the arguments set
    /// others.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.clean_command();
        command.envs(self.listeners.iter().map(|name| (name, "127.0.0.1:0"))).args(arguments);
        command
    }

    /// Starts the program with these arguments. It listens on free ports unless the arguments set others.
    pub fn start(&self, arguments: &[&str]) -> ServerProcess {
        ServerProcess::start(&mut self.command(arguments), self.services)
    }
}

/// The settings that `--check-config` has printed: each key, its value as TOML, and its source.
fn printed_settings(text: &str) -> Vec<(String, String, String)> {
    let mut table = String::new();
    let mut settings = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.strip_suffix(']').unwrap());
        } else {
            let (setting, source) = line.split_once("  # ").unwrap_or_else(|| panic!("no source: {line}"));
            let (key, value) = setting.split_once(" = ").unwrap();
            settings.push((format!("{table}{key}"), value.to_owned(), source.to_owned()));
        }
    }
    settings
}

impl Binary {
    /// Checks that each key has a separate environment variable: all keys are set by variables at once.
    pub fn check_variables(&self, prefix: &str) {
        let printed = |command: &mut Command| {
            let Exit { code, stdout, stderr } = process::run(command.arg("--check-config"), "");
            assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
            printed_settings(&stdout)
        };
        let defaults = printed(&mut self.clean_command());
        assert!(defaults.len() > 20 && defaults.iter().all(|(_, _, source)| source == "default"), "{defaults:?}");
        let variable = |key: &str| format!("{prefix}{}", key.to_uppercase().replace('.', "_"));
        let mut command = self.clean_command();
        command.envs(defaults.iter().map(|(key, value, _)| (variable(key), value.trim_matches('"'))));
        for ((key, value, source), default) in printed(&mut command).into_iter().zip(defaults) {
            assert_eq!((&key, value), (&default.0, default.1), "a variable sets the key's own value");
            assert_eq!(source, format!("environment variable {}", variable(&key)), "{key}");
        }
    }
}

/// A running server process. Dropping it kills the process.
#[derive(Debug)]
pub struct ServerProcess {
    process: ChildProcess,
    id: u32,
    addresses: HashMap<String, SocketAddr>,
}

/// The resources of a server without clients. After a fault, the server must return to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    open_files: usize,
}

impl ServerProcess {
    /// Starts a program and waits until its log has a "listening" line with a TCP address for each of these `services`.
    pub fn start(command: &mut Command, services: &[&str]) -> Self {
        let process = ChildProcess::start(command.stdout(Stdio::piped()));
        let address = |service: &&str| {
            let first = |log: &str| endpoints_in(log, service).iter().find_map(|endpoint| tcp_address(endpoint));
            process.stdout.wait_for(service, first)
        };
        let addresses = services.iter().map(|service| ((*service).to_owned(), address(service))).collect();
        Self { id: process.id(), addresses, process }
    }

    /// Starts a program whose log is not captured, and waits until its admin listener replies.
    pub fn start_at(command: &mut Command, addresses: &[(&str, SocketAddr)]) -> Self {
        let process = ChildProcess::start(command);
        let addresses = addresses.iter().map(|&(name, address)| (name.to_owned(), address)).collect();
        let server = Self { id: process.id(), addresses, process };
        server.eventually(|server| server.get("/healthz").is_some(), "listens");
        server
    }

    /// Returns the listen address of `service`.
    pub fn address(&self, service: &str) -> SocketAddr {
        self.addresses[service]
    }

    /// Returns the address of the second TCP endpoint of `service`.
    pub fn second_address(&self, service: &str) -> SocketAddr {
        self.endpoints(service).iter().filter_map(|endpoint| tcp_address(endpoint)).nth(1).unwrap()
    }

    /// Returns the endpoints of `service`, as they are in the log.
    pub fn endpoints(&self, service: &str) -> Vec<String> {
        endpoints_in(&self.log(), service)
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.process.stdout.text()
    }

    /// Returns the server's process ID. It differs from the child's if the child is a script that runs the server.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Sets the process ID for signals and `/proc`.
    pub fn set_id(&mut self, id: u32) {
        self.id = id;
    }

    /// Returns whether the child is still running.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Sends a signal: `TERM`, for instance.
    pub fn signal(&self, name: &str) {
        process::signal(self.id, name);
    }

    /// Sends a second signal, and again while the server takes it for a repetition of the first one, until it aborts.
    pub fn signal_until_abort(&self, name: &str) {
        let aborts = |server: &Self| {
            server.signal(name);
            server.log().contains("aborted by second signal")
        };
        self.eventually(aborts, "aborts");
    }

    /// Requests `path` from the admin listener and returns the status and the body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_as(path, "*/*")
    }

    /// Like [`get`](Self::get), with this value of `Accept`.
    pub fn get_as(&self, path: &str, accept: &str) -> Option<(u16, String)> {
        let (head, body) = self.request("GET", path, &format!("Accept: {accept}\r\n"))?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body))
    }

    /// Sends a request with these further header lines to the admin listener. Returns the head and the body.
    pub fn request(&self, method: &str, path: &str, headers: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(self.address("admin")).ok()?;
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        Some((head.to_owned(), body.to_owned()))
    }

    /// Returns the value of one time series of `/metrics`.
    pub fn metric(&self, series: &str) -> u64 {
        self.metric_text(series).parse().unwrap()
    }

    /// Returns the value of one time series of `/metrics` that is in seconds.
    pub fn seconds(&self, series: &str) -> f64 {
        self.metric_text(series).parse().unwrap()
    }

    fn metric_text(&self, series: &str) -> String {
        let (status, body) = self.get("/metrics").unwrap();
        assert_eq!(status, 200);
        let line = body.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        assert!(line.is_some(), "no {series} in\n{body}");
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// Returns the number of connections that were closed for `reason`. The metrics begin with `prefix`.
    pub fn closed(&self, prefix: &str, reason: &str) -> u64 {
        self.metric(&format!("{prefix}_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    /// Sends SIGHUP, and waits for the result of the reload: `ok` or `rejected`. The metrics begin with `prefix`.
    pub fn reload(&self, prefix: &str, result: &str) {
        let series = format!("{prefix}_config_reloads_total{{result=\"{result}\"}}");
        let before = self.metric(&series);
        self.signal("HUP");
        self.eventually(|server| server.metric(&series) == before + 1, &format!("a reload that is {result}"));
    }

    /// Returns whether SIGSTOP has stopped all of its threads (proc(5), the state after the name).
    pub fn is_stopped(&self) -> bool {
        process::is_stopped(self.id)
    }

    /// Returns the number of its open files.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id)).unwrap().count()
    }

    /// Returns its resident memory in KiB (proc(5), `VmRSS`).
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// Returns the maximum of its resident memory so far in KiB (proc(5), `VmHWM`).
    pub fn peak_resident_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Returns the number of orphaned sockets of `service` that still have bytes to send.
    ///
    /// A row of `/proc/net/tcp` has the local address, the remote address, the state and the queues. The inode of an
    /// orphan is 0.
    pub fn orphans(&self, service: &str) -> usize {
        let port = format!(":{:04X}", self.address(service).port());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[1].ends_with(&port) && row[9] == "0" && !row[4].starts_with("00000000")).count()
    }

    /// Returns the CPU time that it has used (proc(5), `utime` and `stime`, in hundredths of a second).
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Returns the server's baseline. It must have no clients.
    pub fn baseline(&self) -> Baseline {
        // The admin listener opens files after its "listening" line.
        self.eventually(|server| server.get("/healthz").is_some(), "serves the admin listener");
        // A recent connection to the admin listener may still be open. The minimum does not include it.
        let mut open_files = usize::MAX;
        eventually(Duration::from_millis(200), || {
            open_files = open_files.min(self.open_files());
            false
        });
        Baseline { open_files }
    }

    /// Checks that the server is healthy, has had no panic, and has released all resources of connections.
    pub fn returns_to(&self, baseline: Baseline, prefix: &str) {
        self.eventually(|server| server.metric(&format!("{prefix}_connections")) == 0, "has no connection");
        self.eventually(|server| server.open_files() <= baseline.open_files, "has as few open files as before");
        assert_eq!(self.get("/healthz"), Some((200, "ok\n".to_owned())));
        assert_eq!(self.closed(prefix, "panic"), 0);
    }

    /// Waits until `condition` returns true. `what` names it in the failure.
    pub fn eventually(&self, condition: impl Fn(&Self) -> bool, what: &str) {
        assert!(eventually(TEST_TIMEOUT, || condition(self)), "{what}: not within {TEST_TIMEOUT:?}\n{}", self.log());
    }

    /// Waits until it exits and returns the exit code and the whole log.
    pub fn wait_for_exit(mut self) -> (Option<i32>, String) {
        let code = self.process.wait();
        (code, self.process.stdout.wait_for_end())
    }

    /// Stops it with SIGTERM, checks that it exits with 0, and returns the log.
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (code, log) = self.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

/// Returns the endpoints in the "listening" lines of `service` in a log, which may be text or JSON.
fn endpoints_in(log: &str, service: &str) -> Vec<String> {
    let text = format!("listening service=\"{service}\" address=");
    let json = format!("\"message\":\"listening\",\"service\":\"{service}\",\"address\":\"");
    let endpoint = |line: &str| {
        let rest = line.split_once(&text).or_else(|| line.split_once(&json))?.1;
        Some(rest.split(['"', ' ']).next().unwrap_or(rest).to_owned())
    };
    log.lines().filter_map(endpoint).collect()
}

/// Returns the address of a TCP endpoint, with or without TLS.
fn tcp_address(endpoint: &str) -> Option<SocketAddr> {
    endpoint.strip_prefix("tls://").unwrap_or(endpoint).parse().ok()
}
