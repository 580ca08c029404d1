//! Inherited listening sockets, and the rows of FAULTS.md about them. The tests of `rps-server` have those of two
//! services.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use proto::client::power::Client;
use proto::client::tls::Tls;
use proto::client::{Connector, Timeouts};
use proto::testing::blocking::{connect, exchange, exchange_unix, expect, read_to_end};
use proto::testing::inherited::{self, RestartedServer, with_sockets};
use proto::testing::process::{ChildProcess, Exit, run};
use proto::testing::program::ServerProcess;
use proto::testing::tls::TestTls;
use proto::testing::{TEST_TIMEOUT, eventually};
use proto::wire::power::Operation;
use socket2::SockRef;
use support::program::{BINARY, check_reply_to_openssl, clean_command, command, openssl};

const ANY: &str = "127.0.0.1:0";

fn start(sockets: &[&str], arguments: &[&str]) -> ServerProcess {
    ServerProcess::start(&mut with_sockets(&BINARY, sockets, arguments), BINARY.services)
}

/// Runs a program that must not start, and returns its exit code and its log.
fn failed(command: &mut Command) -> (Option<i32>, String) {
    let Exit { code, stdout, .. } = run(command, "");
    (code, stdout)
}

#[test]
#[ignore = "needs python3"]
fn python_all_sockets_of_a_name_are_served_and_admin_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("power.sock");
    let sockets =
        ["power=127.0.0.1:0", "power=127.0.0.1:0", &format!("power=unix:{}", path.display()), "admin=127.0.0.1:0"];
    let server = start(&sockets, &["--listen", "fd:power", "--admin-listen", "fd:admin"]);
    let (log, endpoints) = (server.log(), server.endpoints("power"));
    assert_eq!(endpoints.len(), 3, "{log}");
    assert_eq!(log.matches(" inherited=\"power\"").count(), 3, "{log}");
    for endpoint in &endpoints[..2] {
        assert_eq!(exchange(endpoint.parse().unwrap(), b"a2"), "d4.0");
    }
    assert_eq!(endpoints[2], format!("unix:{}", path.display()));
    assert_eq!(exchange_unix(&path, b"a2"), "d4.0");
    assert_eq!(server.get("/readyz").unwrap().0, 200);
    assert!(!log.contains("WARN"), "{log}");
    server.stop();
}

#[test]
#[ignore = "needs python3"]
fn python_the_only_socket_needs_no_name() {
    let server = start(&["any=127.0.0.1:0"], &["--listen", "fd:", "--admin-listen", ANY]);
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    assert!(server.log().contains(" inherited=\"any\"\n"), "{}", server.log());
    server.stop();
}

#[test]
#[ignore = "needs python3"]
fn python_tls_on_an_inherited_socket() {
    let tls = TestTls::new();
    let arguments = tls.arguments(&["--listen", "tls+fd:power", "--admin-listen", ANY]);
    let server = start(&["power=127.0.0.1:0"], &arguments);
    let endpoint = server.endpoints("power").remove(0);
    assert!(endpoint.starts_with("tls://127.0.0.1:"), "{endpoint}");
    let roots = Arc::new(Tls::default().with_authorities(&tls.authority.certificate).unwrap());
    let connector =
        Connector::new(endpoint.parse().unwrap()).with_tls(roots).with_timeouts(Timeouts::all(TEST_TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply = runtime.block_on(Client::new(connector).request(Operation::Square, "2".parse().unwrap()));
    assert_eq!(reply.unwrap().unwrap().text().as_str(), "4.0");
    server.stop();
}

#[test]
#[ignore = "needs python3 and openssl"]
fn openssl_gets_a_reply_over_tls_on_an_inherited_unix_socket() {
    let tls = TestTls::new();
    let path = tls.authority.folder().join("power.sock");
    let arguments = tls.arguments(&["--listen", "tls+fd:power", "--admin-listen", ANY]);
    let mut command = with_sockets(&BINARY, &[&format!("power=unix:{}", path.display())], &arguments);
    let server = ServerProcess::start(&mut command, &["admin"]);
    let mut openssl = openssl(&tls, &tls.authority.issue_client());
    check_reply_to_openssl(openssl.arg("-no_ign_eof").arg("-unix").arg(&path));
    server.stop();
}

/// The test has the same socket as the server, so it sees the options that the server sets.
#[test]
fn the_options_of_an_inherited_tcp_socket_are_those_of_the_servers_own() {
    let listener = TcpListener::bind(ANY).unwrap();
    let mut command = inherited::clean_command("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$@\" 3<&0 0</dev/null", "sh", BINARY.path, "--listen", "fd:"]);
    command
        .env("LISTEN_FDS", "1")
        .current_dir(BINARY.folder)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())));
    command.args(["--admin-listen", ANY]);
    let server = ServerProcess::start(&mut command, BINARY.services);
    let inherited = SockRef::from(&listener);
    assert!(inherited.tcp_nodelay().unwrap() && inherited.keepalive().unwrap());
    let keepalive = (inherited.tcp_keepalive_time().unwrap(), inherited.tcp_keepalive_interval().unwrap());
    assert_eq!((keepalive.0.as_secs(), keepalive.1.as_secs()), (60, 15));
    assert_eq!(inherited.tcp_user_timeout().unwrap().map(|timeout| timeout.as_secs()), Some(100));
    // The kernel doubles them (socket(7)).
    assert_eq!((inherited.send_buffer_size().unwrap(), inherited.recv_buffer_size().unwrap()), (32 * 1024, 32 * 1024));
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    server.stop();
}

