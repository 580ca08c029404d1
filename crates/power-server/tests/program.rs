//! The program: configuration, exit codes, signals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output};

use power_server::config::Config;
use proto::server::config::{ConfigBuilder, Configuration, EndpointList};
use proto::testing::blocking::{connect, exchange, expect, read_to_end};
use proto::testing::process::{Exit, run};
use proto::testing::program::ServerProcess;
use support::program::{BINARY, clean_command, command, start};

fn output(arguments: &[&str]) -> Output {
    clean_command().args(arguments).output().unwrap()
}

#[test]
fn the_shipped_file_has_every_key_at_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/power-server.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut builder = ConfigBuilder::<Config>::from_defaults();
    builder.add_file(path.as_ref(), &text);
    let expected = Config::default();
    assert_eq!(builder.build().unwrap(), expected);
    let shipped: toml::Table = text.parse().unwrap();
    assert_eq!(shipped, toml::Table::try_from(expected).unwrap(), "no key is missing");
    assert!(Config::default().conflicts().is_empty());
}

#[test]
fn check_config_prints_the_configuration_of_file_environment_and_arguments() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("builder.toml");
    std::fs::write(&file, "workers = 1\nlisten = \"127.0.0.1:1\"\n[limits]\nbacklog = 1\nmax_connections = 1\n")
        .unwrap();
    let printed = clean_command()
        .env("POWER_SERVER_CONFIG", &file)
        .env("POWER_SERVER_LISTEN", "127.0.0.1:2")
        .env("POWER_SERVER_LOG_LEVEL", "debug")
        .args(["--set", "limits.backlog=3", "--set", "timeouts.idle=2m", "--log-level", "warn", "--check-config"])
        .output()
        .unwrap();
    assert!(printed.status.success() && printed.stderr.is_empty());
    let text = String::from_utf8(printed.stdout).unwrap();
    let mut builder = ConfigBuilder::<Config>::from_defaults();
    builder.add_file("printed".as_ref(), &text);
    let config = builder.build().unwrap();
    let mut expected = Config { workers: config.workers, ..Config::default() };
    assert_eq!(config.workers.get(), 1, "from the file");
    expected.listen = EndpointList::loopback(2);
    assert_eq!(config.listen, expected.listen, "the environment overrides the file");
    assert_eq!(config.limits.connections.backlog.get(), 3, "an argument overrides the file");
    assert_eq!(config.limits.connections.max_connections.get(), 1);
    assert_eq!(config.timeouts.shared.idle.get().as_secs(), 120);
    assert_eq!(
        toml::Value::try_from(config.log.level).unwrap().as_str(),
        Some("warn"),
        "arguments override all other sources"
    );
    let again =
        clean_command().args(["--config"]).arg(&file).args(["--listen", "127.0.0.1:9", "--check-config"]).output();
    assert!(String::from_utf8(again.unwrap().stdout).unwrap().starts_with("listen = \"127.0.0.1:9\"  # --listen\n"));
}

