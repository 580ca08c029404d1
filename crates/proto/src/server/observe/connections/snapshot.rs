//! A list of the open connections at one moment.
//!
//! It depends on `table` and `socket_diagnostics`. It visits the open descriptors in `/proc/self/fd`, so its cost does
//! not depend on the highest descriptor so far. An entry of the table may be older than the descriptor's socket, so a
//! connection is listed only if the kernel agrees:
//!
//! 1. The descriptor is a socket, and has an inode. The entry is read after the inode, and is still the same at the end
//!    of the snapshot. So it is that of an earlier connection only if no entry is written from the accept of the later
//!    one to the end.
//! 2. The kernel has a connected socket with this inode.
//! 3. That socket's local address is the endpoint's. A connection that this process has opened itself has another port,
//!    and a listening socket is not connected. A Unix socket has the path of the listening socket that has accepted it.
//!
//! Admin connections and links of other replicas are accepted without an endpoint, which erases the entry.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use procfs::net::{TcpNetEntry, UnixState};
use procfs::process::Process;
use procfs::{ProcError, ProcResult};
use tokio::sync::{Mutex, oneshot};

use super::socket_diagnostics::{TcpSocket, visit_tcp_sockets};
use super::table::{AcceptingEndpoint, ConnectionTable, LocalAddress, Recorded, TlsDetails};

/// The open connections at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// When a request takes the next one.
    valid_until: Instant,
    pub(crate) connections: Vec<Connection>,
    /// The names of all endpoints.
    pub(crate) endpoints: Vec<Arc<str>>,
    /// Why the data about traffic, or about some connections, is missing, and the remedy.
    pub(crate) incomplete: Option<String>,
}

/// An open connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// `None` for a Unix socket.
    pub(crate) client: Option<SocketAddr>,
    /// The proxy that has named the client.
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) endpoint: Arc<str>,
    pub(crate) transport: &'static str,
    pub(crate) age: Duration,
    /// `None` for a Unix socket, or without netlink.
    pub(crate) idle: Option<Duration>,
    pub(crate) received_bytes: Option<u64>,
    pub(crate) sent_bytes: Option<u64>,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) state: &'static str,
    /// `None` for a Unix socket.
    pub(crate) send_queue_bytes: Option<u32>,
    pub(crate) receive_queue_bytes: Option<u32>,
    pub(crate) tls: Option<TlsDetails>,
    /// The activity of a player of the duel.
    pub(crate) duel: Option<&'static str>,
}

/// What to do if a thread cannot be started.
const TASKS_ADVICE: &str = "raise the limit on tasks";

/// Takes snapshots, at most one per second: requests in between share it.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Arc<Mutex<Option<Arc<Snapshot>>>>);

/// A snapshot is valid for this long, or longer if it took long. So snapshots take at most a tenth of the CPU time of a
/// core, independently of the number of connections and requests.
const MIN_VALIDITY: Duration = Duration::from_secs(1);
const VALIDITY_PER_DURATION: u32 = 10;

impl Snapshots {
    /// Returns a valid snapshot of the connections in `table`. A new one is taken on a separate thread, because that
    /// takes some microseconds per connection. Requests meanwhile wait for the same snapshot.
    ///
    /// # Errors
    ///
    /// Fails if no thread can be started, or if the snapshot panics.
    pub(crate) async fn current(&self, table: &'static ConnectionTable) -> io::Result<Arc<Snapshot>> {
        self.current_of(move || Snapshot::take(table, tcp_sockets_of_netlink)).await
    }

