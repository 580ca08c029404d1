//! The limits on open connections: in total, and per client network.
//!
//! It depends on the limits in `config` and on metrics. A [`Permit`] is held for as long as its connection is open, and
//! dropping it frees its slot on every exit path. The table of client networks holds only those with open connections,
//! so it is never larger than the limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::server::config::sections::ConnectionLimits;
use crate::server::observe::metrics::encode::gauge;

/// Admits or rejects accepted connections. Shared by all listeners of a process.
#[derive(Debug)]
pub struct Admission {
    limit: AtomicUsize,
    /// 0 means no limit.
    limit_per_ip: AtomicUsize,
    open: AtomicUsize,
    client_keys: Mutex<HashMap<IpAddr, usize>>,
    rejections: Arc<Semaphore>,
}

impl Admission {
    /// Creates the admission with these limits.
    #[must_use]
    pub fn new(limits: &ConnectionLimits) -> Arc<Self> {
        let admission = Self {
            limit: AtomicUsize::default(),
            limit_per_ip: AtomicUsize::default(),
            open: AtomicUsize::default(),
            client_keys: Mutex::default(),
            rejections: Arc::new(Semaphore::new(MAX_CONCURRENT_REJECTIONS)),
        };
        admission.set_limits(limits);
        Arc::new(admission)
    }

    /// Sets the limits for later connections.
    ///
    /// Open connections stay open and count against the new limits. Those admitted without a limit per client network do
    /// not count against that limit.
    pub fn set_limits(&self, limits: &ConnectionLimits) {
        self.limit.store(limits.max_connections.as_usize(), Ordering::Release);
        self.limit_per_ip.store(limits.max_connections_per_ip.as_usize(), Ordering::Release);
    }

    /// Admits a connection from `peer`.
    ///
    /// # Errors
    ///
    /// Returns the limit that is reached.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, LimitReached> {
        let limit = self.limit.load(Ordering::Acquire);
        let increment = |open| (open < limit).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, increment).map_err(|_| LimitReached::Server)?;
        let mut permit = Permit { admission: Arc::clone(self), client_key: None };
        let limit = self.limit_per_ip.load(Ordering::Acquire);
        if limit > 0 {
            let client_key = client_key(peer);
            let mut client_keys = self.client_keys();
            let open = client_keys.entry(client_key).or_insert(0);
            if *open >= limit {
                return Err(LimitReached::ClientNetwork);
            }
            *open += 1;
            permit.client_key = Some(Box::new(client_key));
        }
        Ok(permit)
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

    /// Returns the maximum number of open connections.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    fn client_keys(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // The lock is never poisoned: no code that can panic runs while it is held.
        self.client_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Admission {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut encoder, "connections", "Open connections", &self.open())?;
        gauge(&mut encoder, "connections_max", "Maximum concurrent connections: limits.max_connections", &self.limit())
    }
}

/// One connection's slot in the limits. Dropping it frees the slot.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    /// The client network, or `None` without a limit per client network. Boxed, so that `None` takes little memory.
    client_key: Option<Box<IpAddr>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client_key) = &self.client_key
            && let Entry::Occupied(mut open) = self.admission.client_keys().entry(**client_key)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        self.admission.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The limit for which a connection is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// The server's limit.
    Server,
    /// The limit per client network, an IPv4 address or IPv6 /64.
    ClientNetwork,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "limits.max_connections",
            Self::ClientNetwork => "limits.max_connections_per_ip",
        })
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
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
        assert_eq!((admission.open(), admission.client_keys().len()), (0, 0));
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
            drop(admission.admit(IpAddr::from(host.to_be_bytes())).unwrap());
        }
        let permits: Vec<_> = (0..20_u32).map(|host| admission.admit(IpAddr::from(host.to_be_bytes()))).collect();
        assert_eq!(admission.client_keys().len(), 10);
        drop(permits);
        assert!(admission.client_keys().is_empty());
        assert_eq!(admission.open(), 0);
    }
}
