//! The notifications to the service manager. Most of their tests are those of `power-server`, which has the same code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use proto::testing::program::ServerProcess;
use proto::testing::service_manager::{NotifySocket, WATCHDOG};
use support::program::{BINARY, command};

#[test]
fn the_manager_gets_the_start_the_watchdog_and_the_stop() {
    let manager = NotifySocket::new();
    let mut server = ServerProcess::start(manager.manage(&mut command(&[]), Some(100_000)), BINARY.services);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving\n");
    manager.expect_watchdog();
    server.signal("TERM");
    assert_eq!(manager.next_state(), "STOPPING=1\nSTATUS=draining\n");
    let last = manager.until_exit(&mut server);
    assert!(last.iter().all(|notification| notification == WATCHDOG), "{last:?}");
    assert_eq!(server.wait_for_exit().0, Some(0));
}