    async fn current_of(&self, take: impl FnOnce() -> Snapshot + Send + 'static) -> io::Result<Arc<Snapshot>> {
        let mut last = Arc::clone(&self.0).lock_owned().await;
        if let Some(snapshot) = &*last
            && Instant::now() < snapshot.valid_until
        {
            return Ok(Arc::clone(snapshot));
        }
        let (sender, taken) = oneshot::channel();
        // The thread has the lock, so there is at most one, also if the request ends before it.
        let take = move || {
            let snapshot = Arc::new(take());
            *last = Some(Arc::clone(&snapshot));
            // The receiver is gone if the request has ended.
            let _ = sender.send(snapshot);
        };
        // It is not one of tokio's blocking threads, because tokio panics if it cannot start one. The process does not
        // wait for it at exit.
        let thread = thread::Builder::new().name("connections".to_owned()).spawn(take);
        thread
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start a thread: {error}; {TASKS_ADVICE}")))?;
        taken.await.map_err(|_| io::Error::other("the thread has panicked"))
    }
}

impl Snapshot {
    /// Lists the open connections in `table`. `ask_kernel` returns the TCP sockets with the given inodes, with their
    /// traffic.
    fn take(table: &ConnectionTable, ask_kernel: impl FnOnce(&ByInode) -> io::Result<Vec<TcpSocket>>) -> Self {
        let taken_at = Instant::now();
        let mut incomplete = Vec::new();
        let mut by_inode = open_sockets(table, inode_of).unwrap_or_else(|error| {
            incomplete.push(format!("Connections are missing: cannot read /proc/self/fd ({error})."));
            ByInode::new()
        });
        let tcp_sockets = ask_kernel(&by_inode).unwrap_or_else(|error| {
            incomplete
                .push(format!("Bytes, idle times and round-trip times are missing: {}.", netlink_problem(&error)));
            tcp_sockets_of_proc(&by_inode).unwrap_or_else(|error| {
                incomplete.push(format!("Connections of TCP are missing: cannot read /proc/self/net/tcp ({error})."));
                Vec::new()
            })
        });
        let has_unix = by_inode.values().any(|recorded| matches!(recorded.endpoint.local, LocalAddress::Unix(_)));
        let unix_sockets = if has_unix { Process::myself().and_then(|process| process.unix()) } else { Ok(Vec::new()) };
        let unix_sockets = unix_sockets.unwrap_or_else(|error| {
            incomplete
                .push(format!("Connections of Unix sockets are missing: cannot read /proc/self/net/unix ({error})."));
            Vec::new()
        });

        let mut connections = Vec::with_capacity(by_inode.len());
        let mut add = |recorded: &Recorded, socket: Option<&TcpSocket>| {
            let connection = Connection::new(table, recorded, socket, taken_at);
            // After the details, which may be those of a later connection too.
            if table.is_current(recorded) {
                connections.push(connection);
            }
        };
        for socket in tcp_sockets {
            // Removed, because the kernel can report a socket twice while others come and go.
            if let Some(recorded) = by_inode.remove(&socket.inode)
                && let LocalAddress::Tcp(endpoint) = &recorded.endpoint.local
                && is_accepted_at(*endpoint, socket.local)
            {
                add(&recorded, Some(&socket));
            }
        }
        for socket in unix_sockets {
            if socket.state == UnixState::CONNECTED
                && let Some(recorded) = by_inode.remove(&socket.inode)
                && let LocalAddress::Unix(endpoint) = &recorded.endpoint.local
                && socket.path.as_deref() == Some(shown_path(endpoint))
            {
                add(&recorded, None);
            }
        }
        let endpoints = table.all_endpoints().iter().map(|endpoint| Arc::clone(&endpoint.name)).collect();
        let valid_until = taken_at + MIN_VALIDITY.max(taken_at.elapsed() * VALIDITY_PER_DURATION);
        let incomplete = (!incomplete.is_empty()).then(|| incomplete.join(" "));
        Self { valid_until, connections, endpoints, incomplete }
    }
}

/// Recorded connections by the inodes of their sockets.
type ByInode = HashMap<u64, Recorded>;

/// Returns the recorded connections among the open descriptors of this process, by the inodes that `inode_of` returns.
fn open_sockets(table: &ConnectionTable, inode_of: impl Fn(RawFd) -> Option<u64>) -> io::Result<ByInode> {
    let mut by_inode = ByInode::new();
    for file in fs::read_dir("/proc/self/fd")? {
        if let Some(descriptor) = file?.file_name().to_str().and_then(|name| name.parse().ok())
            // The entry is read after the inode. In the other order, it could be that of an earlier connection.
            && let Some(inode) = inode_of(descriptor)
            && let Some(recorded) = table.find(descriptor)
        {
            by_inode.insert(inode, recorded);
        }
    }
    Ok(by_inode)
}

