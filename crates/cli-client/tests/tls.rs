//! TLS: every command, each error of a handshake with its remedy, truncated replies, and the options.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use proto::testing::certificates::{Authority, CertificateFiles};
use proto::testing::front::{End, Front, SupportedProtocolVersion, TLS12, TLS13, server_config};
use proto::testing::process::ChildProcess;
use support::fake::{Fake, Then, read_some};
use support::load::{run_bench, run_bench_ok};
use support::{client, real, run};

const FRAMINGS: [&str; 4] = ["", "--framing line", "--framing bare", "--keep-alive"];

/// Starts a TLS server of this version that ends its connections with `close_notify`.
fn front(authority: &Authority, backend: SocketAddr, version: &'static SupportedProtocolVersion) -> Front {
    Front::tls(backend, server_config(&authority.issue_server(), None, version), End::CloseNotify)
}

/// Returns the options that trust the authority.
fn trusting(authority: &Authority) -> String {
    format!("--cacert {}", authority.certificate.display())
}

/// Returns the options that present a certificate.
fn presenting(files: &CertificateFiles) -> String {
    format!("--cert {} --key {}", files.certificate.display(), files.key.display())
}

/// Requests a square in English and in Chinese, and checks exit code 3 and the message.
#[track_caller]
fn assert_handshake_fails(options: &str, english: &str, chinese: &str) {
    run(&format!("power square 2 {options}")).assert_failed(3, "", &[&format!("the TLS handshake failed: {english}")]);
    let message = format!("TLS 握手失败：{chinese}");
    run(&format!("power square 2 --lang zh {options}")).assert_failed(3, "", &[&message]);
    let json = run(&format!("power square 2 --json {options}"));
    assert_eq!((json.code, json.stderr.as_str()), (Some(3), ""), "{json:?}");
    assert!(json.stdout.contains(r#""kind":"handshake""#), "{json:?}");
    assert!(json.stdout.contains(r#""phase":"handshake""#), "{json:?}");
}

#[test]
fn every_command_works_with_both_versions() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_secs(30)));
    let with_settle = real::power_with_settle();
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let [power, rps, duel] = [&power, &rps, &duel].map(|server| front(&authority, server.address(), version));
        let addr = |server: &Front| format!("{} --addr {}", trusting(&authority), server.endpoint);
        for flags in FRAMINGS {
            run(&format!("power square 2 3 {flags} {}", addr(&power))).assert_success("4.0\n9.0\n");
            // Every connection ends with close_notify, also where the end of the reply is not that of the stream.
            let connections = if flags == "--keep-alive" { 1 } else { 2 };
            for _ in 0..connections {
                assert_eq!(power.next_end(), None, "{flags}");
            }
        }
        let settling = front(&authority, with_settle.address(), version);
        run(&format!("power square 2 --split 1 --delay 1ms {}", addr(&settling))).assert_success("4.0\n");
        for (probe, server) in [("power", &power), ("rps", &rps), ("duel", &duel)] {
            let finished = run(&format!("probe {probe} {}", addr(server)));
            let works = format!("{probe} at {} works", server.endpoint);
            assert!(finished.code == Some(0) && finished.stdout.starts_with(&works), "{finished:?}");
            assert_eq!(server.next_end(), None, "{probe}");
        }
        assert_eq!(run(&format!("rps throw rock paper {}", addr(&rps))).stdout.lines().count(), 2);
        run_bench_ok(100, &format!("power -n 100 -c 8 {}", addr(&power)));
        run_bench_ok(300, &format!("power -n 300 -c 4 --pipeline 16 {}", addr(&power)));
        run_bench_ok(20_000, &format!("power -n 20k -c 1 --pipeline 20000 {}", addr(&power)));
        run_bench_ok(300, &format!("rps -n 300 -c 4 --pipeline 64 {}", addr(&rps)));
        run_bench_ok(100, &format!("duel -n 100 -c 4 {}", addr(&duel)));
        let exchange = r"exchange --send a2\n --expect d4.0\n -n 100 --keep-alive";
        run_bench_ok(100, &format!("{exchange} {}", addr(&power)));
    }
}