#[test]
fn an_invalid_setting_fails_the_start_with_exit_code_2_and_names_its_source() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.toml");
    std::fs::write(&file, "[limits]\nmax_connections = 0\nmax_conections = 7\n").unwrap();
    let path = file.to_str().unwrap();
    for (arguments, message) in [
        (
            &["--config", path][..],
            format!(
                "{path}:2: limits.max_connections: invalid value: integer `0`, expected a whole number from 1 to \
                 1000000"
            ),
        ),
        (
            &["--config", path],
            format!("{path}:3: limits.max_conections: unknown key; did you mean 'limits.max_connections'?"),
        ),
        (&["--config", "/nowhere.toml"], "--config: cannot read /nowhere.toml: No such file".to_owned()),
        (
            &["--listen", "here"],
            "--listen: listen: invalid value: string \"here\" (the port is missing or invalid), expected".to_owned(),
        ),
        (&["--set", "timeouts.request=0s"], "--set timeouts.request=0s: timeouts.request: invalid value".to_owned()),
        (&["--set", "nonsense"], "--set nonsense: write KEY=VALUE".to_owned()),
        (
            &["--set", "framing.settle=5s"],
            "--set framing.settle=5s: framing.settle: the settle time 5s is not shorter than the request timeout 5s"
                .to_owned(),
        ),
        (&["--set", "limits.max_connections_per_ip=20000"], "set it to at most limits.max_connections".to_owned()),
        (
            &["--log-format", "xml"],
            "--log-format: log.format: unknown variant `xml`, expected `text` or `json`".to_owned(),
        ),
        (&["--admin-listen", "9500"], "--admin-listen: admin.listen: ".to_owned()),
        (
            &["--admin-listen", "127.0.0.1:5000"],
            "--admin-listen: admin.listen: both cannot listen on 127.0.0.1:5000 (listen: the default); give each \
             listener"
                .to_owned(),
        ),
    ] {
        let output = output(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&message), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    let from_environment = clean_command().env("POWER_SERVER_LISTEN", "5000").output().unwrap();
    assert_eq!(from_environment.status.code(), Some(2));
    let stderr = String::from_utf8(from_environment.stderr).unwrap();
    assert!(stderr.contains("environment variable POWER_SERVER_LISTEN: listen: "), "{stderr}");
}

#[test]
fn what_is_not_printable_in_arguments_variables_and_files_is_escaped() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let hostile = "\x1b[2J\n\u{202e}\u{2066}石头";
    let escaped = r"\u{1b}[2J\n\u{202e}\u{2066}石头";
    let named = folder.join(format!("{hostile}.toml"));
    std::fs::write(&named, "wrong = 1\n").unwrap();
    let file = folder.join("escaped.toml");
    std::fs::write(&file, "\"\\u001b[2J\\n\u{202e}\\u2066石头\" = 1\nlisten = \"\\u001b[2J\\n\u{202e}\\u2066石头\"\n")
        .unwrap();
    let unknown = format!("--{hostile}");
    for arguments in [
        &["--set", hostile][..],
        &["--set", &format!("{hostile}=1")],
        &["--set", &format!("listen={hostile}")],
        &["--listen", hostile],
        &["--log-level", hostile],
        &["--config", hostile],
        &["--config", named.to_str().unwrap()],
        &["--config", file.to_str().unwrap()],
        // These errors are clap's.
        &[hostile],
        &[&unknown],
    ] {
        assert_escaped(clean_command().args(arguments), escaped);
    }
    for variable in ["POWER_SERVER_LISTEN", "POWER_SERVER_LOG_LEVEL", "POWER_SERVER_CONFIG", "RUST_LOG"] {
        assert_escaped(clean_command().env(variable, hostile), escaped);
    }

    assert_escaped(clean_command().env(format!("POWER_SERVER_{hostile}"), "1"), escaped);

    std::fs::write(&named, "").unwrap();
    let running = start(&["--config", named.to_str().unwrap()]);
    let log = running.log();
    assert!(log.lines().next().unwrap().ends_with(&format!("{escaped}.toml")), "{log}");
}

/// Checks that the server does not start, and that its error has this text.
#[track_caller]
fn assert_escaped(command: &mut Command, escaped: &str) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {stderr}");
    let is_hostile = |character: char| matches!(character, '\x1b' | '\u{202e}' | '\u{2066}');
    // `toml` escapes the characters that it does not print in its own way.
    let stderr = stderr.replace(r"\\", r"\");
    assert!(stderr.contains(escaped) && !stderr.contains(is_hostile), "{command:?}: {stderr}");
}

#[test]
fn the_log_level_has_five_sources_and_each_overrides_the_one_before() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("level.toml");
    std::fs::write(&file, "[log]\nlevel = \"error\"\n").unwrap();
    let mut command = clean_command();
    command.arg("--config").arg(&file).arg("--check-config");
    let check = |command: &mut Command, level: &str| {
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(text.contains(&format!("[log]\nlevel = \"{level}\"  # ")), "as it was given: {text}");
    };
    check(&mut command, "error");
    check(command.env("RUST_LOG", "warn,proto::server=debug"), "warn,proto::server=debug");
    check(command.env("POWER_SERVER_LOG_LEVEL", "debug"), "debug");
    check(command.args(["--set", "log.level=info,power_server=trace"]), "info,power_server=trace");
    check(command.args(["--log-level", "trace"]), "trace");
    check(clean_command().args(["--log-level", "trace", "--set", "log.level=warn", "--check-config"]), "trace");
    check(clean_command().env("RUST_LOG", "").arg("--check-config"), "info");
}

