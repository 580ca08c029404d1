//! Standard streams and signals: what a pipe, a script and Ctrl-C meet.

#![allow(clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod support;

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use proto::testing::PATIENCE;
use proto::testing::process::ChildProcess;
use support::fake::{Fake, Then, hear};
use support::real::Reserved;
use support::{client, real, unread_pipe};

#[test]
fn each_answer_is_printed_before_the_next_number_is_there() {
    let server = real::power();
    for flags in ["", "--framing line", "--keep-alive"] {
        let mut running = client(&format!("power square - {flags} --addr {server}")).start();
        for (number, answer) in [("2\n", "4.0\n"), ("3\n", "9.0\n"), ("4\n", "16.0\n")] {
            running.type_in(number);
            assert_eq!(running.next_line(), answer, "{flags}");
        }
        running.finish().assert_done("4.0\n9.0\n16.0\n");
    }
}

#[test]
fn each_outcome_is_printed_before_the_next_move_is_there() {
    let server = Fake::answering_each_read(b"y");
    let mut running = client(&format!("rps throw - --addr {server}")).start();
    for shown in ["rock", "paper"] {
        running.type_in(&format!("{shown}\n"));
        assert_eq!(running.next_line(), format!("{shown} win\n"));
    }
    running.finish().assert_done("rock win\npaper win\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let (power, rps) = (real::power(), real::rps());
    for arguments in [
        format!("power square - --addr {power}"),
        format!("power square - --keep-alive --addr {power}"),
        format!("rps throw - --addr {rps}"),
    ] {
        // As in `yes 2 | cli-client power square - | head -1`; more than a pipe holds.
        let finished = client(&arguments).with_output(unread_pipe()).run("2\n".repeat(200_000));
        assert!(finished.input_left, "{arguments}: it went on");
        finished.assert_done("");
    }
    client(&format!("probe power --addr {power}")).with_output(unread_pipe()).run("").assert_done("");
    client(&format!("probe rps --addr {rps}")).with_output(unread_pipe()).run("").assert_done("");
}

#[test]
fn a_full_disk_is_reported() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: this machine has no /dev/full");
        return;
    };
    let server = real::power();
    let client = client(&format!("power square 2 --addr {server}"));
    client.with_output(full).run("").assert_failed(1, "", &["No space left on device"]);
}

#[test]
fn where_nobody_reads_the_messages_the_exit_code_still_tells() {
    let nobody = Reserved::new();
    client(&format!("power square 2 --addr {nobody}")).with_errors(unread_pipe()).run("").assert_ended(3);
    client("power square abc").with_errors(unread_pipe()).run("").assert_ended(2);
    let server = real::power();
    let refused = client(&format!("power square 1e200 2 --addr {server}")).with_errors(unread_pipe()).run("");
    refused.assert_failed(1, "4.0\n", &[]);
}

#[test]
fn ctrl_c_while_a_reply_is_awaited_is_exit_code_130_without_a_word() {
    for arguments in ["power square 2", "power square 2 --keep-alive", "rps throw rock", "probe power", "probe rps"] {
        let (sender, heard) = channel();
        let server = Fake::new(move |stream| {
            drop(sender.send(hear(stream)?));
            Ok(Then::Hold)
        });
        let running = client(&format!("{arguments} --timeout 1h --addr {server}")).start();
        // A client that has sent something is past its start, and so minds signals.
        heard.recv_timeout(PATIENCE).expect("the client asks");
        running.interrupt();
        running.wait().assert_failed(130, "", &[]);
    }
}

#[test]
fn ctrl_c_while_input_is_awaited_is_exit_code_130_after_the_answers_so_far() {
    let (power, rps) = (real::power(), Fake::answering_each_read(b"x"));
    for (arguments, typed, printed) in [
        (format!("power square - --addr {power}"), "2\n", "4.0\n"),
        (format!("power square - --keep-alive --addr {power}"), "2\n", "4.0\n"),
        (format!("rps throw - --addr {rps}"), "2\n", "rock draw\n"),
    ] {
        let mut running = client(&arguments).start();
        running.type_in(typed);
        assert_eq!(running.next_line(), printed);
        running.interrupt();
        running.wait().assert_failed(130, printed, &[]);
    }
}

#[test]
fn ctrl_c_ends_a_probe_that_waits_for_a_server() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(hear(stream)?));
        Ok(Then::Close)
    });
    let running = client(&format!("probe rps --wait 1h --addr {server}")).start();
    for _ in 0..2 {
        heard.recv_timeout(PATIENCE).expect("the probe tries, and tries again");
    }
    running.interrupt();
    running.wait().assert_failed(130, "", &[]);
}

#[test]
fn a_signal_that_the_client_was_started_to_ignore_does_not_end_it() {
    let (release, released) = channel();
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(hear(stream)?));
        // Without the release it answers in the end; then the client has ended and the test has failed.
        let _ = released.recv_timeout(PATIENCE);
        std::io::Write::write_all(stream, b"d4.0")?;
        Ok(Then::Close)
    });
    // As nohup(1) does.
    let program = env!("CARGO_BIN_EXE_cli-client");
    let script = format!("trap '' HUP; exec {program} power square 2 --timeout 60s --framing bare --addr {server}");
    let mut client = ChildProcess::start(Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()));
    heard.recv_timeout(PATIENCE).expect("the client asks");
    client.signal("HUP");
    release.send(()).expect("the server waits");
    assert_eq!((client.wait(), client.stdout.wait_for_end().as_str()), (Some(0), "4.0\n"));
}
