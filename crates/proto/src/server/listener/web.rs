//! The HTTP request at the start of a connection to a web endpoint: it gets the page, or opens a WebSocket connection
//! (RFC 6455, section 4.2).
//!
//! It depends on `accept` for the service, on `connection`, metrics and browser headers. hyper parses the request. One
//! request per connection: a client that asks for the page and then plays connects twice.

use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::io;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::DescriptorEncoder;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::time::{Instant, timeout_at};

use super::accept::Service;
use crate::server::connection::stream::Stream;
use crate::server::observe::browser_headers::{content_security_policy, protect};
use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::metrics::encode::counter;

/// The content of the web endpoints of a service.
#[derive(Clone, Debug)]
pub struct Site {
    /// The page at `/`.
    pub page: Page,
    /// The paths of WebSocket connections, such as `/solo`. [`Service::handler_at`] has a handler for each.
    pub paths: &'static [&'static str],
    /// The origins (RFC 6454) of other pages that may open WebSocket connections, such as `https://game.example`.
    pub origins: Vec<String>,
}

/// An HTML page with its Content-Security-Policy.
#[derive(Clone, Debug)]
pub struct Page {
    html: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// Creates a page whose HTML contains one inline style sheet and one inline script. The page may load nothing else,
    /// and may connect only to its own origin.
    #[must_use]
    pub fn new(html: String, style: &str, script: &str) -> Self {
        let policy = content_security_policy(style, script, "'none'");
        Self { html: html.into(), policy }
    }
}

/// The response to a connection over a limit, of the server or of its client: its request is not read.
pub(super) const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 38\r\nRetry-After: 5\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n\
    too many connections; try again later\n";

/// The smallest size that hyper accepts, which is more than the headers of a browser need.
const MAX_HEADER_BYTES: usize = 8192;

/// The only version of the protocol (RFC 6455, section 4.1).
const WEBSOCKET_VERSION: &str = "13";

/// Counts the requests to web endpoints.
#[derive(Debug, Default)]
pub(crate) struct WebMetrics(Counters<{ RequestResult::LABELS.len() }>);

impl WebMetrics {
    pub(super) fn count(&self, result: RequestResult) {
        self.0.add(result as usize, 1);
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.0.series("result", &RequestResult::LABELS);
        counter(encoder, "web_requests", "Requests to web endpoints, by result", series)
    }
}

/// The kind of a result, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestResult {
    /// A WebSocket connection.
    WebSocket,
    Page,
    NotFound,
    /// Not HTTP, another method than GET and HEAD, or no valid opening handshake.
    BadRequest,
    /// Another version of the WebSocket protocol than 13.
    BadVersion,
    /// A page of another origin.
    ForeignOrigin,
    Timeout,
    /// The client closed or reset the connection.
    Closed,
}

impl RequestResult {
    /// The values of the label `result`, in the order of the variants.
    const LABELS: [&str; 8] =
        ["websocket", "page", "not_found", "bad_request", "bad_version", "foreign_origin", "timeout", "closed"];
}

/// The result of a connection's request.
pub(super) enum Opened<H> {
    /// A WebSocket connection with its handler. The client has sent these bytes behind the request.
    WebSocket(H, Bytes),
    /// A response that is written. The connection has to be closed.
    Response(RequestResult),
    /// The client closed its side before the request was complete.
    Closed,
    /// The request was not complete at the deadline.
    TimedOut,
    /// The client did not read the response in time.
    NotTaken(RequestResult),
}

/// Reads the request until `deadline`, and writes the response within `write_timeout` after that.
///
/// # Errors
///
/// Fails if the stream fails.
pub(super) async fn open<S: Stream, T: Service>(
    stream: &mut S,
    service: &T,
    deadline: Instant,
    write_timeout: Duration,
) -> io::Result<Opened<T::Handler>> {
    // hyper calls the closure once: there is one request per connection.
    let opened = Mutex::new(None);
    let lock = || opened.lock().unwrap_or_else(PoisonError::into_inner);
    let respond = service_fn(|request: Request<Incoming>| {
        let (result, response) = respond(&request, service.site());
        let handler = (result == RequestResult::WebSocket).then(|| service.handler_at(request.uri().path())).flatten();
        *lock() = Some((result, handler));
        ready(Ok::<_, Infallible>(response))
    });
    let serving = http1::Builder::new()
        // A client may half-close after its request.
        .half_close(true)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), respond)
        .without_shutdown();
    let mut serving = pin!(serving);
    let mut served = timeout_at(deadline, &mut serving).await;
    if served.is_err() && lock().is_some() {
        // The response is being written.
        served = timeout_at(Instant::now() + write_timeout, serving).await;
    }
    let Ok(served) = served else {
        return Ok(lock().take().map_or(Opened::TimedOut, |(result, _)| Opened::NotTaken(result)));
    };
    let frames = match served {
        Ok(parts) => parts.read_buf,
        // hyper has written a response, except to the preface of HTTP/2.
        Err(error) if error.is_parse() || error.is_parse_too_large() => {
            return Ok(Opened::Response(RequestResult::BadRequest));
        }
        Err(error) if error.is_incomplete_message() => return Ok(Opened::Closed),
        Err(error) => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
    };
    let taken = lock().take();
    Ok(match taken {
        Some((_, Some(handler))) => Opened::WebSocket(handler, frames),
        Some((result, None)) => Opened::Response(result),
        None => Opened::Closed,
    })
}