#[test]
#[ignore = "needs python3"]
fn python_a_health_check_of_inherited_sockets_asks_the_admin_listener() {
    let server = start(&["power=127.0.0.1:0"], &["--listen", "fd:power", "--admin-listen", ANY]);
    let check = |admin: &str| {
        let arguments = ["--listen", "fd:power", "--admin-listen", admin, "--healthcheck"];
        let Exit { code, stderr, .. } = run(clean_command().args(arguments), "");
        (code, stderr)
    };
    let admin = server.address("admin").to_string();
    assert_eq!(check(&admin), (Some(0), String::new()));
    let (code, error) = check("");
    assert!(code == Some(1) && error.contains("listen: cannot ask: "), "{code:?} {error}");
    // During a drain, /readyz says so.
    let mut open = connect(server.address("power"));
    open.write_all(b"a").unwrap();
    server.eventually(|server| server.metric("power_connections") == 1, "has accepted the connection");
    server.signal("TERM");
    server.eventually(|server| server.get("/readyz").is_some_and(|(status, _)| status == 503), "drains");
    let (code, error) = check(&admin);
    assert!(code == Some(1) && error.contains("/readyz replied HTTP/1.1 503"), "{code:?} {error}");
    drop(open);
    assert_eq!(server.wait_for_exit().0, Some(0));
    let (code, error) = check(&admin);
    assert!(code == Some(1) && error.contains("refused"), "{code:?} {error}");
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn systemd_socket_activate_passes_sockets_that_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("power.sock");
    // It cannot choose a free port. No other program uses this address.
    let address = TcpListener::bind("127.66.55.44:0").unwrap().local_addr().unwrap();
    let mut command = inherited::clean_command("systemd-socket-activate");
    command.args(["--listen", &address.to_string(), "--listen"]).arg(&path);
    command.args(["--fdname=power:power", BINARY.path, "--listen", "fd:power", "--admin-listen", ""]);
    command.current_dir(BINARY.folder);
    let mut process = ChildProcess::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    // It starts the server at the first connection.
    assert!(eventually(TEST_TIMEOUT, || path.exists()), "{process:?}");
    assert_eq!(exchange_unix(&path, b"a2"), "d4.0");
    assert_eq!(exchange(address, b"a2"), "d4.0");
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
    assert!(path.exists());
}

#[test]
fn without_inherited_sockets_the_start_fails() {
    for process in [None, Some("1")] {
        let mut command = command(&["--listen", "fd:power"]);
        command
            .envs(process.map(|process| ("LISTEN_PID", process)))
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "power");
        let (code, log) = failed(&mut command);
        assert!(
            code == Some(1)
                && log.contains("cannot listen on fd:power (listen, --listen): the process inherits no sockets"),
            "{log}"
        );
    }
}