#[test]
fn an_invalid_log_level_is_an_error_that_names_its_source() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-level.toml");
    std::fs::write(&file, "[log]\nlevel = \"loud\"\n").unwrap();
    let path = file.to_str().unwrap();
    for (variable, arguments, source, directive) in [
        (None, &["--config", path][..], format!("{path}:2"), "loud"),
        (Some(("RUST_LOG", "info,hyper")), &[], "environment variable RUST_LOG".to_owned(), "hyper"),
        (
            Some(("POWER_SERVER_LOG_LEVEL", "")),
            &["--log-level", "info"],
            "environment variable POWER_SERVER_LOG_LEVEL".to_owned(),
            "",
        ),
        (None, &["--set", "log.level=info,proto=loud"], "--set log.level=info,proto=loud".to_owned(), "proto=loud"),
        (None, &["--log-level", "power-server=debug"], "--log-level".to_owned(), "power-server=debug"),
    ] {
        let output = clean_command().envs(variable).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{source}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let problem = format!(
            "{source}: log.level: unknown variant `{directive}`, expected one of `error`, `warn`, `info`, `debug`, \
             `trace` or `off`, or directives such as \"info,proto::server::listener=debug\""
        );
        assert_eq!(stderr.lines().nth(1), Some(&*problem), "{stderr}");
    }
}

#[test]
fn a_port_in_use_is_an_error_at_the_start() {
    const OR_OFF: &str = "Choose another with --admin-listen, or \"\" for off.";
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("port.toml");
    std::fs::write(&file, format!("\n[admin]\nlisten = \"{address}\"\n")).unwrap();
    let path = file.to_str().unwrap();
    let free = ["--listen", "127.0.0.1:0"];
    let (listen, admin) = (["--listen", &*address], ["--admin-listen", &*address]);
    for (arguments, source, remedy) in [
        (&listen[..], "listen, --listen".to_owned(), "Choose another with --listen."),
        (&[&free[..], &admin].concat(), "admin.listen, --admin-listen".to_owned(), OR_OFF),
        (&[&free[..], &["--config", path]].concat(), format!("admin.listen, {path}:3"), OR_OFF),
    ] {
        let reason = format!("cannot listen on {address} ({source}): address already in use. {remedy}");
        let Exit { code, stdout: log, stderr } = run(clean_command().args(arguments), "");
        assert_eq!((code, stderr), (Some(1), format!("power-server: {reason}\n")));
        assert!(
            log.contains(&format!("ERROR proto::server::lifecycle::runtime: cannot serve reason={reason}\n")),
            "{log}"
        );
        let off = run(clean_command().args(arguments).args(["--log-level", "off"]), "");
        assert_eq!((off.code, &*off.stdout, off.stderr), (Some(1), "", format!("power-server: {reason}\n")));
    }
}

