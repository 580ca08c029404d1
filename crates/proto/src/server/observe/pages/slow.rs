//! The slowest replies, `/slow`. It depends on `connections`, `html`, `numbers` and `texts`, and on `slow_log` and
//! `status` in `observe`.

use std::time::Duration;

use maud::{Markup, html};
use serde::Serialize;

use super::connections::client;
use super::html::{Frame, respond as respond_html, table};
use super::numbers::{UNKNOWN, duration};
use super::texts::Texts;
use super::{Asked, PageResponse, bad_request, json};
use crate::server::observe::slow_log::SlowReply;
use crate::server::observe::status::recorder::StatusSources;

pub(super) fn respond(sources: &StatusSources, slowest: &[SlowReply], asked: &Asked<'_>) -> PageResponse {
    if !asked.query.is_empty() {
        return bad_request("this page has no parameters");
    }
    if asked.prefers_json {
        return json(&List { schema: 1, slow: slowest.iter().map(Item::new).collect() });
    }
    let frame = Frame::new(sources, asked.language, "/slow");
    respond_html(frame.document(&render(slowest, frame.texts())).into_string())
}

/// The response in JSON. A change that a reader can notice increases `schema`; a new key does not.
#[derive(Serialize)]
struct List<'a> {
    schema: u32,
    slow: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    time: String,
    client: String,
    endpoint: Option<&'a str>,
    operation: &'static str,
    duration_seconds: f64,
    waited_seconds: f64,
    handler_seconds: f64,
    write_seconds: f64,
}

impl<'a> Item<'a> {
    fn new(reply: &'a SlowReply) -> Self {
        Self {
            time: time(reply),
            client: client(reply.client),
            endpoint: reply.endpoint.as_deref(),
            operation: reply.operation,
            duration_seconds: total(reply).as_secs_f64(),
            waited_seconds: reply.waited.as_secs_f64(),
            handler_seconds: reply.handler.as_secs_f64(),
            write_seconds: reply.write.as_secs_f64(),
        }
    }
}

fn time(reply: &SlowReply) -> String {
    humantime::format_rfc3339_millis(reply.time).to_string()
}

fn total(reply: &SlowReply) -> Duration {
    reply.waited + reply.handler + reply.write
}

fn render(slowest: &[SlowReply], texts: &Texts) -> Markup {
    let columns = [
        texts.time,
        texts.client,
        texts.endpoint,
        texts.operation,
        texts.duration,
        texts.waited,
        texts.handler,
        texts.write,
    ];
    html! {
        p .muted { (texts.slow_note) }
        (table("slow", texts.slow_replies, &columns, &html! {
            @for reply in slowest {
                tr {
                    th scope="row" { time { (time(reply)) } }
                    td { (client(reply.client)) }
                    td { (reply.endpoint.as_deref().unwrap_or(UNKNOWN)) }
                    td { (reply.operation) }
                    td { (duration(Some(total(reply)))) }
                    td { (duration(Some(reply.waited))) }
                    td { (duration(Some(reply.handler))) }
                    td { (duration(Some(reply.write))) }
                }
            }
        }))
    }
}
