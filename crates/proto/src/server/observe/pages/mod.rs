//! The responses of the admin listener: health, metrics, and the pages for operators.
//!
//! It depends on `metrics`, `status`, `connections`, `slow_log`, `language`, `preferences` and `browser_headers`. A
//! path has one place: a line in `PATHS`, and an arm in [`Pages::respond`].
//!
//! - `html`: the document around each page, its headers, and the pieces that pages share;
//! - `chart`, `numbers`: charts, and numbers as text;
//! - `texts`: all texts of the pages, in both languages;
//! - `overview`: the status page, `/`;
//! - `connections`: the open connections, `/connections`; `slow`: the slowest replies, `/slow`.

mod chart;
mod connections;
mod html;
mod numbers;
mod overview;
mod slow;
mod texts;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::browser_headers::protect;
use super::connections::snapshot::Snapshots;
use super::connections::table::CONNECTIONS;
use super::language::Language;
use super::preferences::{Preference, preferences};
use super::slow_log::SLOW_LOG;
use super::status::recorder::{SAMPLE_INTERVAL, StatusRecorder, StatusSources};

/// The paths, for the reply to an unknown one.
const PATHS: &str = "/, /status, /connections, /slow, /healthz, /readyz or /metrics";

/// A response whose body is complete.
pub(crate) type PageResponse = Response<Full<Bytes>>;

/// Replies to the requests of the admin listener.
pub(crate) struct Pages {
    registry: Registry,
    status: StatusRecorder,
    snapshots: Snapshots,
    /// The last status page in each language, with the time of its numbers.
    overviews: Mutex<[Option<(Instant, Bytes)>; Language::ALL.len()]>,
}

/// The maximum age of a status page that is sent again. It bounds the cost of many clients.
const MAX_PAGE_AGE: Duration = Duration::from_millis(200);

impl Pages {
    pub(crate) fn new(registry: Registry, sources: StatusSources) -> Self {
        Self {
            registry,
            status: StatusRecorder::new(sources),
            snapshots: Snapshots::default(),
            overviews: Mutex::default(),
        }
    }