#[test]
fn nine_workers_have_two_accept_loops_and_a_second_instance_is_still_refused() {
    let server = start(&["--set", "workers=9"]);
    let address = server.address("power");
    let tables = std::fs::read_to_string(format!("/proc/{}/net/tcp", server.id())).unwrap();
    // State 0A is listening (proc(5)).
    let local = format!("0100007F:{:04X} 00000000:0000 0A", address.port());
    assert_eq!(tables.matches(&local).count(), 2, "{tables}");
    let clients: Vec<_> = (0..40).map(|_| connect(address)).collect();
    for mut client in clients {
        client.write_all(b"c2\n").unwrap();
        expect(&mut client, "d16.0\n");
    }
    let second = run(clean_command().args(["--listen", &address.to_string(), "--set", "workers=9"]), "");
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("address already in use"), "{}", second.stderr);
    assert_eq!(
        server.metric(&format!("power_endpoint_connections_total{{endpoint=\"{address}\",transport=\"tcp\"}}")),
        40
    );
    // Both loops have connections to drain, except by chance in one of 10¹¹ runs.
    let mut waiting: Vec<_> = (0..40).map(|_| connect(address)).collect();
    for client in &mut waiting {
        client.write_all(b"a").unwrap();
    }
    server.eventually(|server| server.metric("power_connections") == 40, "the connections are accepted");
    server.signal("TERM");
    for client in &mut waiting {
        client.write_all(b"3\n").unwrap();
        expect(client, "d9.0\n");
    }
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("listening service=\"power\"").count(), 1, "{log}");
}

#[test]
fn the_admin_listener_is_on_without_a_file_and_the_log_has_a_line_if_it_is_off() {
    let printed = String::from_utf8(output(&["--check-config"]).stdout).unwrap();
    assert!(printed.contains("\n[admin]\nlisten = \"127.0.0.1:9500\"  # default\n"), "{printed}");
    let on = start(&[]);
    let off = ServerProcess::start(&mut command(&["--admin-listen", ""]), &["power"]);
    assert!(!on.stop().contains("admin listener: off"));
    let log = off.stop();
    assert!(log.contains(" INFO proto::server::program: admin listener: off\n"), "{log}");
}

#[test]
fn each_key_has_an_environment_variable() {
    BINARY.check_variables("POWER_SERVER_");
    let Exit { stdout, .. } =
        run(clean_command().env("POWER_SERVER_LIMITS_MAX_CONNECTIONS", "500").arg("--check-config"), "");
    let expected = "max_connections = 500  # environment variable POWER_SERVER_LIMITS_MAX_CONNECTIONS\n";
    assert!(stdout.contains(expected), "{stdout}");
    let list = [("POWER_SERVER_PROXY_PROTOCOL_TRUSTED", "127.0.0.1,unix")];
    let Exit { stdout, .. } = run(clean_command().envs(list).arg("--check-config"), "");
    assert!(stdout.contains("trusted = [\"127.0.0.1\", \"unix\"]  # environment variable "), "{stdout}");
}

#[test]
fn an_unknown_variable_of_the_server_is_an_error() {
    for (variable, message) in [
        ("POWER_SERVER_LSITEN", "unknown variable; did you mean 'POWER_SERVER_LISTEN'?"),
        ("POWER_SERVER_MAX_CONNECTIONS", "unknown variable; did you mean 'POWER_SERVER_LIMITS_MAX_CONNECTIONS'?"),
        (
            "POWER_SERVER_LIMITS_MAX_CONNECTIONS",
            "limits.max_connections: invalid type: string \"many\", expected a whole",
        ),
        ("POWER_SERVER_CONFG", "unknown variable; did you mean 'POWER_SERVER_CONFIG'?"),
        ("POWER_SERVER_THREADS", "unknown variable; each key has one, such as POWER_SERVER_ADMIN_CLIENT_CA for admin."),
        ("POWER_SERVER_PORT", "unknown variable; each key has one"),
        ("POWER_SERVER_NAME", "unknown variable; each key has one"),
        ("POWER_SERVER_", "unknown variable; each key has one"),
    ] {
        let Exit { code, stdout, stderr } = run(clean_command().env(variable, "many"), "");
        assert_eq!((code, &*stdout), (Some(2), ""), "{variable}: {stderr}");
        let expected = format!("power-server: invalid configuration:\nenvironment variable {variable}: {message}");
        assert!(stderr.starts_with(&expected), "{stderr}");
    }
}

