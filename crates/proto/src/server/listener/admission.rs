//! The limits on connections: in total, and per client network.
//!
//! It depends on the limits in `config`, on `limit_reached`, `quota`, `token_bucket` and metrics. A [`Permit`] is held for
//! as long as its connection is open, and dropping it frees its slot on every exit path. The table of client networks has
//! those with open connections, so at most as many as the limit, and at most [`MAX_CLOSED_CLIENTS`] that have used their
//! rate recently.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limit_reached::{LimitReached, LimitsReached};
use super::quota::Quota;
use super::token_bucket::TokenBucket;
use crate::server::config::sections::ConnectionLimits;
use crate::server::observe::metrics::encode::gauge;

/// Admits or rejects accepted connections. Shared by all listeners of a process.
#[derive(Debug)]
pub struct Admission {
    max_connections: AtomicUsize,
    /// The limits per client network; 0 means no limit.
    max_connections_per_ip: AtomicU32,
    new_connections_per_ip: AtomicU32,
    /// Shared with the quotas of open connections.
    requests_per_ip: Arc<AtomicU32>,
    open: AtomicUsize,
    limits_reached: Arc<LimitsReached>,
    clients: Mutex<Clients>,
    rejections: Arc<Semaphore>,
}

/// The client networks by their keys.
#[derive(Debug, Default)]
struct Clients {
    by_key: HashMap<IpAddr, Client>,
    /// The number of entries without an open connection.
    closed: usize,
}

#[derive(Debug, Default)]
struct Client {
    /// The number of open connections.
    open: u32,
    /// For new connections.
    connections: TokenBucket,
    /// For requests; shared by the connections.
    requests: Arc<Mutex<TokenBucket>>,
}

impl Client {
    /// Whether nothing has to be remembered about this client network.
    fn is_forgettable(&self, now: Instant) -> bool {
        self.open == 0 && self.connections.is_full(now) && lock(&self.requests).is_full(now)
    }
}

impl Admission {
    /// Creates the admission with these limits.
    #[must_use]
    pub fn new(limits: &ConnectionLimits) -> Arc<Self> {
        let admission = Self {
            max_connections: AtomicUsize::default(),
            max_connections_per_ip: AtomicU32::default(),
            new_connections_per_ip: AtomicU32::default(),
            requests_per_ip: Arc::default(),
            open: AtomicUsize::default(),
            limits_reached: Arc::default(),
            clients: Mutex::default(),
            rejections: Arc::new(Semaphore::new(MAX_CONCURRENT_REJECTIONS)),
        };
        admission.set_limits(limits);
        Arc::new(admission)
    }

    /// Sets the limits for later connections, and the rate of requests for open ones.
    ///
    /// Open connections stay open and count against the new limits. Those admitted without any limit per client network do
    /// not count against these limits, and have no rate.
    pub fn set_limits(&self, limits: &ConnectionLimits) {
        self.max_connections.store(limits.max_connections.as_usize(), Ordering::Release);
        self.max_connections_per_ip.store(limits.max_connections_per_ip.get(), Ordering::Release);
        self.new_connections_per_ip.store(limits.new_connections_per_ip.get(), Ordering::Release);
        self.requests_per_ip.store(limits.requests_per_ip.get(), Ordering::Release);
    }

    /// Admits a connection from `peer`. `None` counts against no limit per client network.
    ///
    /// # Errors
    ///
    /// Returns the limit that is reached.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Permit, LimitReached> {
        let limit = self.max_connections.load(Ordering::Acquire);
        let increment = |open| (open < limit).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, increment).map_err(|_| LimitReached::Server)?;
        // Dropping it frees the slot if a limit per client network is reached.
        let mut permit = Permit { admission: Arc::clone(self), client: None };
        if let Some(peer) = peer {
            permit.admit_client(peer)?;
        }
        Ok(permit)
    }

    /// Returns the counters of the limits that were reached.
    pub(crate) fn limits_reached(&self) -> &LimitsReached {
        &self.limits_reached
    }

    /// Takes one of the [`MAX_CONCURRENT_REJECTIONS`] slots in which a rejected client has time to read its reply.
    /// Dropping the permit frees the slot.
    pub(crate) fn try_reject_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rejections).try_acquire_owned().ok()
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Returns whether connections may count as open for a short time after their end: there is room for [`AMPLE`] more,
    /// and no limit on those of a client network.
    pub(crate) fn has_room(&self) -> bool {
        self.limit().saturating_sub(self.open()) >= AMPLE && self.max_connections_per_ip.load(Ordering::Acquire) == 0
    }

    /// Returns the maximum number of open connections.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.max_connections.load(Ordering::Acquire)
    }
}

