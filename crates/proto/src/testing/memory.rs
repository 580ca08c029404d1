//! The memory of a server and of its sockets under clients that never read.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::blocking::connect_with_small_buffers;
use super::program::ServerProcess;
use super::{TEST_TIMEOUT, eventually};

/// Checks that the server survives 10,000 clients of `service` that send `request` until nothing more fits and never read,
/// that it needs less memory than its deployment has, and that it closes all of them at the write timeout.
///
/// The replies to the first `bytes_before` bytes nearly fill the send buffers. Then the clients fill the receive buffers
/// while the process is stopped, so that it next reads as much as it can and has room for few of the replies.
///
/// The server must be started with [`SETTINGS`]. The metrics of its connections begin with `prefix`.
pub fn check_unread_replies(server: &ServerProcess, service: &str, prefix: &str, request: &str, bytes_before: usize) {
    const CLIENTS: usize = 10_000;
    let limit = deployed_limit(prefix);
    let group = MemoryGroup::new(limit);
    if let Some(group) = &group {
        group.add(server.id());
    }
    let (memory_before, requests) = (socket_bytes(), request.repeat(4096));
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect_with_small_buffers(server.address(service))).collect();
    let stopped = |bytes: usize| {
        server.signal("STOP");
        server.eventually(ServerProcess::is_stopped, "is stopped");
        send_all(&clients, requests.as_bytes(), bytes);
        server.signal("CONT");
    };
    stopped(bytes_before);
    server.eventually(|server| server.metric(&format!("{prefix}_connections")) == CLIENTS as u64, "has all clients");
    stopped(usize::MAX);
    send_all(&clients, requests.as_bytes(), usize::MAX);
    let (own, sockets) = (server.resident_kib() * 1024, socket_bytes().saturating_sub(memory_before));
    let (total, group) = (own + sockets, group.as_ref().map_or("none", |group| group.kind));
    println!(
        "row 22: {service}: {} bytes per connection: {own} of the process, and {sockets} of the kernel with those of the \
         clients, of {limit}; memory cgroup: {group}",
        total / CLIENTS as u64,
    );
    assert!(total < limit, "{total} bytes");
    assert_eq!(
        server.metric(&format!("{prefix}_connections")),
        CLIENTS as u64,
        "none was closed before the measurement"
    );
    assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
    let close_reasons = || {
        let metrics = server.get("/metrics").unwrap().1;
        let lines: Vec<_> = metrics.lines().filter(|line| line.contains("_connections")).collect();
        lines.join("\n")
    };
    let closed = || server.metric(&format!("{prefix}_connections_closed_total{{reason=\"write_timeout\"}}"));
    assert!(eventually(4 * TEST_TIMEOUT, || closed() == CLIENTS as u64), "{}", close_reasons());
    server.eventually(|server| server.orphans(service) == 0, "has no orphans");
}

/// The settings of a server for [`check_unread_replies`]. The clients send their requests within the write timeout. The
/// server closes them after two or three write timeouts, which is less than the 100 s (`TCP_USER_TIMEOUT`) after which the
/// kernel would end the connections.
pub const SETTINGS: [&str; 4] = ["--set", "timeouts.write=30s", "--set", "timeouts.idle=1h"];

/// Sends `requests` repeatedly on each connection, up to `most` bytes, until no socket has taken a byte for a second.
fn send_all(clients: &[TcpStream], requests: &[u8], most: usize) {
    let mut left = vec![most; clients.len()];
    for stream in clients {
        stream.set_nonblocking(true).unwrap();
    }
    let mut idle_rounds = 0;
    while idle_rounds < 10 && left.iter().any(|&left| left > 0) {
        let sent: usize = clients.iter().zip(&mut left).map(|(stream, left)| send(stream, requests, left)).sum();
        idle_rounds = if sent == 0 { idle_rounds + 1 } else { 0 };
        // Gives the kernel and the server time to read.
        thread::sleep(Duration::from_millis(100));
    }
}

/// Sends as much as the socket takes.
fn send(mut stream: &TcpStream, requests: &[u8], left: &mut usize) -> usize {
    let mut sent = 0;
    while *left > 0 {
        match stream.write(&requests[..requests.len().min(*left)]) {
            Ok(count) => {
                sent += count;
                *left -= count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("the connection ended before its write timeout: {error}"),
        }
    }
    sent
}

/// Returns the memory of all TCP sockets of this machine, those of the clients included (`/proc/net/sockstat`, in pages).
fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: ")).unwrap();
    let pages: u64 = line.split_once("mem ").unwrap().1.trim().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// Returns the memory limit of a server in `config/deploy/compose.yaml`: its own, or that of all servers.
fn deployed_limit(server: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/deploy/compose.yaml");
    let text = fs::read_to_string(path).unwrap();
    let limit_in = |name: &str| {
        let (_, section) = text.split_once(&format!("\nx-{name}: "))?;
        let section = section.split("\n\n").next()?;
        section.lines().find_map(|line| line.strip_prefix("  mem_limit: "))
    };
    let limit = limit_in(server).or_else(|| limit_in("server")).expect("compose.yaml has a memory limit");
    let (number, unit) = limit.trim().split_at(limit.trim().len() - 1);
    number.parse::<u64>().unwrap() * if unit == "g" { 1 << 30 } else { 1 << 20 }
}

/// A memory cgroup. Dropping it deletes it.
struct MemoryGroup {
    folder: PathBuf,
    kind: &'static str,
}

impl MemoryGroup {
    /// Creates a memory cgroup with a limit. Returns `None` without the permission.
    fn new(limit: u64) -> Option<Self> {
        let kinds = [("v2", "/sys/fs/cgroup", "memory.max"), ("v1", "/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        kinds.into_iter().find_map(|(kind, root, file)| {
            let group = Self { folder: Path::new(root).join(format!("faults-{}", std::process::id())), kind };
            fs::create_dir(&group.folder).ok()?;
            // Not `write`, which would create a file: a folder without this file is not a cgroup.
            let mut file = fs::File::options().write(true).open(group.folder.join(file)).ok()?;
            file.write_all(limit.to_string().as_bytes()).ok()?;
            Some(group)
        })
    }

    fn add(&self, process: u32) {
        fs::write(self.folder.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let parent = self.folder.parent().unwrap();
        if let Ok(processes) = fs::read_to_string(self.folder.join("cgroup.procs")) {
            for process in processes.lines() {
                // It may have exited.
                let _ = fs::write(parent.join("cgroup.procs"), process);
            }
        }
        // The kernel keeps the group until the last process has left.
        eventually(TEST_TIMEOUT, || fs::remove_dir(&self.folder).is_ok() || !self.folder.exists());
    }
}
