//! The rows of FAULTS.md that need the whole machine, minutes, or root. They run one after another, as root, in a network
//! namespace, so that a million connections fill no other tables:
//!
//! ```sh
//! cargo test --workspace --test faults_alone --no-run
//! unshare --net sh -c 'ip link set lo up &&
//!     cargo test --offline --workspace --test faults_alone -- --ignored --test-threads 1 --nocapture'
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::testing::blocking::{
    connect, connect_from, exchange, expect, read_to_end, reset_on_close, send_without_reading,
};
use proto::testing::clients::Clients;
use proto::testing::eventually;
use proto::testing::inherited::RestartedServer;
use proto::testing::memory;
use proto::testing::process::{ChildProcess, raise_open_files};
use proto::testing::program::ServerProcess;
use proto::testing::restart_load::{Exchange, RestartLoad, Use, restart_under_load};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::program::{BINARY, command, start};

/// The most that a fault may delay a well-behaved client, or the rejection of a client over the limit.
const SOON: Duration = Duration::from_millis(100);

/// The restarts of row 51.
const RESTARTS: usize = 20;

#[test]
#[ignore = "measures a time: needs an idle machine"]
fn row_05_ten_thousand_resets_delay_no_other_client() {
    let server = start(&[]);
    let baseline = server.baseline();
    let power = server.address("power");
    let over = AtomicBool::new(false);
    let took = thread::scope(|scope| {
        let healthy = scope.spawn(|| {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(exchange(power, b"a2"), "d4.0");
                took.push(began.elapsed());
            }
            took.sort_unstable();
            took
        });
        for number in 0..10_000 {
            let mut stream = connect(power);
            if number % 2 == 0 {
                stream.write_all(b"a2").unwrap();
            }
            reset_on_close(&stream);
        }
        over.store(true, Ordering::Relaxed);
        healthy.join().unwrap()
    });
    // One exchange in a hundred may be slow: the machine may be busy.
    let (exchanges, p99) = (took.len(), took[took.len() - 1 - took.len() / 100]);
    println!("row 5: {exchanges} exchanges beside 10,000 resets, p99 {p99:?}, max {:?}", took[exchanges - 1]);
    assert!(exchanges > 100 && p99 < SOON, "{p99:?}");
    server.returns_to(baseline, "power");
    let log = server.stop();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
#[ignore = "measures memory: needs an idle machine"]
fn row_06_clients_that_never_read_do_not_grow_memory() {
    let server = start(&["--set", "timeouts.write=500ms"]);
    let flight = b"x\n".repeat(64 * 1024);
    let send_without_reading = || send_without_reading(server.address("power"), &flight);
    // The first ones allocate the buffers of the threads.
    send_without_reading();
    send_without_reading();
    let (baseline, before) = (server.baseline(), server.resident_kib());
    for _ in 0..3 {
        send_without_reading();
    }
    let grown = server.resident_kib().saturating_sub(before);
    println!("row 6: three clients that never read grew it by {grown} KiB");
    assert!(grown < 1024, "grown by {grown} KiB");
    server.returns_to(baseline, "power");
    assert_eq!(server.metric("power_connections_closed_total{reason=\"write_timeout\"}"), 5);
    server.stop();
}

