//! A blocking WebSocket client that controls each byte.

use std::io::{self, ErrorKind, Read, Write};

/// The first byte of a frame that is a whole message: the final bit and the opcode (RFC 6455, section 5.2).
pub const BINARY: u8 = 0x82;
/// The same for a text message.
pub const TEXT: u8 = 0x81;
/// A close frame.
pub const CLOSE: u8 = 0x88;
/// A ping.
pub const PING: u8 = 0x89;
/// A pong.
pub const PONG: u8 = 0x8A;

/// The request of a client for a WebSocket connection to `path`. Ends with an empty line.
pub fn request(path: &str) -> String {
    request_with(path, "")
}

/// Like [`request`], with further headers, each with its line end.
pub fn request_with(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Returns the frame of a client with this first byte and payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let len = payload.len();
    let mut frame = vec![first];
    match u16::try_from(len) {
        Ok(short @ 0..=125) => frame.push(0x80 | short.to_be_bytes()[1]),
        Ok(medium) => {
            frame.push(0xFE);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xFF);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A WebSocket connection.
#[derive(Debug)]
pub struct WebSocketClient<S> {
    /// The stream below it.
    pub stream: S,
    /// Payload that was received and not taken.
    received: Vec<u8>,
    end: Option<WebSocketEnd>,
}

/// How a connection ended for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSocketEnd {
    /// With a close frame of this code and text.
    Close(u16, String),
    /// Without one.
    Abnormal,
}

impl<S: Read + Write> WebSocketClient<S> {
    /// Opens a connection to `path` on a stream.
    pub fn open(mut stream: S, path: &str) -> Self {
        stream.write_all(request(path).as_bytes()).unwrap();
        let response = read_head(&mut stream);
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        for header in
            ["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
        {
            assert!(response.contains(&format!("\r\n{header}\r\n")), "{response}");
        }
        Self { stream, received: Vec::new(), end: None }
    }

    /// Sends bytes in one message.
    ///
    /// # Errors
    ///
    /// Fails if the stream does.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_frame(BINARY, bytes)
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// Fails if the stream does.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(first, payload))
    }

    /// Reads a frame: its first byte and its payload. `None` at the end of the stream.
    pub fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 2];
        if let Err(error) = self.stream.read_exact(&mut header) {
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
            return None;
        }
        assert_eq!(header[1] & 0x80, 0, "a server sends no mask");
        let len = match header[1] {
            126 => u64::from(u16::from_be_bytes(self.read_array())),
            127 => u64::from_be_bytes(self.read_array()),
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        Some((header[0], payload))
    }

    fn read_array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads the next `expected.len()` bytes of payload, in one or more messages, and compares them. Skips pings.
    pub fn expect(&mut self, expected: &str) {
        let mut received = vec![0; expected.len()];
        self.read_exact(&mut received).unwrap();
        assert_eq!(String::from_utf8_lossy(&received), expected);
    }

    /// Reads until the server ends the connection. Returns the payload and the end.
    pub fn read_rest(&mut self) -> (String, WebSocketEnd) {
        let mut rest = String::new();
        self.read_to_string(&mut rest).unwrap();
        (rest, self.end.clone().unwrap())
    }
}

/// The payload of the connection. A close frame is its end.
impl<S: Read + Write> Read for WebSocketClient<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.received.is_empty() && self.end.is_none() {
            match self.read_frame() {
                Some((BINARY, payload)) => self.received = payload,
                Some((CLOSE, payload)) => {
                    let (code, text) = payload.split_first_chunk().unwrap();
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    self.end = Some(WebSocketEnd::Close(u16::from_be_bytes(*code), text));
                    assert_eq!(self.read_frame(), None, "nothing follows a close frame");
                }
                Some((PING | PONG, _)) => {}
                Some(other) => panic!("{other:?}"),
                None => self.end = Some(WebSocketEnd::Abnormal),
            }
        }
        let len = buffer.len().min(self.received.len());
        buffer[..len].copy_from_slice(&self.received[..len]);
        self.received.drain(..len);
        Ok(len)
    }
}

/// Each write is a message.
impl<S: Read + Write> Write for WebSocketClient<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an HTTP response up to the empty line behind its headers.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
