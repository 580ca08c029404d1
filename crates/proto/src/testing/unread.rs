//! Clients that do not read, or read slowly. Their replies fit into the send buffer of the server, so that its writes do not
//! block, but not into their window.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::blocking::{connect, connect_with_small_buffers, exchange, expect_reset, read_to_end};
use super::program::ServerProcess;

/// The settings of a server for [`hold_place`]: one place for a client, and a short write timeout.
pub const ONE_PLACE: [&str; 4] = ["--set", "limits.max_connections=1", "--set", "timeouts.write=2s"];

/// The write timeout in [`ONE_PLACE`].
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks that a client that sends `requests` and reads nothing holds its place until the server resets its connection at
/// the write timeout, and that the kernel then keeps nothing of it. Returns how long that took.
///
/// The server must be started with [`ONE_PLACE`]. Its metrics begin with `prefix`.
pub fn hold_place(
    server: &ServerProcess,
    service: &str,
    prefix: &str,
    requests: &[u8],
    is_half_closed: bool,
) -> Duration {
    let (address, baseline, began) = (server.address(service), server.baseline(), Instant::now());
    let connections = |result: &str| server.metric(&format!("{prefix}_connections_total{{result=\"{result}\"}}"));
    let mut client = connect_with_small_buffers(address);
    client.write_all(requests).unwrap();
    server.eventually(|_| connections("accepted") == 1, "has a client");
    if is_half_closed {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut other = connect(address);
    // A rejected client may be closed before this write.
    let _ = other.write_all(&requests[..1]).and_then(|()| other.shutdown(Shutdown::Write));
    read_to_end(&mut other);
    drop(other);
    // On a slow machine, the place may be free by now.
    assert!(connections("rejected") == 1 || began.elapsed() >= WRITE_TIMEOUT, "the place was free");
    server.eventually(|server| server.metric(&format!("{prefix}_connections")) == 0, "closes the connection");
    assert_eq!(server.metric(&format!("{prefix}_connections_closed_total{{reason=\"write_timeout\"}}")), 1);
    server.eventually(|server| server.orphans(service) == 0, "has no orphan");
    let took = began.elapsed();
    assert!(took >= WRITE_TIMEOUT, "{took:?}");
    expect_reset(&mut client);
    assert!(!exchange(address, &requests[..2]).is_empty());
    server.returns_to(baseline, prefix);
    took
}

/// Checks that a client that sends `requests` and reads the replies for more than two write timeouts, which must be 4 s,
/// keeps its connection. Returns false if the machine was too slow: then the client may have read nothing for too long.
pub fn read_slowly(server: &ServerProcess, service: &str, requests: &[u8]) -> bool {
    let expected = exchange(server.address(service), requests).len();
    let mut client = connect_with_small_buffers(server.address(service));
    client.write_all(requests).unwrap();
    let (began, mut received) = (Instant::now(), 0);
    while received < expected {
        let paused = Instant::now();
        // Not a wait: the client is slow.
        thread::sleep(Duration::from_millis(250));
        let count = client.read(&mut [0; 200]);
        // The kernel opens the window after about six reads, which must not take a write timeout.
        if paused.elapsed() > Duration::from_millis(500) {
            return false;
        }
        let count = count.unwrap();
        assert!(count > 0, "closed after {received} of {expected} bytes");
        received += count;
    }
    assert!(began.elapsed() >= Duration::from_secs(8), "{:?}", began.elapsed());
    // The connection still gets replies.
    client.write_all(&requests[..2]).unwrap();
    assert!(client.read(&mut [0; 200]).unwrap() > 0);
    true
}
