//! The listener for whoever runs the server: is it alive, is it ready, and what has it counted?
//!
//! It speaks HTTP/1.1, on a port of its own and past all limits that hold for clients: it has to answer most of all when
//! they are reached. It has a small limit of its own instead, since it is not for everybody.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::server::config::sections::Admin;
use crate::server::connection::metrics::Connections;
use crate::server::lifecycle::shutdown::Shutdown;
use crate::server::listener::accept;
use crate::server::listener::socket;

/// So many are answered at once; others wait in the listener's queue for their turn.
pub const REQUESTS_AT_ONCE: usize = 16;

/// A whole exchange has so long, from its connection on: no scraper or orchestrator waits longer, and nobody keeps
/// others from being answered for longer than that.
const EXCHANGE_TIME: Duration = Duration::from_secs(5);

/// The least that the HTTP library takes; no request here needs so much.
const MOST_HEADER_BYTES: usize = 8192;

/// Opens the listener, where there is to be one.
///
/// # Errors
///
/// As those of [`socket::bind`].
pub fn bind(admin: &Admin) -> io::Result<Option<TcpListener>> {
    let backlog = u32::try_from(REQUESTS_AT_ONCE).unwrap_or(u32::MAX);
    let terms = socket::ListenOptions { backlog, defer_accept: false };
    admin.listen.0.map(|address| socket::bind(address, terms)).transpose()
}

/// Answers for as long as it is awaited: through the drain too, when `/readyz` says so.
pub async fn serve(mut listener: TcpListener, registry: Registry, shutdown: Shutdown) {
    let registry = Arc::new(registry);
    let room = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
    // Its own connections are none of those that it tells of.
    let uncounted = Connections::default();
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let (stream, _) = accept::accept_with_backoff(&mut listener, &uncounted).await;
        let (registry, shutdown) = (Arc::clone(&registry), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let answers = service_fn(|request: Request<Incoming>| {
                ready(Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &registry, &shutdown)))
            });
            // One request a connection: a kept one would hold its place while nothing is asked.
            let exchange = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(MOST_HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), answers);
            // Who does not ask right, or does not listen, has its answer or needs none.
            let _ = timeout(EXCHANGE_TIME, exchange).await;
        });
    }
}

fn answer(method: &Method, path: &str, registry: &Registry, shutdown: &Shutdown) -> Response<Full<Bytes>> {
    let (status, text) = match path {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "everything here is for GET\n".to_owned())
        }
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if shutdown.begun_at().is_some() => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        "/readyz" => (StatusCode::OK, "ready\n".to_owned()),
        "/metrics" => {
            let mut text = String::new();
            match prometheus_text::encode(&mut text, registry) {
                Ok(()) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        _ => (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = if path == "/metrics" { prometheus_text::CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
