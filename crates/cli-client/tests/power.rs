//! `power` against our own server and against others: what is sent, what is printed, what a refusal does.

mod support;

use std::io::Write;
use std::sync::mpsc::channel;

use proto::testing::PATIENCE;
use support::fake::{Fake, Then, hear, hear_all};
use support::{client, real, run};

#[test]
fn each_operation_prints_one_answer_a_line() {
    let server = real::power();
    for (operation, answers) in [
        ("square", "4.0\n9.0\n0.25\n0.0\n"),
        ("cube", "8.0\n-27.0\n0.125\n0.0\n"),
        ("fourth", "16.0\n81.0\n0.0625\n0.0\n"),
        ("echo", "2.0\n-3.0\n0.5\n0.0\n"),
    ] {
        run(&format!("power {operation} 2 -3 .5 0 --addr {server}")).assert_done(answers);
    }
}

#[test]
fn answers_are_written_as_python_writes_them() {
    let server = real::power();
    run(&format!("power echo 1e15 1e16 0.0001 0.00001 1.5e300 -0 0.1 5e-324 --addr {server}"))
        .assert_done("1000000000000000.0\n1e+16\n0.0001\n1e-05\n1.5e+300\n-0.0\n0.1\n5e-324\n");
}

#[test]
fn negative_and_scientific_operands_need_no_dashes_before_them() {
    let server = real::power();
    let answers = "-3.0\n-0.5\n-1e-05\n1000.0\n2.0\n-1500.0\n";
    run(&format!("power echo -3 -.5 -1e-5 1E+3 +2 -1.5e3 --addr {server}")).assert_done(answers);
    run(&format!("power echo --addr {server} -- -3 -.5 -1e-5 1E+3 +2 -1.5e3")).assert_done(answers);
}

#[test]
fn every_framing_gets_the_same_answers() {
    let server = real::power();
    for flags in ["", "--framing eof", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power cube 2 -3 1e5 {flags} --addr {server}")).assert_done("8.0\n-27.0\n1000000000000000.0\n");
    }
}

#[test]
fn a_short_connection_sends_one_request_and_ends_it_as_its_framing_says() {
    for (flags, asked, answer) in
        [("--framing eof", "a2.0", "d4.0"), ("--framing line", "a2.0\n", "d4.0\n"), ("--framing bare", "a2.0", "d4.0")]
    {
        let (sender, heard) = channel();
        let server = Fake::new(move |stream| {
            let request = if flags.ends_with("eof") { hear_all(stream)? } else { hear(stream)? };
            drop(sender.send(request));
            stream.write_all(answer.as_bytes())?;
            Ok(Then::Close)
        });
        run(&format!("power square 2 2 {flags} --addr {server}")).assert_done("4.0\n4.0\n");
        drop(server);
        let connections: Vec<_> = heard.iter().collect();
        assert_eq!(connections, [asked.as_bytes(), asked.as_bytes()], "{flags}");
    }
}

#[test]
fn a_kept_connection_carries_all_requests_and_is_then_half_closed() {
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(hear_all(stream)?));
        stream.write_all(b"d4.0\nd9.0\r\nd16.0\n")?;
        Ok(Then::Close)
    });
    run(&format!("power square 2 3 4 --keep-alive --addr {server}")).assert_done("4.0\n9.0\n16.0\n");
    drop(server);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [b"a2.0\na3.0\na4.0\n"]);
}

#[test]
fn a_server_that_answers_each_read_and_closes_after_the_client_does_is_understood() {
    let server = Fake::answering_each_read(b"d4.0");
    for flags in ["", "--framing bare"] {
        run(&format!("power square 2 -2 {flags} --addr {server}")).assert_done("4.0\n4.0\n");
    }
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    for (flags, end) in [("", ""), ("", "\n"), ("--framing line", "\n"), ("--keep-alive", "\r\n")] {
        let server = Fake::new(move |stream| {
            hear(stream)?;
            for piece in ["d", "1", "23", ".", "5", end] {
                stream.write_all(piece.as_bytes())?;
            }
            // Not before the client has closed its half or all: closing on bytes not read would be a reset.
            hear_all(stream)?;
            Ok(Then::Close)
        });
        run(&format!("power echo 123.5 {flags} --addr {server}")).assert_done("123.5\n");
    }
}

