//! Fake servers that run a test's script, correct or not.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use proto::testing::TEST_TIMEOUT;
use proto::testing::blocking::reset_on_close;

/// What happens to a connection after its script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Close: with a FIN, or with an RST if bytes of the client are unread.
    Close,
    /// Stay open and silent until the server is dropped.
    Hold,
}

/// A server that runs a script for each connection, one after another, until it is dropped.
#[derive(Debug)]
pub(crate) struct Fake {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts a server with this script.
    pub(crate) fn new(mut script: impl FnMut(&mut TcpStream) -> io::Result<Then> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // If the client closes early, the script ends with an error. The test decides whether that is correct.
                held.extend(stream.and_then(|stream| run_script(stream, &mut script)).ok().flatten());
            }
        });
        Self { address, stopped, thread: Some(thread) }
    }

    /// Returns the address that the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads until the client's half-close, sends these bytes, and closes.
    pub(crate) fn replying(bytes: &'static [u8]) -> Self {
        Self::new(move |stream| {
            read_to_eof(stream)?;
            stream.write_all(bytes)?;
            Ok(Then::Close)
        })
    }

    /// Sends these bytes after each read, and closes when the client does, like typical asyncio programs.
    pub(crate) fn replying_to_each_read(bytes: &'static [u8]) -> Self {
        Self::new(move |stream| {
            while !read_some(stream)?.is_empty() {
                stream.write_all(bytes)?;
            }
            Ok(Then::Close)
        })
    }

    /// Sends these bytes after the first read, and then stays open and silent.
    pub(crate) fn replying_once(bytes: &'static [u8]) -> Self {
        Self::new(move |stream| {
            read_some(stream)?;
            stream.write_all(bytes)?;
            Ok(Then::Hold)
        })
    }

    /// Accepts connections and sends nothing.
    pub(crate) fn silent() -> Self {
        Self::new(|_| Ok(Then::Hold))
    }

    /// Resets each connection after this read.
    pub(crate) fn resetting_after(read_some: fn(&mut TcpStream) -> io::Result<Vec<u8>>) -> Self {
        Self::new(move |stream| {
            read_some(stream)?;
            reset_on_close(stream);
            Ok(Then::Close)
        })
    }
}

impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The thread is blocked in accept; a connection wakes it.
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Runs the script, and returns the connection if it stays open.
fn run_script(
    mut stream: TcpStream,
    script: &mut impl FnMut(&mut TcpStream) -> io::Result<Then>,
) -> io::Result<Option<TcpStream>> {
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    stream.set_write_timeout(Some(TEST_TIMEOUT))?;
    // Separate writes must be sent as separate segments.
    stream.set_nodelay(true)?;
    Ok(match script(&mut stream)? {
        Then::Close => None,
        Then::Hold => Some(stream),
    })
}

/// Reads a request, sends these bytes, and half-closes. Then reads until the client closes, so that no RST is sent.
pub(crate) fn reply_and_half_close(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Then> {
    read_some(stream)?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    read_to_eof(stream)?;
    Ok(Then::Close)
}

/// Returns the bytes of one read; empty at EOF.
pub(crate) fn read_some(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 100];
    let length = stream.read(&mut bytes)?;
    Ok(bytes[..length].to_vec())
}

/// Returns all bytes until the client's half-close.
pub(crate) fn read_to_eof(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}
