//! Endpoints of the program: lists of them, and Unix sockets (row 50 of FAULTS.md).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use proto::testing::blocking::{connect_unix, exchange, exchange_unix, read_to_end};
use proto::testing::process::run;
use proto::testing::program::ServerProcess;
use proto::testing::python;
use support::program::{clean_command, command};
use tempfile::tempdir;

/// Starts a server that listens only on the Unix socket, apart from its admin listener.
fn start_unix(path: &Path, settings: &[&str]) -> ServerProcess {
    let listen = format!("unix:{}", path.display());
    let settings = settings.iter().flat_map(|&set| ["--set", set]);
    ServerProcess::start(
        &mut command(&["--listen", &listen].into_iter().chain(settings).collect::<Vec<_>>()),
        &["admin"],
    )
}

fn fails(command: &mut Command, code: i32, message: &str) {
    let exit = run(command, "");
    assert_eq!(exit.code, Some(code), "{command:?}: {exit:?}");
    assert!(exit.stdout.contains(message) || exit.stderr.contains(message), "{command:?}: {exit:?}");
}

#[test]
fn a_list_has_tcp_and_unix_endpoints() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listen = format!("127.0.0.1:0, 127.0.0.1:0,unix:{}", socket.display());
    for mut command in [command(&["--listen", &listen]), {
        let mut command = command(&[]);
        command.env("POWER_SERVER_LISTEN", &listen);
        command
    }] {
        let server = ServerProcess::start(&mut command, &["power", "admin"]);
        let endpoints = server.endpoints("power");
        let addresses: [SocketAddr; 2] = [0, 1].map(|number| endpoints[number].parse().unwrap());
        assert_eq!(endpoints.len(), 3, "{endpoints:?}");
        assert_eq!(exchange(addresses[0], b"a2"), "d4.0");
        assert_eq!(exchange_unix(&socket, b"a2"), "d4.0");
        assert_eq!(exchange_unix(&socket, b"b2"), "d8.0");
        let unix = format!("unix:{}", socket.display());
        for (endpoint, connections) in [(&addresses[0].to_string(), 1), (&addresses[1].to_string(), 0), (&unix, 2)] {
            let transport = if endpoint.starts_with("unix:") { "unix" } else { "tcp" };
            let series =
                format!("power_endpoint_connections_total{{endpoint=\"{endpoint}\",transport=\"{transport}\"}}");
            assert_eq!(server.metric(&series), connections, "{series}");
        }
        assert!(server.stop().contains("stopped accepted=3 rejected=0"));
        assert!(!socket.exists());
    }
}

#[test]
fn an_invalid_list_exits_with_2() {
    let long = format!("unix:/{}", "x".repeat(107));
    for (listen, message) in [
        ("127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1 is in the list twice"),
        ("127.0.0.1:1,tls://127.0.0.1:1", "have the same address and port; remove one"),
        ("unix:a,unix:a", "unix:a is in the list twice"),
        ("", "--listen: listen: invalid value"),
        ("127.0.0.1:1,", "--listen: listen: invalid value"),
        (&long, "1 to 107 bytes, and this one has 108), expected"),
    ] {
        fails(clean_command().args(["--listen", listen]), 2, message);
    }
    let longest = format!("unix:/{}", "x".repeat(106));
    assert!(clean_command().args(["--listen", &longest, "--check-config"]).status().unwrap().success());
}

