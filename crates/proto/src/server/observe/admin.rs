//! The HTTP server for operators.
//!
//! It depends on `pages`, which has the responses. `program` binds the admin listener and runs [`serve`] on a separate
//! thread. It speaks HTTP/1.1. The limits of `[limits]` do not apply, because an operator needs it most when they are
//! reached. It has a small limit instead, which affects only slow clients: the oldest exchange ends when a new one
//! needs its slot.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::pages::Pages;

/// Maximum concurrent exchanges, each on its own connection: many more than orchestrators and scrapers need. A client
/// whose request comes after its connection is accepted loses its slot only if this many others connect in between.
pub(crate) const MAX_CONCURRENT_REQUESTS: usize = 64;

/// The timeout of an exchange, from accept to close. Scrapers and orchestrators do not wait longer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two checks whether a client has taken its response.
const TAKEN_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The smallest size that hyper accepts, which is more than any request needs here.
const MAX_HEADER_BYTES: usize = 8192;

/// Serves the connections that `accept` returns, one request each. Never returns. A connection comes as the future of
/// its handshake, which returns the stream. `is_taken` returns whether the client of a stream has acknowledged
/// everything.
///
/// Slow clients cannot delay a client that sends its request at once: if all slots are taken, the oldest exchange is
/// dropped. That does not protect a client of TLS, whose handshake takes a round trip: other connections can take all
/// slots meanwhile.
pub(crate) async fn serve<S, F>(
    mut accept: impl AsyncFnMut() -> F,
    is_taken: impl Fn(&S) -> bool + Copy + Send + Sync + 'static,
    pages: Arc<Pages>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut exchanges = VecDeque::<AbortHandle>::with_capacity(MAX_CONCURRENT_REQUESTS);
    loop {
        let handshake = accept().await;
        exchanges.retain(|exchange| !exchange.is_finished());
        if exchanges.len() == MAX_CONCURRENT_REQUESTS
            && let Some(oldest) = exchanges.pop_front()
        {
            oldest.abort();
        }
        // A task, so that a panic ends only this exchange.
        let exchange = tokio::spawn(serve_exchange(handshake, is_taken, Arc::clone(&pages)));
        exchanges.push_back(exchange.abort_handle());
        // Let the tasks run before the next accept: a request that is already there is served before a flood of
        // connections can take its slot.
        yield_now().await;
    }
}

/// Serves one request after the handshake, and waits until the client has closed its side too and has taken the
/// response.
async fn serve_exchange<S>(
    handshake: impl Future<Output = io::Result<S>>,
    is_taken: impl Fn(&S) -> bool,
    pages: Arc<Pages>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let Ok(mut stream) = handshake.await else { return };
        let handler = service_fn(|request: Request<Incoming>| {
            let (request, pages) = (request.map(drop), &pages);
            async move { Ok::<_, Infallible>(pages.respond(&request).await) }
        });
        // One request per connection: an idle keep-alive connection would occupy a slot.
        let served = http1::Builder::new()
            .keep_alive(false)
            // A client that has closed its sending half still gets its response.
            .half_close(true)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(&mut stream), handler)
            .await;
        // An error concerns only this client: its request was malformed, or it has disconnected.
        drop(served);
        // Keep the slot until the client has closed, so that a response that is not read counts against the limit.
        // Bytes after the request are discarded.
        if stream.shutdown().await.is_ok() {
            let _ = copy(&mut stream, &mut sink()).await;
            // A client can close its side before it has the response. The kernel sends no event when it has.
            while !is_taken(&stream) {
                sleep(TAKEN_CHECK_INTERVAL).await;
            }
        }
    };
    let _ = timeout(EXCHANGE_TIMEOUT, exchange).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    /// Runs `clients` beside the server. A stream that they send becomes a connection.
    async fn with_server(clients: impl AsyncFnOnce(UnboundedSender<DuplexStream>)) {
        let (connections, mut accepted) = unbounded_channel();
        #[expect(clippy::async_yields_async, reason = "the handshake is the task's")]
        let accept = async || {
            let stream = accepted.recv().await.unwrap();
            async { Ok(stream) }
        };
        tokio::select! {
            () = serve(accept, |_| true, Arc::new(Pages::for_tests())) => {}
            () = clients(connections.clone()) => {}
        }
    }

    fn connect(connections: &UnboundedSender<DuplexStream>) -> DuplexStream {
        let (client, server) = duplex(64 * 1024);
        connections.send(server).unwrap();
        client
    }

    async fn read_to_end(client: &mut DuplexStream) -> String {
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        received
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn when_all_slots_are_taken_the_oldest_exchange_is_dropped() {
        with_server(async |connections| {
            let mut slow: Vec<_> = (0..MAX_CONCURRENT_REQUESTS).map(|_| connect(&connections)).collect();
            let mut client = connect(&connections);
            client.write_all(REQUEST).await.unwrap();
            assert!(read_to_end(&mut client).await.ends_with("\r\n\r\nok\n"));
            assert_eq!(read_to_end(&mut slow[0]).await, "");
            for other in &mut slow[1..] {
                other.write_all(REQUEST).await.unwrap();
                assert!(read_to_end(other).await.ends_with("\r\n\r\nok\n"));
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_there_is_served_before_later_connections_are_accepted() {
        with_server(async |connections| {
            let mut clients: Vec<_> = (0..10).map(|_| connect(&connections)).collect();
            for client in &mut clients {
                client.write_all(REQUEST).await.unwrap();
            }
            let _slow: Vec<_> = (0..10 * MAX_CONCURRENT_REQUESTS).map(|_| connect(&connections)).collect();
            for client in &mut clients {
                assert!(read_to_end(client).await.ends_with("\r\n\r\nok\n"));
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_ends_at_its_timeout() {
        with_server(async |connections| {
            let started = tokio::time::Instant::now();
            let mut silent = connect(&connections);
            let mut never_closing = connect(&connections);
            never_closing.write_all(REQUEST).await.unwrap();
            assert!(read_to_end(&mut never_closing).await.ends_with("\r\n\r\nok\n"));
            assert_eq!(read_to_end(&mut silent).await, "");
            assert_eq!(started.elapsed(), EXCHANGE_TIMEOUT);
            assert!(never_closing.write_all(b"x").await.is_err());
        })
        .await;
    }
}
