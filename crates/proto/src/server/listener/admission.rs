//! How many connections there may be: in all, and from one client network.
//!
//! A [`Permit`] travels with its connection and gives its client network back when dropped, however the connection ends. The
//! table of client networks holds only those with a connection open, so it is never larger than the limit.

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

/// The gate that every accepted connection passes, shared by all listeners of a process.
#[derive(Debug)]
pub struct Admission {
    limit: AtomicUsize,
    /// 0: none.
    limit_per_ip: AtomicUsize,
    open: AtomicUsize,
    client_keys: Mutex<HashMap<IpAddr, usize>>,
    rejections: Arc<Semaphore>,
}

impl Admission {
    /// A gate with these limits.
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

    /// Lets no more connections in than these limits allow. Who is in stays, and counts; but those who came in while
    /// there was no limit for a client network do not count for theirs.
    pub fn set_limits(&self, limits: &ConnectionLimits) {
        self.limit.store(limits.max_connections.as_usize(), Ordering::Release);
        self.limit_per_ip.store(limits.max_connections_per_ip.as_usize(), Ordering::Release);
    }

    /// Lets a connection in, or says which limit it meets.
    ///
    /// # Errors
    ///
    /// [`LimitReached`], if one of the limits is reached.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, LimitReached> {
        let limit = self.limit.load(Ordering::Acquire);
        let one_more = |open| (open < limit).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| LimitReached::Server)?;
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

    /// Takes one of the [`MAX_CONCURRENT_REJECTIONS`] slots in which a rejected client has time to read its reply. Dropping the
    /// permit frees it.
    pub(crate) fn try_reject_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rejections).try_acquire_owned().ok()
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// How many connections may be open.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    fn client_keys(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code that can panic runs under this lock, so what a poisoned one guards is whole all the same.
        self.client_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Admission {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut encoder, "connections", "Connections that are open", &self.open())?;
        gauge(&mut encoder, "connections_max", "How many may be open at once: limits.max_connections", &self.limit())
    }
}

/// One connection's client network; dropping it gives the client network back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    /// Where there is a limit for it. In a box, so that connections have no room for it where there is none.
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

/// The limit that a rejected connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// The server's own.
    Server,
    /// That of its IPv4 address or IPv6 /64.
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

/// What counts as one client network: an IPv4 address, or an IPv6 network of 64 bits, the least that one customer is given
/// (RFC 6177). An IPv4 address mapped into IPv6 is the IPv4 address.
fn client_key(peer: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// So many excess connections are given the time to hear that there is no room; each takes a file, and a tenth of a
/// second at the most. More than these are told and closed at once.
pub(crate) const MAX_CONCURRENT_REJECTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// At most `all` connections, and at most `per_place` (0: any number) from one client network.
    fn limits(all: u32, per_place: u32) -> ConnectionLimits {
        let mut limits = ConnectionLimits::default();
        limits.max_connections = limits.max_connections.clamp_max(all as usize);
        if per_place > 0 {
            limits.max_connections_per_ip = toml::Value::from(per_place).try_into().unwrap();
        }
        limits
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_limit_admits_so_many_and_each_that_leaves_makes_room_for_one() {
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
    fn a_new_limit_holds_for_the_next_and_puts_nobody_out() {
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
    fn so_many_are_turned_away_with_time_to_hear_of_it_and_no_more_at_once() {
        let admission = Admission::new(&limits(1, 0));
        let mut rejected: Vec<_> =
            (0..MAX_CONCURRENT_REJECTIONS).map(|_| admission.try_reject_slot().unwrap()).collect();
        assert!(admission.try_reject_slot().is_none());
        rejected.pop();
        assert!(admission.try_reject_slot().is_some());
    }

    #[test]
    fn one_place_is_an_ipv4_address_or_an_ipv6_network() {
        let admission = Admission::new(&limits(100, 1));
        let _v4 = admission.admit(ip("192.0.2.1")).unwrap();
        let _v6 = admission.admit(ip("2001:db8:0:1::1")).unwrap();
        for same in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:0:1:ffff::2"] {
            assert_eq!(admission.admit(ip(same)).unwrap_err(), LimitReached::ClientNetwork, "{same}");
        }
        for other in ["192.0.2.2", "2001:db8:0:2::1"] {
            assert!(admission.admit(ip(other)).is_ok(), "{other}");
        }
        assert_eq!(admission.open(), 2, "a refused connection must hold no client_key");
    }

    #[test]
    fn the_table_of_places_forgets_those_without_a_connection() {
        let admission = Admission::new(&limits(10, 5));
        for host in 0..100_000_u32 {
            drop(admission.admit(IpAddr::from(host.to_be_bytes())).unwrap());
        }
        let held: Vec<_> = (0..20_u32).map(|host| admission.admit(IpAddr::from(host.to_be_bytes()))).collect();
        assert_eq!(admission.client_keys().len(), 10);
        drop(held);
        assert!(admission.client_keys().is_empty());
        assert_eq!(admission.open(), 0);
    }
}
