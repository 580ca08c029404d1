//! The power protocol: raw bytes sent to the real server.

mod support;

use proto::testing::nonblocking::expect;
use support::start;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_half_close_ends_the_request_and_the_reply_is_bare() {
    let server = start(&[]);
    for (request, reply) in [
        ("a2", "d4.0"),
        ("b2", "d8.0"),
        ("c2", "d16.0"),
        ("d2", "d2.0"),
        ("a-0.5", "d0.25"),
        ("d 1e16\t", "d1e+16"),
        ("d.00001", "d1e-05"),
        ("d-0", "d-0.0"),
        ("b1e100", "d1e+300"),
        ("", ""),
    ] {
        assert_eq!(server.exchange(request.as_bytes()).await, reply, "{request}");
    }
}

#[tokio::test]
async fn a_bare_request_gets_a_bare_reply_and_another_may_follow() {
    let server = start(&[]);
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for (request, reply) in [("a2", "d4.0"), ("c-3", "d81.0"), ("d1e3 ", "d1000.0")] {
        stream.write_all(request.as_bytes()).await.unwrap();
        expect(&mut stream, reply).await;
    }
}

#[tokio::test]
async fn lines_in_flight_get_lines_in_order() {
    let server = start(&[]);
    let (requests, replies): (String, String) = (0..10_000_u32)
        .map(|n| {
            (
                format!("a{n}{}", ["\n", "\r\n", "\n\n", " \t\n"][n as usize % 4]),
                format!("d{}.0\n", u64::from(n).pow(2)),
            )
        })
        .unzip();
    let mut stream = server.connect().await;
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(requests.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = String::new();
    let receiving = tokio::io::AsyncReadExt::read_to_string(&mut read, &mut received);
    let ((), result) = tokio::join!(sending, receiving);
    result.unwrap();
    assert!(received == replies, "10,000 replies, byte for byte");
}

#[tokio::test]
async fn a_bad_line_gets_an_error_reply_and_the_connection_stays_open() {
    let server = start(&[]);
    let received = server.exchange(b"a2\nx5\na\naabc\na1e999\nc1e80\nd7").await;
    let codes: Vec<_> = received.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(codes, ["d4.0", "eBADOP", "eBADNUM", "eBADNUM", "eRANGE", "eRANGE", "d7.0"]);
    assert!(received.ends_with("d7.0\n"), "the bytes after the last line feed are a line too");
}

#[tokio::test]
async fn an_error_reply_quotes_the_error_and_names_the_fix() {
    let server = start(&[]);
    for (request, reply) in [
        ("x5", "eBADOP 'x' is no operation: send a (square), b (cube), c (fourth power) or d (echo)"),
        ("a", "eBADNUM the number is missing: send it behind the op letter, as in a2"),
        ("aabc", "eBADNUM 'abc' is not a decimal number such as 2, -0.5 or 1e-3"),
        ("ainf", "eBADNUM 'inf' is not a decimal number such as 2, -0.5 or 1e-3"),
        ("a1e999", "eRANGE '1e999' is beyond the largest double, 1.7976931348623157e+308"),
        ("a1e200", "eRANGE the square of '1e+200' is beyond the largest double, 1.7976931348623157e+308"),
    ] {
        assert_eq!(server.exchange(request.as_bytes()).await, reply, "{request}");
    }
}

#[tokio::test]
async fn bytes_that_cannot_begin_a_request_get_an_error_reply_and_a_close_at_once() {
    let server = start(&[("timeouts.request", "1h"), ("timeouts.idle", "1h")]);
    for (request, code) in
        [("x5", "eBADOP "), ("aabc", "eBADNUM "), ("ainf", "eBADNUM "), ("a2b3", "eBADNUM "), ("\0\0", "eBADOP ")]
    {
        let received = server.send_and_wait(request.as_bytes()).await;
        assert!(received.starts_with(code), "{request:?}: {received}");
    }
}

#[tokio::test]
async fn a_request_in_pieces_gets_one_reply_if_its_end_is_visible() {
    let server = start(&[]);
    for pieces in [&["a", "2"][..], &["a", "-", "2\n"], &["a1e", "2\n"], &["a2\r", "\n"], &["\r\n", "a", "2\n"]] {
        let mut stream = server.connect().await;
        stream.set_nodelay(true).unwrap();
        // An exchange between two pieces makes the server read them separately.
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            assert!(server.serves().await);
        }
        stream.shutdown().await.unwrap();
        let received = support::read_to_end(&mut stream).await;
        let value = if pieces.contains(&"a1e") { "d10000.0" } else { "d4.0" };
        assert_eq!(received.trim_end_matches('\n'), value, "{pieces:?}");
    }
}

#[tokio::test]
async fn a_late_line_feed_completes_the_line_of_the_reply() {
    let server = start(&[]);
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"a2").await.unwrap();
    expect(&mut stream, "d4.0").await;
    stream.write_all(b"\n").await.unwrap();
    expect(&mut stream, "\n").await;
    stream.write_all(b"b2\n").await.unwrap();
    expect(&mut stream, "d8.0\n").await;
}

#[tokio::test]
async fn the_longest_configurable_request_is_read_whole() {
    let server = start(&[("limits.max_request_bytes", "4000")]);
    let digits = format!("a{}2", "0".repeat(3998));
    assert_eq!(server.exchange(digits.as_bytes()).await, "d4.0");
    assert_eq!(server.exchange(format!("{digits}\r\n").as_bytes()).await, "d4.0\n");
    let too_long = server.exchange(format!("{digits}0\n").as_bytes()).await;
    assert_eq!(too_long, "eTOOLONG a request has at most 4000 bytes before its end");
}

#[tokio::test]
async fn an_early_reply_is_followed_by_an_error_reply() {
    let server = start(&[]);
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"a1").await.unwrap();
    expect(&mut stream, "d1.0").await;
    stream.write_all(b"2").await.unwrap();
    assert!(support::read_to_end(&mut stream).await.starts_with("eBADOP '2'"));
}
