//! A line chart as inline SVG. It depends on `numbers` and `texts`.

use std::fmt::Write;

use maud::{Markup, html};

use super::numbers::{UNKNOWN, rounded};
use super::texts::Texts;

/// The width of a chart: a unit for each second.
const WIDTH: u64 = 300;

/// The height of a chart. Coordinates are whole numbers, because it takes much longer to format others.
const HEIGHT: f64 = 1000.0;

/// A series over the last five minutes.
pub(super) struct Chart<'a> {
    /// The element, which a refresh replaces.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// For each point its age in seconds, and its value if it has one; oldest first.
    pub(super) points: Vec<(u64, Option<f64>)>,
    /// Returns the text of a value.
    pub(super) text: &'a dyn Fn(f64) -> String,
}

impl Chart<'_> {
    /// Returns the chart with its scale and a caption.
    pub(super) fn render(&self, texts: &Texts) -> Markup {
        let highest = self.points.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
        let top = scale(highest);
        let text = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), self.text);
        let current = text(self.points.last().and_then(|(_, value)| *value));
        html! {
            figure #(self.id) data-live {
                figcaption { (self.title) b { (current) } }
                div .chart {
                    svg viewBox="0 0 300 1000" preserveAspectRatio="none" role="img" {
                        title {
                            (self.title) ", " (texts.last_5_minutes) ": "
                            (texts.now) " " (current) ", " (texts.highest) " " (text((highest > 0.0).then_some(highest)))
                        }
                        path .grid d="M0 5H300M0 500H300M0 995H300" {}
                        path .line d=(path(&self.points, top)) {}
                    }
                    div .scale aria-hidden="true" {
                        span { (text(Some(top))) }
                        span { (text(Some(top / 2.0))) }
                        span { "0" }
                    }
                }
                div .times aria-hidden="true" { span { (texts.five_minutes_ago) } span { (texts.now) } }
            }
        }
    }
}

/// Returns the lines through the points that have a value. A point without one interrupts the line.
fn path(points: &[(u64, Option<f64>)], top: f64) -> String {
    let mut path = String::with_capacity(12 * points.len());
    let mut continues = false;
    for &(age, value) in points.iter().filter(|(age, _)| *age <= WIDTH) {
        if let Some(value) = value {
            // A margin of a hundredth for the width of the line.
            let (x, y) = (WIDTH - age, rounded(HEIGHT * (0.99 - 0.98 * value / top)));
            // A line to its own start makes a point visible that has no neighbours.
            let command = if continues { "L" } else { "M" };
            // Writing to a String cannot fail.
            let _ = write!(path, "{command}{x} {y}");
            if !continues {
                path.push_str("h0");
            }
        }
        continues = value.is_some();
    }
    path
}

/// Returns the top of the scale: the next of 1, 2, 5, 10, 20 and so on, with any power of ten.
fn scale(highest: f64) -> f64 {
    if !highest.is_finite() || highest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    // The last one is for a logarithm that was rounded up.
    [1.0, 2.0, 5.0, 10.0, 20.0].map(|factor| factor * power).into_iter().find(|top| *top >= highest).unwrap_or(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (highest, top) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (5.1, 10.0), (99_999.0, 100_000.0)] {
            assert!((scale(highest) - top).abs() < 1e-9, "{highest}");
        }
        assert!((scale(0.0003) - 0.0005).abs() < 1e-12);
    }

    #[test]
    fn a_point_without_a_value_interrupts_the_line() {
        let points = [(400, Some(9.0)), (300, Some(0.0)), (200, Some(1.0)), (100, None), (0, Some(2.0))];
        assert_eq!(path(&points, 2.0), "M0 990h0L100 500M300 10h0");
    }
}