#[test]
fn an_interrupted_duel_resets_the_connection() {
    let duel = real::duel(Duration::from_secs(30));
    let authority = Authority::new();
    let front = front(&authority, duel.address(), &TLS13);
    let running =
        client(&format!("rps throw rock --duel --trace {} --addr {}", trusting(&authority), front.endpoint)).start();
    running.wait_for_stderr(">  32");
    running.interrupt();
    assert_eq!(running.wait().signal, Some(2));
    assert_eq!(front.next_end(), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_certificate_that_cannot_be_trusted_exits_with_3_and_the_remedy() {
    let power = real::power();
    let (authority, other) = (Authority::new(), Authority::new());
    let front_with =
        |files: &CertificateFiles| Front::tls(power.address(), server_config(files, None, &TLS13), End::CloseNotify);

    let server = front_with(&authority.issue_server());
    let addr = format!("--addr {}", server.endpoint);
    assert_handshake_fails(
        &format!("{} {addr}", trusting(&other)),
        "the server's certificate is not signed by a trusted authority; --cacert FILE names",
        "服务器的证书不是由受信任的机构签发的；--cacert FILE",
    );
    run(&format!("power square 2 {} {addr}", trusting(&authority))).assert_success("4.0\n");

    let server = front_with(&authority.issue_wrong_host());
    let options = format!("{} --addr {}", trusting(&authority), server.endpoint);
    assert_handshake_fails(
        &options,
        "the server's certificate is not valid for 127.0.0.1; --server-name NAME",
        "服务器的证书对 127.0.0.1 无效；--server-name NAME",
    );
    run(&format!("power square 2 {options} --server-name wrong.example")).assert_success("4.0\n");
    // A load keeps the name although it does not resolve it again.
    run_bench_ok(50, &format!("power -n 50 {options} --server-name wrong.example"));

    let server = front_with(&authority.issue_expired());
    let options = format!("{} --addr {}", trusting(&authority), server.endpoint);
    assert_handshake_fails(
        &options,
        "the server's certificate has expired; the server needs a new one",
        "服务器的证书已过期；服务器需要换新证书",
    );

    for (files, english, chinese) in [
        (
            authority.issue_not_yet_valid(),
            "the server's certificate is not valid yet; the server needs a new one, unless the clock",
            "服务器的证书尚未生效；服务器需要换新证书，除非本机时钟有误",
        ),
        (
            authority.issue_client(),
            "the server's certificate is not for servers; the server needs a certificate with extendedKeyUsage",
            "服务器的证书不能用于服务器；服务器需要 extendedKeyUsage 为 serverAuth 的证书",
        ),
        (
            authority.issue_authority(),
            "the server's certificate is that of an authority, not of a server; the server needs a certificate without \
             CA:TRUE",
            "服务器的证书是签发机构的证书，不是服务器的；服务器需要 basicConstraints 中没有 CA:TRUE 的证书",
        ),
    ] {
        let server = front_with(&files);
        let options = format!("{} --addr {}", trusting(&authority), server.endpoint);
        assert_handshake_fails(&options, english, chinese);
    }
}

#[test]
fn insecure_accepts_any_certificate_and_warns_once() {
    let power = real::power();
    let authority = Authority::new();
    let server = Front::tls(power.address(), server_config(&authority.issue_expired(), None, &TLS13), End::CloseNotify);
    let insecure = format!("--insecure --addr {}", server.endpoint);
    let warning = "warning: --insecure: the server's certificate is not verified";
    run(&format!("power square 2 {insecure}")).assert_failed(0, "4.0\n", &[warning]);
    run(&format!("power square 2 3 --lang zh {insecure}")).assert_failed(
        0,
        "4.0\n9.0\n",
        &["警告：--insecure：不验证服务器的证书"],
    );
    let object = |result| format!("{{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":{result}}}\n");
    run(&format!("power square 2 --json {insecure}")).assert_failed(0, &object("4.0"), &[warning]);
    let compared = run(&format!("bench power --compare -n 10 --json {insecure}"));
    compared.assert_failed(0, &compared.stdout, &[warning]);
    // Without TLS there is no certificate.
    run(&format!("power square 2 --insecure --addr {power}")).assert_success("4.0\n");
}

#[test]
fn a_server_that_requires_a_certificate_exits_with_3_and_names_cert() {
    let (power, rps) = (real::power(), real::rps());
    let (authority, other) = (Authority::new(), Authority::new());
    let namesake = Authority::named("another authority");
    let client = authority.issue_client();
    let required = "the server requires a client certificate that it trusts (alert CertificateRequired); --cert FILE and \
                    --key FILE present a certificate";
    let rejected =
        |reason: &str| format!("the server rejects the client's certificate: {reason}; --cert FILE and --key FILE");
    let untrusted = "it is not signed by an authority that the server trusts";
    let cases = [
        (String::new(), required.to_owned(), "服务器要求它所信任的客户端证书（警报 CertificateRequired）；--cert FILE"),
        (
            presenting(&other.issue_client()),
            rejected(&format!("{untrusted} (alert DecryptError)")),
            "服务器拒绝客户端的证书：不是由它信任的机构签发的（警报 DecryptError）；请用 --cert FILE",
        ),
        (
            presenting(&namesake.issue_client()),
            rejected(&format!("{untrusted} (alert UnknownCA)")),
            "服务器拒绝客户端的证书：不是由它信任的机构签发的（警报 UnknownCA）；请用 --cert FILE",
        ),
        (
            presenting(&authority.issue_expired_client()),
            rejected("it has expired, or is not valid yet (alert CertificateExpired)"),
            "服务器拒绝客户端的证书：已过期或尚未生效（警报 CertificateExpired）；请用 --cert FILE",
        ),
        (
            presenting(&authority.issue_other_server()),
            rejected("it is not for clients (alert UnsupportedCertificate)"),
            "服务器拒绝客户端的证书：不能用于客户端（警报 UnsupportedCertificate）；请用 --cert FILE",
        ),
    ];
    for version in [&TLS12, &TLS13] {
        let config = || server_config(&authority.issue_server(), Some(&authority.certificate), version);
        let front = Front::tls(power.address(), config(), End::CloseNotify);
        let options = format!("{} --addr {}", trusting(&authority), front.endpoint);
        for (presented, english, chinese) in &cases {
            for flags in FRAMINGS {
                assert_handshake_fails(&format!("{options} {presented} {flags}"), english, chinese);
            }
        }
        run(&format!("power square 2 {options} {}", presenting(&client))).assert_success("4.0\n");
        run(&format!("bench power -n 10 {options}")).assert_failed(3, "", &["; --cert FILE"]);

        let front = Front::tls(rps.address(), config(), End::CloseNotify);
        let options = format!("{} --addr {}", trusting(&authority), front.endpoint);
        for command in ["rps throw rock", "probe rps", "probe duel", "bench rps -n 10", "bench duel -n 10"] {
            run(&format!("{command} {options}")).assert_failed(3, "", &["; --cert FILE"]);
        }
    }
}

/// A server that sends these bytes after the first read and closes.
fn sending(bytes: &'static [u8]) -> Fake {
    Fake::new(move |stream| {
        read_some(stream)?;
        stream.write_all(bytes)?;
        Ok(Then::Close)
    })
}

#[test]
fn a_server_without_tls_exits_with_3_and_says_to_leave_it_out() {
    let (power, rps) = (real::power(), real::rps());
    let authority = Authority::new();
    for server in [&power, &rps] {
        assert_handshake_fails(
            &format!("{} --addr tls://{server}", trusting(&authority)),
            "the server does not speak TLS; without TLS, leave out tls://",
            "服务器不使用 TLS；不用 TLS 时，请去掉 tls://",
        );
    }
}

/// A full server closes without reading, which resets the connection.
#[test]
fn a_server_that_closes_during_the_handshake_may_be_full() {
    let authority = Authority::new();
    let closing = Fake::new(|stream| {
        read_record(stream)?;
        Ok(Then::Close)
    });
    for server in [closing, Fake::resetting_after(read_some)] {
        assert_handshake_fails(
            &format!("{} --addr tls://{server}", trusting(&authority)),
            "the server closed the connection before the handshake was done: it may be full, expect a PROXY protocol \
             header, or not speak TLS; try again later, and check the address and the log of the server",
            "握手完成之前服务器关闭了连接：可能已满，或需要 PROXY 协议头，或不使用 TLS；请稍后再试，并检查地址和服务器的日志",
        );
    }
}

/// Reads a whole TLS record, so that closing does not reset the connection.
fn read_record(stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    use std::io::Read;
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))])
}