/// Returns the inode of an open socket.
fn inode_of(descriptor: RawFd) -> Option<u64> {
    let target = fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Returns what is wrong with netlink, and the remedy if a sandbox can be the cause.
fn netlink_problem(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAFNOSUPPORT | Errno::EPERM | Errno::EACCES) => format!(
            "the kernel does not allow a netlink socket ({error}). Allow the address family AF_NETLINK in the sandbox: \
             RestrictAddressFamilies= of systemd"
        ),
        _ => format!("cannot read the sockets through netlink: {error}"),
    }
}

/// Whether a socket at `local` can have been accepted at `endpoint`.
fn is_accepted_at(endpoint: SocketAddr, local: SocketAddr) -> bool {
    endpoint.port() == local.port()
        && (endpoint.ip().is_unspecified() || endpoint.ip().to_canonical() == local.ip().to_canonical())
}

/// Returns a path as `/proc/self/net/unix` is parsed: up to its first space.
fn shown_path(path: &Path) -> &Path {
    path.to_str().and_then(|path| path.split_whitespace().next()).map_or(path, Path::new)
}

fn tcp_sockets_of_netlink(by_inode: &ByInode) -> io::Result<Vec<TcpSocket>> {
    let mut sockets = Vec::with_capacity(by_inode.len());
    visit_tcp_sockets(|socket| {
        if by_inode.contains_key(&socket.inode) {
            sockets.push(socket);
        }
    })?;
    Ok(sockets)
}

/// Returns the sockets without their traffic, which `/proc` does not have.
fn tcp_sockets_of_proc(by_inode: &ByInode) -> ProcResult<Vec<TcpSocket>> {
    let process = Process::myself()?;
    let of_ipv6 = match process.tcp6() {
        // The kernel has no IPv6.
        Err(ProcError::NotFound(_)) => Vec::new(),
        entries => entries?,
    };
    let entries = process.tcp()?.into_iter().chain(of_ipv6);
    Ok(entries.filter(|entry| by_inode.contains_key(&entry.inode)).map(|entry| from_proc(&entry)).collect())
}

fn from_proc(entry: &TcpNetEntry) -> TcpSocket {
    TcpSocket::new(
        entry.inode,
        [entry.local_address, entry.remote_address],
        entry.state.to_u8(),
        [entry.rx_queue, entry.tx_queue],
        None,
    )
}

impl Connection {
    /// Joins the data of the table and of the kernel, which is `None` for a Unix socket.
    fn new(table: &ConnectionTable, recorded: &Recorded, socket: Option<&TcpSocket>, now: Instant) -> Self {
        let AcceptingEndpoint { name, transport, .. } = &*recorded.endpoint;
        let details = table.details(recorded).unwrap_or_default();
        let remote = socket.map(|socket| socket.remote);
        let traffic = socket.and_then(|socket| socket.traffic);
        Self {
            // The header of a proxy may have named another client than the peer of the socket.
            client: details.proxied_client.or(remote),
            proxy: details.proxied_client.and(remote),
            endpoint: Arc::clone(name),
            transport,
            age: now.saturating_duration_since(recorded.accepted_at),
            idle: traffic.map(|traffic| traffic.idle),
            received_bytes: traffic.map(|traffic| traffic.received_bytes),
            sent_bytes: traffic.map(|traffic| traffic.sent_bytes),
            round_trip: traffic.map(|traffic| traffic.round_trip),
            state: socket.map_or("connected", |socket| socket.state),
            send_queue_bytes: socket.map(|socket| socket.send_queue_bytes),
            receive_queue_bytes: socket.map(|socket| socket.receive_queue_bytes),
            tls: details.tls,
            duel: details.activity.and_then(|activity| activity()),
        }
    }
}