#[test]
fn row_50_a_socket_in_use_and_another_file_are_kept_and_a_stale_socket_is_replaced() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("socket");
    // As after a crash: the socket is closed, and its file is still there.
    drop(UnixListener::bind(&socket).unwrap());
    let first = start_unix(&socket, &[]);
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let listen = format!("unix:{}", socket.display());
    let in_use = |listen: &str| {
        format!("cannot listen on {listen} (listen, --listen): address already in use. Choose another with --listen.")
    };
    fails(&mut command(&["--listen", &listen]), 1, &in_use(&listen));
    assert_eq!(exchange_unix(&socket, b"a2"), "d4.0");
    // A hung process whose accept queue is full.
    let hung = folder.path().join("hung");
    let _listener = UnixListener::bind(&hung).unwrap();
    let mut queued = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&socket2::SockAddr::unix(&hung).unwrap()) {
            Ok(()) => queued.push(socket),
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    let hung = format!("unix:{}", hung.display());
    fails(&mut command(&["--listen", &hung]), 1, &in_use(&hung));

    // Another process takes the path: this one does not remove its file.
    fs::remove_file(&socket).unwrap();
    let second = start_unix(&socket, &[]);
    first.stop();
    assert_eq!(exchange_unix(&socket, b"b2"), "d8.0");
    second.stop();
    assert!(!socket.exists());

    let notes = folder.path().join("notes");
    fs::write(&notes, "text").unwrap();
    fails(&mut command(&["--listen", &format!("unix:{}", notes.display())]), 1, "is not a socket; remove it");
    assert_eq!(fs::read(&notes).unwrap(), b"text");
    // A start that fails removes its own file.
    let admin = format!("unix:{}", notes.display());
    fails(&mut command(&["--listen", &listen, "--admin-listen", &admin]), 1, "is not a socket; remove it");
    assert!(!socket.exists());
}

#[test]
fn row_50_clients_of_a_unix_socket_that_never_read_are_closed_and_their_memory_is_bounded() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = start_unix(&socket, &["timeouts.write=1s", "limits.max_connections_per_ip=1"]);
    let (baseline, before) = (server.baseline(), server.resident_kib());
    let requests = "a2\n".repeat(10_000);
    // The limit per IP does not apply to them.
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut stream = connect_unix(&socket);
                let error = (0..10_000).find_map(|_| stream.write_all(requests.as_bytes()).err()).unwrap();
                assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
            });
        }
    });
    let growth = server.peak_resident_kib().saturating_sub(before);
    assert!(growth < 4096, "{growth} KiB for 16 clients");
    assert_eq!(exchange_unix(&socket, b"a2"), "d4.0");
    server.returns_to(baseline, "power");
    assert_eq!(server.closed("power", "write_timeout"), 16);
    assert_eq!(server.metric("power_connections_total{result=\"accepted\"}"), 17);
    server.stop();
}

#[test]
fn row_50_a_drain_serves_the_accept_queue_of_a_unix_socket() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = start_unix(&socket, &[]);
    server.signal("STOP");
    server.eventually(ServerProcess::is_stopped, "stops");
    let mut queued: Vec<_> = (0..10).map(|_| connect_unix(&socket)).collect();
    for stream in &mut queued {
        stream.write_all(b"a2\n").unwrap();
    }
    server.signal("TERM");
    server.signal("CONT");
    for stream in &mut queued {
        assert_eq!(read_to_end(stream), "d4.0\n");
    }
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped accepted=10 rejected=0 panicked=0 aborted=0"), "{log}");
    assert!(!socket.exists());
}

#[test]
fn the_health_check_asks_a_unix_socket() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = start_unix(&socket, &[]);
    let listen = format!("unix:{}", socket.display());
    let check = || run(clean_command().args(["--listen", &listen, "--healthcheck"]), "").code;
    assert_eq!(check(), Some(0));
    server.stop();
    assert_eq!(check(), Some(1));
}

const CLIENT: &str = r#"
import asyncio, sys

async def request(text):
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    writer.write(text.encode())
    reply = (await reader.read(100)).decode()
    writer.close()
    await writer.wait_closed()
    return reply

async def main():
    assert await request("a2") == "d4.0"
    assert (await request("x5")).startswith("eBADOP ")
    replies = await asyncio.gather(*(request(f"a{number}") for number in range(100)))
    assert replies == [f"d{float(number) ** 2}" for number in range(100)], replies
    print("all right")

asyncio.run(asyncio.wait_for(main(), 60))
"#;

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn python_programs_can_use_a_unix_socket() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = start_unix(&socket, &[]);
    python::run(&["-c", CLIENT], &[socket.to_str().unwrap()]);
    server.stop();
}