#[test]
#[ignore = "measures a time: needs an idle machine"]
fn row_07_rejections_and_freed_capacity_take_less_than_100_ms() {
    let server = start(&["--set", "limits.max_connections=20", "--set", "timeouts.idle=1h"]);
    let baseline = server.baseline();
    let power = server.address("power");
    let mut open: Vec<_> = (0..20).map(|_| connect(power)).collect();
    for stream in &mut open {
        stream.write_all(b"a2\n").unwrap();
        expect(stream, "d4.0\n");
    }
    let began = Instant::now();
    let mut excess: Vec<_> = (0..50).map(|_| connect(power)).collect();
    for stream in &mut excess {
        // A rejected client may be closed before this write.
        let _ = stream.write_all(b"a2");
        assert!(read_to_end(stream).starts_with("eBUSY "));
    }
    let rejected = began.elapsed();
    assert_eq!(server.get("/healthz").unwrap().0, 200);
    drop(open.pop());
    let began = Instant::now();
    assert!(eventually(SOON, || {
        let mut stream = connect(power);
        // A rejected client may be closed before this write.
        let _ = stream.write_all(b"a2");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut received = String::new();
        stream.read_to_string(&mut received).is_ok() && received == "d4.0"
    }));
    println!("row 7: 50 rejected within {rejected:?}; a freed permit was used after {:?}", began.elapsed());
    assert!(rejected < SOON, "{rejected:?}");
    drop((open, excess));
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
#[ignore = "measures a time: needs an idle machine"]
fn row_09_backoff_costs_no_cpu_and_accepting_resumes_within_a_second() {
    let server = start(&["--set", "timeouts.request=1h", "--set", "timeouts.idle=1h"]);
    let baseline = server.baseline();
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(server.open_files() as u64 + 10), maximum };
    let raised = prlimit(pid, Resource::Nofile, few).unwrap();
    let mut clients: Vec<_> = (0..200).map(|_| connect(server.address("power"))).collect();
    for client in &mut clients {
        client.write_all(b"a2").unwrap();
    }
    // Longer than the longest backoff. Meanwhile the server only retries.
    let (began, before) = (Instant::now(), server.cpu_time());
    thread::sleep(Duration::from_secs(3));
    let used = server.cpu_time().saturating_sub(before);
    assert!(used * 20 < began.elapsed(), "{used:?} of the CPU in {:?}", began.elapsed());
    prlimit(pid, Resource::Nofile, raised).unwrap();
    let began = Instant::now();
    for client in &mut clients {
        expect(client, "d4.0");
    }
    let took = began.elapsed();
    let failed = server.metric("power_accept_errors_total{kind=\"exhausted\"}");
    println!("row 9: 200 clients got their replies {took:?} after the limit was raised; {failed} accepts failed");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!((2..20).contains(&failed), "{failed} accepts failed");
    drop(clients);
    server.returns_to(baseline, "power");
    let log = server.stop();
    let lines = log.matches("accept failed; backing off").count();
    assert!((1..=5).contains(&lines), "{lines} lines:\n{log}");
}

/// Reads a counter of this network namespace (`/proc/net/netstat`).
fn network_counter(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let (names, values) = (&rows[0], &rows[1]);
    values[names.iter().position(|known| *known == name).unwrap()].parse().unwrap()
}

#[test]
#[ignore = "reads counters of the whole network namespace"]
fn row_11_a_thousand_simultaneous_connects_are_all_served() {
    let connected = |server: &ServerProcess, clients: usize| {
        // A stopped server accepts nothing, so all of them are in its accept queue at once.
        server.signal("STOP");
        server.eventually(ServerProcess::is_stopped, "is stopped");
        let clients: Vec<_> = (0..clients)
            .filter_map(|_| TcpStream::connect_timeout(&server.address("power"), SOON).ok())
            // With TCP_DEFER_ACCEPT only clients that have sent data are in the queue.
            .inspect(|mut client| client.write_all(b"b3").unwrap())
            .collect();
        server.signal("CONT");
        clients
    };
    let server = start(&[]);
    let baseline = server.baseline();
    let before = (network_counter("ListenOverflows"), network_counter("ListenDrops"));
    let mut clients = connected(&server, 1000);
    assert_eq!(clients.len(), 1000);
    for client in &mut clients {
        expect(client, "d27.0");
    }
    assert_eq!((network_counter("ListenOverflows"), network_counter("ListenDrops")), before);
    drop(clients);
    server.returns_to(baseline, "power");
    server.stop();
    // The configured backlog is in force; Linux admits one more than it (listen(2)).
    let server = start(&["--set", "limits.backlog=64"]);
    assert_eq!(connected(&server, 70).len(), 65);
    server.stop();
}