/// Returns the response to a request, and its result.
fn respond<B>(request: &Request<B>, site: Option<&Site>) -> (RequestResult, Response<Full<Bytes>>) {
    match check(request, site) {
        Ok(Accepted::Page(page)) => (RequestResult::Page, page_response(page)),
        Ok(Accepted::WebSocket { accept }) => (RequestResult::WebSocket, switch_protocols(&accept)),
        Err(Refusal { result, status, message, headers }) => {
            let mut response = text(status, &message);
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            response.headers_mut().extend(headers);
            (result, response)
        }
    }
}

/// A request that the server accepts.
enum Accepted<'a> {
    Page(&'a Page),
    WebSocket {
        /// The value of `Sec-WebSocket-Accept`.
        accept: HeaderValue,
    },
}

/// An error response.
struct Refusal {
    result: RequestResult,
    status: StatusCode,
    message: String,
    headers: Vec<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(result: RequestResult, status: StatusCode, message: &str) -> Self {
        Self { result, status, message: message.to_owned(), headers: Vec::new() }
    }

    fn bad_request(status: StatusCode, message: &str) -> Self {
        Self::new(RequestResult::BadRequest, status, message)
    }

    fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

fn check<'a, B>(request: &Request<B>, site: Option<&'a Site>) -> Result<Accepted<'a>, Refusal> {
    let path = request.uri().path();
    let paths = site.map(|site| site.paths).unwrap_or_default();
    let is_websocket = paths.contains(&path);
    let method = request.method();
    if method != Method::GET && (is_websocket || method != Method::HEAD) {
        let refusal = Refusal::bad_request(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET");
        return Err(refusal.with_header(ALLOW, if is_websocket { "GET" } else { "GET, HEAD" }));
    }
    match site {
        Some(site) if is_websocket => Ok(Accepted::WebSocket { accept: check_handshake(request, &site.origins)? }),
        Some(site) if path == "/" => Ok(Accepted::Page(&site.page)),
        _ => {
            let message =
                format!("not found: this server has / and, for WebSocket connections, {}", paths.join(" and "));
            Err(Refusal::new(RequestResult::NotFound, StatusCode::NOT_FOUND, &message))
        }
    }
}

/// Checks the client's opening handshake (RFC 6455, section 4.2.1). Returns the value of `Sec-WebSocket-Accept`.
fn check_handshake<B>(request: &Request<B>, origins: &[String]) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    let bad_request = |message| Err(Refusal::bad_request(StatusCode::BAD_REQUEST, message));
    if request.version() < Version::HTTP_11 {
        return bad_request("a WebSocket connection needs HTTP/1.1");
    }
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        let message = "this path is for WebSocket connections: send Connection: Upgrade and Upgrade: websocket";
        return Err(Refusal::bad_request(StatusCode::UPGRADE_REQUIRED, message).with_header(UPGRADE, "websocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != WEBSOCKET_VERSION) {
        let message = "use version 13 of the WebSocket protocol";
        let refusal = Refusal::new(RequestResult::BadVersion, StatusCode::UPGRADE_REQUIRED, message);
        // RFC 9110, section 15.5.22: a response with this status has an Upgrade header.
        return Err(refusal.with_header(UPGRADE, "websocket").with_header(SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION));
    }
    // RFC 6455, section 11.3: once each. For the others, it must be clear which one counts.
    let once = [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, HOST, ORIGIN];
    if let Some(name) = once.iter().find(|name| headers.get_all(*name).iter().count() > 1) {
        return Err(Refusal::bad_request(StatusCode::BAD_REQUEST, &format!("more than one header {name}")));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if BASE64.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return bad_request("Sec-WebSocket-Key must be 16 bytes in base64");
    }
    let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    if host.is_empty() {
        return bad_request("the Host header is missing");
    }
    // Programs that are not browsers send no origin, and have no user whose network a page could misuse.
    if let Some(origin) = headers.get(ORIGIN)
        && !is_allowed(origin.as_bytes(), host, origins)
    {
        let message = "this page is of another origin: add its origin to web.origins";
        return Err(Refusal::new(RequestResult::ForeignOrigin, StatusCode::FORBIDDEN, message));
    }
    // ASCII, so this cannot fail.
    Ok(HeaderValue::try_from(accept_key(key)).unwrap_or(HeaderValue::from_static("")))
}

