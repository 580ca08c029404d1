//! The accept time and the endpoint of each descriptor, and details of some connections.
//!
//! It depends on no other module. A process has one table, [`CONNECTIONS`], because it has one set of descriptors.
//!
//! An accept writes the entry of its descriptor, and no close removes it. So an entry counts only together with the
//! kernel's data about the descriptor: whether it is open, and whether the socket is one that the endpoint has
//! accepted. See [`snapshot`](super::snapshot).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The table of this process.
pub(crate) static CONNECTIONS: ConnectionTable = ConnectionTable::new();

/// The number of entries that are allocated together: 32 KiB.
const CHUNK_LEN: usize = 4096;

/// Together, the chunks have an entry for each descriptor below 1,048,576, the kernel's default of `fs.nr_open`, the
/// largest limit on open files (proc(5)). A connection with a higher descriptor is not recorded.
const CHUNKS: usize = 256;

/// The entries of the descriptors of a process.
pub(crate) struct ConnectionTable {
    /// When the first connection was accepted. The times in the entries count from here.
    epoch: OnceLock<Instant>,
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    endpoints: Mutex<Vec<Arc<AcceptingEndpoint>>>,
    /// At most one per descriptor.
    details: Mutex<BTreeMap<RawFd, ConnectionDetails>>,
}

/// An endpoint whose connections are recorded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AcceptingEndpoint {
    /// The endpoint as in the log.
    pub(crate) name: Arc<str>,
    pub(crate) transport: &'static str,
    pub(crate) local: LocalAddress,
}

/// The address of a listening socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LocalAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The number of an endpoint in the table. The default is for connections that are not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointNumber(u16);

/// The data about a connection that only the server has.
#[derive(Clone, Default)]
pub(crate) struct ConnectionDetails {
    /// The address in the PROXY protocol header.
    pub(crate) proxied_client: Option<SocketAddr>,
    pub(crate) tls: Option<TlsDetails>,
    pub(crate) activity: Option<Activity>,
}

/// The result of a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsDetails {
    pub(crate) version: &'static str,
    /// The subject in the client's certificate.
    pub(crate) client_subject: Option<Arc<str>>,
}

/// Returns the current activity of a connection, such as `paired`; `None` after its handler was dropped. It must not
/// use the table, and must not own what the handler uses: the table keeps it until the next accept with the descriptor.
pub type Activity = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// An entry: the accept time in milliseconds, in 47 bits; the endpoint, in 16; whether there are details, in one. It is
/// 0 if the descriptor has no recorded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u64);

const HAS_DETAILS: u64 = 1;
const ENDPOINT_SHIFT: u32 = 1;
const TIME_SHIFT: u32 = ENDPOINT_SHIFT + u16::BITS;

impl Entry {
    fn new(accepted_after: Duration, EndpointNumber(endpoint): EndpointNumber) -> Self {
        if endpoint == 0 {
            return Self(0);
        }
        // Lossless: 47 bits of milliseconds are 4,000 years.
        let milliseconds = u64::try_from(accepted_after.as_millis()).unwrap_or(u64::MAX);
        Self(milliseconds << TIME_SHIFT | u64::from(endpoint) << ENDPOINT_SHIFT)
    }

    fn accepted_after(self) -> Duration {
        Duration::from_millis(self.0 >> TIME_SHIFT)
    }

    /// Returns the index in the list of endpoints; `None` if the descriptor has no recorded connection.
    fn endpoint_index(self) -> Option<usize> {
        let number = self.0 >> ENDPOINT_SHIFT & u64::from(u16::MAX);
        usize::try_from(number).ok()?.checked_sub(1)
    }

    fn has_details(self) -> bool {
        self.0 & HAS_DETAILS != 0
    }
}

/// A connection of the table, if its descriptor is still open.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) descriptor: RawFd,
    pub(crate) endpoint: Arc<AcceptingEndpoint>,
    pub(crate) accepted_at: Instant,
    entry: Entry,
}

impl ConnectionTable {
    pub(crate) const fn new() -> Self {
        Self {
            epoch: OnceLock::new(),
            chunks: [const { OnceLock::new() }; CHUNKS],
            endpoints: Mutex::new(Vec::new()),
            details: Mutex::new(BTreeMap::new()),
        }
    }