#[test]
fn alerts_of_a_server_are_explained() {
    let authority = Authority::new();
    let versions = sending(b"\x15\x03\x01\x00\x02\x02\x46");
    assert_handshake_fails(
        &format!("{} --addr tls://{versions}", trusting(&authority)),
        "the server speaks neither TLS 1.2 nor TLS 1.3",
        "服务器既不支持 TLS 1.2 也不支持 TLS 1.3",
    );
    let refusing = sending(b"\x15\x03\x03\x00\x02\x02\x28");
    assert_handshake_fails(
        &format!("{} --addr tls://{refusing}", trusting(&authority)),
        "the server refused it: no cipher suite in common, or it requires a client certificate; --cert FILE",
        "服务器拒绝：没有共同的密码套件，或要求客户端证书；--cert FILE",
    );
}

#[test]
fn a_silent_server_exits_with_4_in_the_handshake_phase() {
    let (silent, authority) = (Fake::silent(), Authority::new());
    let options = format!("power square 2 --timeout 200ms {} --addr tls://{silent}", trusting(&authority));
    run(&options).assert_failed(4, "", &["no TLS handshake within 200ms; --timeout sets how long to wait"]);
    run(&format!("{options} --lang zh")).assert_failed(4, "", &["200ms 内未能完成 TLS 握手；--timeout"]);
    let json = run(&format!("{options} --json"));
    assert!(json.stdout.contains(r#""kind":"timeout""#) && json.stdout.contains(r#""phase":"handshake""#), "{json:?}");
}

#[test]
fn a_plain_client_of_a_tls_server_is_told_so() {
    let (power, rps, duel) = (real::power(), real::rps(), real::duel(Duration::from_secs(30)));
    let authority = Authority::new();
    let hint = "; the server may speak TLS: try tls://HOST:PORT";
    for version in [&TLS12, &TLS13] {
        let [power, rps, duel] = [&power, &rps, &duel].map(|server| front(&authority, server.address(), version));
        let plain = |server: &Front| server.endpoint.replace("tls://", "");
        run(&format!("power square 2 --addr {}", plain(&power))).assert_failed(5, "", &[hint]);
        run(&format!("rps throw rock --addr {}", plain(&rps))).assert_failed(5, "", &[hint]);
        for (load, server) in [("power", &power), ("rps", &rps), ("duel", &duel)] {
            run(&format!("bench {load} -n 10 --addr {}", plain(server))).assert_failed(5, "", &[hint]);
        }
        // Any bytes may be the reply of an exchange, so these are a wrong one.
        let exchange = format!(r"bench exchange --send a2\n --expect d4.0\n --addr {}", plain(&power));
        run(&exchange).assert_failed(1, "", &[hint]);
        let chinese = "；服务器可能使用 TLS：可试 tls://HOST:PORT";
        run(&format!("power square 2 --lang zh --addr {}", plain(&power))).assert_failed(5, "", &[chinese]);
    }
}

#[test]
fn a_truncated_reply_is_a_violation_unless_it_was_complete() {
    let power = real::power();
    let authority = Authority::new();
    let truncated = "the server broke the protocol: it ended the TLS connection without close_notify";
    for version in [&TLS12, &TLS13] {
        let start = |backend| {
            let config = server_config(&authority.issue_server(), None, version);
            Front::tls(backend, config, End::Truncation)
        };
        let options = |front: &Front| format!("{} --addr {}", trusting(&authority), front.endpoint);
        let front = start(power.address());
        run(&format!("power square 2 {}", options(&front))).assert_failed(5, "", &[truncated]);
        // Also an error reply could be a part of one.
        run(&format!("power square 1e200 {}", options(&front))).assert_failed(5, "", &[truncated]);
        for flags in ["--framing line", "--framing bare", "--keep-alive"] {
            run(&format!("power square 2 {flags} {}", options(&front))).assert_success("4.0\n");
        }
        run_bench(5, &format!("power -n 10 -c 1 {}", options(&front)));
    }
    let config = server_config(&authority.issue_server(), None, &TLS13);
    for (sent, flags) in [(&b"d4.0"[..], "--framing line"), (b"d4.0", "--keep-alive"), (b"", "--framing bare")] {
        let backend = sending(sent);
        let front = Front::tls(backend.address(), config.clone(), End::Truncation);
        let options = format!("{} --addr {}", trusting(&authority), front.endpoint);
        run(&format!("power square 2 {flags} {options}")).assert_failed(5, "", &[truncated]);
        let chinese = "服务器违反了协议：没有 close_notify 就结束了 TLS 连接，应答可能不完整";
        run(&format!("power square 2 {flags} --lang zh {options}")).assert_failed(5, "", &[chinese]);
    }
    let backend = sending(b"");
    let front = Front::tls(backend.address(), config, End::Truncation);
    let options = format!("{} --addr {}", trusting(&authority), front.endpoint);
    run(&format!("rps throw rock {options}")).assert_failed(5, "", &[truncated]);
}

#[test]
fn an_error_reply_that_is_cut_is_no_error_reply() {
    let authority = Authority::new();
    // A bare reply is the bytes of one read, and that of a game is one byte, so only the lack of a reply shows.
    let (backend, silent) = (sending(b"eRANGE the squ"), sending(b""));
    let cases = [
        (&backend, "power square 2"),
        (&backend, "power square 2 --framing line"),
        (&backend, "power square 2 --keep-alive"),
        (&backend, "bench power -n 1"),
        (&backend, "bench power -n 1 --keep-alive"),
        (&silent, "power square 2 --framing bare"),
        (&silent, "rps throw rock"),
    ];
    for version in [&TLS12, &TLS13] {
        let config = server_config(&authority.issue_server(), None, version);
        for (backend, command) in cases {
            let command = |end| {
                let server = Front::tls(backend.address(), config.clone(), end);
                let command = format!("{command} {} --addr {}", trusting(&authority), server.endpoint);
                (server, command)
            };
            let (_server, garbage) = command(End::Garbage);
            let message = "the server broke the protocol: the TLS connection failed: cannot decrypt peer's message";
            run(&garbage).assert_failed(5, "", &[message]);
            let json = run(&format!("{garbage} --json"));
            assert!(json.code == Some(5) && json.stdout.contains(r#""kind":"protocol""#), "{json:?}");
            // The reset may interrupt the request or the reply, so only the start of the message is certain.
            let (_server, reset) = command(End::Reset);
            let finished = run(&reset);
            finished.assert_failed(5, "", &["tls://"]);
            assert!(!finished.stderr.contains("error reply"), "{finished:?}");
        }
    }
}

#[test]
fn the_authorities_of_the_system_are_the_default() {
    let power = real::power();
    let authority = Authority::new();
    let front = front(&authority, power.address(), &TLS13);
    let with_file = |file: &Path| {
        let file = file.to_str().expect("a path in UTF-8");
        client(&format!("power square 2 --addr {}", front.endpoint)).with_env("SSL_CERT_FILE", file)
    };
    with_file(&authority.certificate).run("").assert_success("4.0\n");
    let none = with_file(Path::new("/dev/null")).run("");
    let message = "the TLS handshake failed: /dev/null has no certificates of trusted authorities; --cacert FILE";
    none.assert_failed(3, "", &[message]);
    let none = with_file(Path::new("/dev/null")).with_env("LC_ALL", "zh_CN.UTF-8").run("");
    none.assert_failed(3, "", &["TLS 握手失败：/dev/null 中没有受信任机构的证书；--cacert FILE"]);
    // Also with other certificates, the file must be readable.
    let folder = authority.folder().to_str().expect("a path in UTF-8");
    for folder in [folder, ""] {
        let missing = |language| {
            let missing = with_file(Path::new("/nowhere/authorities.pem"));
            missing.with_env("SSL_CERT_DIR", folder).with_env("LC_ALL", language).run("")
        };
        let message = "the certificates of trusted authorities cannot be read: /nowhere/authorities.pem: No such file or \
                       directory (os error 2); --cacert FILE";
        missing("C").assert_failed(3, "", &[message]);
        let message = "无法读取受信任机构的证书：/nowhere/authorities.pem：文件不存在；--cacert FILE";
        missing("zh_CN.UTF-8").assert_failed(3, "", &[message]);
    }
    // Without TLS they do not matter.
    client(&format!("power square 2 --addr {power}"))
        .with_env("SSL_CERT_FILE", "/dev/null")
        .run("")
        .assert_success("4.0\n");
}

#[test]
fn invalid_files_and_names_are_usage_errors_with_any_endpoint() {
    let power = real::power();
    let authority = Authority::new();
    let (one, other) = (authority.issue_client(), authority.issue_server());
    let file = |name: &str, content: &str| {
        let path = authority.folder().join(name);
        fs::write(&path, content).expect("the folder is writable");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let (empty, malformed) =
        (file("empty.pem", ""), file("bad.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"));
    let garbage = file("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let truncated = file("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let encrypted =
        file("secret.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let long = file("long.pem", &"x".repeat((1 << 20) + 1));
    let (cert, key) = (one.certificate.display(), one.key.display());
    for (options, english, chinese) in [
        (
            "--cacert /nonexistent".to_owned(),
            "--cacert: /nonexistent: No such file",
            "--cacert：/nonexistent：文件不存在",
        ),
        (format!("--cacert {empty}"), "empty.pem: it contains no certificate", "empty.pem：其中没有 PEM 格式的证书"),
        (format!("--cacert {malformed}"), "bad.pem: it is not valid PEM", "bad.pem：不是有效的 PEM"),
        (
            format!("--cacert {garbage}"),
            "garbage.pem: it contains an invalid certificate",
            "garbage.pem：其中有无效的证书",
        ),
        (
            format!("--cacert {truncated}"),
            "cut.pem: it is truncated: the END line of the section 'CERTIFICATE' is missing",
            "cut.pem：不完整：缺少 'CERTIFICATE' 一段的 END 行",
        ),
        (
            format!("--cert {cert} --key {encrypted}"),
            "secret.pem: the private key is encrypted; decrypt it with: openssl pkey -in FILE -out NEW",
            "secret.pem：私钥是加密的；可用 openssl pkey -in FILE -out NEW 解密",
        ),
        (format!("--cacert {long}"), "long.pem: it is longer than 1 MiB", "long.pem：超过 1 MiB"),
        (format!("--cert {cert}"), "--cert needs --key", "--cert 需要 --key"),
        (format!("--key {key}"), "--key needs --cert", "--key 需要 --cert"),
        (format!("--cert {empty} --key {key}"), "--cert: ", "--cert："),
        (
            format!("--cert {cert} --key {empty}"),
            "empty.pem: it contains no unencrypted private key",
            "empty.pem：其中没有",
        ),
        (format!("--cert {cert} --key {cert}"), "--key: ", "--key："),
        (
            format!("--cert {cert} --key {}", other.key.display()),
            "server-key.pem: it is not the key of the certificate",
            "server-key.pem：与证书不匹配",
        ),
        (format!("--cert {garbage} --key {key}"), "--cert: ", "--cert："),
        ("--server-name a/b".to_owned(), "invalid value 'a/b' for '--server-name'", "'--server-name' 的值 'a/b' 无效"),
    ] {
        for addr in [power.to_string(), format!("tls://{power}"), "unix:/nonexistent".to_owned()] {
            run(&format!("power square 2 {options} --addr {addr}")).assert_failed(2, "", &[english]);
            run(&format!("power square 2 --lang zh {options} --addr {addr}")).assert_failed(2, "", &[chinese]);
        }
    }
    let options = format!("{} {} --server-name x.example", trusting(&authority), presenting(&one));
    run(&format!("{options} power square 2 --addr {power}")).assert_success("4.0\n");
}

#[test]
#[ignore = "needs openssl: run with -- --ignored openssl"]
fn openssl_s_server_is_understood() {
    let authority = Authority::new();
    let files = authority.issue_server();
    for (flags, works) in
        [("-tls1_2", true), ("-tls1_3", true), ("-tls1_2 -Verify 1", false), ("-tls1_3 -Verify 1", false)]
    {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-rev", "-accept", "127.0.0.1:0", "-verify_return_error"]);
        command.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
        command.arg("-CAfile").arg(&authority.certificate).args(flags.split(' '));
        let server = ChildProcess::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let address = server.stdout.wait_for("an address", |printed| {
            Some(printed.lines().find_map(|line| line.strip_prefix("ACCEPT "))?.to_owned())
        });
        let address = format!("127.0.0.1:{}", address.rsplit(':').next().unwrap_or_default());
        let exchange = r"bench exchange --send abc\n --expect cba\n -n 20 -c 1 -q";
        let options = format!("{exchange} {} --addr tls://{address}", trusting(&authority));
        if works {
            assert_eq!(run(&options).code, Some(0), "{flags}");
            let other = Authority::new();
            let options = trusting(&other);
            let untrusted = run(&format!("{exchange} --keep-alive {options} --addr tls://{address}"));
            untrusted.assert_failed(3, "", &["--cacert FILE"]);
        } else {
            run(&options).assert_failed(3, "", &["; --cert FILE"]);
            let client = presenting(&authority.issue_client());
            assert_eq!(run(&format!("{options} {client}")).code, Some(0), "{flags}");
        }
    }
}
