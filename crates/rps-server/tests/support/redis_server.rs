//! A redis-server with any options as a child process, and commands to it.

use std::cell::RefCell;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use proto::testing::process::ChildProcess;
use proto::testing::{TEST_TIMEOUT, eventually};
use redis::{Cmd, Connection, FromRedisValue, RedisResult};
use tempfile::TempDir;

/// A running redis-server on a loopback port, without persistence. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct RedisServer {
    process: Option<ChildProcess>,
    folder: TempDir,
    options: Vec<String>,
    pub(crate) port: u16,
}

/// Returns a port that no process listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// Starts a server with these options, and waits until it accepts connections.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_with_config("", options)
    }

    /// Starts a server with a configuration file that it can write.
    pub(crate) fn start_with_config(config: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("redis.conf"), config).unwrap();
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self { process: None, folder, options, port: 0 };
        // Another process can take the free port before the server does.
        let started = eventually(TEST_TIMEOUT, || {
            server.port = free_port();
            server.try_start()
        });
        assert!(started, "redis-server did not start: {server:?}");
        server
    }

    fn try_start(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.arg(self.folder.path().join("redis.conf")).args(["--port", &self.port.to_string()]);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--dir").arg(self.folder.path()).args(&self.options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // On a thread without a runtime, because the first start in a process blocks on a runtime.
        let mut process = thread::scope(|scope| scope.spawn(|| ChildProcess::start(&mut command)).join().unwrap());
        let is_listening = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        // Its own message, because a connection can also reach another process.
        let is_ready = |text: &str| text.contains("Ready to accept connections") || text.contains("Sentinel ID is");
        eventually(TEST_TIMEOUT, || !process.is_running() || is_ready(&process.stdout.text()) && is_listening());
        let is_running = process.is_running();
        assert!(is_running || process.stdout.text().contains("bind"), "{}", process.stdout.text());
        self.process = is_running.then_some(process);
        is_running
    }

    /// Returns the folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the server again at the same port, without data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(eventually(TEST_TIMEOUT, || self.try_start()), "port {} is taken", self.port);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns how often a ticket was posted or removed. A check of the engine does neither.
    pub(crate) fn tickets(&self) -> u64 {
        let stats: String = self.control().run("INFO commandstats");
        let count = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
        };
        count("set") + count("del")
    }

    /// Opens a connection for the test.
    pub(crate) fn control(&self) -> Control {
        Control::open(&self.url())
    }
}

/// A connection of the test, which blocks.
pub(crate) struct Control(RefCell<Connection>);

impl Control {
    pub(crate) fn open(url: &str) -> Self {
        let connection = redis::Client::open(url).unwrap().get_connection_with_timeout(TEST_TIMEOUT).unwrap();
        connection.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self(RefCell::new(connection))
    }

    /// Sends a command whose words are separated by blanks.
    pub(crate) fn run<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_run(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    pub(crate) fn try_run<T: FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        self.send(cmd.arg(words.collect::<Vec<_>>()))
    }

    pub(crate) fn send<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query(&mut *self.0.borrow_mut())
    }
}
