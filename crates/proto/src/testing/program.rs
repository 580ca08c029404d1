//! A server's program while it runs: where it listens, what its log, its admin listener and the kernel tell of it. It
//! serves the tests of both servers.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No test waits longer than this for what should be there at once; only a broken server lets one wait so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A program that is ended, by force if need be, when this is dropped or has run for far too long.
#[derive(Debug)]
pub struct Program {
    child: Child,
    id: u32,
    addresses: HashMap<String, SocketAddr>,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
    _alive: Sender<()>,
}

/// What a server is to come back to after whatever was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    open_files: usize,
}

impl Program {
    /// Starts a program and waits until it listens for these `services`, the admin listener among them where it is asked
    /// for.
    pub fn start(command: &mut Command, services: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take();
        let mut program = Self::of(child, stdout);
        program.await_listeners(services);
        program
    }

    /// Takes over a program whose log somebody else has.
    pub fn without_log(child: Child, addresses: &[(&str, SocketAddr)]) -> Self {
        let mut program = Self::of(child, None);
        program.addresses = addresses.iter().map(|&(name, address)| (name.to_owned(), address)).collect();
        program.eventually(|program| TcpStream::connect(program.address("admin")).is_ok(), "listens");
        program
    }

    fn of(child: Child, stdout: Option<ChildStdout>) -> Self {
        let (alive, watched) = channel();
        let id = child.id();
        thread::spawn(move || end_after_long(id, &watched));
        let log = Arc::<Mutex<String>>::default();
        let reading = stdout.map(|stdout| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            })
        });
        Self { child, id, addresses: HashMap::new(), log, reading, _alive: alive }
    }

    fn await_listeners(&mut self, services: &[&str]) {
        for service in services {
            self.eventually(|program| address_in(&program.log(), service).is_some(), "listens");
            let address = address_in(&self.log(), service).unwrap();
            self.addresses.insert((*service).to_owned(), address);
        }
    }

    /// Where it listens for `service`.
    pub fn address(&self, service: &str) -> SocketAddr {
        self.addresses[service]
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The process's number. It is another one than the child's where the child is what runs it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Has what follows be about this process.
    pub fn set_id(&mut self, id: u32) {
        self.id = id;
    }

    /// Whether the process that was started is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal: `TERM`, for instance.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.id.to_string()]).status().unwrap().success());
    }

    /// Asks the admin listener: the status and the body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address("admin")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The value of one series, as `/metrics` tells it.
    pub fn metric(&self, series: &str) -> u64 {
        self.shown(series).parse().unwrap()
    }

    /// The same of one that counts seconds.
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

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id)).unwrap().count()
    }

    /// How much memory it holds, in KiB (proc(5), `VmRSS`).
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

    /// What it is to come back to. Asked of a server that nobody uses.
    pub fn rest(&self) -> Rest {
        // The admin listener's own connection is among its files until it is closed, so the fewest seen are its own.
        let mut open_files = usize::MAX;
        within(Duration::from_millis(200), || {
            open_files = open_files.min(self.open_files());
            false
        });
        Rest { open_files }
    }

    /// Whether it lives, has met no panic, and has given back all that it held.
    pub fn is_back_at(&self, rest: Rest, prefix: &str) {
        self.eventually(|program| program.metric(&format!("{prefix}_connections")) == 0, "has no connection");
        self.eventually(|program| program.open_files() <= rest.open_files, "has as few open files as before");
        assert_eq!(self.get("/healthz"), Some((200, "ok\n".to_owned())));
        assert!(self.metric(&format!("{prefix}_connections_closed_total{{reason=\"panicked\"}}")) == 0);
    }

    /// Waits until this is so.
    pub fn eventually(&self, is_so: impl Fn(&Self) -> bool, what: &str) {
        assert!(within(PATIENCE, || is_so(self)), "{what}: not within {PATIENCE:?}\n{}", self.log());
    }

    /// Waits for the end: the exit code, and all of the log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        (code, self.log())
    }

    /// Tells it to stop, and checks that it does so in order.
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (code, log) = self.end();
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a log, as text or JSON, says that `service` listens.
fn address_in(log: &str, service: &str) -> Option<SocketAddr> {
    let text = format!("listening service=\"{service}\" address=");
    let json = format!("\"message\":\"listening\",\"service\":\"{service}\",\"address\":\"");
    let behind = log.split_once(&text).or_else(|| log.split_once(&json))?.1;
    // A line that is not whole yet may have a part of the address.
    behind.split_once(['\n', '"', ' '])?.0.parse().ok()
}

/// A command that runs a server's program in a `folder` without a configuration, so that what a test says is all that
/// there is. The environment has it listen on free ports, as far as `listeners` names the variables for that.
pub fn command(program: &str, folder: &str, listeners: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().envs(listeners.iter().map(|name| (name, "127.0.0.1:0"))).args(arguments);
    command
}

/// Ends a process that outlives every test, so that a broken server fails one and does not hang it.
fn end_after_long(id: u32, watched: &Receiver<()>) {
    if watched.recv_timeout(20 * PATIENCE) == Err(RecvTimeoutError::Timeout) {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
    }
}

/// Whether this becomes so in time. It is asked again and again, which takes what asking takes.
pub fn within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if began.elapsed() > time {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A connection on which nothing is waited for without end.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `bytes`, closes the sending half, and hears to the end; a reset fails the test.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    hear_to_the_end(&mut stream)
}

/// Hears until the server closes; a reset fails the test.
pub fn hear_to_the_end(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

/// Sends `flight` over and over and reads nothing, until the server lets go of it.
pub fn never_read(address: SocketAddr, flight: &[u8]) {
    let mut stream = connect(address);
    let error = loop {
        if let Err(error) = stream.write_all(flight) {
            break error;
        }
    };
    assert!(error.kind() != ErrorKind::WouldBlock, "the server let go of it, and no time-out of the test");
}

/// Ten thousand clients' worth of random bytes, from a few threads at a time: calls `check` with each.
pub fn random_inputs(check: impl Fn(&[u8]) + Sync) {
    thread::scope(|scope| {
        for seed in 0..4_u64 {
            let check = &check;
            scope.spawn(move || {
                // A fixed sequence (Knuth's linear congruence), so that a failure can be seen again.
                let mut state = seed;
                let mut random = move || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    state.to_be_bytes()[0]
                };
                for _ in 0..2_500 {
                    let length = usize::from(random());
                    check(&(0..length).map(|_| random()).collect::<Vec<_>>());
                }
            });
        }
    });
}

/// Hears as many bytes as `expected` has.
pub fn expect(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}