    /// Adds an endpoint, whose connections are recorded. The same endpoint gets the same number.
    pub(crate) fn add_endpoint(&self, endpoint: AcceptingEndpoint) -> EndpointNumber {
        let mut endpoints = self.endpoints();
        let index = endpoints.iter().position(|known| **known == endpoint);
        let number = index.unwrap_or(endpoints.len()) + 1;
        // More endpoints than a configuration can have.
        let Ok(number) = u16::try_from(number) else { return EndpointNumber::default() };
        if index.is_none() {
            endpoints.push(Arc::new(endpoint));
        }
        EndpointNumber(number)
    }

    /// Records a connection that was accepted just now. Without an endpoint, it forgets an earlier connection.
    pub(crate) fn on_accept(&self, descriptor: RawFd, endpoint: EndpointNumber) {
        let Some(entry) = self.entry(descriptor, endpoint != EndpointNumber::default()) else { return };
        let now = Instant::now();
        let new = Entry::new(now.duration_since(*self.epoch.get_or_init(|| now)), endpoint);
        // No other thread writes the entry now, because no task has the connection yet. The accesses for the last
        // connection were before the close of the descriptor.
        let old = Entry(entry.load(Ordering::Relaxed));
        entry.store(new.0, Ordering::Relaxed);
        if old.has_details() {
            self.all_details().remove(&descriptor);
        }
    }

    /// Changes the details of a connection that is recorded. For few connections, because it takes a lock and memory.
    pub(crate) fn add_details(&self, descriptor: RawFd, change: impl FnOnce(&mut ConnectionDetails)) {
        let Some(entry) = self.entry(descriptor, false) else { return };
        if Entry(entry.load(Ordering::Relaxed)).endpoint_index().is_some() {
            change(self.all_details().entry(descriptor).or_default());
            entry.fetch_or(HAS_DETAILS, Ordering::Relaxed);
        }
    }

    /// Returns the recorded connection of a descriptor. The caller checks that the descriptor is that of a connection.
    pub(crate) fn find(&self, descriptor: RawFd) -> Option<Recorded> {
        let entry = Entry(self.entry(descriptor, false)?.load(Ordering::Relaxed));
        let endpoint = Arc::clone(self.endpoints().get(entry.endpoint_index()?)?);
        let accepted_at = *self.epoch.get()? + entry.accepted_after();
        Some(Recorded { descriptor, endpoint, accepted_at, entry })
    }

    /// Returns the details of a connection.
    pub(crate) fn details(&self, recorded: &Recorded) -> Option<ConnectionDetails> {
        if !recorded.entry.has_details() {
            return None;
        }
        self.all_details().get(&recorded.descriptor).cloned()
    }

    /// Whether the descriptor still has the entry of this connection. It may have got details meanwhile.
    pub(crate) fn is_current(&self, recorded: &Recorded) -> bool {
        let Some(entry) = self.entry(recorded.descriptor, false) else { return false };
        let Recorded { entry: Entry(before), .. } = *recorded;
        let now = entry.load(Ordering::Relaxed);
        now == before || now == before | HAS_DETAILS
    }

    /// Returns the endpoints whose connections are recorded.
    pub(crate) fn all_endpoints(&self) -> Vec<Arc<AcceptingEndpoint>> {
        self.endpoints().clone()
    }

    /// Returns the entry of a descriptor; `None` if the table has none, unless it `allocate`s it.
    fn entry(&self, descriptor: RawFd, allocate: bool) -> Option<&AtomicU64> {
        let index = usize::try_from(descriptor).ok()?;
        let chunk = self.chunks.get(index / CHUNK_LEN)?;
        let chunk = match chunk.get() {
            None if allocate => chunk.get_or_init(|| (0..CHUNK_LEN).map(|_| AtomicU64::new(0)).collect()),
            found => found?,
        };
        chunk.get(index % CHUNK_LEN)
    }

