//! Servers that do what a test tells them to, right or wrong.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use proto::testing::PATIENCE;
use proto::testing::blocking::reset_on_close;

/// What becomes of a connection at the end of its script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// It is closed: with a FIN, or with a reset where bytes of the client have not been read.
    Close,
    /// It is left open, without another word, as long as the server lives.
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
    /// A server with this script.
    pub(crate) fn new(mut script: impl FnMut(&mut TcpStream) -> io::Result<Then> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                // A client that is gone ends the script early; whether it had to be there is for the test to judge.
                held.extend(stream.and_then(|stream| converse(stream, &mut script)).ok().flatten());
            }
        });
        Self { address, stopped, thread: Some(thread) }
    }

    /// Reads all that the client sends, up to its half-close, says this, and closes.
    pub(crate) fn answering(bytes: &'static [u8]) -> Self {
        Self::new(move |stream| {
            hear_all(stream)?;
            stream.write_all(bytes)?;
            Ok(Then::Close)
        })
    }

    /// Says this after each read, and closes when the client does: what the existing asyncio programs do.
    pub(crate) fn answering_each_read(bytes: &'static [u8]) -> Self {
        Self::new(move |stream| {
            while !hear(stream)?.is_empty() {
                stream.write_all(bytes)?;
            }
            Ok(Then::Close)
        })
    }

    /// Says this after the first read, and then nothing more, nor does it close.
    pub(crate) fn answering_once(bytes: &'static [u8]) -> Self {
        Self::new(move |stream| {
            hear(stream)?;
            stream.write_all(bytes)?;
            Ok(Then::Hold)
        })
    }

    /// Takes connections and says nothing.
    pub(crate) fn silent() -> Self {
        Self::new(|_| Ok(Then::Hold))
    }

    /// Resets each connection once it has heard the client in this way.
    pub(crate) fn resetting_after(hear: fn(&mut TcpStream) -> io::Result<Vec<u8>>) -> Self {
        Self::new(move |stream| {
            hear(stream)?;
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
        // The thread waits for a connection, so here is one.
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Runs the script and gives the connection back if it is to be held.
fn converse(
    mut stream: TcpStream,
    script: &mut impl FnMut(&mut TcpStream) -> io::Result<Then>,
) -> io::Result<Option<TcpStream>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Pieces that are written apart are to travel apart.
    stream.set_nodelay(true)?;
    Ok(match script(&mut stream)? {
        Then::Close => None,
        Then::Hold => Some(stream),
    })
}

/// Hears a request, says this, and closes its own direction. What the client sends after that is not met by a reset.
pub(crate) fn answer_and_leave(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Then> {
    hear(stream)?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    hear_all(stream)?;
    Ok(Then::Close)
}

/// What one read delivers; nothing at the end of the stream.
pub(crate) fn hear(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 100];
    let length = stream.read(&mut bytes)?;
    Ok(bytes[..length].to_vec())
}

/// What comes up to the client's half-close.
pub(crate) fn hear_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}