#[test]
fn variables_of_kubernetes_of_docker_and_of_other_programs_are_no_settings() {
    // Those that Kubernetes sets for the Service of deploy/kubernetes.yaml, and the server's own.
    let variables = [
        ("POWER_SERVER_SERVICE_HOST", "10.0.0.11"),
        ("POWER_SERVER_SERVICE_PORT", "5000"),
        ("POWER_SERVER_SERVICE_PORT_POWER", "5000"),
        ("POWER_SERVER_PORT", "tcp://10.0.0.11:5000"),
        ("POWER_SERVER_PORT_5000_TCP", "tcp://10.0.0.11:5000"),
        ("POWER_SERVER_PORT_5000_TCP_PROTO", "tcp"),
        ("POWER_SERVER_PORT_5000_TCP_PORT", "5000"),
        ("POWER_SERVER_PORT_5000_TCP_ADDR", "10.0.0.11"),
        // Those that Docker sets for a linked container too.
        ("POWER_SERVER_NAME", "/app/power-server"),
        ("POWER_SERVER_ENV_FOO", "1"),
        ("POWER_SERVER_PORT_5000_TCP_START", "tcp://10.0.0.11:5000"),
        ("POWER_SERVER_PORT_5000_TCP_END", "tcp://10.0.0.11:5001"),
        ("POWER_SERVER_PORT_5000_TCP_PORT_START", "5000"),
        ("POWER_SERVER_PORT_5000_TCP_PORT_END", "5001"),
        ("POWER_SERVER_IMAGE", "power-server"),
        ("POWER_SERVER_CONFIG", ""),
        ("POWER_SERVERS", "2"),
        ("RPS_SERVER_LSITEN", "for the other server"),
    ];
    let Exit { code, stdout, stderr } = run(clean_command().envs(variables).arg("--check-config"), "");
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(!stdout.contains("environment variable"), "{stdout}");
}

