//! A Redis server on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use proto::testing::process::ChildProcess;
use proto::testing::{TEST_TIMEOUT, eventually};
use tempfile::TempDir;

/// A running Redis server without a TCP port and without data on disk. Dropping it kills it.
pub(crate) struct Redis {
    process: ChildProcess,
    folder: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let redis = Self { process: Self::spawn(&folder), folder };
        redis.wait_until_ready();
        redis
    }

    fn spawn(folder: &TempDir) -> ChildProcess {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"]);
        command.arg(folder.path().join("socket")).current_dir(folder.path()).stdout(Stdio::null());
        ChildProcess::start(&mut command)
    }

    fn wait_until_ready(&self) {
        assert!(eventually(TEST_TIMEOUT, || self.try_command("PING").is_some_and(|reply| reply.starts_with("+PONG"))));
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// Starts it again, without data.
    pub(crate) fn restart(&mut self) {
        self.process = Self::spawn(&self.folder);
        self.wait_until_ready();
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Sends a command without quotes, and returns the beginning of its reply.
    pub(crate) fn command(&self, command: &str) -> String {
        self.try_command(command).unwrap()
    }

    fn try_command(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        write!(stream, "{command}\r\nQUIT\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some(reply)
    }

    /// Returns the number of scripts that it has executed.
    pub(crate) fn calls(&self) -> u64 {
        let stats = self.command("INFO commandstats");
        let count = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
        };
        count("eval") + count("evalsha")
    }
}
