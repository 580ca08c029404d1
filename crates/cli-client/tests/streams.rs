//! Standard streams and signals: pipes, scripts and Ctrl-C.

#![allow(clippy::expect_used, reason = "a failed setup fails the test")]

mod support;

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use proto::testing::TEST_TIMEOUT;
use proto::testing::process::ChildProcess;
use rustix::process::{Pid, Signal, kill_process_group};
use support::fake::{Fake, Then, read_some};
use support::real::ReservedPort;
use support::{client, closed_pipe, real};

#[test]
fn each_result_is_printed_before_the_next_number_arrives() {
    let server = real::power();
    for flags in ["", "--framing line", "--keep-alive"] {
        let mut running = client(&format!("power square - {flags} --addr {server}")).start();
        for (number, reply) in [("2\n", "4.0\n"), ("3\n", "9.0\n"), ("4\n", "16.0\n")] {
            running.write_stdin(number);
            assert_eq!(running.next_line(), reply, "{flags}");
        }
        running.finish().assert_success("4.0\n9.0\n16.0\n");
    }
}

#[test]
fn each_outcome_is_printed_before_the_next_move_arrives() {
    let server = Fake::replying_to_each_read(b"y");
    let mut running = client(&format!("rps throw - --addr {server}")).start();
    for name in ["rock", "paper"] {
        running.write_stdin(&format!("{name}\n"));
        assert_eq!(running.next_line(), format!("{name} win\n"));
    }
    running.finish().assert_success("rock win\npaper win\n");
}

#[test]
fn a_closed_output_pipe_ends_the_command_without_a_message() {
    let (power, rps) = (real::power(), real::rps());
    for arguments in [
        format!("power square - --addr {power}"),
        format!("power square - --keep-alive --addr {power}"),
        format!("rps throw - --addr {rps}"),
    ] {
        // As in `yes 2 | cli-client power square - | head -1`; the input is larger than a pipe's buffer.
        let finished = client(&arguments).with_stdout(closed_pipe()).run("2\n".repeat(200_000));
        assert!(finished.input_left, "{arguments}: the client read all input");
        finished.assert_success("");
    }
    client(&format!("probe power --addr {power}")).with_stdout(closed_pipe()).run("").assert_success("");
    client(&format!("probe rps --addr {rps}")).with_stdout(closed_pipe()).run("").assert_success("");
}

#[test]
fn a_full_disk_is_reported() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: this machine has no /dev/full");
        return;
    };
    let server = real::power();
    for arguments in [format!("power square 2 --addr {server}"), "--help".to_owned(), "power -h".to_owned()] {
        let full = full.try_clone().expect("the descriptor can be duplicated");
        client(&arguments).with_stdout(full).run("").assert_failed(1, "", &["No space left on device"]);
    }
}

#[test]
fn the_exit_code_is_the_same_with_standard_error_closed() {
    let closed_port = ReservedPort::new();
    client(&format!("power square 2 --addr {closed_port}")).with_stderr(closed_pipe()).run("").assert_exit_code(3);
    client("power square abc").with_stderr(closed_pipe()).run("").assert_exit_code(2);
    let server = real::power();
    let refused = client(&format!("power square 1e200 2 --addr {server}")).with_stderr(closed_pipe()).run("");
    refused.assert_failed(1, "4.0\n", &[]);
}

#[test]
fn ctrl_c_while_waiting_for_a_reply_kills_the_client_without_a_message() {
    for arguments in ["power square 2", "power square 2 --keep-alive", "rps throw rock", "probe power", "probe rps"] {
        let (sender, received) = channel();
        let server = Fake::new(move |stream| {
            drop(sender.send(read_some(stream)?));
            Ok(Then::Hold)
        });
        let running = client(&format!("{arguments} --timeout 1h --addr {server}")).start();
        // After its first request the client handles signals.
        received.recv_timeout(TEST_TIMEOUT).expect("the client sends a request");
        running.interrupt();
        running.wait().assert_killed_by_sigint("");
    }
}

#[test]
fn ctrl_c_while_waiting_for_input_kills_the_client_after_earlier_results() {
    let (power, rps) = (real::power(), Fake::replying_to_each_read(b"x"));
    for (arguments, typed, printed) in [
        (format!("power square - --addr {power}"), "2\n", "4.0\n"),
        (format!("power square - --keep-alive --addr {power}"), "2\n", "4.0\n"),
        (format!("rps throw - --addr {rps}"), "2\n", "rock draw\n"),
    ] {
        let mut running = client(&arguments).start();
        running.write_stdin(typed);
        assert_eq!(running.next_line(), printed);
        running.interrupt();
        running.wait().assert_killed_by_sigint(printed);
    }
}

#[test]
fn ctrl_c_ends_a_probe_that_waits_for_a_server() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_some(stream)?));
        Ok(Then::Close)
    });
    let running = client(&format!("probe rps --wait 1h --addr {server}")).start();
    for _ in 0..2 {
        received.recv_timeout(TEST_TIMEOUT).expect("the probe makes two attempts");
    }
    running.interrupt();
    running.wait().assert_killed_by_sigint("");
}

#[test]
fn each_signal_kills_the_client() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let (sender, received) = channel();
        let server = Fake::new(move |stream| {
            drop(sender.send(read_some(stream)?));
            Ok(Then::Hold)
        });
        let running = client(&format!("power square 2 --timeout 1h --addr {server}")).start();
        received.recv_timeout(TEST_TIMEOUT).expect("the client sends a request");
        running.signal(name);
        let finished = running.wait();
        assert_eq!((finished.code, finished.signal), (None, Some(number)), "{name}: {finished:?}");
    }
}

/// A terminal sends SIGINT to the shell and to the command. The shell ends its loop only if the signal killed the
/// command.
#[test]
fn ctrl_c_ends_a_loop_of_the_shell() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_some(stream)?));
        Ok(Then::Hold)
    });
    let program = env!("CARGO_BIN_EXE_cli-client");
    let script = format!("for i in 1 2 3; do {program} power square 2 --timeout 1h --addr {server}; done");
    let mut bash = Command::new("bash");
    let mut shell = ChildProcess::start(bash.args(["-c", &script]).process_group(0).stderr(Stdio::null()));
    received.recv_timeout(TEST_TIMEOUT).expect("the client sends a request");
    let group = i32::try_from(shell.id()).ok().and_then(Pid::from_raw).expect("a process ID");
    kill_process_group(group, Signal::INT).expect("the group exists");
    assert_eq!(shell.wait_status().signal(), Some(2));
    assert!(received.try_recv().is_err(), "the loop went on");
}

#[test]
fn a_signal_ignored_at_the_start_does_not_end_the_client() {
    let (release, released) = channel();
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_some(stream)?));
        // Without the release it replies after TEST_TIMEOUT; the client has then ended and the test has failed.
        let _ = released.recv_timeout(TEST_TIMEOUT);
        std::io::Write::write_all(stream, b"d4.0")?;
        Ok(Then::Close)
    });
    // As with nohup(1).
    let program = env!("CARGO_BIN_EXE_cli-client");
    let script = format!("trap '' HUP; exec {program} power square 2 --timeout 60s --framing bare --addr {server}");
    let mut client = ChildProcess::start(Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()));
    received.recv_timeout(TEST_TIMEOUT).expect("the client sends a request");
    client.signal("HUP");
    release.send(()).expect("the server is waiting");
    assert_eq!((client.wait(), client.stdout.wait_for_end().as_str()), (Some(0), "4.0\n"));
}