#[test]
fn usage_errors_have_the_words_of_the_client() {
    for (arguments, message) in [
        (&["--lisen", "3"][..], "unexpected argument '--lisen'; did you mean '--listen'?"),
        (&["frob"], "unexpected argument 'frob'"),
        (&["--listen"], "a value is required for '--listen <ENDPOINTS>'"),
        (&["--check-config=3"], "'--check-config' takes no value"),
        (&["--check-config", "--healthcheck"], "'--check-config' cannot be used with '--healthcheck'"),
        (&["--listen", "a", "--listen", "b"], "'--listen <ENDPOINTS>' can be given only once"),
    ] {
        let Exit { code, stdout, stderr } = run(clean_command().args(arguments), "");
        assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?}: {stderr}");
        let rest = "\n\nUsage: power-server [OPTIONS]\n\nFor more information, try 'power-server --help'.\n";
        assert_eq!(stderr, format!("power-server: {message}{rest}"));
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (argument, code) in [("--help", 1), ("--version", 1), ("--check-config", 1), ("--lisen", 2)] {
        let mut command = clean_command();
        command.arg(argument).stdout(full()).stderr(full());
        assert_eq!(command.status().unwrap().code(), Some(code), "{argument}");
    }
    for argument in ["--help", "-V", "--check-config"] {
        let failed = clean_command().arg(argument).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(failed.stderr).unwrap();
        let expected = "power-server: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((failed.status.code(), &*stderr), (Some(1), expected), "{argument}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = clean_command().arg(argument).stdout(writer).output().unwrap();
        assert_eq!((closed.status.code(), &*closed.stderr), (Some(0), &b""[..]), "{argument}: no more is needed");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = clean_command();
    command.args(["--listen", &taken.local_addr().unwrap().to_string()]);
    command.stderr(full());
    assert_eq!(command.status().unwrap().code(), Some(1), "no panic");
}

/// Returns the access lines of a log, without what varies: the time and the addresses.
fn access_lines(log: &str) -> Vec<String> {
    let field =
        |line: &str, name: &str| line.split_once(name).unwrap().1.split([' ', ',', '}']).next().unwrap().to_owned();
    let lines = log.lines().filter(|line| line.contains("connection closed"));
    lines
        .map(|line| {
            let is_json = line.starts_with('{');
            let names = if is_json {
                ["timestamp\":", "peer\":", "endpoint\":", "duration_ms\":"]
            } else {
                ["", "peer=", "endpoint=", "duration_ms="]
            };
            let mut line = line.to_owned();
            for name in names {
                line = line.replacen(&format!("{name}{}", field(&line, name)), name, 1);
            }
            line
        })
        .collect()
}

#[test]
fn at_debug_each_connection_has_one_line_with_its_counts_and_its_close_reason() {
    for (format, expected) in [
        (
            "text",
            " DEBUG proto::server::listener::access_log: connection closed peer= endpoint= requests=6 \
             errors=\"badnum=1,badop=2\" received_bytes=17 sent_bytes=SENT duration_ms= reason=peer_closed",
        ),
        (
            "json",
            "{\"timestamp\":,\"level\":\"DEBUG\",\"fields\":{\"message\":\"connection closed\",\"peer\":,\"endpoint\":,\
             \"requests\":6,\"errors\":\"badnum=1,badop=2\",\"received_bytes\":17,\"sent_bytes\":SENT,\"duration_ms\":,\
             \"reason\":\"peer_closed\"},\"target\":\"proto::server::listener::access_log\"}",
        ),
    ] {
        let server = start(&["--log-level", "debug", "--log-format", format]);
        let replies = exchange(server.address("power"), b"foo\na2\nb\n\nd4\nx\na3");
        let log = server.stop();
        assert_eq!(access_lines(&log), [expected.replace("SENT", &replies.len().to_string())], "{log}");
    }
}

#[test]
fn a_second_instance_cannot_bind_the_port_of_the_first() {
    let first = start(&[]);
    let second = output(&["--listen", &first.address("power").to_string()]);
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(exchange(first.address("power"), b"a2"), "d4.0");
    first.signal("TERM");
    assert_eq!(first.wait_for_exit().0, Some(0));
}

#[test]
fn the_health_check_sends_a_request_to_the_running_server() {
    let running = start(&[]);
    let address = running.address("power").to_string();
    assert_eq!(output(&["--listen", &address, "--healthcheck"]).status.code(), Some(0));
    let wildcard = format!("0.0.0.0:{}", running.address("power").port());
    assert_eq!(output(&["--listen", &wildcard, "--healthcheck"]).status.code(), Some(0));
    running.signal("TERM");
    assert_eq!(running.wait_for_exit().0, Some(0));
    let unhealthy = output(&["--listen", &address, "--healthcheck"]);
    assert_eq!(unhealthy.status.code(), Some(1));
    assert!(String::from_utf8(unhealthy.stderr).unwrap().starts_with("power-server: not healthy: "));
}

#[test]
fn either_signal_drains_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let running = start(&[]);
        let mut idle = connect(running.address("power"));
        idle.write_all(b"a2").unwrap();
        expect(&mut idle, "d4.0");
        assert_eq!(exchange(running.address("power"), b"c3"), "d81.0");
        running.signal(signal);
        assert_eq!(read_to_end(&mut idle), "");
        drop(idle);
        let (code, log) = running.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped accepted=2 rejected=0 panicked=0 aborted=0"), "{log}");
    }
}

#[test]
fn a_second_signal_right_after_the_first_does_not_abort() {
    let server = start(&["--log-level", "debug"]);
    let mut client = connect(server.address("power"));
    client.write_all(b"a").unwrap();
    server.eventually(|server| server.metric("power_connections") == 1, "has the connection");
    // While the process is stopped, both signals wait, and so does the end of the request.
    server.signal("STOP");
    server.eventually(ServerProcess::is_stopped, "is stopped");
    server.signal("TERM");
    server.signal("INT");
    client.write_all(b"2\n").unwrap();
    server.signal("CONT");
    assert_eq!(read_to_end(&mut client), "d4.0\n");
    drop(client);
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("repeated signal ignored") && !log.contains("aborted by second signal"), "{log}");
}

#[test]
fn the_log_can_be_json() {
    let running = start(&["--log-format", "json"]);
    let log = running.log();
    let line = log.lines().next().unwrap();
    assert!(line.starts_with("{\"timestamp\":\"") && line.contains("built-in defaults"), "{line}");
}
