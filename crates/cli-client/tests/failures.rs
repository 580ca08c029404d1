//! `power` where no right answer comes: one exit code for each kind of failure, and a message that tells them apart.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use support::fake::{Fake, Then, answer_and_leave, hear, hear_all};
use support::real::{Reserved, runtime};
use support::{client, real, run};

const FRAMINGS: [&str; 4] = ["", "--framing line", "--framing bare", "--keep-alive"];

#[test]
fn a_port_where_nobody_listens_is_exit_code_3_with_a_hint() {
    let nobody = Reserved::new();
    for flags in FRAMINGS {
        run(&format!("power square 2 3 {flags} --addr {nobody}")).assert_failed(
            3,
            "",
            &["cannot connect: Connection refused (os error 111); nothing listens there"],
        );
    }
}

#[test]
fn a_name_without_an_address_is_exit_code_3() {
    // Once only, and with time: where there is no network, some resolvers take theirs.
    run("power square 2 --timeout 60s --addr nosuchhost.invalid:1").assert_failed(
        3,
        "",
        &["nosuchhost.invalid:1: the name cannot be resolved"],
    );
}

#[test]
fn a_server_that_takes_no_connections_is_exit_code_4_in_the_connect_phase() {
    let runtime = runtime();
    let within = runtime.enter();
    let reserved = Reserved::new();
    let address = reserved.address();
    let _listener = reserved.listen(1).expect("the port is free");
    drop(within);
    // Nobody accepts, so the queue fills, and then the kernel lets further connections wait.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue of one never fills");
    }
    run(&format!("power square 2 --timeout 200ms --addr {address}")).assert_failed(
        4,
        "",
        &["no connection within 200ms"],
    );
}

#[test]
fn a_silent_server_is_exit_code_4_in_the_reply_phase() {
    let server = Fake::silent();
    for flags in FRAMINGS {
        run(&format!("power square 2 {flags} --timeout 200ms --addr {server}")).assert_failed(
            4,
            "",
            &["no reply within 200ms; --timeout sets how long to wait"],
        );
    }
}

#[test]
fn a_server_that_answers_and_does_not_close_is_exit_code_4_in_the_end_phase_with_a_hint() {
    let server = Fake::answering_once(b"d4.0");
    run(&format!("power square 2 --timeout 200ms --addr {server}")).assert_failed(
        4,
        "",
        &["no complete reply within 200ms; a server that ends its replies otherwise may need another --framing, such as bare"],
    );
    for flags in ["--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 200ms --addr {server}")).assert_failed(
            4,
            "",
            &["no complete reply within 200ms; "],
        );
    }
    run(&format!("power square 2 --framing bare --addr {server}")).assert_done("4.0\n");
}

#[test]
fn a_line_without_its_end_is_exit_code_4_and_no_answer() {
    let server = Fake::answering_once(b"d4.0");
    for flags in ["--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 200ms --addr {server}")).assert_failed(4, "", &["within 200ms"]);
    }
}

#[test]
fn a_server_that_dribbles_does_not_stretch_the_timeout() {
    let server = Fake::new(|stream| {
        stream.write_all(b"d")?;
        hear(stream)?;
        // Ends when the client has gone.
        loop {
            stream.write_all(b"1")?;
            sleep(Duration::from_millis(20));
        }
    });
    for flags in ["", "--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 200ms --addr {server}")).assert_failed(4, "", &["within 200ms"]);
    }
}

#[test]
fn answers_before_a_timeout_are_printed() {
    let server = Fake::answering_once(b"d4.0\n");
    run(&format!("power square 2 3 --keep-alive --timeout 200ms --addr {server}")).assert_failed(
        4,
        "4.0\n",
        &["no reply within 200ms"],
    );
}

#[test]
fn what_is_no_reply_of_the_wire_is_exit_code_5_and_quoted() {
    for (reply, quoted) in [
        (&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], "'HTTP/1.1 400 Bad Request"),
        (b"dinf", "'dinf' is not a valid reply"),
        (b"dnan", "'dnan' is not a valid reply"),
        (b"d", "'d' is not a valid reply"),
        (b"d0x10", "'d0x10' is not a valid reply"),
        (b"4.0", "'4.0' is not a valid reply"),
        (b"d4.0eBADOP x", "'d4.0eBADOP x' is not a valid reply"),
        (b"d1.0d2.0", "'d1.0d2.0' is not a valid reply"),
        (b"d1.0\nd2.0\n", r"'d1.0\nd2.0\n' is not a valid reply"),
        (b"eWHAT now", "'eWHAT now' is not a valid reply"),
        (b"eBUSY \x1b[2J\x07", r"'eBUSY \x1b[2J\x07' is not a valid reply"),
        (b"\xff\xfe\x00", r"'\xff\xfe\x00' is not a valid reply"),
    ] {
        let server = Fake::answering(reply);
        run(&format!("power square 2 --addr {server}")).assert_failed(5, "", &[quoted]);
    }
}