#[test]
#[ignore = "takes a minute and needs a million ports"]
fn row_12_ten_thousand_idle_and_a_million_short_connections_leak_no_memory() {
    raise_open_files(12_000);
    let mut command = command(&["--set", "timeouts.idle=1h", "--set", "timeouts.request=1h"]);
    // By default the allocator keeps free memory per thread (mallopt(3), M_ARENA_MAX), and any thread may accept. With one
    // arena for all threads a leak is visible.
    let server = ServerProcess::start(command.env("MALLOC_ARENA_MAX", "1"), &["power", "admin"]);
    let power = server.address("power");
    // Warm up the buffers of the threads and the allocator.
    short_ones(power, 20_000);
    let (baseline, before) = (server.baseline(), server.resident_kib());
    let mut accepted = 20_000;
    let mut resident_after_idle = || {
        let mut streams: Vec<_> = (0..10_000).map(|_| connect(power)).collect();
        for stream in &mut streams {
            stream.write_all(b"a2").unwrap();
            expect(stream, "d4.0");
        }
        accepted += 10_000;
        drop(streams);
        server.returns_to(baseline, "power");
        server.resident_kib()
    };
    // The allocator keeps the memory of closed connections for later ones, so the peak is visible after the close.
    let mut with_idle_gone = resident_after_idle();
    let held = with_idle_gone - before;
    println!("row 12: 10,000 idle connections held {held} KiB, {} bytes each", held * 1024 / 10_000);
    // 1,161 bytes each in a test build. A task of the next size class, 128 bytes more, exceeds this.
    assert!(held < 12_000, "{held} KiB");
    // A leak grows in every round. Fragmentation stops growing after a few: 1,388 KiB in two rounds were seen once. Two
    // rounds in a row must grow by at most 256 KiB each, 26 bytes per connection.
    let mut settled = 0;
    for _ in 0..8 {
        let last = std::mem::replace(&mut with_idle_gone, resident_after_idle());
        println!("row 12: {with_idle_gone} KiB after another 10,000 connections");
        settled = if with_idle_gone <= last + 256 { settled + 1 } else { 0 };
        if settled == 2 {
            break;
        }
    }
    assert_eq!(settled, 2, "no two of eight rounds in a row grew the server by at most 256 KiB");
    let began = Instant::now();
    short_ones(power, 1_000_000);
    let after = server.resident_kib();
    println!(
        "row 12: 1,000,000 short ones in {:?}; resident memory {before} KiB at first, {with_idle_gone} KiB after the idle \
         ones, {after} KiB at the end",
        began.elapsed()
    );
    server.returns_to(baseline, "power");
    assert!(after <= with_idle_gone + 1024, "from {with_idle_gone} to {after} KiB");
    assert_eq!(server.metric("power_connections_total{result=\"accepted\"}"), 1_000_000 + accepted);
    server.stop();
}

fn short_ones(power: SocketAddr, count: u32) {
    thread::scope(|scope| {
        for source in 1..=4 {
            scope.spawn(move || {
                for _ in 0..count / 4 {
                    // A source address per thread, so that there are enough ports.
                    let mut stream = connect_from(Ipv4Addr::new(127, 0, 0, source), power);
                    stream.write_all(b"a2").unwrap();
                    let mut received = [0; 4];
                    stream.read_exact(&mut received).unwrap();
                    assert_eq!(&received, b"d4.0");
                    // A reset leaves no port in TIME_WAIT.
                    reset_on_close(&stream);
                }
            });
        }
    });
}

/// Runs a program, which must succeed.
fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split(' ')).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{program} {arguments}: {status:?}");
}

/// Another host: a network namespace and a veth pair to it. Dropping it deletes both.
struct Host(String);

impl Host {
    fn new() -> Self {
        let host = Self(format!("faults-{}", std::process::id()));
        let Self(name) = &host;
        run("ip", &format!("netns add {name}"));
        run("ip", &format!("link add faults0 type veth peer name faults1 netns {name}"));
        run("ip", "address add 198.18.0.1/24 dev faults0");
        run("ip", "link set faults0 up");
        run("ip", &format!("-n {name} address add 198.18.0.2/24 dev faults1"));
        run("ip", &format!("-n {name} link set faults1 up"));
        host
    }

