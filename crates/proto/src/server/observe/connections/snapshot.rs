//! A list of the open connections at one moment.
//!
//! It depends on `table` and `socket_diagnostics`. An entry of the table may be older than the descriptor's socket, so
//! a connection is listed only if the kernel agrees:
//!
//! 1. The descriptor is open, and is a socket. `/proc/self/fd` has its inode.
//! 2. The kernel has a connected socket with this inode.
//! 3. That socket's local address is the endpoint's. A connection that this process has opened itself has another port,
//!    and a listening socket is not connected. A Unix socket has the path of the listening socket that has accepted it.
//!
//! Admin connections and links of other replicas are accepted without an endpoint, which erases the entry.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use procfs::net::{TcpNetEntry, UnixState};
use procfs::process::Process;

use super::socket_diagnostics::{TcpSocket, Traffic, state_name, visit_tcp_sockets};
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

/// Takes snapshots, at most one per second: requests in between share it.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<Option<Arc<Snapshot>>>);

/// A snapshot is valid for this long, or longer if it took long: then it takes at most a tenth of its thread's time,
/// however many connections and requests there are.
const MIN_VALIDITY: Duration = Duration::from_secs(1);
const VALIDITY_PER_DURATION: u32 = 10;

impl Snapshots {
    /// Returns a valid snapshot of the connections in `table`. Blocks for some microseconds per connection if there is
    /// none.
    pub(crate) fn current(&self, table: &ConnectionTable) -> Arc<Snapshot> {
        // A snapshot is replaced as a whole, so a panic leaves a valid one.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(snapshot) if Instant::now() < snapshot.valid_until => Arc::clone(snapshot),
            _ => Arc::clone(last.insert(Arc::new(Snapshot::take(table, tcp_sockets_of_netlink)))),
        }
    }
}

impl Snapshot {
    /// Lists the open connections in `table`. `ask_kernel` returns the TCP sockets with the given inodes, with their
    /// traffic.
    fn take(table: &ConnectionTable, ask_kernel: impl FnOnce(&ByInode) -> io::Result<Vec<TcpSocket>>) -> Self {
        let taken_at = Instant::now();
        let mut by_inode = open_sockets(table.all());
        let mut incomplete = None;
        let tcp_sockets = ask_kernel(&by_inode).unwrap_or_else(|error| {
            incomplete = Some(format!(
                "Bytes, idle times and round-trip times are missing: the kernel does not allow a netlink socket \
                 ({error}). Allow the address family AF_NETLINK in the sandbox: RestrictAddressFamilies= of systemd."
            ));
            tcp_sockets_of_proc(&by_inode)
        });
        let has_unix = by_inode.values().any(|recorded| matches!(recorded.endpoint.local, LocalAddress::Unix(_)));
        let unix_sockets = if has_unix { Process::myself().and_then(|process| process.unix()) } else { Ok(Vec::new()) };
        let unix_sockets = unix_sockets.unwrap_or_else(|error| {
            incomplete =
                Some(format!("Connections of Unix sockets are missing: cannot read /proc/self/net/unix ({error})."));
            Vec::new()
        });

        let mut connections = Vec::with_capacity(by_inode.len());
        for socket in tcp_sockets {
            // Removed, because the kernel can report a socket twice while others come and go.
            if let Some(recorded) = by_inode.remove(&socket.inode)
                && let LocalAddress::Tcp(endpoint) = &recorded.endpoint.local
                && is_accepted_at(*endpoint, socket.local)
            {
                connections.push(Connection::tcp(table, &recorded, &socket, taken_at));
            }
        }
        for socket in unix_sockets {
            if socket.state == UnixState::CONNECTED
                && let Some(recorded) = by_inode.remove(&socket.inode)
                && let LocalAddress::Unix(endpoint) = &recorded.endpoint.local
                && socket.path.as_deref() == Some(shown_path(endpoint))
            {
                connections.push(Connection::new(table, &recorded, taken_at));
            }
        }
        let endpoints = table.all_endpoints().iter().map(|endpoint| Arc::clone(&endpoint.name)).collect();
        let valid_until = taken_at + MIN_VALIDITY.max(taken_at.elapsed() * VALIDITY_PER_DURATION);
        Self { valid_until, connections, endpoints, incomplete }
    }
}