impl Clients {
    /// Counts a connection. Returns the bucket for its requests.
    fn connect(
        &mut self,
        key: IpAddr,
        max_connections: u32,
        new_connections: u32,
    ) -> Result<Arc<Mutex<TokenBucket>>, LimitReached> {
        let now = Instant::now();
        let is_new = !self.by_key.contains_key(&key);
        if is_new && self.closed >= MAX_CLOSED_CLIENTS {
            self.forget(now);
        }
        let client = self.by_key.entry(key).or_default();
        let limit = if max_connections > 0 && client.open >= max_connections {
            Some(LimitReached::ClientNetwork)
        } else if new_connections > 0 && client.connections.available(new_connections, now) == 0 {
            Some(LimitReached::ConnectionRate)
        } else {
            None
        };
        if let Some(limit) = limit {
            // The entry existed before: the first connection of a client network is always admitted.
            return Err(limit);
        }
        if new_connections > 0 {
            client.connections.take(1, new_connections, now);
        }
        if !is_new && client.open == 0 {
            self.closed -= 1;
        }
        client.open += 1;
        Ok(Arc::clone(&client.requests))
    }

    fn disconnect(&mut self, key: IpAddr) {
        if let Entry::Occupied(mut client) = self.by_key.entry(key) {
            client.get_mut().open -= 1;
            if client.get().is_forgettable(Instant::now()) {
                client.remove();
            } else if client.get().open == 0 {
                self.closed += 1;
            }
        }
    }

    /// Forgets closed clients whose buckets are full. If at least half of them are in use, forgets all: a rate per client
    /// network does not limit an attacker with that many client networks.
    fn forget(&mut self, now: Instant) {
        self.by_key.retain(|_, client| !client.is_forgettable(now));
        self.closed = self.by_key.values().filter(|client| client.open == 0).count();
        if self.closed >= MAX_CLOSED_CLIENTS / 2 {
            self.by_key.retain(|_, client| client.open > 0);
            self.closed = 0;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The lock is never poisoned: no code that can panic runs while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collector for Admission {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut encoder, "connections", "Open connections", &self.open())?;
        gauge(
            &mut encoder,
            "connections_max",
            "Maximum concurrent connections: limits.max_connections",
            &self.limit(),
        )?;
        self.limits_reached.encode(&mut encoder)
    }
}

/// One connection's slot in the limits. Dropping it frees the slot.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    /// The client network, or `None` without a limit per client network. Boxed, so that `None` takes little memory.
    client: Option<Box<PermitClient>>,
}

#[derive(Debug)]
struct PermitClient {
    key: IpAddr,
    requests: Arc<Mutex<TokenBucket>>,
}

impl Permit {
    /// Counts the connection against the limits of the client network of `peer`. Called once.
    ///
    /// # Errors
    ///
    /// Returns the limit that is reached.
    pub(crate) fn admit_client(&mut self, peer: IpAddr) -> Result<(), LimitReached> {
        let admission = &self.admission;
        let max_connections = admission.max_connections_per_ip.load(Ordering::Acquire);
        let new_connections = admission.new_connections_per_ip.load(Ordering::Acquire);
        let requests = admission.requests_per_ip.load(Ordering::Acquire);
        if max_connections > 0 || new_connections > 0 || requests > 0 {
            let key = client_key(peer);
            let requests = lock(&admission.clients).connect(key, max_connections, new_connections)?;
            self.client = Some(Box::new(PermitClient { key, requests }));
        }
        Ok(())
    }