    /// Starts a client there that sends `request`, reads `reply_bytes` bytes, and then does nothing until it is killed.
    fn client(&self, address: &str, port: u16, request: &str, reply_bytes: usize) -> Child {
        let script = format!(
            "exec 3<>/dev/tcp/{address}/{port} && printf {request} >&3 && head -c {reply_bytes} <&3 && echo && read -r _"
        );
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, "bash", "-c", &script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        run("ip", &format!("netns delete {}", self.0));
    }
}

#[test]
#[ignore = "takes two minutes and needs root"]
fn row_13_a_peer_that_vanishes_is_closed_within_two_minutes() {
    let host = Host::new();
    let arguments = ["--listen", "198.18.0.1:0", "--set", "timeouts.idle=1h", "--set", "timeouts.request=1h"];
    let server = start(&[&arguments[..], &["--set", "framing.settle=10s"]].concat());
    let baseline = server.baseline();
    let port = server.address("power").port();
    // A silent client that has its reply, and a client that vanishes before its reply is sent.
    let mut silent = host.client("198.18.0.1", port, r"'a2\n'", 5);
    let mut received = [0; 5];
    silent.stdout.as_mut().unwrap().read_exact(&mut received).unwrap();
    assert_eq!(&received, b"d4.0\n");
    let mut waiting = host.client("198.18.0.1", port, "a2", 4);
    server.eventually(|server| server.metric("power_connections") == 2, "has two clients");
    let began = Instant::now();
    run("ip", "link set faults0 down");
    assert!(eventually(Duration::from_mins(2), || server.metric("power_connections") == 0), "not within two minutes");
    println!("row 13: closed after {:?}", began.elapsed());
    assert_eq!(
        server.metric("power_requests_total{op=\"square\",result=\"ok\"}"),
        2,
        "the server replied to the second"
    );
    // Keepalive finds the first; the second has a reply that it does not acknowledge.
    for reason in ["io_error", "write_timeout"] {
        assert_eq!(server.metric(&format!("power_connections_closed_total{{reason=\"{reason}\"}}")), 1, "{reason}");
    }
    for client in [&mut silent, &mut waiting] {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
#[ignore = "needs libfaketime"]
fn row_14_a_wall_clock_step_of_an_hour_moves_no_deadline() {
    let library = ["/usr/lib", "/usr/lib64"].map(|lib| format!("{lib}/{}-linux-gnu/faketime", std::env::consts::ARCH));
    let library = library.into_iter().map(|folder| format!("{folder}/libfaketime.so.1"));
    let library =
        library.into_iter().find(|path| std::path::Path::new(path).exists()).expect("libfaketime is installed");
    let offset = std::path::Path::new(BINARY.folder).join("clock");
    std::fs::write(&offset, "+0").unwrap();
    let mut command = command(&["--set", "timeouts.request=3s", "--set", "timeouts.idle=3s", "--log-level", "debug"]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &offset);
    command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let server = ServerProcess::start(&mut command, &["power", "admin"]);
    let baseline = server.baseline();
    let hour_logged =
        |server: &ServerProcess| server.log().lines().last().unwrap().split(':').next().unwrap().to_owned();
    let hour = hour_logged(&server);
    for moved in ["+1h", "-1h"] {
        let began = Instant::now();
        let mut silent = connect(server.address("power"));
        let mut idle = connect(server.address("power"));
        idle.write_all(b"a2").unwrap();
        expect(&mut idle, "d4.0");
        std::fs::write(&offset, moved).unwrap();
        assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
        server.eventually(|server| hour_logged(server) != hour, "has another hour");
        assert_eq!(read_to_end(&mut silent), "eTIMEOUT no whole request came within 3s");
        assert_eq!(read_to_end(&mut idle), "");
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
        println!("row 14: with the clock moved by {moved}, deadlines of 3 s were met after {took:?}");
    }
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
#[ignore = "needs root"]
fn row_16_a_signal_drains_a_server_that_is_pid_1() {
    for signal in ["TERM", "INT"] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", BINARY.path]);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.current_dir(BINARY.folder);
        let mut server = ServerProcess::start(&mut command, &["power", "admin"]);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap();
        server.set_id(children.trim().parse().unwrap());
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
        assert!(numbers.ends_with("\t1"), "{numbers}");
        let mut client = connect(server.address("power"));
        client.write_all(b"c3").unwrap();
        server.signal(signal);
        assert_eq!(read_to_end(&mut client), "d81.0");
        drop(client);
        let (code, log) = server.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped accepted=1 rejected=0 panicked=0 aborted=0"), "{log}");
    }
}

/// A request that takes 10 µs, 100 times as long as others: its number has 21 digits and is next to the middle between two
/// doubles.
const COSTLY: &str = "d2.22507385850720138309e-308\n";

#[test]
#[ignore = "measures a time: needs an idle machine"]
fn row_21_clients_and_health_checks_beside_100_floods_wait_less_than_100_ms() {
    let server = start(&["--set", "workers=1", "--set", "timeouts.request=1h", "--set", "timeouts.write=1h"]);
    let (baseline, power) = (server.baseline(), server.address("power"));
    for (floods, request) in [(1, "a2\n"), (100, "a2\n"), (1, COSTLY), (100, COSTLY)] {
        let flood = Clients::flood(power, floods, &request.repeat(16 * 1024));
        assert!(eventually(Duration::from_mins(1), || flood.least_progress() > 0));
        let clients = Clients::ping_pong(power, 16, "a2\n", 5, |reply| reply == b"d4.0\n");
        clients.measure(&server, &format!("row 21: power beside {floods} floods of {request:?}"), SOON);
        flood.stop();
    }
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
#[ignore = "takes two minutes, and measures memory: needs an idle machine"]
fn row_22_ten_thousand_clients_that_never_read_fit_into_the_memory_of_a_deployment() {
    raise_open_files(12_000);
    // The first clients send nothing until the last one has connected.
    let server = start(&[&memory::SETTINGS[..], &["--set", "timeouts.request=1h"]].concat());
    let baseline = server.baseline();
    memory::check_unread_replies(&server, "power", "power", "x\n", 600);
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    server.returns_to(baseline, "power");
    server.stop();
}

#[test]
#[ignore = "measures a time: needs an idle machine"]
fn row_26_health_checks_take_less_than_a_second_whatever_the_admin_listener_serves() {
    const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    raise_open_files(12_000);
    let server = start(&[]);
    let (baseline, admin) = (server.baseline(), server.address("admin"));
    let check_health = |beside: &str| {
        let mut took: Vec<_> = (0..50)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(server.get("/healthz"), Some((200, "ok\n".to_owned())));
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        println!("row 26: health checks beside {beside}: p50 {:?}, max {:?}", took[25], took[49]);
        assert!(took[49] < Duration::from_secs(1), "{took:?}");
    };
    let hold = |count: usize, bytes: &[u8]| -> Vec<_> {
        let mut open: Vec<_> = (0..count).map(|_| connect(admin)).collect();
        for stream in &mut open {
            // The server may have dropped it already.
            let _ = stream.write_all(bytes);
        }
        open
    };
    for count in [16, 40, 200] {
        let _slow = hold(count, b"GET /he");
        check_health(&format!("{count} slow clients"));
    }
    let _unread = hold(200, METRICS);
    check_health("200 clients that do not read their response");
    let _idle = hold(10_000, b"");
    check_health("10,000 idle connections");
    // Each thread connects, or requests, without a pause.
    for (flood, request) in [("connections", &b""[..]), ("requests", METRICS)] {
        let over = AtomicBool::new(false);
        let began = Instant::now();
        let (used, count) = (server.cpu_time(), AtomicU32::new(0));
        thread::scope(|scope| {
            for source in 2..6 {
                let (over, count) = (&over, &count);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) && began.elapsed() < Duration::from_mins(1) {
                        let mut stream = connect_from(Ipv4Addr::new(127, 0, 0, source), admin);
                        let _ = stream.write_all(request);
                        if !request.is_empty() {
                            let _ = stream.read_to_end(&mut Vec::new());
                        }
                        reset_on_close(&stream);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            check_health(&format!("a flood of {flood}"));
            over.store(true, Ordering::Relaxed);
        });
        let (count, elapsed) = (count.into_inner(), began.elapsed());
        println!("row 26: {count} {flood} in {elapsed:?}, {:?} of CPU time", server.cpu_time().saturating_sub(used));
    }
    server.returns_to(baseline, "power");
    server.stop();
}

/// Returns the command of the program under a limit on the tasks of its user. Each call needs a different user, because
/// the kernel counts an exited task for a little longer.
fn command_with_tasks(user: u32, tasks: u64, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    // Only the capability to reach the program in a folder of root. Those of root lift the limit.
    command.args([&format!("--reuid={user}"), "--clear-groups"]);
    command.args(["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]);
    command.args(["prlimit", &format!("--nproc={tasks}:1000"), BINARY.path]);
    command.args(["--admin-listen", "127.0.0.1:0"]).args(arguments).current_dir(BINARY.folder);
    command
}

#[test]
#[ignore = "needs root"]
fn row_27_a_server_without_threads_exits_and_a_reload_without_one_is_rejected() {
    let listen = ["--listen", "127.0.0.1:0"];
    // No thread for the log, which cannot say so.
    let mut command = command_with_tasks(54_321, 1, &listen);
    let mut failed = ChildProcess::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    assert_eq!(failed.wait(), Some(1));
    let error = failed.stderr.wait_for_end();
    assert!(error.contains("cannot start the log: Resource temporarily unavailable"), "{error}");

    // Threads for some of the workers.
    let mut command = command_with_tasks(54_322, 20, &[&listen[..], &["--set", "workers=63"]].concat());
    let mut failed = ChildProcess::start(command.stdout(Stdio::piped()));
    assert_eq!(failed.wait(), Some(1));
    let log = failed.stdout.wait_for_end();
    assert!(log.contains("cannot start 63 worker threads: ") && log.contains("raise the limit on tasks"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");

    // By default as many workers as there is room for, and no thread more at a reload.
    let server = ServerProcess::start(&mut command_with_tasks(54_323, 9, &listen), &["power", "admin"]);
    let lowered = server.log().contains("worker threads lowered to fit the limit on tasks");
    assert_eq!(lowered, thread::available_parallelism().unwrap().get() > 1, "{}", server.log());
    let baseline = server.baseline();
    // As its user: not every root may change the limits of other users.
    let limit = |tasks: u64| {
        let user = "--reuid=54323 --clear-groups";
        run("setpriv", &format!("{user} prlimit --pid {} --nproc={tasks}:1000", server.id()));
    };
    limit(1);
    server.signal("HUP");
    server.eventually(|server| server.metric("power_config_reloads_total{result=\"rejected\"}") == 1, "rejects");
    server.eventually(|server| server.log().contains("reason=\"cannot start a thread: Resource temp"), "says why");
    assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
    let (status, problem) = server.get("/connections").unwrap();
    assert_eq!(status, 503, "{problem}");
    assert!(problem.starts_with("cannot list the connections: cannot start a thread: Resource temp"), "{problem}");
    limit(20);
    server.signal("HUP");
    server.eventually(|server| server.metric("power_config_reloads_total{result=\"ok\"}") == 1, "reloads");
    assert_eq!(server.get("/connections").unwrap().0, 200);

    // A health check needs no thread.
    let address = server.address("power").to_string();
    let mut check = ChildProcess::start(&mut command_with_tasks(54_324, 1, &["--listen", &address, "--healthcheck"]));
    assert_eq!(check.wait(), Some(0));
    server.returns_to(baseline, "power");
    let log = server.stop();
    assert!(!log.contains("panic location"), "{log}");
}

#[test]
#[ignore = "needs root"]
fn row_31_metrics_omit_only_what_a_restricted_proc_hides() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // As under ProcSubset=pid of systemd, and with nothing in it.
    for (mount, is_hidden) in [("mount -t proc -o subset=pid proc /proc", false), ("mount -t tmpfs none /proc", true)] {
        let script = format!("{mount} && exec \"$0\" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script, BINARY.path]);
        command.current_dir(BINARY.folder);
        let before = now();
        let mut server = ServerProcess::start(&mut command, &["power", "admin"]);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap();
        server.set_id(children.trim().parse().unwrap());
        assert_eq!(exchange(server.address("power"), b"a2"), "d4.0");
        let started_at = server.metric("process_start_time_seconds");
        assert!((before..=now()).contains(&started_at), "{started_at}");
        assert!(server.metric("process_max_fds") > 0);
        let (_, metrics) = server.get("/metrics").unwrap();
        assert!(metrics.contains("power_requests_total"), "{metrics}");
        let names = ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "];
        for name in names {
            assert_eq!(metrics.lines().any(|line| line.starts_with(name)), !is_hidden, "{name} in\n{metrics}");
        }
        server.stop();
    }
}

/// A request without an LF, which a half-close ends, and one with it.
const SHORT: Exchange = Exchange { request: b"a2", replies: &[b"d4.0"] };
const LINE: Exchange = Exchange { request: b"a2\n", replies: &[b"d4.0\n"] };

#[test]
#[ignore = "takes 30 s, and needs python3"]
fn row_51_restarts_with_an_inherited_socket_lose_no_request() {
    let mut server = RestartedServer::start(&BINARY, RESTARTS, &["power=127.0.0.1:0"], &["--listen", "fd:power"]);
    let power = server.address("power");
    let milliseconds = Duration::from_millis;
    let loads = vec![
        ("power, short connections", RestartLoad::start(power, 8, SHORT, Use::Short(Duration::ZERO))),
        // The kernel defers each one until its request comes, and the process of that time accepts it.
        ("power, deferred connections", RestartLoad::start(power, 8, SHORT, Use::Short(milliseconds(20)))),
        ("power, keep-alive without a pause", RestartLoad::start(power, 4, LINE, Use::KeepAlive(Duration::ZERO))),
        ("power, keep-alive with pauses of 5 ms", RestartLoad::start(power, 8, LINE, Use::KeepAlive(milliseconds(5)))),
        (
            "power, keep-alive with pauses of 50 ms",
            RestartLoad::start(power, 8, LINE, Use::KeepAlive(milliseconds(50))),
        ),
    ];
    restart_under_load(&mut server, RESTARTS, loads);
    let (is_right, log) = server.stop();
    assert!(is_right && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
    assert_eq!(log.matches(" rejected=0 panicked=0 aborted=0").count(), RESTARTS + 1, "{log}");
}

#[test]
#[ignore = "needs python3, and a network namespace of its own"]
fn row_54_more_clients_than_the_accept_queue_holds_wait_for_a_restart() {
    // The socket's backlog is 1,024.
    const CLIENTS: usize = 1_500;
    raise_open_files(12_000);
    let mut server = RestartedServer::start(&BINARY, 1, &["power=127.0.0.1:0"], &["--listen", "fd:power"]);
    let power = server.address("power");
    let dropped = || network_counter("ListenOverflows");
    let before = dropped();
    server.stop_process();
    let load = RestartLoad::start(power, CLIENTS, SHORT, Use::Short(Duration::ZERO));
    assert!(eventually(Duration::from_mins(1), || dropped() > before), "the queue is not full");
    server.begin_restart_of_stopped();
    load.wait_for_replies(1);
    let outcome = load.stop();
    println!("row 54: {CLIENTS} clients, {} SYNs or requests dropped: {outcome}", dropped() - before);
    assert_eq!(outcome.failures, [""; 0]);
    assert!(server.stop().0);
}