    /// Takes the samples for rates and charts, and keeps the log of slow replies. Never returns.
    pub(crate) async fn take_samples(&self) {
        let mut ticks = interval_at(Instant::now() + SAMPLE_INTERVAL, SAMPLE_INTERVAL);
        // After a stop of the process, one sample for the whole time.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // A panic in the numbers of a service costs only this sample: it leaves the samples before as they are.
            let _ = catch_unwind(AssertUnwindSafe(|| self.status.sample()));
            SLOW_LOG.on_time(Instant::now());
        }
    }

    /// Replies to a request. Only its head matters.
    pub(crate) async fn respond<B>(&self, request: &Request<B>) -> PageResponse {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let text = "method not allowed: use GET or HEAD\n";
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text.to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/" => html::respond(self.overview(language(request))),
            "/status" => json(&self.status.status()),
            "/connections" => match self.snapshots.current(&CONNECTIONS).await {
                Ok(snapshot) => connections::respond(self.status.sources(), &snapshot, &Asked::new(request)),
                Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("cannot list the connections: {error}\n")),
            },
            "/slow" => slow::respond(self.status.sources(), &SLOW_LOG.slowest(), &Asked::new(request)),
            "/healthz" => plain(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if !(self.status.sources().is_ready)() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
            }
            "/readyz" => plain(StatusCode::OK, "ready\n".to_owned()),
            "/metrics" => self.metrics(),
            _ => plain(StatusCode::NOT_FOUND, format!("not found: use {PATHS}\n")),
        }
    }

    fn overview(&self, language: Language) -> Bytes {
        // A panic while the lock is held leaves the last page.
        let mut overviews = self.overviews.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut overviews[language as usize] {
            Some((at, page)) if now.saturating_duration_since(*at) < MAX_PAGE_AGE => page.clone(),
            last => {
                let page = Bytes::from(overview::render(&self.status.status(), language).into_string());
                *last = Some((now, page.clone()));
                page
            }
        }
    }

    fn metrics(&self) -> PageResponse {
        let mut text = String::new();
        match prometheus_text::encode(&mut text, &self.registry) {
            Ok(()) => response(StatusCode::OK, prometheus_text::CONTENT_TYPE, text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// The query and the preferences of a request.
struct Asked<'a> {
    query: &'a str,
    language: Language,
    prefers_json: bool,
}

impl<'a> Asked<'a> {
    fn new<B>(request: &'a Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let prefers_json = prefers_json(&preferences(request.headers(), &ACCEPT));
        Self { query, language: language(request), prefers_json }
    }
}

/// Returns whether the ranges of `Accept` (RFC 9110, 12.5.1) prefer JSON to HTML: by the quality, of equal ones by the
/// more specific range.
fn prefers_json(ranges: &[Preference<'_>]) -> bool {
    let preference = |subtype: &str| {
        let (kind, _) = subtype.split_once('/').unwrap_or_default();
        let mut preference = (0, 0);
        for Preference { range, quality } in ranges {
            let specificity = match range.split_once('/') {
                _ if range.eq_ignore_ascii_case(subtype) => 3,
                Some((range, "*")) if range.eq_ignore_ascii_case(kind) => 2,
                Some(("*", "*")) => 1,
                _ => continue,
            };
            if specificity > preference.0 {
                preference = (specificity, *quality);
            }
        }
        let (specificity, quality) = preference;
        if quality > 0 { (quality, specificity) } else { (0, 0) }
    };
    preference("application/json") > preference("text/html")
}

/// Returns the language that the client prefers.
fn language<B>(request: &Request<B>) -> Language {
    Language::accepted(&preferences(request.headers(), &ACCEPT_LANGUAGE))
}

fn json(value: &impl Serialize) -> PageResponse {
    match serde_json::to_string(value) {
        Ok(json) => response(StatusCode::OK, "application/json", json + "\n"),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Returns the response to a wrong request.
fn bad_request(problem: &str) -> PageResponse {
    plain(StatusCode::BAD_REQUEST, format!("{problem}\n"))
}

fn plain(status: StatusCode, text: String) -> PageResponse {
    response(status, "text/plain; charset=utf-8", text)
}

/// Returns a response from which a browser loads and runs nothing. A browser must not take it for another type either,
/// because it can quote the request or a client.
fn response(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> PageResponse {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    );
    protect(response)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;
    use crate::server::observe::metrics::counters::Counters;
    use crate::server::observe::preferences::tests::headers;
    use crate::server::observe::status::{Group, ServiceStatus};

    impl Pages {
        /// Creates the pages of a server without metrics.
        pub(crate) fn for_tests() -> Self {
            let sources = StatusSources::for_tests(Arc::default(), Arc::new(Counters::<1>::default()));
            Self::new(Registry::default(), sources)
        }
    }

    async fn respond(method: Method, path: &str) -> PageResponse {
        Pages::for_tests().respond(&Request::builder().method(method).uri(path).body(()).unwrap()).await
    }

    /// A service whose numbers panic.
    #[derive(Default)]
    struct Panicking(AtomicBool);

    impl ServiceStatus for Panicking {
        fn groups(&self) -> Vec<Group> {
            assert!(!self.0.load(Ordering::Relaxed), "on purpose");
            Vec::new()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_only_its_sample() {
        let service = Arc::<Panicking>::default();
        let sources = StatusSources::for_tests(Arc::default(), Arc::<Panicking>::clone(&service));
        let pages = Pages::new(Registry::default(), sources);
        let check = async {
            sleep(SAMPLE_INTERVAL * 7 / 2).await;
            service.0.store(true, Ordering::Relaxed);
            sleep(SAMPLE_INTERVAL * 2).await;
            service.0.store(false, Ordering::Relaxed);
            sleep(SAMPLE_INTERVAL * 2).await;
            pages.status.status().history.len()
        };
        tokio::select! {
            () = pages.take_samples() => {}
            samples = check => assert_eq!(samples, 1 + 3 + 2),
        }
    }

    #[tokio::test]
    async fn each_response_restricts_a_browser() {
        let pages = Pages::for_tests();
        for (method, path, accept, content_type) in [
            ("GET", "/", "*/*", "text/html; charset=utf-8"),
            ("GET", "/connections", "*/*", "text/html; charset=utf-8"),
            ("GET", "/slow", "*/*", "text/html; charset=utf-8"),
            ("GET", "/slow", "application/json", "application/json"),
            ("GET", "/status", "*/*", "application/json"),
            ("GET", "/healthz", "*/*", "text/plain; charset=utf-8"),
            ("GET", "/readyz", "*/*", "text/plain; charset=utf-8"),
            ("GET", "/metrics", "*/*", prometheus_text::CONTENT_TYPE),
            ("GET", "/slow?x", "*/*", "text/plain; charset=utf-8"),
            ("GET", "/nothing", "*/*", "text/plain; charset=utf-8"),
            ("POST", "/", "*/*", "text/plain; charset=utf-8"),
        ] {
            let request = Request::builder().method(method).uri(path).header(ACCEPT, accept).body(()).unwrap();
            let response = pages.respond(&request).await;
            let header = |name: &str| response.headers()[name].to_str().unwrap();
            assert_eq!(header("content-type"), content_type, "{path}");
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(header(name), value, "{path}");
            }
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
            assert_eq!(policy.contains("script-src"), content_type.starts_with("text/html"), "{path}: {policy}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_page_is_sent_again_for_a_short_time_in_its_language() {
        let pages = Pages::for_tests();
        let page = |language| pages.overview(language);
        let english = page(Language::English);
        let chinese = page(Language::Chinese);
        assert_ne!(english, chinese);
        pages.status.sample();
        advance(MAX_PAGE_AGE / 2).await;
        assert_eq!((page(Language::English), page(Language::Chinese)), (english.clone(), chinese.clone()));
        advance(MAX_PAGE_AGE / 2).await;
        assert_ne!(page(Language::English), english, "the charts have one more point");
        assert_ne!(page(Language::Chinese), chinese);
    }

    #[tokio::test]
    async fn each_path_has_a_page_and_an_unknown_one_lists_them() {
        let listed = || PATHS.split([' ', ',']).filter(|word| word.starts_with('/'));
        assert!(listed().count() >= 5);
        for path in listed() {
            assert_eq!(respond(Method::GET, path).await.status(), StatusCode::OK, "{path}");
            assert_eq!(respond(Method::HEAD, path).await.status(), StatusCode::OK, "{path}");
            let rejected = respond(Method::POST, path).await;
            assert_eq!(
                (rejected.status(), &rejected.headers()[ALLOW]),
                (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
            );
        }
        for path in ["/statu", "/status/", "//", "/%2e"] {
            assert_eq!(respond(Method::GET, path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn json_is_chosen_only_if_it_is_preferred() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("APPLICATION/JSON;charset=utf-8", true),
            ("application/json, text/plain, */*", true),
            ("application/*", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json,text/html", false),
            ("text/html;q=0.5, application/json;q=0.6", true),
            ("text/html;level=1;q=0.5, */*;q=0.6", true),
            ("application/json;q=0, */*", false),
            ("application/json;q=0", false),
            ("application/json;q=x", false),
            ("application/json;Q=0.9, text/html;q=0.8", true),
            (";;,,/", false),
        ] {
            let headers = headers(&ACCEPT, &[accept]);
            assert_eq!(prefers_json(&preferences(&headers, &ACCEPT)), expected, "{accept}");
        }
    }
}
