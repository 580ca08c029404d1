//! Unix sockets: every command, and each error.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::os::unix::net::UnixListener;
use std::time::Duration;

use proto::testing::front::Front;
use support::load::run_bench_ok;
use support::{client, real, run};
use tempfile::tempdir;

#[test]
fn every_command_works() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_secs(30)));
    let folder = tempdir().expect("there is a folder for temporary files");
    let power = Front::unix(power.address(), &folder.path().join("power"));
    let rps = Front::unix(rps.address(), &folder.path().join("rps"));
    let duel = Front::unix(duel.address(), &folder.path().join("duel"));
    for flags in ["", "--framing line", "--framing bare", "--keep-alive", "--framing eof --split 4"] {
        run(&format!("power square 2 3 {flags} --addr {}", power.endpoint)).assert_success("4.0\n9.0\n");
    }
    client("power square 2").with_env("POWER_ADDR", &power.endpoint).run("").assert_success("4.0\n");
    for (probe, server) in [("power", &power), ("rps", &rps), ("duel", &duel)] {
        let finished = run(&format!("probe {probe} --addr {}", server.endpoint));
        let works = format!("{probe} at {} works", server.endpoint);
        assert!(finished.code == Some(0) && finished.stdout.starts_with(&works), "{finished:?}");
    }
    assert_eq!(run(&format!("rps throw rock paper --addr {}", rps.endpoint)).stdout.lines().count(), 2);
    let report = run_bench_ok(100, &format!("power -n 100 -c 8 --addr {}", power.endpoint));
    assert_eq!(report["address"], power.endpoint.as_str());
    run_bench_ok(300, &format!("power -n 300 -c 4 --pipeline 16 --addr {}", power.endpoint));
    run_bench_ok(300, &format!("rps -n 300 -c 4 --pipeline 64 --addr {}", rps.endpoint));
    run_bench_ok(100, &format!("duel -n 100 -c 4 --addr {}", duel.endpoint));
    let exchange = r"exchange --send a2\n --expect d4.0\n -n 100 --keep-alive";
    run_bench_ok(100, &format!("{exchange} --addr {}", power.endpoint));
    let sources = format!("bench power -n 1 --sources 127.0.0.2 --addr {}", power.endpoint);
    run(&sources).assert_failed(2, "", &["is a Unix socket, which has no source addresses"]);
    run(&format!("{sources} --lang zh")).assert_failed(2, "", &["是 Unix 套接字，没有源地址"]);
}

#[test]
fn a_path_without_a_server_exits_with_3_and_a_hint() {
    let folder = tempdir().expect("there is a folder for temporary files");
    let missing = folder.path().join("missing");
    let message = "missing: cannot connect: No such file or directory (os error 2); nothing listens there";
    run(&format!("power square 2 --addr unix:{}", missing.display())).assert_failed(3, "", &[message]);
    let stale = folder.path().join("stale");
    drop(UnixListener::bind(&stale).expect("the path is free"));
    let message = "stale: cannot connect: Connection refused (os error 111); nothing listens there";
    run(&format!("power square 2 --addr unix:{}", stale.display())).assert_failed(3, "", &[message]);
}

#[test]
fn a_full_accept_queue_exits_with_4_in_the_connect_phase() {
    let folder = tempdir().expect("there is a folder for temporary files");
    let path = folder.path().join("full");
    let listener = UnixListener::bind(&path).expect("the path is free");
    rustix::net::listen(&listener, 0).expect("it listens");
    let _queued = std::os::unix::net::UnixStream::connect(&path).expect("the queue has room for one");
    run(&format!("power square 2 --timeout 200ms --addr unix:{}", path.display())).assert_failed(
        4,
        "",
        &["no connection within 200ms"],
    );
}