/// Recorded connections by the inodes of their sockets.
type ByInode = HashMap<u64, Recorded>;

/// Returns the connections whose descriptors are open sockets, by inode.
fn open_sockets(recorded: Vec<Recorded>) -> ByInode {
    let with_inode = |recorded: Recorded| {
        let target = fs::read_link(format!("/proc/self/fd/{}", recorded.descriptor)).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((inode, recorded))
    };
    recorded.into_iter().filter_map(with_inode).collect()
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
fn tcp_sockets_of_proc(by_inode: &ByInode) -> Vec<TcpSocket> {
    let Ok(process) = Process::myself() else { return Vec::new() };
    let entries = [process.tcp(), process.tcp6()].into_iter().flat_map(Result::unwrap_or_default);
    entries.filter(|entry| by_inode.contains_key(&entry.inode)).map(|entry| from_proc(&entry)).collect()
}

fn from_proc(entry: &TcpNetEntry) -> TcpSocket {
    TcpSocket {
        inode: entry.inode,
        local: entry.local_address,
        remote: entry.remote_address,
        state: state_name(entry.state.to_u8()),
        receive_queue_bytes: entry.rx_queue,
        send_queue_bytes: entry.tx_queue,
        traffic: None,
    }
}

impl Connection {
    fn tcp(table: &ConnectionTable, recorded: &Recorded, socket: &TcpSocket, now: Instant) -> Self {
        let mut connection = Self::new(table, recorded, now);
        // The header of a proxy may have named another client.
        match connection.client {
            Some(_) => connection.proxy = Some(socket.remote),
            None => connection.client = Some(socket.remote),
        }
        connection.state = socket.state;
        connection.send_queue_bytes = Some(socket.send_queue_bytes);
        connection.receive_queue_bytes = Some(socket.receive_queue_bytes);
        if let Some(Traffic { idle, received_bytes, sent_bytes, round_trip }) = socket.traffic {
            connection.idle = Some(idle);
            connection.received_bytes = Some(received_bytes);
            connection.sent_bytes = Some(sent_bytes);
            connection.round_trip = Some(round_trip);
        }
        connection
    }

    /// Returns a connection with the data of the table.
    fn new(table: &ConnectionTable, recorded: &Recorded, now: Instant) -> Self {
        let AcceptingEndpoint { name, transport, .. } = &*recorded.endpoint;
        let details = table.details(recorded).unwrap_or_default();
        Self {
            client: details.proxied_client,
            proxy: None,
            endpoint: Arc::clone(name),
            transport,
            age: now.saturating_duration_since(recorded.accepted_at),
            idle: None,
            received_bytes: None,
            sent_bytes: None,
            round_trip: None,
            state: "connected",
            send_queue_bytes: None,
            receive_queue_bytes: None,
            tls: details.tls,
            duel: details.activity.map(|activity| activity()),
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
            details.activity = Some(Arc::new(|| "paired"));
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
        let snapshot = Snapshot::take(&table, |_| Err(io::Error::from_raw_os_error(nix::libc::EAFNOSUPPORT)));
        let [found] = &snapshot.connections[..] else { panic!("one connection") };
        assert_eq!((found.client, found.state), (Some(peer), "established"));
        assert_eq!((found.receive_queue_bytes, found.send_queue_bytes), (Some(6), Some(0)));
        assert_eq!((found.received_bytes, found.idle), (None, None));
        let incomplete = snapshot.incomplete.unwrap();
        assert!(incomplete.contains("AF_NETLINK"), "{incomplete}");
    }

    #[test]
    fn requests_share_a_snapshot_while_it_is_valid() {
        let (table, snapshots) = (ConnectionTable::new(), Snapshots::default());
        let before = Instant::now();
        let first = snapshots.current(&table);
        assert!(first.valid_until >= before + MIN_VALIDITY);
        let is_same = Arc::ptr_eq(&first, &snapshots.current(&table));
        assert!(is_same || Instant::now() >= first.valid_until);
        let old = Arc::new(Snapshot::for_tests(vec![], &[]));
        *snapshots.0.lock().unwrap() = Some(Arc::clone(&old));
        assert!(!Arc::ptr_eq(&old, &snapshots.current(&table)), "it is not valid any more");
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
