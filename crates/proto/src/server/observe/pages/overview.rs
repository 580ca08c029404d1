//! The status page, `/`. It depends on `html`, `chart`, `numbers` and `texts`, and on `status` in `observe`.

use std::time::Duration;

use maud::{Markup, html};

use super::chart::Chart;
use super::html::{Frame, table};
use super::numbers::{UNKNOWN, count, duration, rate, trimmed, uptime};
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
            text: &|value| trimmed(&rate(Some(value))),
        }.render(texts))
        (Chart {
            id: "chart-p99",
            title: "p99",
            points: series(&|point| point.p99.as_ref().map(Duration::as_secs_f64)),
            text: &|value| trimmed(&duration(Duration::try_from_secs_f64(value).ok())),
        }.render(texts))
        (Chart {
            id: "chart-open",
            title: texts.open_connections,
            points: series(&open),
            text: &|value| trimmed(&rate(Some(value))),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::observe::language::Text;
    use crate::server::observe::status::{ConnectionCounts, EntryStatus, Quantiles};

    /// A status with the longest values.
    fn full() -> Status {
        let (count, rate) = (9_999_999_999, Some(9_999_999.0));
        let counted = CountAndRates { total: count, per_second_10s: rate, per_second_60s: rate };
        let entry = EntryStatus {
            name: "entry",
            label: Text::new("name of an entry", "名称"),
            value: ValueStatus::Counter(counted),
        };
        let group = |name| GroupStatus {
            name,
            title: Text::new("Group", "分组"),
            entries: (0..10).map(|_| EntryStatus { ..entry }).collect(),
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let point = |age| Point {
            age: Duration::from_secs(age),
            requests_per_second: Some(if age % 2 == 0 { 9_999_999.0 } else { 5_555_555.0 }),
            p99: seconds(50 + age % 2),
            open_connections: 1_000_000 - age,
        };
        Status {
            schema: 1,
            service: "test",
            version: "0.0.0",
            state: State::Ready,
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            now: "2026-01-02T00:00:00Z".to_owned(),
            uptime: Duration::from_hours(24),
            connections: ConnectionCounts {
                by_endpoint: (0..20).map(|port| (format!("tls://[::1]:{port}"), count)).collect(),
                closed: vec![("request_timeout", count); 13],
                limits_reached: vec![("max_connections_per_ip", count); 4],
                ..ConnectionCounts::default()
            },
            requests: counted,
            latency_last_minute: Quantiles { p50: seconds(1), p99: seconds(2), p99_9: seconds(3) },
            groups: ["a", "b", "c", "d"].map(group).into(),
            configuration: Arc::from("key = \"value\"  # environment variable TEST_SERVER_KEY\n".repeat(40)),
            history: (0..300).rev().map(point).collect(),
        }
    }

    #[test]
    fn a_full_page_is_smaller_than_40_kb() {
        for language in [Language::English, Language::Chinese] {
            let page = render(&full(), language).0;
            assert!(page.len() < 40_000, "{}", page.len());
            assert!(page.contains("9,999,999,999"), "{page}");
        }
    }

    #[test]
    fn values_are_escaped() {
        let mut status = full();
        let hostile = "unix:/tmp/</pre></tbody><script>alert(\"1\")</script>&amp;";
        status.connections.by_endpoint.push((hostile.to_owned(), 1));
        status.configuration = Arc::from(hostile);
        let page = render(&status, Language::English).0;
        let escaped = "unix:/tmp/&lt;/pre&gt;&lt;/tbody&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;";
        assert_eq!(page.matches(escaped).count(), 2, "{page}");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
    }

    #[test]
    fn a_server_without_requests_has_no_latency() {
        let mut status = full();
        status.latency_last_minute = Quantiles::default();
        for point in &mut status.history {
            (point.p99, point.requests_per_second, point.open_connections) = (None, Some(0.0), 0);
        }
        status.history[0].requests_per_second = None;
        let page = render(&status, Language::English).0;
        assert!(page.contains(&format!("data-live>{UNKNOWN}</dd>")), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
