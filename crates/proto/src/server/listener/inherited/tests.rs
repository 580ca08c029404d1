use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use super::*;

fn name(text: &str) -> SocketName {
    text.parse().unwrap()
}

fn tcp() -> OwnedFd {
    TcpListener::bind("127.0.0.1:0").unwrap().into()
}

/// A Unix socket with an abstract name, which needs no file.
fn unix(label: &str) -> UnixListener {
    let name = format!("proto-inherited-{label}-{}", process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

fn inherited(files: Vec<(&str, OwnedFd)>) -> InheritedSockets {
    InheritedSockets::new(files.into_iter().map(|(name, file)| (name.to_owned(), file))).unwrap()
}

fn error(result: io::Result<Vec<(String, ListeningSocket)>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_sockets_of_a_name_are_taken_once() {
    let mut sockets = inherited(vec![("web", tcp()), ("admin", unix("taken").into()), ("web", tcp())]);
    assert_eq!(sockets.untaken().as_deref(), Some(r#""web", "admin""#));
    assert_eq!(
        error(sockets.take(Some(&name("power")))),
        r#"no inherited socket is named "power"; inherited: "web", "admin""#
    );
    let message = r#"the process inherits 3 sockets: name one of "web", "admin""#;
    assert_eq!(error(sockets.take(None)), message);
    let web = sockets.take(Some(&name("web"))).unwrap();
    assert!(matches!(web[..], [(_, ListeningSocket::Tcp(_)), (_, ListeningSocket::Tcp(_))]));
    assert_eq!(sockets.untaken().as_deref(), Some(r#""admin""#));
    let message =
        r#"the inherited socket 3 ("web") already belongs to another endpoint: fd: and fd:NAME can be the same socket"#;
    assert_eq!(error(sockets.take(Some(&name("web")))), message);
    assert_eq!(error(sockets.take(None)), r#"the process inherits 3 sockets: name one of "web", "admin""#);
    let admin = sockets.take(Some(&name("admin"))).unwrap();
    assert!(matches!(admin[..], [(_, ListeningSocket::Unix(_))]));
    assert_eq!(sockets.untaken(), None);
}

#[test]
fn the_only_socket_needs_no_name() {
    let mut sockets = inherited(vec![("web", tcp())]);
    let taken = sockets.take(None).unwrap();
    assert!(matches!(&taken[..], [(name, ListeningSocket::Tcp(_))] if name == "web"), "{taken:?}");
    assert!(error(sockets.take(None)).contains("already belongs"));
    for name in [None, Some(&name("web"))] {
        assert_eq!(
            error(InheritedSockets::default().take(name)),
            "the process inherits no sockets; start it from a socket unit"
        );
    }
    assert_eq!(InheritedSockets::default().untaken(), None);
}

#[test]
fn a_socket_is_found_by_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let at = |ip: [u8; 4]| std::net::SocketAddr::from((ip, address.port()));
    let mut sockets = inherited(vec![("unix", unix("address").into()), ("web", listener.into())]);
    assert_eq!(sockets.name_at(address), Some("web"));
    assert_eq!(sockets.name_at(at([0, 0, 0, 0])), Some("web"));
    assert_eq!(sockets.name_at(at([127, 0, 0, 2])), None);
    assert_eq!(sockets.name_at(([127, 0, 0, 1], 0).into()), None);
    let taken = sockets.take(Some(&name("web"))).unwrap();
    assert_eq!(sockets.name_at(address), None, "{taken:?}");
}

#[test]
fn a_socket_that_is_taken_is_non_blocking_and_closed_at_exec() {
    let mut sockets = inherited(vec![("web", tcp()), ("unix", unix("flags").into())]);
    for taken in ["web", "unix"] {
        let file: OwnedFd = match sockets.take(Some(&name(taken))).unwrap().remove(0).1 {
            ListeningSocket::Tcp(listener) => listener.into(),
            ListeningSocket::Unix(listener) => listener.into(),
        };
        assert!(rustix::fs::fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn what_does_not_listen_for_streams_is_an_error_only_if_it_is_taken() {
    let listener = unix("connected");
    let connected = UnixStream::connect_addr(&listener.local_addr().unwrap()).unwrap();
    let mut sockets = inherited(vec![
        ("udp", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("file", File::open("/dev/null").unwrap().into()),
        ("connected", connected.into()),
    ]);
    for (taken, what) in [
        ("udp", "file 3 (\"udp\") is a datagram socket"),
        ("file", "file 4 (\"file\") is not a socket"),
        ("connected", "file 5 (\"connected\") is a socket that does not listen"),
    ] {
        let message = error(sockets.take(Some(&name(taken))));
        assert_eq!(message, format!("the inherited {what}, not a listening stream socket"));
    }
}

#[test]
fn a_socket_that_is_not_taken_stays_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(inherited(vec![("web", listener.into())]));
    TcpStream::connect(address).unwrap();
}

#[test]
fn the_variables_are_those_of_systemd() {
    let parse = |variables: &[(&str, &str)]| {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        };
        names(variable, 7).map_err(|error| error.to_string())
    };
    let ours = ("LISTEN_PID", "7");
    let ok = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(parse(&[]), ok(&[]));
    assert_eq!(parse(&[ours]), ok(&[]));
    assert_eq!(parse(&[("LISTEN_FDS", "1")]), ok(&[]));
    assert_eq!(parse(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "x")]), ok(&[]), "another process");
    assert_eq!(parse(&[ours, ("LISTEN_FDS", "0")]), ok(&[]));
    assert_eq!(parse(&[ours, ("LISTEN_FDS", "2")]), ok(&["unknown", "unknown"]));
    assert_eq!(parse(&[ours, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "")]), ok(&["unknown", "unknown"]));
    assert_eq!(parse(&[ours, ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "a::a")]), ok(&["a", "unknown", "a"]));
    assert_eq!(parse(&[ours, ("LISTEN_FDS", "1024")]).unwrap().len(), 1024);
    for (variables, message) in [
        (&[("LISTEN_PID", "me")][..], "LISTEN_PID=\"me\": not a whole number, or too large"),
        (&[ours, ("LISTEN_FDS", "-1")], "LISTEN_FDS=\"-1\": not a whole number, or too large"),
        (&[ours, ("LISTEN_FDS", "1025")], "LISTEN_FDS=1025: more than 1024"),
        (&[ours, ("LISTEN_FDS", "99999999999")], "LISTEN_FDS=\"99999999999\": not a whole number, or too large"),
        (&[ours, ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "a:b")], "LISTEN_FDNAMES=\"a:b\": 2 names for LISTEN_FDS=3"),
    ] {
        assert_eq!(parse(variables), Err(message.to_owned()));
    }
}

#[test]
fn a_file_that_is_not_open_or_not_inherited_is_an_error() {
    let message = check_inherited(1_000_000_000).unwrap_err().to_string();
    assert!(message.starts_with("the inherited file 1000000000 of LISTEN_FDS is not open"), "{message}");
    let own = File::open("/dev/null").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&own.as_fd());
    let message = check_inherited(number.try_into().unwrap()).unwrap_err().to_string();
    assert_eq!(message, format!("the file {number} of LISTEN_FDS was opened by this process: the number is too large"));
    check_inherited(0).unwrap();
}

/// Names this test's process that inherits sockets.
const IS_CHILD: &str = "PROTO_TEST_INHERITS";

/// Runs this test in a new process, in which the files 3 and 4 are two listening sockets.
fn run_child(test: &str, variables: &[(&str, &str)]) {
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let program = env::current_exe().unwrap();
    let script = r#"LISTEN_PID=$$ exec "$@" 3<&0 4<&2 0</dev/null 2>&1"#;
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(program)
        .args(["--exact", &test, "--nocapture"])
        .envs(variables.iter().copied())
        .env(IS_CHILD, "1")
        .stdin(Stdio::from(tcp()))
        .stderr(Stdio::from(OwnedFd::from(unix(&test.replace(':', "-")))))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn a_process_inherits_its_sockets_once() {
    if env::var_os(IS_CHILD).is_none() {
        return run_child(
            "a_process_inherits_its_sockets_once",
            &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:local")],
        );
    }
    let mut sockets = InheritedSockets::from_environment().unwrap();
    assert_eq!(sockets.untaken().as_deref(), Some(r#""web", "local""#));
    assert_eq!(InheritedSockets::from_environment().unwrap().untaken(), None, "they have an owner");
    let web = sockets.take(Some(&name("web"))).unwrap().remove(0);
    let (_, ListeningSocket::Tcp(listener)) = web else { panic!("{web:?}") };
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let eventually_accepted = crate::testing::eventually(crate::testing::TEST_TIMEOUT, || listener.accept().is_ok());
    assert!(eventually_accepted);
    drop(client);
}

#[test]
fn a_count_beyond_the_inherited_files_is_an_error() {
    if env::var_os(IS_CHILD).is_none() {
        return run_child("a_count_beyond_the_inherited_files_is_an_error", &[("LISTEN_FDS", "3")]);
    }
    // A file that the test opens gets the number 5.
    let _own = File::open("/dev/null").unwrap();
    let message = InheritedSockets::from_environment().unwrap_err().to_string();
    assert!(message.contains("file 5 of LISTEN_FDS "), "{message}");
}
