//! `power` without a correct reply: each kind of error has an exit code and a distinct message.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use proto::testing::blocking::reset_on_close;
use support::fake::{Fake, Then, read_some, read_to_eof, reply_and_half_close};
use support::real::{ReservedPort, runtime};
use support::{client, real, run};

const FRAMINGS: [&str; 4] = ["", "--framing line", "--framing bare", "--keep-alive"];

#[test]
fn a_refused_connection_exits_with_3_and_a_hint() {
    let closed_port = ReservedPort::new();
    for flags in FRAMINGS {
        run(&format!("power square 2 3 {flags} --addr {closed_port}")).assert_failed(
            3,
            "",
            &["cannot connect: Connection refused (os error 111); nothing listens there"],
        );
    }
}

#[test]
fn an_unresolvable_name_exits_with_3() {
    // Only once and with a long timeout: without a network, some resolvers are slow.
    run("power square 2 --timeout 60s --addr nosuchhost.invalid:1").assert_failed(
        3,
        "",
        &["nosuchhost.invalid:1: the name cannot be resolved"],
    );
}

#[test]
fn a_full_accept_queue_exits_with_4_in_the_connect_phase() {
    let runtime = runtime();
    let within = runtime.enter();
    let reserved = ReservedPort::new();
    let address = reserved.address();
    let _listener = reserved.listen(1).expect("the port is free");
    drop(within);
    // No connection is accepted, so the accept queue fills, and then the kernel keeps further connects waiting.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queue.push(stream);
        assert!(queue.len() < 100, "a backlog of 1 never fills");
    }
    run(&format!("power square 2 --timeout 200ms --addr {address}")).assert_failed(
        4,
        "",
        &["no connection within 200ms"],
    );
}

#[test]
fn a_silent_server_exits_with_4_in_the_reply_phase() {
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
fn a_reply_without_eof_exits_with_4_in_the_end_phase_and_a_hint() {
    let server = Fake::replying_once(b"d4.0");
    run(&format!("power square 2 --timeout 200ms --addr {server}")).assert_failed(
        4,
        "",
        &["no complete reply within 200ms; if the server ends its replies in another way, try another --framing, such as bare"],
    );
    for flags in ["--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 200ms --addr {server}")).assert_failed(
            4,
            "",
            &["no complete reply within 200ms; "],
        );
    }
    run(&format!("power square 2 --framing bare --addr {server}")).assert_success("4.0\n");
}

#[test]
fn a_line_without_a_line_end_exits_with_4_and_no_result() {
    let server = Fake::replying_once(b"d4.0");
    for flags in ["--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 200ms --addr {server}")).assert_failed(4, "", &["within 200ms"]);
    }
}