    fn endpoints(&self) -> MutexGuard<'_, Vec<Arc<AcceptingEndpoint>>> {
        // No code that can panic runs while this lock or the next is held.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_details(&self) -> MutexGuard<'_, BTreeMap<RawFd, ConnectionDetails>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ConnectionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> AcceptingEndpoint {
        let name = format!("127.0.0.1:{port}").into();
        AcceptingEndpoint { name, transport: "tcp", local: LocalAddress::Tcp(([127, 0, 0, 1], port).into()) }
    }

    #[test]
    fn an_entry_keeps_the_time_and_the_endpoint() {
        for (milliseconds, number) in [(0, 1), (1, u16::MAX), ((1 << 47) - 1, 0x5555)] {
            let entry = Entry::new(Duration::from_millis(milliseconds), EndpointNumber(number));
            assert_eq!(entry.accepted_after(), Duration::from_millis(milliseconds));
            assert_eq!(entry.endpoint_index(), Some(usize::from(number) - 1));
            assert!(!entry.has_details());
            let with_details = Entry(entry.0 | HAS_DETAILS);
            assert!(with_details.has_details());
            assert_eq!(with_details.accepted_after(), entry.accepted_after());
            assert_eq!(with_details.endpoint_index(), entry.endpoint_index());
        }
        assert_eq!(Entry::new(Duration::from_secs(1), EndpointNumber::default()), Entry(0));
        assert_eq!(Entry(0).endpoint_index(), None);
    }

    #[test]
    fn an_accept_replaces_the_entry_and_the_details_of_the_descriptor() {
        let table = ConnectionTable::new();
        let [first, second] = [1, 2].map(|port| table.add_endpoint(endpoint(port)));
        table.on_accept(5, first);
        let accepted_at = table.find(5).unwrap().accepted_at;
        assert!(accepted_at.elapsed() < Duration::from_mins(1));
        table.add_details(5, |details| details.proxied_client = Some(([10, 0, 0, 1], 9).into()));
        table.add_details(5, |details| details.activity = Some(Arc::new(|| Some("waiting"))));
        let details = table.details(&table.find(5).unwrap()).unwrap();
        assert_eq!(details.proxied_client, Some(([10, 0, 0, 1], 9).into()));
        assert_eq!(details.activity.unwrap()(), Some("waiting"));
        assert_eq!(table.find(5).unwrap().accepted_at, accepted_at);

        table.on_accept(5, second);
        let found = table.find(5).unwrap();
        assert_eq!(*found.endpoint, endpoint(2));
        assert!(table.details(&found).is_none());
        assert!(table.all_details().is_empty());

        table.add_details(5, |details| details.proxied_client = Some(([10, 0, 0, 1], 9).into()));
        table.on_accept(5, EndpointNumber::default());
        assert!(table.find(5).is_none());
        assert!(table.all_details().is_empty());
    }

    #[test]
    fn a_connection_without_an_endpoint_has_no_details_and_allocates_nothing() {
        let table = ConnectionTable::new();
        table.on_accept(7, EndpointNumber::default());
        table.add_details(7, |_| panic!("not recorded"));
        assert!(table.chunks.iter().all(|chunk| chunk.get().is_none()));
        assert!(table.find(7).is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let table = ConnectionTable::new();
        let number = table.add_endpoint(endpoint(1));
        for descriptor in [-1, RawFd::MAX, RawFd::try_from(CHUNKS * CHUNK_LEN).unwrap()] {
            table.on_accept(descriptor, number);
            assert!(table.find(descriptor).is_none());
        }
        let last = RawFd::try_from(CHUNKS * CHUNK_LEN - 1).unwrap();
        table.on_accept(last, number);
        assert!(table.find(last).is_some());
        assert_eq!(table.chunks.iter().filter(|chunk| chunk.get().is_some()).count(), 1);

        assert_eq!(table.add_endpoint(endpoint(1)), number);
        for port in 2..=u16::MAX {
            table.endpoints().push(Arc::new(endpoint(port)));
        }
        assert_eq!(table.add_endpoint(endpoint(0)), EndpointNumber::default());
        assert_eq!(table.add_endpoint(endpoint(u16::MAX)), EndpointNumber(u16::MAX));
    }
}
