//! The mistakes of numbers: another value, or another text of the same value.

use crate::language::check as texts;

/// Explains a number that is written or computed in another way.
pub(super) fn explain(request: &str, expected: &str, reply: &str) -> Option<String> {
    if matches!(reply.to_lowercase().as_str(), "inf" | "nan" | "infinity" | "-inf" | "-infinity") {
        return Some(texts::mistake_infinity());
    }
    let Ok(got) = reply.parse::<f64>() else { return Some(texts::mistake_reply_form()) };
    let wanted: f64 = expected.parse().ok()?;
    if wanted.to_bits() == got.to_bits() {
        return Some(layout(expected, reply));
    }
    #[allow(clippy::float_cmp, reason = "the zeros differ in their sign")]
    if wanted == got {
        return Some(texts::mistake_negative_zero());
    }
    let distance = ((got - wanted) / wanted).abs();
    let digits = reply.bytes().filter(u8::is_ascii_digit).count();
    if wanted == 0.0 || got == 0.0 {
        return Some(texts::mistake_underflow());
    }
    let is_product = request.starts_with(['b', 'c']);
    if distance < 1e-14 && is_product && significant(reply).len() > 15 {
        return Some(texts::mistake_product_order());
    }
    if distance < 1e-13 && significant(reply).len() < significant(expected).len() {
        return Some(texts::mistake_few_digits());
    }
    if distance < 1e-5 && digits <= 8 && digits < expected.len() {
        return Some(texts::mistake_percent_g());
    }
    // A float has 24 bits, a double 53.
    if (1e-10..1e-5).contains(&distance) {
        return Some(texts::mistake_float32());
    }
    if distance < 1e-14 {
        return Some(if is_product { texts::mistake_product_order() } else { texts::mistake_rounding() });
    }
    let operand: f64 = request.get(1..)?.trim().parse().ok()?;
    [operand, operand * operand, operand * operand * operand, operand.powi(4)]
        .into_iter()
        .any(|power| (power - got).abs() <= power.abs() * 1e-9)
        .then(texts::mistake_other_operation)
}

/// Explains a number that has the right value and another text.
fn layout(expected: &str, reply: &str) -> String {
    let (wanted, got) = (significant(expected), significant(reply));
    if wanted.len() == got.len() && wanted != got {
        return texts::mistake_tie();
    }
    if got.len() > wanted.len() {
        return texts::mistake_digits();
    }
    if expected.contains('e') && !reply.contains(['e', 'E']) {
        return texts::mistake_positional();
    }
    if !expected.contains('e') && reply.contains(['e', 'E']) {
        return texts::mistake_exponent();
    }
    if expected.contains('e') {
        return texts::mistake_exponent_layout();
    }
    if reply.contains('.') { texts::mistake_zeros() } else { texts::mistake_no_point() }
}

/// Returns the significant digits of a number.
fn significant(text: &str) -> String {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}