#[test]
fn a_line_that_is_no_reply_is_exit_code_5_after_the_answers_before_it() {
    for (replies, quoted) in [
        (&b"d4.0\nHTTP/1.1 400 Bad Request\n"[..], "'HTTP/1.1 400"),
        (b"d4.0\ndinf\nd9.0\n", "'dinf' is not a valid reply"),
        (b"d4.0\nd9.0eBADOP x\n", "'d9.0eBADOP x' is not a valid reply"),
        (b"d4.0\n\n", r"'\n' is not a valid reply"),
    ] {
        let server = Fake::answering(replies);
        run(&format!("power square 2 3 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &[quoted]);
    }
}

#[test]
fn what_begins_as_no_reply_is_exit_code_5_at_once() {
    let server = Fake::answering_once(b"220 hello\r\n");
    for flags in FRAMINGS {
        // The server stays open, so that only what it has said can end this before the test's own limit.
        run(&format!("power square 2 {flags} --timeout 1h --addr {server}")).assert_failed(5, "", &["'220 hello"]);
    }
}

#[test]
fn more_replies_than_requests_are_exit_code_5() {
    let server = Fake::answering_once(b"d4.0\nd9.0\n");
    run(&format!("power square 2 --framing line --addr {server}")).assert_failed(5, "", &["more replies than"]);
    let server = Fake::answering(b"d4.0\nd9.0\n");
    run(&format!("power square 2 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &["more replies than"]);
    // Nor is one too many taken for the answer to what is asked later.
    let server = Fake::answering_once(b"d4.0\nd99.0\n");
    let mut running = client(&format!("power square - --keep-alive --addr {server}")).start();
    running.type_in("2\n");
    assert_eq!(running.next_line(), "4.0\n");
    running.type_in("3\n");
    running.wait().assert_failed(5, "4.0\n", &["more replies than"]);
}

#[test]
fn a_refusal_before_a_reset_is_still_a_refusal() {
    let server = Fake::new(|stream| {
        stream.write_all(b"eBUSY later")?;
        // What the client has sent is there, and closing without having read it resets the connection.
        stream.peek(&mut [0])?;
        Ok(Then::Close)
    });
    for flags in ["", "--keep-alive"] {
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(1, "", &["BUSY later"]);
    }
}

#[test]
fn garbage_in_place_of_a_bare_reply_is_exit_code_5() {
    for (reply, quoted) in [(&b"dinf"[..], "'dinf'"), (b"4.0", "'4.0'"), (b"d4.0eBADOP x", "'d4.0eBAD")] {
        let server = Fake::answering_once(reply);
        run(&format!("power square 2 --framing bare --addr {server}")).assert_failed(5, "", &[quoted]);
    }
}

#[test]
fn a_reply_that_is_cut_short_is_exit_code_5() {
    let cut = |reply: &'static [u8]| {
        Fake::new(move |stream| {
            hear(stream)?;
            stream.write_all(reply)?;
            Ok(Then::Close)
        })
    };
    let server = cut(b"d4.");
    run(&format!("power square 2 --framing line --addr {server}")).assert_failed(5, "", &["within a reply"]);
    let server = cut(b"d");
    run(&format!("power square 2 --framing bare --addr {server}")).assert_failed(5, "", &["within a reply"]);
    let server = Fake::answering(b"d4.0\nd9.");
    run(&format!("power square 2 3 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &["within a reply"]);
}

#[test]
fn a_close_without_a_reply_is_exit_code_5() {
    let server = Fake::answering(b"");
    for flags in ["", "--keep-alive"] {
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(
            5,
            "",
            &["closed the connection without a reply"],
        );
    }
    let server = Fake::new(|_| Ok(Then::Close));
    for flags in FRAMINGS {
        // Whether this shows while the request is sent or when the reply is awaited is a matter of time.
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(5, "", &[&server.to_string()]);
    }
}

#[test]
fn a_reset_is_exit_code_5() {
    for (flags, hear) in [
        ("", hear_all as fn(&mut _) -> _),
        ("--keep-alive", hear_all),
        ("--framing line", hear),
        ("--framing bare", hear),
    ] {
        let server = Fake::resetting_after(hear);
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(5, "", &["reset"]);
    }
}

#[test]
fn a_reply_without_end_is_given_up() {
    let server = Fake::new(|stream| {
        hear(stream)?;
        // Ends when the client has gone.
        loop {
            stream.write_all(&[b'd'; 64])?;
        }
    });
    for flags in ["", "--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 60s --addr {server}")).assert_failed(5, "", &["more than 1024"]);
    }
}

/// What is typed next comes after the server's idle time, and the message says so.
#[test]
fn a_connection_that_was_closed_between_two_requests_is_exit_code_5() {
    let server = Fake::new(|stream| answer_and_leave(stream, b"d4.0\n"));
    // Standard input goes on for longer than anything else here could last.
    let mut running = client(&format!("power square - --keep-alive --addr {server}")).start();
    running.type_in("2\n");
    assert_eq!(running.next_line(), "4.0\n");
    running.type_in("3\n");
    running.wait().assert_failed(5, "4.0\n", &["the server has closed the connection: idle timeout or shutdown"]);
}

#[test]
fn a_connection_that_breaks_amid_many_requests_is_exit_code_5_after_the_answers_so_far() {
    let server = Fake::new(|stream| {
        // All three are there before any is answered.
        while hear(stream)?.last() != Some(&b'\n') {}
        stream.write_all(b"d4.0\n")?;
        Ok(Then::Close)
    });
    run(&format!("power square 2 3 4 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &[&server.to_string()]);
}

#[test]
fn a_failure_ends_the_command_and_the_answers_before_it_are_printed() {
    let mut replies = [&b"d4.0"[..], b"dinf", b"d16.0"].into_iter();
    let server = Fake::new(move |stream| {
        hear_all(stream)?;
        stream.write_all(replies.next().unwrap_or_default())?;
        Ok(Then::Close)
    });
    run(&format!("power square 2 3 4 --addr {server}")).assert_failed(5, "4.0\n", &["'dinf'"]);
}

#[test]
fn the_wrong_service_is_exit_code_5() {
    let server = real::rps();
    run(&format!("power square 2 --addr {server}")).assert_failed(
        5,
        "",
        &["is not a valid reply of the power protocol"],
    );
}
