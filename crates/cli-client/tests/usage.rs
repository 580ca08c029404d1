//! The command line and the environment: addresses, flags, help, and usage errors.

mod support;

use support::fake::Fake;
use support::real::ReservedPort;
use support::{client, real, run};

#[test]
fn help_is_printed_on_standard_output_with_exit_code_0() {
    for arguments in ["--help", "-h", "help", "power --help", "power square --help", "rps throw -h", "probe rps --help"]
    {
        let finished = run(arguments);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{arguments}: {finished:?}");
        assert!(finished.stdout.contains("Usage: cli-client"), "{arguments}: {finished:?}");
    }
}

#[test]
fn the_version_is_printed_on_standard_output_with_exit_code_0() {
    run("--version").assert_success(concat!("cli-client ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn help_names_the_default_addresses_and_the_exit_codes() {
    for (arguments, named) in [
        ("power square --help", "127.0.0.1:5000"),
        ("probe power --help", "127.0.0.1:5000"),
        ("rps throw --help", "127.0.0.1:5001"),
        ("probe rps --help", "127.0.0.1:5001"),
        ("power square --help", "POWER_ADDR"),
        ("rps throw --help", "RPS_ADDR"),
        ("--help", "130 Ctrl-C"),
    ] {
        assert!(run(arguments).stdout.contains(named), "{named} is not in the output of {arguments}");
    }
}

#[test]
fn invalid_arguments_exit_with_2_and_are_named() {
    // Nothing listens on this port: a connection before the check of the arguments would exit with 3.
    let closed_port = ReservedPort::new();
    for (arguments, wrong) in [
        ("power square abc", "'abc' for '<NUMBER>"),
        ("power square 2 inf", "'inf'"),
        ("power square 2 nan", "'nan'"),
        ("power square 0x10", "'0x10'"),
        ("power square 1_000", "'1_000'"),
        ("power square ２", "'２'"),
        ("power square 1e999", "beyond the largest double"),
        ("power square -1e999", "beyond the largest double"),
        ("power square -inf", "'-i'"),
        ("power square", "<NUMBER>"),
        ("power sqare 2", "'sqare'"),
        ("power square 2 --bogus", "'--bogus'"),
        ("power square 2 --framing lines", "'lines'"),
        ("rps throw lizard", "'lizard'"),
        ("rps throw 4", "'4'"),
        ("rps throw rock 12", "'12'"),
        ("rps throw", "<MOVE>"),
        ("rps throw rock --keep-alive", "'--keep-alive'"),
        ("probe rps --wait 5", "'5'"),
        ("probe power --wait soon", "'soon'"),
        ("probe power --wait 0s", "'0s'"),
        ("power square 2 --timeout 5", "'5'"),
        ("power square 2 --timeout 0s", "'0s'"),
        ("power square 2 --timeout soon", "'soon'"),
        ("power square 2 --timeout 25h", "'25h'"),
    ] {
        let client = client(arguments).with_env("POWER_ADDR", &closed_port.to_string());
        client.with_env("RPS_ADDR", &closed_port.to_string()).run("").assert_usage_error(wrong);
    }
    for framing in ["eof", "bare"] {
        run(&format!("power square 2 --framing {framing} --keep-alive --addr {closed_port}")).assert_failed(
            2,
            "",
            &["--keep-alive needs line framing"],
        );
    }
    for arguments in ["", "power", "rps", "probe", "juggle", "--bogus", "--timeout"] {
        run(arguments).assert_usage_error("");
    }
}

#[test]
fn a_usage_error_names_the_help_of_its_command() {
    for (arguments, help) in [
        ("power square abc", "cli-client power square --help"),
        ("--timeout 5 rps play", "cli-client rps play --help"),
        ("bench power -n 0", "cli-client bench power --help"),
        ("power square 2 --split x", "1 to 1000000"),
        ("power square 2 --keep-alive=no", "'--keep-alive' takes no value"),
    ] {
        run(arguments).assert_usage_error(help);
    }
}

#[test]
fn a_name_of_another_level_is_suggested_with_its_command() {
    for (arguments, suggestion) in [
        ("play", "unknown command 'play'; did you mean 'rps play'?"),
        ("throw rock", "; did you mean 'rps throw'?"),
        ("square 2", "; did you mean 'power square'?"),
        ("duel", "; did you mean 'rps play --duel', 'bench duel', 'probe duel', 'check duel'?"),
        ("exchange", "; did you mean 'bench exchange'?"),
        // The best suggestion is the first.
        ("pwoer", "; did you mean 'power', 'probe'?"),
        ("power sqare 2", "; did you mean 'square'?"),
        ("power square 2 --keepalive", "unexpected argument '--keepalive'; did you mean '--keep-alive'?"),
    ] {
        run(arguments).assert_usage_error(suggestion);
    }
}

#[test]
fn an_option_before_its_command_is_explained() {
    for (arguments, english, chinese) in [
        (
            "--addr 127.0.0.1:1 power square 2",
            "'--addr' must come after a command: power, rps, bench, probe, check\n",
            "'--addr' 须写在命令之后：power、rps、bench、probe、check\n",
        ),
        (
            "bench --rate 5",
            "'--rate' must come after a command: power, rps, duel, exchange\n",
            "'--rate' 须写在命令之后：power、rps、duel、exchange\n",
        ),
        (
            "bench -c 5 rps",
            "'-c' must come after a command: power, rps, duel, exchange\n",
            "'-c' 须写在命令之后：power、rps、duel、exchange\n",
        ),
        (
            "bench -qc 5 rps",
            "'-c' must come after a command: power, rps, duel, exchange\n",
            "'-c' 须写在命令之后：power、rps、duel、exchange\n",
        ),
        ("-n5 bench rps", "'-n' must come after a command: bench\n", "'-n' 须写在命令之后：bench\n"),
        ("rps --best-of=3 play", "'--best-of' must come after a command: play\n", "'--best-of' 须写在命令之后：play\n"),
    ] {
        let finished = run(arguments);
        finished.assert_usage_error(english);
        assert!(!finished.stderr.contains("did you mean") && !finished.stderr.contains("--trace"), "{finished:?}");
        run(&format!("--lang zh {arguments}")).assert_usage_error(chinese);
    }
}

#[test]
fn an_unknown_short_option_is_named() {
    for arguments in ["power -c 5 square 2", "bench compare -c 5 a b"] {
        run(arguments).assert_usage_error("cli-client: unexpected argument '-c'\n");
    }
}

#[test]
fn notes_are_part_of_the_help() {
    for (command, english, chinese) in [
        ("bench compare", "Mann-Whitney", "一百个数值中也会有一个显示差异"),
        ("probe duel", "cannot tell the two games apart", "分不出两种对局"),
    ] {
        for (language, note) in [("en", english), ("zh", chinese)] {
            let [short, long] = ["-h", "--help"].map(|flag| run(&format!("{command} {flag} --lang {language}")).stdout);
            assert!(long.contains(note) && !short.contains(note), "{long}");
        }
    }
    for command in ["power", "rps", "duel"] {
        let help = run(&format!("bench {command} --help")).stdout;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("by commas. Errors in the run decide the exit code before thresholds"), "{help}");
    }
}

#[test]
fn an_option_that_needs_another_names_both() {
    run("rps throw rock --window 5s").assert_usage_error("cli-client: --window needs --duel\n");
    run("rps play --window 5s").assert_usage_error("cli-client: --window needs --duel\n");
    run("power square 2 --delay 5ms").assert_usage_error("cli-client: --delay needs --split <BYTES>\n");
}

#[test]
fn a_second_address_is_an_error_where_only_one_is_used() {
    for command in ["power square 2", "rps throw rock", "rps play", "probe power", "probe rps", "bench power"] {
        let finished = run(&format!("{command} --addr a:1 --addr b:2"));
        finished.assert_usage_error("'--addr <ENDPOINT>' can be given only once");
    }
    run("power square 2 --addr a:1 --addr=b:2 --lang zh").assert_usage_error("'--addr <ENDPOINT>' 只能给出一次");
}

#[test]
fn a_missing_command_prints_the_short_help_and_an_error() {
    for command in ["", "power", "rps"] {
        let finished = run(command);
        let (help, error) = finished.stderr.rsplit_once("\n\n").expect("two parts");
        assert!(help.contains("Usage: cli-client") && !help.contains("--cacert"), "{finished:?}");
        assert_eq!(error, "cli-client: a command is required; --help lists them\n");
        finished.assert_exit_code(2);
    }
}

#[test]
fn a_hint_recommends_no_value_that_is_rejected() {
    for value in ["2m", "10k", "4", "x"] {
        let finished = run(&format!("rps play --best-of {value}"));
        finished
            .assert_usage_error("expected an odd number from 1 to 999999, so that one side can win more than half\n");
    }
    run("bench rps --threads 2m").assert_usage_error("from 1 to 1024; k stands for thousands\n");
}

#[test]
fn the_last_occurrence_of_a_flag_wins() {
    let server = real::power();
    run(&format!("power square 2 --timeout 1h --json --json --timeout 60s --lang zh --lang en --addr {server}"))
        .assert_success("{\"schema\":1,\"op\":\"square\",\"operand\":2.0,\"result\":4.0}\n");
}

#[test]
fn an_ipv6_address_without_brackets_and_a_url_are_not_addresses() {
    for wrong in ["::1", "::1:5000", "[::1]", "[localhost]:5000", "http://localhost:5000", "localhost:+80"] {
        run(&format!("power square 2 --addr {wrong}")).assert_usage_error(&format!("'{wrong}' for '--addr"));
    }
}

#[test]
fn a_client_cannot_connect_to_an_inherited_socket() {
    for endpoint in ["fd:", "fd:power", "tls+fd:power", "fd:a:b"] {
        run(&format!("power square 2 --addr {endpoint}")).assert_usage_error("only servers use inherited sockets");
        client("power square 2").with_env("POWER_ADDR", endpoint).run("").assert_usage_error("only servers use");
        run(&format!("power square 2 --lang zh --addr {endpoint}")).assert_usage_error("只有服务器使用继承的套接字");
    }
}

#[test]
fn an_invalid_endpoint_is_explained() {
    let long = format!("unix:/{}", "x".repeat(119));
    for (endpoint, english, chinese) in [
        (&*long, "1 to 107 bytes, and this one has 120; expected", "1 到 107 字节，这个有 120 字节；请输入 HOST:PORT"),
        ("unix:", "and this one has 0; expected", "这个有 0 字节；请输入"),
        ("/tmp/x.sock", "the path of a socket needs 'unix:' before it; expected", "套接字的路径前要有 'unix:'；请输入"),
        ("tsl://localhost:1", "the scheme is unknown; expected", "协议名未知；请输入"),
        ("tls:/x", "the scheme is unknown; expected", "协议名未知；请输入"),
        ("http://localhost:1", "the scheme is unknown; expected", "协议名未知；请输入"),
        ("tls://localhost", "the port is missing or invalid; expected", "缺少端口，或端口无效；请输入"),
        ("tls:localhost:1", "the host is not a name, an IPv4 address", "主机不是名称、IPv4 地址"),
        ("localhost\u{1b}:1", "a character is not printable; expected", "有不可打印的字符；请输入"),
    ] {
        run(&format!("power square 2 --addr {endpoint}")).assert_usage_error(english);
        run(&format!("power square 2 --lang zh --addr {endpoint}")).assert_usage_error(chinese);
        let valid = "expected HOST:PORT, tls://HOST:PORT or unix:PATH";
        client("power square 2").with_env("POWER_ADDR", endpoint).run("").assert_failed(2, "", &[valid]);
    }
}

#[test]
fn an_address_without_a_host_or_a_port_exits_with_2() {
    for wrong in ["localhost", ":5000", "localhost:", "localhost:http", "localhost:65536", "localhost:0", "127.0.0.1"] {
        for command in ["power square 2", "rps throw rock", "probe power", "probe rps"] {
            run(&format!("{command} --addr {wrong}")).assert_usage_error(&format!("'{wrong}' for '--addr"));
        }
    }
    for (command, variable) in [
        ("power square 2", "POWER_ADDR"),
        ("probe power", "POWER_ADDR"),
        ("rps throw rock", "RPS_ADDR"),
        ("probe rps", "RPS_ADDR"),
    ] {
        client(command).with_env(variable, "localhost").run("").assert_usage_error("'localhost'");
    }
}

#[test]
fn an_invalid_list_of_addresses_exits_with_2() {
    let many: Vec<_> = (1..=65).map(|port| format!("localhost:{port}")).collect();
    let many = many.join(",");
    let long = format!("{many} --addr {many}");
    for command in ["bench duel", "probe duel"] {
        for (list, english, chinese) in [
            (
                "a:1,,b:2",
                "'' for '--addr <ENDPOINT>': the address is empty; expected HOST:PORT",
                "无效：地址是空的；请输入",
            ),
            (",a:1", "the address is empty; expected HOST:PORT", "地址是空的"),
            ("a:1,", "the address is empty; expected HOST:PORT", "地址是空的"),
            ("a:1,b", "'b' for '--addr <ENDPOINT>': the port is missing or invalid", "'b' 无效：缺少端口"),
            ("a:1,fd:", "only servers use inherited sockets", "只有服务器使用继承的套接字"),
            ("a:1,a:1", "--addr: a:1 is in the list twice; give each address once", "--addr：a:1 在列表中重复；"),
            ("a:1,b:2 --addr tcp://a:1", "--addr: a:1 is in the list twice", "--addr：a:1 在列表中重复"),
            (&many, "--addr: 65 addresses; at most 64 are allowed", "--addr：有 65 个地址，最多 64 个"),
            (&long, "--addr: 130 addresses; at most 64 are allowed", "--addr：有 130 个地址，最多 64 个"),
        ] {
            run(&format!("{command} --addr {list}")).assert_usage_error(english);
            run(&format!("{command} --lang zh --addr {list}")).assert_usage_error(chinese);
        }
        for (list, message) in [
            ("a:1,,b:2", "DUEL_ADDR: '' is not an endpoint: the address is empty; expected HOST:PORT"),
            ("a:1,b", "DUEL_ADDR: 'b' is not an endpoint: the port is missing or invalid; expected"),
            ("a:1, a:1", "DUEL_ADDR: a:1 is in the list twice; give each address once"),
            (&many, "DUEL_ADDR: 65 addresses; at most 64 are allowed"),
        ] {
            client(command).with_env("DUEL_ADDR", list).run("").assert_failed(2, "", &[message]);
        }
    }
}

#[test]
fn other_commands_take_one_address() {
    let one = "expected one address; only 'bench duel' and 'probe duel' take a list";
    for list in ["a:1,b:2", "a:1, tls://b:2", "unix:/a,unix:/b"] {
        for command in
            ["power square 2", "rps throw 1 --duel", "rps play --duel", "probe rps", "bench power", "bench rps"]
        {
            let before: Vec<_> = command.split(' ').chain(["--addr", list]).collect();
            client("").with_arguments(&before).run("").assert_usage_error(one);
        }
        for command in ["rps throw 1 --duel", "rps play --duel"] {
            let message = format!("DUEL_ADDR: '{list}' is not an endpoint: {one}");
            client(command).with_env("DUEL_ADDR", list).run("").assert_failed(2, "", &[&message]);
        }
        let chinese = format!("RPS_ADDR：'{list}' 不是端点：请只输入一个地址");
        client("rps play --lang zh").with_env("RPS_ADDR", list).run("").assert_failed(2, "", &[&chinese]);
    }
    // The path of a socket may have a comma.
    run("probe power --addr unix:/a,b.sock").assert_failed(3, "", &["unix:/a,b.sock: cannot connect"]);
}

#[test]
fn what_is_not_printable_in_arguments_and_variables_is_escaped() {
    // A control sequence, a line feed that fakes a message, and a character that reverses the rest of the line.
    let hostile = "\x1b[2J\n\u{202e}\u{2066}石头";
    let escaped = r"\u{1b}[2J\n\u{202e}\u{2066}石头";
    for before in [
        &["power", "square", "2", "--addr"][..],
        &["rps", "throw", "1", "--addr"],
        &["rps", "play", "--duel", "--addr"],
        &["probe", "duel", "--addr"],
        &["bench", "power", "--addr"],
        &["bench", "exchange", "--send", "a", "--expect", "b", "--addr"],
        &["bench", "power", "--sources"],
        &["power", "square", "2", "--timeout"],
        &["power", "square", "2", "--framing"],
        &["power", "square"],
        &["rps", "throw"],
        &["power"],
        &["--lang"],
    ] {
        for suffix in ["", ":1"] {
            let value = format!("{hostile}{suffix}");
            for json in [&[][..], &["--json"]] {
                let finished = client("").with_arguments(json).with_arguments(before).with_arguments(&[&value]).run("");
                let output = format!("{}{}", finished.stdout, finished.stderr);
                // JSON escapes the backslashes again.
                assert!(output.replace(r"\\", r"\").contains(escaped), "{before:?}: {finished:?}");
                finished.assert_printable();
                finished.assert_exit_code(2);
            }
        }
    }
    for (command, variable) in [
        ("power square 2", "POWER_ADDR"),
        ("rps throw 1", "RPS_ADDR"),
        ("rps throw 1 --duel", "DUEL_ADDR"),
        ("bench power", "POWER_ADDR"),
    ] {
        for suffix in ["", ":1"] {
            let finished = client(command).with_env(variable, &format!("{hostile}{suffix}")).run("");
            finished.assert_failed(2, "", &[&format!("{variable}: '{escaped}{suffix}' is not an endpoint")]);
            finished.assert_printable();
        }
    }
    let unknown = client("").with_arguments(&[&format!("--{hostile}")]).run("");
    unknown.assert_usage_error(&format!("unexpected argument '--{escaped}'"));
    unknown.assert_printable();
    for line in [hostile, "\u{202e}1", "１\u{200b}"] {
        let finished = client("power square -").run(line.replace('\n', ""));
        finished.assert_usage_error("standard input, line 1: '");
        finished.assert_printable();
    }
}

#[test]
fn the_environment_sets_the_address_and_the_flag_overrides_it() {
    let (power, rps, closed_port) = (real::power(), real::rps(), ReservedPort::new());
    for (command, variable, address) in [
        ("power square 2", "POWER_ADDR", power.address()),
        ("probe power", "POWER_ADDR", power.address()),
        ("rps throw rock", "RPS_ADDR", rps.address()),
        ("probe rps", "RPS_ADDR", rps.address()),
    ] {
        client(command).with_env(variable, &address.to_string()).run("").assert_exit_code(0);
        let elsewhere = client(&format!("{command} --addr {address}"));
        elsewhere.with_env(variable, &closed_port.to_string()).run("").assert_exit_code(0);
        client(command).with_env(variable, &closed_port.to_string()).run("").assert_exit_code(3);
    }
}

#[test]
fn a_name_is_resolved() {
    let server = real::power();
    let port = server.address().port();
    run(&format!("power square 2 --addr localhost:{port}")).assert_success("4.0\n");
    run(&format!("power square 2 3 --keep-alive --addr localhost:{port}")).assert_success("4.0\n9.0\n");
}

#[test]
#[ignore = "needs an IPv6 loopback address: run with -- --ignored ipv6"]
fn an_ipv6_address_is_written_in_brackets() {
    let server = real::power_at("[::1]:0").expect("there is an IPv6 loopback address");
    // The zone of a link-local address is an interface; `lo` is always the first. Nothing has this address.
    let finished = run("power square 2 -v --timeout 200ms --addr [fe80::1%lo]:5000");
    assert!(finished.stderr.contains("[fe80::1%lo]:5000 is [fe80::1%1]:5000 ("), "{finished:?}");
    assert!(server.to_string().starts_with("[::1]:"));
    run(&format!("power square 2 --addr {server}")).assert_success("4.0\n");
    run(&format!("probe power --addr {server}")).assert_exit_code(0);
}

#[test]
fn flags_work_before_and_after_the_subcommand_and_between_operands() {
    let server = real::power();
    for arguments in [
        "--timeout 60s power square 2 -3 --addr",
        "power --timeout 60s square 2 -3 --addr",
        "power square --timeout 60s 2 -3 --addr",
        "power square 2 --timeout=60s -3 --addr",
        "power square 2 -3 --timeout 60s --keep-alive --addr",
    ] {
        run(&format!("{arguments} {server}")).assert_success("4.0\n9.0\n");
        run(&format!("{arguments}={server}")).assert_success("4.0\n9.0\n");
    }
}

#[test]
fn the_timeout_works_at_any_position() {
    let server = Fake::silent();
    for arguments in [
        "--timeout 150ms power square 2",
        "power square 2 --timeout 150ms",
        "--timeout 150ms rps throw rock",
        "rps throw rock --timeout 150ms",
        "--timeout 150ms probe rps",
        "probe power --timeout 150ms",
    ] {
        run(&format!("{arguments} --addr {server}")).assert_failed(4, "", &["no reply within 150ms"]);
    }
}
