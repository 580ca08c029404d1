//! The open connections, `/connections`. It depends on `html`, `numbers` and `texts`, and on `connections` and `status`
//! in `observe`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use maud::{Markup, html};
use serde::Serialize;

use super::html::{Frame, respond_with_form, table};
use super::numbers::{UNKNOWN, count, duration, uptime};
use super::texts::Texts;
use super::{Asked, PageResponse, bad_request, json};
use crate::server::observe::connections::query::{MAX_LIMIT, Query, Sort};
use crate::server::observe::connections::snapshot::{Connection, Snapshot};
use crate::server::observe::status::recorder::StatusSources;

pub(super) fn respond(sources: &StatusSources, snapshot: &Snapshot, asked: &Asked<'_>) -> PageResponse {
    let selected = Query::parse(asked.query).and_then(|query| {
        let (matching, connections) = query.select(snapshot)?;
        Ok((query, Counts { total: snapshot.connections.len(), matching, shown: connections.len() }, connections))
    });
    match selected {
        Err(problem) => bad_request(&problem),
        Ok((_, counts, connections)) if asked.prefers_json => json(&List {
            schema: 1,
            counts,
            incomplete: snapshot.incomplete.as_deref(),
            connections: connections.into_iter().map(Item::new).collect(),
        }),
        Ok((query, counts, connections)) => {
            let frame = Frame::new(sources, asked.language, "/connections");
            respond_with_form(
                frame.document(&render(&query, counts, &connections, snapshot, frame.texts())).into_string(),
            )
        }
    }
}

#[derive(Clone, Copy, Serialize)]
struct Counts {
    /// All open connections.
    total: usize,
    /// Those that match the filters.
    matching: usize,
    shown: usize,
}

/// The response in JSON. A change that a reader can notice increases `schema`; a new key does not.
#[derive(Serialize)]
struct List<'a> {
    schema: u32,
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<&'a str>,
    connections: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    client: String,
    endpoint: &'a str,
    transport: &'static str,
    age_seconds: f64,
    idle_seconds: Option<f64>,
    received_bytes: Option<u64>,
    sent_bytes: Option<u64>,
    round_trip_seconds: Option<f64>,
    state: &'static str,
    send_queue_bytes: Option<u32>,
    receive_queue_bytes: Option<u32>,
    proxy: Option<SocketAddr>,
    tls: Option<TlsItem<'a>>,
    duel: Option<&'static str>,
}

#[derive(Serialize)]
struct TlsItem<'a> {
    version: &'static str,
    client_subject: Option<&'a str>,
}

impl<'a> Item<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self {
            client: client(connection.client),
            endpoint: &connection.endpoint,
            transport: connection.transport,
            age_seconds: connection.age.as_secs_f64(),
            idle_seconds: connection.idle.as_ref().map(Duration::as_secs_f64),
            received_bytes: connection.received_bytes,
            sent_bytes: connection.sent_bytes,
            round_trip_seconds: connection.round_trip.as_ref().map(Duration::as_secs_f64),
            state: connection.state,
            send_queue_bytes: connection.send_queue_bytes,
            receive_queue_bytes: connection.receive_queue_bytes,
            proxy: connection.proxy,
            tls: connection
                .tls
                .as_ref()
                .map(|tls| TlsItem { version: tls.version, client_subject: tls.client_subject.as_deref() }),
            duel: connection.duel,
        }
    }
}

/// Returns the address of a client, or `unix`, as in the log.
pub(super) fn client(client: Option<SocketAddr>) -> String {
    client.map_or_else(|| "unix".to_owned(), |client| client.to_string())
}

fn render(query: &Query, counts: Counts, connections: &[&Connection], snapshot: &Snapshot, texts: &Texts) -> Markup {
    let columns = [
        texts.client,
        texts.endpoint,
        texts.transport,
        texts.age,
        texts.idle,
        texts.received,
        texts.sent,
        texts.round_trip,
        texts.state,
        texts.receive_queue,
        texts.send_queue,
        texts.proxy,
        "TLS",
        texts.duel,
    ];
    html! {
        (form(query, &snapshot.endpoints, texts))
        p #counts data-live {
            (texts.counts_shown) " " b { (number(counts.shown)) } " · "
            (texts.counts_matching) " " b { (number(counts.matching)) } " · "
            (texts.total) " " b { (number(counts.total)) }
        }
        p #incomplete .muted data-live { @if let Some(reason) = &snapshot.incomplete { (reason) } }
        (table("open", texts.open_connections, &columns, &html! {
            @for connection in connections { (row(connection, texts)) }
        }))
    }
}

fn number(number: usize) -> String {
    count(number as u64)
}

fn row(connection: &Connection, texts: &Texts) -> Markup {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| UNKNOWN.to_owned(), count);
    let text = |text: Option<&str>| text.unwrap_or(UNKNOWN).to_owned();
    html! {
        tr {
            th scope="row" { (client(connection.client)) }
            td { (connection.endpoint) }
            td { (connection.transport) }
            td { (uptime(connection.age, texts)) }
            td { (duration(connection.idle)) }
            td { (bytes(connection.received_bytes)) }
            td { (bytes(connection.sent_bytes)) }
            td { (duration(connection.round_trip)) }
            td { (connection.state) }
            td { (bytes(connection.receive_queue_bytes.map(u64::from))) }
            td { (bytes(connection.send_queue_bytes.map(u64::from))) }
            td { (text(connection.proxy.map(|proxy| proxy.to_string()).as_deref())) }
            td {
                @match &connection.tls {
                    None => (UNKNOWN),
                    Some(tls) => { (tls.version) @if let Some(subject) = &tls.client_subject { " " (subject) } }
                }
            }
            td { (text(connection.duel)) }
        }
    }
}

/// Returns the form with the filters of `query`.
fn form(query: &Query, endpoints: &[Arc<str>], texts: &Texts) -> Markup {
    let duration = |duration: Option<Duration>| {
        duration.map(|duration| humantime::format_duration(duration).to_string()).unwrap_or_default()
    };
    html! {
        form .filters method="get" aria-label=(texts.filters) {
            label {
                (texts.client) " "
                input name="client" size="18" placeholder=(texts.client_hint)
                    value=(query.client.map(|client| client.to_string()).unwrap_or_default());
            }
            label {
                (texts.endpoint) " "
                select name="endpoint" {
                    option value="" { (texts.any) }
                    @for endpoint in endpoints {
                        option value=(endpoint) selected[query.endpoint.as_deref() == Some(endpoint)] { (endpoint) }
                    }
                }
            }
            label {
                (texts.min_age) " " input name="min_age" size="6" placeholder="5m" value=(duration(query.min_age));
            }
            label {
                (texts.min_idle) " " input name="min_idle" size="6" placeholder="10s" value=(duration(query.min_idle));
            }
            label {
                (texts.sort) " "
                select name="sort" {
                    @for sort in Sort::ALL {
                        option value=(sort.name()) selected[query.sort == sort] { (sort_text(sort, texts)) }
                    }
                }
            }
            label {
                (texts.limit) " " input name="limit" type="number" min="1" max=(MAX_LIMIT) value=(query.limit);
            }
            button { (texts.apply) }
        }
    }
}

fn sort_text(sort: Sort, texts: &Texts) -> &'static str {
    match sort {
        Sort::Age => texts.age,
        Sort::Idle => texts.idle,
        Sort::Received => texts.received,
        Sort::Sent => texts.sent,
        Sort::RoundTrip => texts.round_trip,
        Sort::Client => texts.client,
    }
}