    /// Returns the quota for the requests of the connection, if there is any limit per client network. Each request waits at
    /// most for `timeout`.
    pub(crate) fn quota(&self, timeout: Duration) -> Option<Quota> {
        let client = self.client.as_ref()?;
        let Admission { requests_per_ip, limits_reached, .. } = &*self.admission;
        let (bucket, rate) = (Arc::clone(&client.requests), Arc::clone(requests_per_ip));
        Some(Quota::new(client.key, bucket, rate, timeout, Arc::clone(limits_reached)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            lock(&self.admission.clients).disconnect(client.key);
        }
        self.admission.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns the client network of an address: the IPv4 address, or the IPv6 /64, which is the smallest network that a
/// customer gets (RFC 6177). An IPv4-mapped IPv6 address is the IPv4 address.
fn client_key(peer: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// Maximum concurrent rejected connections that get time to read their reply. Each takes a file for at most a tenth of a
/// second. Further ones get the reply and are closed without waiting.
pub(crate) const MAX_CONCURRENT_REJECTIONS: usize = 64;

/// With room for this many connections, the server can count connections for 2 ms after their end, at up to 500,000 new
/// connections a second.
const AMPLE: usize = 1000;

/// Maximum client networks that are remembered without an open connection, because they have used their rate.
const MAX_CLOSED_CLIENTS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    /// At most `total` connections, and at most `per_ip` from one client network (0: no limit).
    fn limits(total: u32, per_ip: u32) -> ConnectionLimits {
        let mut limits = ConnectionLimits::default();
        limits.max_connections = limits.max_connections.clamp_max(total as usize);
        if per_ip > 0 {
            limits.max_connections_per_ip = toml::Value::from(per_ip).try_into().unwrap();
        }
        limits
    }

    fn clients(admission: &Admission) -> usize {
        lock(&admission.clients).by_key.len()
    }

    #[expect(clippy::unnecessary_wraps, reason = "`admit` takes an option")]
    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_connection_that_ends_frees_its_slot() {
        let admission = Admission::new(&limits(2, 0));
        let first = admission.admit(ip("::1")).unwrap();
        let _second = admission.admit(ip("::1")).unwrap();
        assert_eq!(admission.admit(ip("::1")).unwrap_err(), LimitReached::Server);
        drop(first);
        let _third = admission.admit(ip("::1")).unwrap();
        assert_eq!(admission.admit(ip("::1")).unwrap_err(), LimitReached::Server);
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn new_limits_apply_to_later_connections_only() {
        let admission = Admission::new(&limits(3, 0));
        let mut open: Vec<_> = (0..3).map(|_| admission.admit(ip("::1")).unwrap()).collect();
        admission.set_limits(&limits(1, 0));
        assert_eq!(admission.admit(ip("::1")).unwrap_err(), LimitReached::Server);
        open.truncate(1);
        assert_eq!(admission.admit(ip("::1")).unwrap_err(), LimitReached::Server);
        open.clear();
        open.push(admission.admit(ip("::1")).unwrap());
        admission.set_limits(&limits(9, 2));
        open.extend((0..2).map(|_| admission.admit(ip("::1")).unwrap()));
        assert_eq!(admission.admit(ip("::1")).unwrap_err(), LimitReached::ClientNetwork);
        admission.set_limits(&limits(9, 0));
        open.push(admission.admit(ip("::1")).unwrap());
        drop(open);
        assert_eq!((admission.open(), clients(&admission)), (0, 0));
    }

    #[test]
    fn the_slots_for_rejected_connections_are_limited() {
        let admission = Admission::new(&limits(1, 0));
        let mut rejected: Vec<_> =
            (0..MAX_CONCURRENT_REJECTIONS).map(|_| admission.try_reject_slot().unwrap()).collect();
        assert!(admission.try_reject_slot().is_none());
        rejected.pop();
        assert!(admission.try_reject_slot().is_some());
    }

    #[test]
    fn a_client_network_is_an_ipv4_address_or_an_ipv6_64() {
        let admission = Admission::new(&limits(100, 1));
        let _v4 = admission.admit(ip("192.0.2.1")).unwrap();
        let _v6 = admission.admit(ip("2001:db8:0:1::1")).unwrap();
        for same in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:0:1:ffff::2"] {
            assert_eq!(admission.admit(ip(same)).unwrap_err(), LimitReached::ClientNetwork, "{same}");
        }
        for other in ["192.0.2.2", "2001:db8:0:2::1"] {
            assert!(admission.admit(ip(other)).is_ok(), "{other}");
        }
        assert_eq!(admission.open(), 2, "a rejected connection holds no slot");
    }

    #[test]
    fn the_table_holds_only_client_networks_with_open_connections() {
        let admission = Admission::new(&limits(10, 5));
        for host in 0..100_000_u32 {
            drop(admission.admit(Some(IpAddr::from(host.to_be_bytes()))).unwrap());
        }
        let permits: Vec<_> = (0..20_u32).map(|host| admission.admit(Some(IpAddr::from(host.to_be_bytes())))).collect();
        assert_eq!(clients(&admission), 10);
        drop(permits);
        assert!(clients(&admission) == 0);
        assert_eq!(admission.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_over_the_rate_of_a_client_network_are_rejected() {
        let mut limits = limits(10, 0);
        limits.new_connections_per_ip = toml::Value::from(2).try_into().unwrap();
        let admission = Admission::new(&limits);
        for _ in 0..2 {
            drop(admission.admit(ip("192.0.2.1")).unwrap());
        }
        assert_eq!(admission.admit(ip("192.0.2.1")).unwrap_err(), LimitReached::ConnectionRate);
        assert_eq!(admission.open(), 0, "a rejected connection holds no slot");
        drop(admission.admit(ip("192.0.2.2")).unwrap());
        tokio::time::advance(Duration::from_millis(500)).await;
        drop(admission.admit(ip("192.0.2.1")).unwrap());
        assert_eq!(admission.admit(ip("192.0.2.1")).unwrap_err(), LimitReached::ConnectionRate);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_of_client_networks_that_have_used_their_rate_is_bounded() {
        let mut limits = limits(10, 0);
        limits.new_connections_per_ip = toml::Value::from(1).try_into().unwrap();
        let admission = Admission::new(&limits);
        let open = admission.admit(ip("2001:db8::1")).unwrap();
        for host in 0..200_000_u32 {
            drop(admission.admit(Some(IpAddr::from(host.to_be_bytes()))).unwrap());
            assert!(clients(&admission) <= MAX_CLOSED_CLIENTS + 1);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        lock(&admission.clients).forget(Instant::now());
        assert_eq!(clients(&admission), 1, "full buckets are forgotten, open connections are not");
        assert_eq!(lock(&admission.clients).closed, 0);
        drop(open);
        assert_eq!(clients(&admission), 0);
    }
}
