//! The status page, `/`. It depends on `html` and `texts`.

use maud::{Markup, html};

use super::PageSources;
use super::html::Frame;
use crate::server::observe::language::Language;

pub(super) fn render(sources: &PageSources, language: Language) -> Markup {
    let PageSources { service, version, .. } = *sources;
    let frame = Frame { language, path: "/", service, version, is_ready: (sources.is_ready)() };
    frame.document(&html! {})
}
