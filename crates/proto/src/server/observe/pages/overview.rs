//! The status page, `/`. It depends on `html`, `chart`, `numbers` and `texts`.

use std::time::Duration;

use maud::{Markup, html};

use super::chart::Chart;
use super::html::{Frame, table};
use super::numbers::{UNKNOWN, count, duration, rate, rounded, uptime};
use super::texts::Texts;
use crate::server::observe::language::Language;
use crate::server::observe::status::{CountAndRates, GroupStatus, Point, State, Status, ValueStatus};

/// Returns the document.
pub(super) fn render(status: &Status, language: Language) -> Markup {
    let Status { service, version, .. } = *status;
    let frame = Frame { language, path: "/", service, version, is_ready: status.state == State::Ready };
    let texts = frame.texts();
    frame.document(&html! {
        (tiles(status, texts))
        section .charts aria-label=(texts.history) { (charts(&status.history, texts)) }
        section .tables {
            (requests(status, texts))
            (connections(status, texts))
            @for group in &status.groups { (service_group(group, texts, language)) }
            (counts("endpoints", texts.by_endpoint, &status.connections.by_endpoint, texts))
            (counts("closed", texts.closed, &reasons(status), texts))
            (counts("limits", texts.limits_reached, &status.connections.limits_reached, texts))
        }
        details {
            summary { (texts.configuration) }
            pre #configuration data-live tabindex="0" { (status.configuration) }
        }
        footer {
            p #times data-live {
                (texts.version) " " (version) " · " (texts.started) " " time { (status.started_at) } " · "
                (texts.updated) " " time { (status.now) }
            }
            p { a href="/status" { "/status" } " " a href="/metrics" { "/metrics" } }
        }
    })
}

fn tiles(status: &Status, texts: &Texts) -> Markup {
    let tile = |id, name, note, value: Markup| {
        html! { div { dt { (name) " " span .muted { (note) } } dd #(id) data-live { (value) } } }
    };
    let Status { requests, connections, latency_last_minute, .. } = status;
    html! {
        dl .tiles {
            (tile("rate", texts.requests_per_second, texts.last_10_seconds, html! { (rate(requests.per_second_10s)) }))
            (tile("p99", "p99", texts.last_minute, html! { (duration(latency_last_minute.p99)) }))
            (tile("open", texts.open_connections, "", html! {
                (count(connections.open)) " " small .muted { "/ " (count(connections.max)) }
            }))
            (tile("uptime", texts.uptime, "", html! { (uptime(status.uptime, texts)) }))
        }
    }
}

fn charts(history: &[Point], texts: &Texts) -> Markup {
    let series = |value: &dyn Fn(&Point) -> Option<f64>| {
        history.iter().map(|point| (point.age.as_secs(), value(point))).collect::<Vec<_>>()
    };
    #[expect(clippy::cast_precision_loss, reason = "a chart shows two digits")]
    let open = |point: &Point| Some(point.open_connections as f64);
    html! {
        (Chart {
            id: "chart-rate",
            title: texts.requests_per_second,
            points: series(&|point| point.requests_per_second),
            text: &|value| rate(Some(value)),
        }.render(texts))
        (Chart {
            id: "chart-p99",
            title: "p99",
            points: series(&|point| point.p99.as_ref().map(Duration::as_secs_f64)),
            text: &|value| duration(Some(Duration::try_from_secs_f64(value).unwrap_or_default())),
        }.render(texts))
        (Chart {
            id: "chart-open",
            title: texts.open_connections,
            points: series(&open),
            text: &|value| if value < 1.0 { rate(Some(value)) } else { count(rounded(value)) },
        }.render(texts))
    }
}

fn requests(status: &Status, texts: &Texts) -> Markup {
    let CountAndRates { total, per_second_10s, per_second_60s } = status.requests;
    let latency = status.latency_last_minute;
    let note = |note| html! { " " span .muted { (note) } };
    table(
        "requests",
        texts.requests,
        &[],
        &html! {
            (row(&html! { (texts.total) }, &count(total)))
            (row(&html! { (texts.per_second) (note(texts.last_10_seconds)) }, &rate(per_second_10s)))
            (row(&html! { (texts.per_second) (note(texts.last_minute)) }, &rate(per_second_60s)))
            @for (quantile, value) in [("p50", latency.p50), ("p99", latency.p99), ("p99.9", latency.p99_9)] {
                (row(&html! { (texts.latency) " " (quantile) (note(texts.last_minute)) }, &duration(value)))
            }
        },
    )
}

fn connections(status: &Status, texts: &Texts) -> Markup {
    let connections = &status.connections;
    table(
        "connections",
        texts.connections,
        &[],
        &html! {
            @for (name, number) in [
                (texts.open, connections.open),
                (texts.maximum, connections.max),
                (texts.accepted, connections.accepted),
                (texts.rejected, connections.rejected),
            ] { (row(&html! { (name) }, &count(number))) }
        },
    )
}

/// Returns the close reasons that have occurred.
fn reasons(status: &Status) -> Vec<(&'static str, u64)> {
    status.connections.closed.iter().copied().filter(|(_, number)| *number > 0).collect()
}

fn counts<N: AsRef<str>>(id: &'static str, caption: &'static str, counts: &[(N, u64)], texts: &Texts) -> Markup {
    table(
        id,
        caption,
        &[],
        &html! {
            @for (name, number) in counts { (row(&html! { code { (name.as_ref()) } }, &count(*number))) }
            @if counts.is_empty() { (row(&html! { (texts.none) }, UNKNOWN)) }
        },
    )
}

fn service_group(group: &GroupStatus, texts: &Texts, language: Language) -> Markup {
    table(
        group.name,
        group.title.get(language),
        &[texts.name, texts.total, texts.per_second],
        &html! {
            @for entry in &group.entries {
                tr {
                    th scope="row" { (entry.label.get(language)) }
                    @match entry.value {
                        ValueStatus::Counter(CountAndRates { total, per_second_10s, .. }) => {
                            td { (count(total)) } td { (rate(per_second_10s)) }
                        }
                        ValueStatus::Gauge(number) => { td { (count(number)) } td {} }
                        ValueStatus::Flag(flag) => { td { (if flag { texts.yes } else { texts.no }) } td {} }
                    }
                }
            }
        },
    )
}

fn row(name: &Markup, value: &str) -> Markup {
    html! { tr { th scope="row" { (name) } td { (value) } } }
}