/// Whether a page of `origin` may open a connection to `host`: its own host, or one of `origins`. The scheme does not
/// matter for the own host, because a proxy can end TLS.
fn is_allowed(origin: &[u8], host: &[u8], origins: &[String]) -> bool {
    let own = origin.strip_prefix(b"http://").or(origin.strip_prefix(b"https://"));
    own.is_some_and(|own| own.eq_ignore_ascii_case(host))
        || origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
}

/// Whether a header that is a list has this element, in lower or upper case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| element.trim().eq_ignore_ascii_case(token))
}

/// Returns the value that proves that the server understands the handshake (RFC 6455, section 4.2.2).
fn accept_key(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

fn switch_protocols(accept: &HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    response
}

fn page_response(Page { html, policy }: &Page) -> Response<Full<Bytes>> {
    let mut response = protect(Response::new(Full::new(html.clone())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Returns a response with a line of text.
fn text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let mut response = protect(Response::new(Full::new(format!("{message}\n").into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE_PATHS: &[&str] = &["/solo", "/duel"];

    fn site(origins: &[&str]) -> Site {
        let page = Page::new("<p>the page</p>".to_owned(), "", "");
        Site { page, paths: SITE_PATHS, origins: origins.iter().map(|&origin| origin.to_owned()).collect() }
    }

    /// The request of RFC 6455, section 1.2, with changed headers; `""` removes one.
    fn request(path: &str, changes: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        *request.uri_mut() = path.parse().unwrap();
        let defaults = [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("origin", "http://server.example.com"),
        ];
        for (name, value) in defaults.iter().chain(changes) {
            if value.is_empty() {
                request.headers_mut().remove(*name);
            } else {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
        }
        request
    }

    fn result(path: &str, changes: &[(&'static str, &str)]) -> (RequestResult, u16) {
        let (result, response) = respond(&request(path, changes), Some(&site(&["https://game.example"])));
        (result, response.status().as_u16())
    }

    #[test]
    fn the_handshake_of_the_rfc_is_accepted() {
        let (result, response) = respond(&request("/solo", &[]), Some(&site(&[])));
        assert_eq!((result, response.status().as_u16()), (RequestResult::WebSocket, 101));
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_wrong_request_gets_its_status() {
        for (path, changes, expected) in [
            ("/", &[][..], (RequestResult::Page, 200)),
            ("/favicon.ico", &[], (RequestResult::NotFound, 404)),
            ("/solo/", &[], (RequestResult::NotFound, 404)),
            ("/solo?x=1", &[], (RequestResult::WebSocket, 101)),
            ("/duel", &[("upgrade", "")], (RequestResult::BadRequest, 426)),
            ("/duel", &[("connection", "close")], (RequestResult::BadRequest, 426)),
            ("/duel", &[("sec-websocket-version", "8")], (RequestResult::BadVersion, 426)),
            ("/duel", &[("sec-websocket-version", "")], (RequestResult::BadVersion, 426)),
            ("/duel", &[("sec-websocket-key", "")], (RequestResult::BadRequest, 400)),
            ("/duel", &[("sec-websocket-key", "c2hvcnQ=")], (RequestResult::BadRequest, 400)),
            ("/duel", &[("host", "")], (RequestResult::BadRequest, 400)),
            ("/duel", &[("origin", "")], (RequestResult::WebSocket, 101)),
            ("/duel", &[("origin", "https://SERVER.example.com")], (RequestResult::WebSocket, 101)),
            ("/duel", &[("origin", "https://game.example")], (RequestResult::WebSocket, 101)),
            ("/duel", &[("origin", "http://game.example")], (RequestResult::ForeignOrigin, 403)),
            ("/duel", &[("origin", "http://server.example.com:8080")], (RequestResult::ForeignOrigin, 403)),
            ("/duel", &[("origin", "http://server.example.com.evil.example")], (RequestResult::ForeignOrigin, 403)),
            ("/duel", &[("origin", "null")], (RequestResult::ForeignOrigin, 403)),
        ] {
            assert_eq!(result(path, changes), expected, "{path} {changes:?}");
        }
        let mut twice = request("/duel", &[]);
        twice.headers_mut().append(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(respond(&twice, Some(&site(&[]))).1.status(), StatusCode::BAD_REQUEST);
        let mut post = request("/duel", &[]);
        *post.method_mut() = Method::POST;
        assert_eq!(respond(&post, Some(&site(&[]))).0, RequestResult::BadRequest);
        assert_eq!(respond(&request("/", &[]), None).0, RequestResult::NotFound);
    }

    #[test]
    fn the_response_of_a_full_server_has_the_right_length() {
        let text = str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
