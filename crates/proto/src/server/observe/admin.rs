//! The HTTP handler for operators: liveness, readiness and metrics.
//!
//! It depends on no other module; `program` connects it to the admin listener. It serves HTTP/1.1 on a separate port.
//! The limits of `[limits]` do not apply, because an operator needs it most when they are reached. It has a small limit
//! instead.

use std::convert::Infallible;
use std::future::ready;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Maximum concurrent requests, each on its own connection. Further clients wait in the accept queue.
pub(crate) const MAX_CONCURRENT_REQUESTS: usize = 16;

/// The timeout of an exchange, from accept to close. Scrapers and orchestrators do not wait longer, and a slow client
/// cannot occupy a slot for longer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The smallest size that hyper accepts, which is more than any request needs here.
const MAX_HEADER_BYTES: usize = 8192;

/// Serves one request on `stream` and closes it. `/readyz` replies 503 unless `is_ready`.
pub(crate) async fn serve_exchange<S>(stream: S, registry: &Registry, is_ready: impl Fn() -> bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handler = service_fn(|request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(respond(request.method(), request.uri().path(), registry, &is_ready)))
    });
    // One request per connection: an idle keep-alive connection would occupy one of the few slots.
    let exchange = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), handler);
    // An error concerns only this client: its request was malformed, or it has disconnected.
    let _ = timeout(EXCHANGE_TIMEOUT, exchange).await;
}

fn respond(method: &Method, path: &str, registry: &Registry, is_ready: impl Fn() -> bool) -> Response<Full<Bytes>> {
    let (status, text) = match path {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET or HEAD\n".to_owned())
        }
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if !is_ready() => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        "/readyz" => (StatusCode::OK, "ready\n".to_owned()),
        "/metrics" => {
            let mut text = String::new();
            match prometheus_text::encode(&mut text, registry) {
                Ok(()) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        _ => (StatusCode::NOT_FOUND, "not found: use /healthz, /readyz or /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = if path == "/metrics" { prometheus_text::CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