#[test]
fn single_bytes_do_not_extend_the_timeout() {
    let server = Fake::new(|stream| {
        read_some(stream)?;
        stream.write_all(b"d")?;
        // Ends with an error when the client closes.
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
fn results_before_a_timeout_are_printed() {
    let server = Fake::replying_once(b"d4.0\n");
    run(&format!("power square 2 3 --keep-alive --timeout 200ms --addr {server}")).assert_failed(
        4,
        "4.0\n",
        &["no reply within 200ms"],
    );
}

#[test]
fn an_invalid_reply_exits_with_5_and_is_quoted() {
    for (reply, quoted) in [
        (&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], "'HTTP/1.1 400 Bad Request"),
        (b"dinf", "'dinf' is not a valid reply"),
        (b"dnan", "'dnan' is not a valid reply"),
        (b"d", "'d' is not a valid reply"),
        (b"d0x10", "'d0x10' is not a valid reply"),
        (b"d 4.0 ", "'d 4.0 ' is not a valid reply"),
        (b"d4.00", "'d4.00' is not a valid reply"),
        (b"4.0", "'4.0' is not a valid reply"),
        (b"d4.0eBADOP x", "'d4.0eBADOP x' is not a valid reply"),
        (b"d1.0d2.0", "'d1.0d2.0' is not a valid reply"),
        (b"d1.0\nd2.0\n", r"'d1.0\nd2.0\n' is not a valid reply"),
        (b"eWHAT now", "'eWHAT now' is not a valid reply"),
        (b"eBUSY \x1b[2J\x07", r"'eBUSY \x1b[2J\x07' is not a valid reply"),
        (b"\xff\xfe\x00", r"'\xff\xfe\x00' is not a valid reply"),
    ] {
        let server = Fake::replying(reply);
        run(&format!("power square 2 --addr {server}")).assert_failed(5, "", &[quoted]);
    }
}

#[test]
fn an_invalid_line_exits_with_5_after_earlier_results() {
    for (replies, quoted) in [
        (&b"d4.0\nHTTP/1.1 400 Bad Request\n"[..], "'HTTP/1.1 400"),
        (b"d4.0\ndinf\nd9.0\n", "'dinf' is not a valid reply"),
        (b"d4.0\nd9.0eBADOP x\n", "'d9.0eBADOP x' is not a valid reply"),
        (b"d4.0\n\n", r"'\n' is not a valid reply"),
    ] {
        let server = Fake::replying(replies);
        run(&format!("power square 2 3 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &[quoted]);
    }
}

#[test]
fn a_reply_with_an_invalid_start_exits_with_5_at_once() {
    let server = Fake::replying_once(b"220 hello\r\n");
    for flags in FRAMINGS {
        // The connection stays open, so only the reply can end the client in time.
        run(&format!("power square 2 {flags} --timeout 1h --addr {server}")).assert_failed(5, "", &["'220 hello"]);
    }
}

#[test]
fn an_extra_reply_exits_with_5() {
    let server = Fake::replying_once(b"d4.0\nd9.0\n");
    run(&format!("power square 2 --framing line --addr {server}")).assert_failed(5, "", &["more replies than"]);
    let server = Fake::replying(b"d4.0\nd9.0\n");
    run(&format!("power square 2 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &["more replies than"]);
    // An extra reply is not used for a later request.
    let server = Fake::replying_once(b"d4.0\nd99.0\n");
    let mut running = client(&format!("power square - --keep-alive --addr {server}")).start();
    running.write_stdin("2\n");
    assert_eq!(running.next_line(), "4.0\n");
    running.write_stdin("3\n");
    running.wait().assert_failed(5, "4.0\n", &["more replies than"]);
}

#[test]
fn an_error_reply_before_a_reset_is_reported() {
    let server = Fake::new(|stream| {
        stream.write_all(b"eBUSY later")?;
        // Wait for the request: closing the connection before reading it causes a reset.
        stream.peek(&mut [0])?;
        Ok(Then::Close)
    });
    for flags in ["", "--keep-alive"] {
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(1, "", &["BUSY later"]);
    }
}

#[test]
fn an_invalid_bare_reply_exits_with_5() {
    for (reply, quoted) in [(&b"dinf"[..], "'dinf'"), (b"4.0", "'4.0'"), (b"d4.0eBADOP x", "'d4.0eBAD")] {
        let server = Fake::replying_once(reply);
        run(&format!("power square 2 --framing bare --addr {server}")).assert_failed(5, "", &[quoted]);
    }
}

#[test]
fn a_truncated_reply_exits_with_5() {
    let truncated = |reply: &'static [u8]| {
        Fake::new(move |stream| {
            read_some(stream)?;
            stream.write_all(reply)?;
            Ok(Then::Close)
        })
    };
    let server = truncated(b"d4.");
    run(&format!("power square 2 --framing line --addr {server}")).assert_failed(5, "", &["within a reply"]);
    for reply in [&b"d"[..], b"d4", b"d4.", b"d1e+2"] {
        let server = truncated(reply);
        run(&format!("power square 2 --framing bare --addr {server}")).assert_failed(5, "", &["within a reply"]);
        let server = Fake::replying(reply);
        run(&format!("power square 2 --addr {server}")).assert_failed(5, "", &["is not a valid reply"]);
    }
    let server = Fake::replying(b"d4.0\nd9.");
    run(&format!("power square 2 3 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &["within a reply"]);
}

#[test]
fn a_close_without_a_reply_exits_with_5() {
    let server = Fake::replying(b"");
    for flags in ["", "--keep-alive"] {
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(
            5,
            "",
            &["the server closed the connection without a reply"],
        );
    }
    let server = Fake::new(|stream| {
        read_some(stream)?;
        Ok(Then::Close)
    });
    run(&format!("rps throw rock --addr {server}")).assert_failed(
        5,
        "",
        &[": the server closed the connection before the reply; the outcome of the move is unknown"],
    );
    run(&format!("--lang zh rps throw rock --addr {server}")).assert_failed(
        5,
        "",
        &["：服务器在应答之前关闭了连接；这一拳的结果未知"],
    );
    let server = Fake::new(|_| Ok(Then::Close));
    for flags in FRAMINGS {
        // Whether the client notices this while sending or while waiting for the reply depends on timing.
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(5, "", &[&server.to_string()]);
    }
}

#[test]
fn a_reset_exits_with_5() {
    for (flags, read) in [
        ("", read_to_eof as fn(&mut _) -> _),
        ("--keep-alive", read_to_eof),
        ("--framing line", read_some),
        ("--framing bare", read_some),
    ] {
        let server = Fake::resetting_after(read);
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(5, "", &["reset"]);
    }
}

#[test]
fn a_reply_longer_than_the_maximum_exits_with_5() {
    let server = Fake::new(|stream| {
        read_some(stream)?;
        // Ends with an error when the client closes.
        loop {
            stream.write_all(&[b'd'; 64])?;
        }
    });
    for flags in ["", "--framing line", "--keep-alive"] {
        run(&format!("power square 2 {flags} --timeout 60s --addr {server}")).assert_failed(5, "", &["more than 1024"]);
    }
}

/// The second number comes after the idle timeout of the server.
#[test]
fn a_number_after_an_idle_close_gets_a_new_connection() {
    let mut replies = [&b"d4.0\n"[..], b"d9.0\n"].into_iter();
    let server = Fake::new(move |stream| reply_and_half_close(stream, replies.next().unwrap_or_default()));
    let mut running = client(&format!("power square - --keep-alive --addr {server}")).start();
    running.write_stdin("2\n");
    assert_eq!(running.next_line(), "4.0\n");
    running.write_stdin("3\n");
    assert_eq!(running.next_line(), "9.0\n");
    running.finish().assert_success("4.0\n9.0\n");
}

#[test]
fn numbers_that_cross_an_idle_close_are_sent_again() {
    for reset in [false, true] {
        let mut connections = 0;
        let server = Fake::new(move |stream| {
            connections += 1;
            if connections == 1 {
                read_some(stream)?;
                stream.write_all(b"d4.0\n")?;
                // The server closes its idle connection while the next request is in flight.
                read_some(stream)?;
                if reset {
                    reset_on_close(stream);
                }
            } else {
                read_some(stream)?;
                stream.write_all(b"d9.0\n")?;
                read_to_eof(stream)?;
            }
            Ok(Then::Close)
        });
        let mut running = client(&format!("power square - --keep-alive --addr {server}")).start();
        running.write_stdin("2\n");
        assert_eq!(running.next_line(), "4.0\n");
        running.write_stdin("3\n");
        assert_eq!(running.next_line(), "9.0\n");
        running.finish().assert_success("4.0\n9.0\n");
    }
}

/// A server that never replies again must not keep the client in a loop.
#[test]
fn numbers_are_sent_again_only_after_a_reply_on_their_connection() {
    let mut connections = 0;
    let server = Fake::new(move |stream| {
        connections += 1;
        read_some(stream)?;
        if connections == 1 {
            stream.write_all(b"d4.0\n")?;
            read_some(stream)?;
        }
        Ok(Then::Close)
    });
    let mut running = client(&format!("power square - --keep-alive --addr {server}")).start();
    running.write_stdin("2\n");
    assert_eq!(running.next_line(), "4.0\n");
    running.write_stdin("3\n");
    running.wait().assert_failed(5, "4.0\n", &["the server closed the connection without a reply"]);
}

#[test]
fn nothing_is_connected_before_there_is_a_number_or_a_move() {
    let closed_port = ReservedPort::new();
    run(&format!("power square - --keep-alive --addr {closed_port}")).assert_success("");
    run(&format!("rps throw - --addr {closed_port}")).assert_success("");
    run(&format!("rps play --addr {closed_port}")).assert_success("0 won, 0 lost, 0 drawn\n");
    for command in ["power square - --keep-alive", "rps throw -", "rps play"] {
        client(&format!("{command} --addr {closed_port}")).run("1\n").assert_failed(3, "", &["cannot connect"]);
    }
}

#[test]
fn a_connection_broken_between_replies_exits_with_5_after_earlier_results() {
    let server = Fake::new(|stream| {
        // All three requests arrive before the first reply.
        while read_some(stream)?.last() != Some(&b'\n') {}
        stream.write_all(b"d4.0\n")?;
        Ok(Then::Close)
    });
    run(&format!("power square 2 3 4 --keep-alive --addr {server}")).assert_failed(5, "4.0\n", &[&server.to_string()]);
}

#[test]
fn an_error_ends_the_command_after_earlier_results() {
    let mut replies = [&b"d4.0"[..], b"dinf", b"d16.0"].into_iter();
    let server = Fake::new(move |stream| {
        read_to_eof(stream)?;
        stream.write_all(replies.next().unwrap_or_default())?;
        Ok(Then::Close)
    });
    run(&format!("power square 2 3 4 --addr {server}")).assert_failed(5, "4.0\n", &["'dinf'"]);
}

#[test]
fn the_wrong_server_exits_with_5() {
    let server = real::rps();
    run(&format!("power square 2 --addr {server}")).assert_failed(
        5,
        "",
        &["is not a valid reply of the power protocol; this looks like the rps server"],
    );
    let server = real::power();
    for command in ["rps throw rock", "probe rps", "probe duel"] {
        run(&format!("{command} --addr {server}")).assert_failed(5, "", &["; this looks like the power server"]);
    }
}
