//! `power` against our server and others: requests, results and error replies.

mod support;

use std::io::Write;
use std::sync::mpsc::channel;

use proto::testing::TEST_TIMEOUT;
use support::fake::{Fake, Then, read_some, read_to_eof};
use support::{client, real, run};

#[test]
fn each_operation_prints_one_result_per_line() {
    let server = real::power();
    for (operation, replies) in [
        ("square", "4.0\n9.0\n0.25\n0.0\n"),
        ("cube", "8.0\n-27.0\n0.125\n0.0\n"),
        ("fourth", "16.0\n81.0\n0.0625\n0.0\n"),
        ("echo", "2.0\n-3.0\n0.5\n0.0\n"),
    ] {
        run(&format!("power {operation} 2 -3 .5 0 --addr {server}")).assert_success(replies);
    }
}

#[test]
fn results_have_the_format_of_python() {
    let server = real::power();
    run(&format!("power echo 1e15 1e16 0.0001 0.00001 1.5e300 -0 0.1 5e-324 --addr {server}"))
        .assert_success("1000000000000000.0\n1e+16\n0.0001\n1e-05\n1.5e+300\n-0.0\n0.1\n5e-324\n");
}

#[test]
fn negative_and_scientific_operands_need_no_double_dash() {
    let server = real::power();
    let replies = "-3.0\n-0.5\n-1e-05\n1000.0\n2.0\n-1500.0\n";
    run(&format!("power echo -3 -.5 -1e-5 1E+3 +2 -1.5e3 --addr {server}")).assert_success(replies);
    run(&format!("power echo --addr {server} -- -3 -.5 -1e-5 1E+3 +2 -1.5e3")).assert_success(replies);
}

#[test]
fn every_framing_gets_the_same_results() {
    let server = real::power();
    for flags in ["", "--framing eof", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power cube 2 -3 1e5 {flags} --addr {server}")).assert_success("8.0\n-27.0\n1000000000000000.0\n");
    }
}

#[test]
fn a_short_connection_sends_one_request_with_the_end_of_its_framing() {
    for (flags, request, reply) in
        [("--framing eof", "a2.0", "d4.0"), ("--framing line", "a2.0\n", "d4.0\n"), ("--framing bare", "a2.0", "d4.0")]
    {
        let (sender, received) = channel();
        let server = Fake::new(move |stream| {
            let request = if flags.ends_with("eof") { read_to_eof(stream)? } else { read_some(stream)? };
            drop(sender.send(request));
            stream.write_all(reply.as_bytes())?;
            Ok(Then::Close)
        });
        run(&format!("power square 2 2 {flags} --addr {server}")).assert_success("4.0\n4.0\n");
        drop(server);
        let connections: Vec<_> = received.iter().collect();
        assert_eq!(connections, [request.as_bytes(), request.as_bytes()], "{flags}");
    }
}

#[test]
fn a_keep_alive_connection_sends_all_requests_and_then_half_closes() {
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_to_eof(stream)?));
        stream.write_all(b"d4.0\nd9.0\r\nd16.0\n")?;
        Ok(Then::Close)
    });
    run(&format!("power square 2 3 4 --keep-alive --addr {server}")).assert_success("4.0\n9.0\n16.0\n");
    drop(server);
    assert_eq!(received.iter().collect::<Vec<_>>(), [b"a2.0\na3.0\na4.0\n"]);
}

#[test]
fn a_server_that_replies_to_each_read_works() {
    let server = Fake::replying_to_each_read(b"d4.0");
    for flags in ["", "--framing bare"] {
        run(&format!("power square 2 -2 {flags} --addr {server}")).assert_success("4.0\n4.0\n");
    }
}

#[test]
fn a_reply_in_pieces_is_reassembled() {
    for (flags, end) in [("", ""), ("", "\n"), ("--framing line", "\n"), ("--keep-alive", "\r\n")] {
        let server = Fake::new(move |stream| {
            read_some(stream)?;
            for piece in ["d", "1", "23", ".", "5", end] {
                stream.write_all(piece.as_bytes())?;
            }
            // Close only after the client has closed or half-closed: a close with unread bytes causes a reset.
            read_to_eof(stream)?;
            Ok(Then::Close)
        });
        run(&format!("power echo 123.5 {flags} --addr {server}")).assert_success("123.5\n");
    }
}

