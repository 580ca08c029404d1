//! The thread of the admin listener.
//!
//! It is a part of `program`: it runs the HTTP server in `observe` on the listeners.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use futures::future::join_all;
use tokio::runtime::Builder;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::server::connection::metrics::ConnectionMetrics;
use crate::server::connection::socket::SocketStream;
use crate::server::connection::stream::Stream;
use crate::server::lifecycle::workers::TASKS_ADVICE;
use crate::server::listener::accept::{Accepted, accept_with_backoff};
use crate::server::listener::endpoint::EndpointListener;
use crate::server::listener::handshake::Handshake;
use crate::server::listener::socket::{ListenOptions, SocketBuffers};
use crate::server::observe::admin;
use crate::server::observe::pages::Pages;
use crate::server::observe::rate_limit::RateLimit;
use crate::server::observe::slow_log::SLOW_LOG;

/// The accept queue of the admin listener is long because of floods: while their connections are accepted, it holds a
/// health check behind them. With deferred accept, the request is there when its connection is accepted.
pub(super) const OPTIONS: ListenOptions =
    ListenOptions { backlog: 1024, defer_accept: true, buffers: SocketBuffers { send: 64 * 1024, receive: 16 * 1024 } };

/// The stream of a connection to the admin listener.
type AdminStream = Either<SocketStream, Box<TlsStream<SocketStream>>>;

/// Serves the admin listeners until the process ends. During a drain they still reply, and `/readyz` reports the drain.
///
/// They have a separate thread, which the kernel schedules beside those of the services: their load does not delay it,
/// and its load takes the CPU time of one thread at most. The thread does not keep the process from exiting.
pub(super) fn start(listeners: Vec<EndpointListener>, pages: Pages) -> io::Result<()> {
    let (result, started) = mpsc::channel();
    let serve = move |result: &mpsc::Sender<io::Result<()>>| {
        // Built on this thread: tokio panics if a runtime is dropped on a thread of another runtime, even after an
        // error.
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let listeners: Vec<_> =
                listeners.into_iter().map(EndpointListener::reregister).collect::<Result<_, _>>()?;
            // It records replies before the first client can connect.
            SLOW_LOG.on_time(Instant::now());
            // This and the other send cannot fail: the receiver waits for one of them.
            let _ = result.send(Ok(()));
            let pages = Arc::new(pages);
            let sampled = Arc::clone(&pages);
            // A task, so that a panic ends only the samples.
            tokio::spawn(async move { sampled.take_samples().await });
            let serve = |listener| serve_listener(listener, Arc::clone(&pages));
            join_all(listeners.into_iter().map(serve)).await;
            Ok(())
        })
    };
    let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = serve(&result) {
            let _ = result.send(Err(error));
        }
    });
    // This blocks only until the thread runs, at the start of the program.
    let thread = thread.map_err(|error| io::Error::new(error.kind(), format!("{error}; {TASKS_ADVICE}")));
    thread
        .and_then(|_detached| started.recv().unwrap_or_else(|ended| Err(io::Error::other(ended))))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start the admin thread: {error}")))
}

/// Serves one admin listener.
async fn serve_listener(mut listener: EndpointListener, pages: Arc<Pages>) {
    // Not registered: the exported metrics count the services' connections only.
    let unregistered = ConnectionMetrics::default();
    #[expect(clippy::async_yields_async, reason = "the accept loop must not wait for the handshake")]
    let accept = async || {
        let Accepted { stream, peer, handshake } = accept_with_backoff(&mut listener, &unregistered).await;
        async move {
            Ok(match handshake {
                Some(Handshake { deadline, tls: Some(tls), .. }) => {
                    let accepted = tls.accept(stream, deadline).await;
                    let accepted = accepted.inspect_err(|error| {
                        static RATE_LIMIT: RateLimit = RateLimit::new();
                        if let Some(suppressed) = RATE_LIMIT.allow() {
                            tracing::debug!(%peer, %error, suppressed, "admin handshake failed");
                        }
                    });
                    Either::Right(Box::new(accepted?))
                }
                _ => Either::Left(stream),
            })
        }
    };
    let is_taken = |stream: &AdminStream| match stream {
        Either::Left(stream) => stream.send_queue().is_empty,
        Either::Right(stream) => stream.send_queue().is_empty,
    };
    admin::serve(accept, is_taken, pages).await;
}