#[cfg(test)]
impl Connection {
    /// Returns a connection of which little is known.
    pub(crate) fn for_tests(endpoint: &str) -> Self {
        Self {
            client: None,
            proxy: None,
            endpoint: endpoint.into(),
            transport: "tcp",
            age: Duration::ZERO,
            idle: None,
            received_bytes: None,
            sent_bytes: None,
            round_trip: None,
            state: "established",
            send_queue_bytes: None,
            receive_queue_bytes: None,
            tls: None,
            duel: None,
        }
    }
}

#[cfg(test)]
impl Snapshot {
    pub(crate) fn for_tests(connections: Vec<Connection>, endpoints: &[&str]) -> Self {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).into()).collect();
        Self { valid_until: Instant::now(), connections, endpoints, incomplete: None }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::{UnixListener, UnixStream};

    use futures::future::{join_all, poll_immediate};

    use super::*;
    use crate::server::observe::connections::table::EndpointNumber;

    fn add(table: &ConnectionTable, name: &str, local: LocalAddress) -> EndpointNumber {
        table.add_endpoint(AcceptingEndpoint { name: name.into(), transport: "tcp", local })
    }

    fn listen(table: &ConnectionTable, name: &str) -> (TcpListener, EndpointNumber) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = add(table, name, LocalAddress::Tcp(listener.local_addr().unwrap()));
        (listener, number)
    }

    /// Connects, and returns both ends and the address of the client.
    fn connect(listener: &TcpListener) -> (TcpStream, TcpStream, SocketAddr) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        (client, server, peer)
    }

    fn take(table: &ConnectionTable) -> Vec<Connection> {
        let snapshot = Snapshot::take(table, tcp_sockets_of_netlink);
        assert_eq!(snapshot.incomplete, None);
        snapshot.connections
    }

    #[test]
    fn an_open_connection_is_listed_with_the_data_of_both_sources() {
        let table = ConnectionTable::new();
        let (listener, number) = listen(&table, "here");
        let (client, server, peer) = connect(&listener);
        assert!(take(&table).is_empty(), "not recorded yet");
        table.on_accept(server.as_raw_fd(), number);
        let [plain] = &take(&table)[..] else { panic!("one connection") };
        assert_eq!((plain.client, plain.proxy, &*plain.endpoint), (Some(peer), None, "here"));
        assert_eq!((plain.transport, plain.state), ("tcp", "established"));
        assert_eq!((plain.received_bytes, plain.sent_bytes), (Some(0), Some(0)));
        assert!(plain.round_trip.is_some() && plain.idle.is_some() && plain.age < Duration::from_mins(1));

        let named = "192.0.2.1:9".parse().unwrap();
        let subject = Some("CN=client".into());
        table.add_details(server.as_raw_fd(), |details| {
            details.proxied_client = Some(named);
            details.tls = Some(TlsDetails { version: "1.3", client_subject: subject.clone() });
            details.activity = Some(Arc::new(|| Some("paired")));
        });
        let [detailed] = &take(&table)[..] else { panic!("one connection") };
        assert_eq!((detailed.client, detailed.proxy), (Some(named), Some(peer)));
        assert_eq!(detailed.tls, Some(TlsDetails { version: "1.3", client_subject: subject }));
        assert_eq!(detailed.duel, Some("paired"));

        drop(client);
        drop(server);
        assert!(take(&table).is_empty(), "closed");
    }

    #[test]
    fn an_entry_of_an_earlier_connection_does_not_count() {
        let table = ConnectionTable::new();
        let (listener, number) = listen(&table, "here");
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (path, folder) = {
            let folder = tempfile::tempdir().unwrap();
            (folder.path().join("socket"), folder)
        };
        let unix_listener = UnixListener::bind(&path).unwrap();
        let unix_number = add(&table, "unix", LocalAddress::Unix(path.clone()));
        let unix_client = UnixStream::connect(&path).unwrap();
        let (client, accepted_elsewhere, _) = connect(&other);
        let (one, _two) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        // As if each of these had got the descriptor of a closed connection.
        for descriptor in [
            listener.as_raw_fd(),
            client.as_raw_fd(),
            accepted_elsewhere.as_raw_fd(),
            unix_listener.as_raw_fd(),
            unix_client.as_raw_fd(),
            one.as_raw_fd(),
            file.as_raw_fd(),
            RawFd::MAX,
        ] {
            for number in [number, unix_number] {
                table.on_accept(descriptor, number);
                let found = Snapshot::take(&table, tcp_sockets_of_netlink).connections;
                // A listening Unix socket has the path, but is not connected.
                assert!(found.is_empty(), "{descriptor}: {found:?}");
            }
        }
        drop(folder);
    }

    #[test]
    fn an_entry_that_changes_meanwhile_does_not_count() {
        let table = ConnectionTable::new();
        let (listener, earlier) = listen(&table, "earlier");
        let later = add(&table, "later", LocalAddress::Tcp(listener.local_addr().unwrap()));
        let (_client, server, peer) = connect(&listener);
        let descriptor = server.as_raw_fd();

        // The descriptor was that of an earlier connection, and the accept loop writes the new entry late.
        table.on_accept(descriptor, earlier);
        let found = Snapshot::take(&table, |by_inode| {
            assert_eq!(by_inode.len(), 1);
            table.on_accept(descriptor, later);
            tcp_sockets_of_netlink(by_inode)
        });
        assert!(found.connections.is_empty(), "{found:?}");

        // A connection that gets details is the same.
        let found = Snapshot::take(&table, |by_inode| {
            let named = Some("192.0.2.1:9".parse().unwrap());
            table.add_details(descriptor, |details| details.proxied_client = named);
            tcp_sockets_of_netlink(by_inode)
        });
        let [found] = &found.connections[..] else { panic!("one connection") };
        assert_eq!((&*found.endpoint, found.client), ("later", Some(peer)));

        // An earlier connection with details.
        let found = Snapshot::take(&table, |by_inode| {
            table.on_accept(descriptor, later);
            tcp_sockets_of_netlink(by_inode)
        });
        assert!(found.connections.is_empty(), "{found:?}");
    }

    #[test]
    fn an_entry_is_read_after_the_inode() {
        let table = ConnectionTable::new();
        let (listener, earlier) = listen(&table, "earlier");
        let later = add(&table, "later", LocalAddress::Tcp(listener.local_addr().unwrap()));
        let (_client, server, _) = connect(&listener);
        table.on_accept(server.as_raw_fd(), earlier);
        let by_inode = open_sockets(&table, |descriptor| {
            let inode = inode_of(descriptor);
            if descriptor == server.as_raw_fd() {
                table.on_accept(descriptor, later);
            }
            inode
        });
        let names: Vec<_> = by_inode.unwrap().values().map(|found| Arc::clone(&found.endpoint.name)).collect();
        assert_eq!(names, ["later".into()]);
    }

    #[test]
    fn a_unix_connection_is_listed_without_traffic() {
        let table = ConnectionTable::new();
        let folder = tempfile::tempdir().unwrap();
        for name in ["socket", "with space"] {
            let path = folder.path().join(name);
            let listener = UnixListener::bind(&path).unwrap();
            let number = add(&table, name, LocalAddress::Unix(path.clone()));
            let _client = UnixStream::connect(&path).unwrap();
            let (server, _) = listener.accept().unwrap();
            table.on_accept(server.as_raw_fd(), number);
            let [found] = &take(&table)[..] else { panic!("one connection") };
            assert_eq!(
                (found.client, &*found.endpoint, found.transport),
                (None, name, "tcp"),
                "the transport of the endpoint"
            );
            assert_eq!((found.state, found.received_bytes, found.round_trip), ("connected", None, None));
        }
    }

    #[test]
    fn without_netlink_the_connections_are_listed_without_traffic() {
        let table = ConnectionTable::new();
        let (listener, number) = listen(&table, "here");
        let (mut client, server, peer) = connect(&listener);
        std::io::Write::write_all(&mut client, b"unread").unwrap();
        server.peek(&mut [0; 6]).unwrap();
        table.on_accept(server.as_raw_fd(), number);
        let without_netlink = |error: io::Error| {
            let snapshot = Snapshot::take(&table, |_| Err(error));
            let [found] = &snapshot.connections[..] else { panic!("one connection") };
            assert_eq!((found.client, found.state), (Some(peer), "established"));
            assert_eq!((found.receive_queue_bytes, found.send_queue_bytes), (Some(6), Some(0)));
            assert_eq!((found.received_bytes, found.idle), (None, None));
            snapshot.incomplete.unwrap()
        };
        for error in [Errno::EAFNOSUPPORT, Errno::EPERM, Errno::EACCES] {
            let incomplete = without_netlink(error.into());
            assert!(incomplete.contains("RestrictAddressFamilies="), "{incomplete}");
        }
        assert_eq!(
            without_netlink(io::ErrorKind::TimedOut.into()),
            "Bytes, idle times and round-trip times are missing: cannot read the sockets through netlink: timed out."
        );
    }

    #[tokio::test]
    async fn requests_share_a_snapshot_while_it_is_valid() {
        let snapshots = Snapshots::default();
        let snapshot = |validity: Duration| {
            let valid_until = Instant::now() + validity;
            Snapshot { valid_until, ..Snapshot::for_tests(vec![], &[]) }
        };
        let first = snapshots.current_of(move || snapshot(Duration::from_hours(1))).await.unwrap();
        let second = snapshots.current_of(|| panic!("the first is valid")).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));

        *snapshots.0.lock().await = Some(Arc::new(snapshot(Duration::ZERO)));
        let third = snapshots.current_of(move || snapshot(Duration::ZERO)).await.unwrap();
        let fourth = snapshots.current_of(move || snapshot(Duration::ZERO)).await.unwrap();
        assert!(!Arc::ptr_eq(&third, &fourth), "the third is not valid");
    }

    #[tokio::test]
    async fn one_snapshot_is_taken_at_a_time_and_all_requests_get_it() {
        let snapshots = Snapshots::default();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let first = async {
            let take = move || {
                finished.recv().unwrap();
                Snapshot { valid_until: Instant::now() + Duration::from_hours(1), ..Snapshot::for_tests(vec![], &[]) }
            };
            snapshots.current_of(take).await
        };
        let mut first = Box::pin(first);
        assert!(poll_immediate(&mut first).await.is_none());
        // The request ends before its snapshot.
        drop(first);
        let others = join_all((0..3).map(|_| snapshots.current_of(|| panic!("one is being taken"))));
        let mut others = Box::pin(others);
        assert!(poll_immediate(&mut others).await.is_none());
        finish.send(()).unwrap();
        let taken = others.await;
        assert!(taken.windows(2).all(|pair| Arc::ptr_eq(pair[0].as_ref().unwrap(), pair[1].as_ref().unwrap())));
    }

    #[tokio::test]
    async fn a_panic_fails_only_its_own_request() {
        let snapshots = Snapshots::default();
        assert!(snapshots.current_of(|| panic!("on purpose")).await.is_err());
        assert!(snapshots.current_of(|| Snapshot::for_tests(vec![], &[])).await.is_ok());
    }

    #[test]
    fn a_socket_is_accepted_at_an_endpoint_with_its_address() {
        for (endpoint, local, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000", true),
            ("127.0.0.1:5000", "127.0.0.1:5001", false),
            ("127.0.0.1:5000", "127.0.0.2:5000", false),
            ("0.0.0.0:5000", "127.0.0.2:5000", true),
            ("[::]:5000", "[::ffff:127.0.0.2]:5000", true),
            ("[::1]:5000", "[::1]:5000", true),
            ("[::ffff:127.0.0.1]:5000", "127.0.0.1:5000", true),
        ] {
            let is_accepted = is_accepted_at(endpoint.parse().unwrap(), local.parse().unwrap());
            assert_eq!(is_accepted, expected, "{endpoint} {local}");
        }
    }
}