#[test]
#[ignore = "needs python3"]
fn row_52_python_requests_in_a_stopped_process_and_its_accept_queue_get_their_replies() {
    let mut server = RestartedServer::start(&BINARY, 1, &["power=127.0.0.1:0"], &["--listen", "fd:power"]);
    let power = server.address("power");
    // The first two are accepted, the third is deferred: it has sent nothing.
    let mut open = [(); 2].map(|()| connect(power));
    for stream in &mut open {
        stream.write_all(b"a2\n").unwrap();
        expect(stream, "d4.0\n");
    }
    let mut deferred = connect(power);
    server.stop_process();
    open[0].write_all(b"b2\n").unwrap();
    let mut queued = [(); 100].map(|()| connect(power));
    for stream in &mut queued {
        stream.write_all(b"c2").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    server.begin_restart_of_stopped();
    expect(&mut open[0], "d8.0\n");
    for stream in &mut open {
        assert_eq!(read_to_end(stream), "");
    }
    deferred.write_all(b"d7\n").unwrap();
    expect(&mut deferred, "d7.0\n");
    for stream in &mut queued {
        assert_eq!(read_to_end(stream), "d16.0");
    }
    let (is_right, log) = server.stop();
    assert!(is_right && !log.contains("WARN"), "{log}");
}

#[test]
#[ignore = "needs python3"]
fn row_53_python_a_killed_server_loses_only_its_open_connections() {
    let mut server = RestartedServer::start(&BINARY, 1, &["power=127.0.0.1:0"], &["--listen", "fd:power"]);
    let power = server.address("power");
    let mut open = connect(power);
    open.write_all(b"a2\n").unwrap();
    expect(&mut open, "d4.0\n");
    server.stop_process();
    let mut queued = [(); 100].map(|()| connect(power));
    for stream in &mut queued {
        stream.write_all(b"a2").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    server.kill();
    match open.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    // They connect while no process runs.
    let mut late = [(); 100].map(|()| connect(power));
    for stream in &mut late {
        stream.write_all(b"b2").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    server.begin_restart();
    for stream in &mut queued {
        assert_eq!(read_to_end(stream), "d4.0");
    }
    for stream in &mut late {
        assert_eq!(read_to_end(stream), "d8.0");
    }
    let (is_right, log) = server.stop();
    assert!(!is_right && log.contains("stopped accepted=200 rejected=0 panicked=0 aborted=0"), "{log}");
}

#[test]
#[ignore = "needs python3"]
fn row_55_python_a_name_without_a_socket_exits_with_1_and_a_socket_without_a_key_stays_open() {
    for (sockets, listen, message) in [
        (&["web=127.0.0.1:0"][..], "fd:power", "no inherited socket is named \"power\"; inherited: \"web\""),
        (&["web=127.0.0.1:0", "b=127.0.0.1:0"], "fd:", "the process inherits 2 sockets: name one of \"web\", \"b\""),
        (&["web=127.0.0.1:0", "web=127.0.0.1:0"], "fd:", "the process inherits 2 sockets: name one of \"web\""),
    ] {
        let (code, log) = failed(&mut with_sockets(&BINARY, sockets, &["--listen", listen]));
        assert!(
            code == Some(1) && log.contains(&format!("cannot listen on {listen} (listen, --listen): {message}")),
            "{code:?} {log}"
        );
    }

    let sockets = ["power=127.0.0.1:0", "spare=127.0.0.1:0", "other=127.0.0.1:0"];
    let mut command = with_sockets(&BINARY, &sockets, &["--listen", "fd:power", "--admin-listen", ANY]);
    let mut process = ChildProcess::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let warning = " WARN ";
    let log = process
        .stdout
        .wait_for("a warning", |log| (log.contains(warning) && log.ends_with('\n')).then(|| log.to_owned()));
    assert!(
        log.contains("inherited sockets that no endpoint names; they stay open names=\"spare\", \"other\""),
        "{log}"
    );
    let spare = process.stderr.wait_for("the spare address", |text| {
        text.lines().find_map(|line| line.strip_prefix("spare=")).map(str::to_owned)
    });
    TcpStream::connect(spare).unwrap();
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
}

#[test]
#[ignore = "needs python3"]
fn row_55_python_an_address_of_an_inherited_socket_names_that_socket() {
    let address = TcpListener::bind("127.66.55.43:0").unwrap().local_addr().unwrap();
    for own in [address.to_string(), format!("0.0.0.0:{}", address.port())] {
        let (code, log) = failed(&mut with_sockets(&BINARY, &[&format!("power={address}")], &["--listen", &own]));
        let message = format!(
            "cannot listen on {own} (listen, --listen): address already in use; the inherited socket \"power\""
        );
        assert!(
            code == Some(1) && log.contains(&message) && log.contains(": use fd:power as the endpoint"),
            "{code:?} {log}"
        );
    }
}

#[test]
#[ignore = "needs python3"]
fn row_56_python_the_file_of_an_inherited_unix_socket_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("power.sock");
    let socket = format!("power=unix:{}", path.display());
    let mut server = RestartedServer::start(&BINARY, 1, &[&socket], &["--listen", "fd:power"]);
    assert_eq!(exchange_unix(&path, b"a2"), "d4.0");
    server.restart();
    assert_eq!(exchange_unix(&path, b"a2"), "d4.0");
    assert!(server.stop().0);
    // The program that opened the socket has removed the file. Without that program, it is left.
    let mut command = with_sockets(&BINARY, &[&socket], &["--listen", "fd:power", "--admin-listen", ANY]);
    let server = ServerProcess::start(&mut command, &["admin"]);
    assert_eq!(exchange_unix(&path, b"a2"), "d4.0");
    server.stop();
    assert!(path.exists());
}