#[test]
fn a_late_answer_within_the_timeout_is_waited_for() {
    let (release, released) = channel();
    let (sender, heard) = channel();
    let server = Fake::new(move |stream| {
        drop(sender.send(hear_all(stream)?));
        // Without the release it answers in the end; then the client has ended and the test has failed.
        let _ = released.recv_timeout(PATIENCE);
        stream.write_all(b"d4.0")?;
        Ok(Then::Close)
    });
    let running = client(&format!("power square 2 --timeout 60s --addr {server}")).start();
    heard.recv_timeout(PATIENCE).expect("the client asks");
    release.send(()).expect("the server waits");
    running.finish().assert_done("4.0\n");
}

#[test]
fn a_refusal_is_reported_and_the_other_numbers_are_still_answered() {
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
fn a_bare_reply_is_read_whole_however_short_its_request_was() {
    let server = real::power();
    for (asked, answer) in [("cube 1e5", "1000000000000000.0\n"), ("square 123456.789", "15241578750.190521\n")] {
        run(&format!("power {asked} --framing bare --addr {server}")).assert_done(answer);
    }
    run(&format!("power square 1e200 2 --framing bare --addr {server}")).assert_failed(
        1,
        "4.0\n",
        &["RANGE the square of '1e+200' is beyond the largest double, 1.7976931348623157e+308"],
    );
}

#[test]
fn every_refusal_is_named_by_its_code_and_is_exit_code_1() {
    for (reply, code) in [
        (&b"eBADOP what"[..], "BADOP what"),
        (b"eBADNUM what", "BADNUM what"),
        (b"eRANGE what", "RANGE what"),
        (b"eTOOLONG what", "TOOLONG what"),
        (b"eTIMEOUT what", "TIMEOUT what"),
        (b"eBUSY what\n", "BUSY what"),
        (b"eBUSY", "BUSY"),
    ] {
        let server = Fake::answering(reply);
        for flags in ["", "--keep-alive"] {
            run(&format!("power square 2 {flags} --addr {server}")).assert_failed(1, "", &[code]);
        }
    }
}

#[test]
fn a_full_server_is_reported_as_busy() {
    let server = real::power_with_room_for(1);
    let occupant = server.occupy("d1\n");
    for flags in ["", "--framing line", "--framing bare", "--keep-alive"] {
        run(&format!("power square 2 {flags} --addr {server}")).assert_failed(1, "", &["error reply: BUSY "]);
    }
    drop(occupant);
}

#[test]
fn answers_before_a_last_refusal_of_a_kept_connection_are_printed() {
    let server = Fake::answering(b"d4.0\neTIMEOUT too slow\n");
    run(&format!("power square 2 3 4 --keep-alive --addr {server}")).assert_failed(1, "4.0\n", &["TIMEOUT too slow"]);
}

#[test]
fn a_hundred_thousand_numbers_go_through_one_connection_and_come_back_in_order() {
    let server = real::power();
    let numbers = 0..100_000_u64;
    let input: String = numbers.clone().map(|number| number.to_string() + "\n").collect();
    let answers: String = numbers.map(|number| (number * number).to_string() + ".0\n").collect();
    let finished = client(&format!("power square - --keep-alive --addr {server}")).run(input);
    // Not with `assert_done`, which would show both texts.
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let wrong = finished.stdout.lines().zip(answers.lines()).position(|(answer, right)| answer != right);
    assert_eq!((wrong, finished.stdout.len()), (None, answers.len()));
}

#[test]
fn a_refusal_amid_many_pipelined_numbers_costs_none_of_the_others() {
    let server = real::power();
    let input = "2\n".repeat(3000) + "1e200\n" + &"3\n".repeat(3000);
    let finished = client(&format!("power square - --keep-alive --addr {server}")).run(input);
    finished.assert_failed(1, &("4.0\n".repeat(3000) + &"9.0\n".repeat(3000)), &["RANGE"]);
}
