use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWriteExt, ReadBuf, duplex};

use super::*;
use crate::testing::properties::proxy_header::{HeaderV2, line};
use crate::wire::proxy_header::LOCAL;

mod haproxy;

/// Valid headers with their sources, with every form and the longest lengths.
fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
    let v6: SocketAddr = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
    let v4: SocketAddr = "255.255.255.255:65535".parse().unwrap();
    let least: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let tcp = HeaderV2::tcp([192, 0, 2, 1], 7, vec![(4, vec![0; 4065])]);
    vec![
        (line(v4, v4).into_bytes(), Some(v4)),
        (line(least, least).into_bytes(), Some(least)),
        (line(v6, v6).into_bytes(), Some(v6)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).into_bytes(), None),
        (LOCAL.to_vec(), None),
        (tcp.to_bytes(false), Some(tcp.source)),
        (HeaderV2::tcp([192, 0, 2, 1], 7, Vec::new()).to_bytes(true), Some(tcp.source)),
    ]
}

#[tokio::test]
async fn bytes_that_arrive_one_at_a_time_give_the_source_and_stay_behind_the_header() {
    for (header, expected) in headers() {
        let (mut client, mut server) = duplex(1);
        let bytes = [&header, &b"a2\n"[..]].concat();
        let send = async {
            client.write_all(&bytes).await.unwrap();
            drop(client);
        };
        let receive = async {
            assert_eq!(read_header(&mut server).await.unwrap(), expected);
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"a2\n");
        };
        tokio::join!(send, receive);
    }
}

#[tokio::test]
async fn an_end_within_the_header_is_an_error() {
    for (header, _) in headers() {
        for received in [0, 1, header.len() / 2, header.len() - 1] {
            let error = read_header(&mut &header[..received]).await.unwrap_err();
            assert_eq!(error.to_string(), format!("closed after {received} bytes of the PROXY header"));
        }
    }
}

#[tokio::test]
async fn a_wrong_start_is_an_error_without_waiting_for_more() {
    let (mut client, mut server) = duplex(64);
    client.write_all(b"a2").await.unwrap();
    let error = read_header(&mut server).await.unwrap_err();
    assert!(matches!(error, HeaderError::Invalid(_)), "{error:?}");
    assert_eq!(error.to_string(), "'a2' is not the start of a PROXY header");
}

/// A stream with all its bytes there, which counts the reads, and then fails.
struct Counted<'a> {
    bytes: &'a [u8],
    reads: usize,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.reads += 1;
        Pin::new(&mut self.bytes).poll_read(cx, buffer)
    }
}

#[tokio::test]
async fn a_header_takes_few_reads() {
    let mut counts = Vec::new();
    for (header, _) in headers() {
        let mut stream = Counted { bytes: &header, reads: 0 };
        read_header(&mut stream).await.unwrap();
        counts.push(stream.reads);
    }
    assert_eq!(counts, [7, 2, 14, 1, 47, 2, 3, 3]);
}

#[tokio::test]
async fn a_failed_read_is_an_error() {
    let error = read_header(&mut Counted { bytes: b"PROXY", reads: 0 }).await.unwrap_err();
    assert!(matches!(&error, HeaderError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset), "{error:?}");
    assert_eq!(error.to_string(), "cannot read the PROXY header: connection reset");
}
