//! The document around each page: its head, its navigation, and its headers.
//!
//! It depends on `texts`, and on `status`, `language` and `browser_headers` in `observe`. A page has no external
//! resources. Its scripts and styles are the texts of [`STYLE`] and [`SCRIPT`], which the Content-Security-Policy names
//! by their hashes, so a browser runs nothing else, even if a value were not escaped.

use std::sync::LazyLock;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::texts::Texts;
use super::{PageResponse, response};
use crate::server::observe::browser_headers::content_security_policy;
use crate::server::observe::language::Language;
use crate::server::observe::status::recorder::StatusSources;

/// The style sheet of all pages.
const STYLE: &str = include_str!("style.css");

/// The script of all pages. Each second it fetches the page again, and replaces the content of each element that has
/// `data-live` and an `id`. Such an element must have no element that takes the focus, and no `details`.
const SCRIPT: &str = include_str!("refresh.js");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| content_security_policy(STYLE, SCRIPT, "'none'"));

/// The policy of a page with a form.
static FORM_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| content_security_policy(STYLE, SCRIPT, "'self'"));

/// The frame of a page.
pub(super) struct Frame {
    pub(super) language: Language,
    /// The path of the page, as in [`Texts::navigation`].
    pub(super) path: &'static str,
    pub(super) service: &'static str,
    pub(super) version: &'static str,
    pub(super) is_ready: bool,
}

impl Frame {
    /// Returns the frame of the page at `path`, with the current state of the server.
    pub(super) fn new(sources: &StatusSources, language: Language, path: &'static str) -> Self {
        let StatusSources { service, version, is_ready, .. } = sources;
        Self { language, path, service, version, is_ready: is_ready() }
    }

    pub(super) fn texts(&self) -> &'static Texts {
        Texts::of(self.language)
    }

    /// Returns the document with this content.
    pub(super) fn document(&self, content: &Markup) -> Markup {
        let texts = self.texts();
        html! {
            (DOCTYPE)
            html lang=(self.language.tag()) data-version=(self.version) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title {
                        (self.service) "-server: " @if self.is_ready { (texts.ready) } @else { (texts.draining) }
                    }
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                    noscript { meta http-equiv="refresh" content="5"; }
                }
                body {
                    header {
                        h1 { (self.service) "-server" }
                        p #state .state .draining[!self.is_ready] data-live {
                            @if self.is_ready { (texts.ready) } @else { (texts.draining) }
                        }
                        nav aria-label=(texts.pages) {
                            @for (path, name) in texts.navigation {
                                a href=(path) aria-current=[(*path == self.path).then_some("page")] { (name) }
                            }
                        }
                    }
                    p #stale role="status" data-text=(texts.stale) {}
                    main { (content) }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
    }
}

/// Returns a table in a box that scrolls if the table is wider. A refresh replaces `rows`. `columns` are the names of
/// the columns, if they need any.
pub(super) fn table(id: &str, caption: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div .scroll {
            table {
                caption { (caption) }
                @if !columns.is_empty() {
                    thead { tr { @for column in columns { th scope="col" { (column) } } } }
                }
                tbody #{ "table-" (id) } data-live { (rows) }
            }
        }
    }
}

/// Returns the response with a document.
pub(super) fn respond(document: impl Into<Bytes>) -> PageResponse {
    with_policy(document, &POLICY)
}

/// Returns the response with a document that has a form.
pub(super) fn respond_with_form(document: impl Into<Bytes>) -> PageResponse {
    with_policy(document, &FORM_POLICY)
}

fn with_policy(document: impl Into<Bytes>, policy: &HeaderValue) -> PageResponse {
    let mut response = response(StatusCode::OK, "text/html; charset=utf-8", document);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.clone());
    response
}
