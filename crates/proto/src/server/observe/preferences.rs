//! The preferences of a client in `Accept` and `Accept-Language`. It depends on no other module.

use hyper::HeaderMap;
use hyper::header::HeaderName;

/// A range, such as `text/*` or `zh-CN`, without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preference<'a> {
    pub(super) range: &'a str,
    /// In thousandths, at most 1000. 0: not acceptable.
    pub(super) quality: u16,
}

/// Returns the ranges in all lines of a header, in their order (RFC 9110, 12.4.2). A range with an invalid quality is
/// ignored.
pub(super) fn preferences<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Preference<'a>> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let preference = |item: &'a str| {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().filter(|range| !range.is_empty())?;
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| parse_quality(value.trim()))
        });
        // Without a quality it is 1.
        let quality = quality.unwrap_or(Some(1000))?;
        Some(Preference { range, quality })
    };
    lines.flat_map(|line| line.split(',')).filter_map(preference).collect()
}

/// Parses 0 or 1 with at most three decimals, at most 1.
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() != 1 || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
pub(super) mod tests {
    use hyper::header::{ACCEPT, HeaderValue};

    use super::*;

    /// Returns headers with these lines of one name.
    pub(in super::super) fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn the_ranges_of_all_lines_are_returned_unless_their_quality_is_invalid() {
        let lines = ["a/b, c;q=0.5 ,d;x=1;Q = 0.25", "", ";q=1,,", "e;q=2,f;q=x,g;q=NaN,h;q=+1,i;q=-0,j;q=0.1234,k;q="];
        let headers = headers(&ACCEPT, &[&lines[..], &["l;q=1.000,m;q=0.,n;q=1.001,o;q=0"]].concat());
        let found: Vec<_> =
            preferences(&headers, &ACCEPT).into_iter().map(|found| (found.range, found.quality)).collect();
        assert_eq!(found, [("a/b", 1000), ("c", 500), ("d", 250), ("l", 1000), ("m", 0), ("o", 0)]);
    }
}