#[test]
fn a_late_reply_within_the_timeout_is_accepted() {
    let (release, released) = channel();
    let (sender, received) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(read_to_eof(stream)?));
        // Without the release it replies after TEST_TIMEOUT; the client has then ended and the test has failed.
        let _ = released.recv_timeout(TEST_TIMEOUT);
        stream.write_all(b"d4.0")?;
        Ok(Then::Close)
    });
    let running = client(&format!("power square 2 --timeout 60s --addr {server}")).start();
    received.recv_timeout(TEST_TIMEOUT).expect("the client sends a request");
    release.send(()).expect("the server is waiting");
    running.finish().assert_success("4.0\n");
}

#[test]
fn an_error_reply_is_reported_and_the_other_numbers_have_results() {
    let server = real::power();
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power square 2 1e200 3 -1e300 4 {flags} --addr {server}")).assert_failed(
            1,
            "4.0\n9.0\n16.0\n",
            &["RANGE the square of '1e+200'", "RANGE the square of '-1e+300'"],
        );
    }
}

#[test]
fn a_bare_reply_longer_than_its_request_is_read_completely() {
    let server = real::power();
    for (request, reply) in [("cube 1e5", "1000000000000000.0\n"), ("square 123456.789", "15241578750.190521\n")] {
        run(&format!("power {request} --framing bare --addr {server}")).assert_success(reply);
    }
    run(&format!("power square 1e200 2 --framing bare --addr {server}")).assert_failed(
        1,
        "4.0\n",
        &["RANGE the square of '1e+200' is beyond the largest double, 1.7976931348623157e+308"],
    );
}

#[test]
fn every_error_reply_is_reported_with_its_code_and_exits_with_1() {
    for (reply, code) in [
        (&b"eBADOP what"[..], "BADOP what"),
        (b"eBADNUM what", "BADNUM what"),
        (b"eRANGE what", "RANGE what"),
        (b"eTOOLONG what", "TOOLONG what"),
        (b"eTIMEOUT what", "TIMEOUT what"),
        (b"eBUSY what\n", "BUSY what"),
        (b"eBUSY", "BUSY"),
    ] {
        let server = Fake::replying(reply);
        for flags in ["", "--keep-alive"] {
            run(&format!("power square 2 {flags} --addr {server}")).assert_failed(1, "", &[code]);
        }
    }
}

#[test]
fn a_full_server_is_reported_as_busy() {
    let server = real::power_with_max_connections(1);
    let occupant = server.occupy("d1\n");
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(1, "", &["error reply to 2.0: BUSY "]);
    }
    drop(occupant);
}

#[test]
fn results_before_a_closing_error_reply_are_printed() {
    let server = Fake::replying(b"d4.0\neTIMEOUT too slow\n");
    run(&format!("power square 2 3 4 --keep-alive --addr {server}")).assert_failed(1, "4.0\n", &["TIMEOUT too slow"]);
}

#[test]
fn a_hundred_thousand_numbers_on_one_connection_keep_their_order() {
    let server = real::power();
    let numbers = 0..100_000_u64;
    let input: String = numbers.clone().map(|number| number.to_string() + "\n").collect();
    let replies: String = numbers.map(|number| (number * number).to_string() + ".0\n").collect();
    let finished = client(&format!("power square - --keep-alive --addr {server}")).run(input);
    // `assert_success` would print both long texts.
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let wrong = finished.stdout.lines().zip(replies.lines()).position(|(reply, expected)| reply != expected);
    assert_eq!((wrong, finished.stdout.len()), (None, replies.len()));
}

#[test]
fn an_error_reply_among_pipelined_requests_affects_no_other() {
    let server = real::power();
    let input = "2\n".repeat(3000) + "1e200\n" + &"3\n".repeat(3000);
    let finished = client(&format!("power square - --keep-alive --addr {server}")).run(input);
    finished.assert_failed(1, &("4.0\n".repeat(3000) + &"9.0\n".repeat(3000)), &["RANGE"]);
}
