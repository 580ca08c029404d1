//! The text of a ticket in the engine: `1 PROCESS NONCE ADDRESS`.
//!
//! It depends on nothing. `1` is the version. PROCESS and NONCE are 128 bits each, as 32 lower-case hexadecimal digits.
//! ADDRESS is the endpoint of the replica. The script [`ASK`](super::scripts) accepts the same texts.

use thiserror::Error;

/// Maximum bytes of a replica's address.
pub const MAX_ADDRESS_BYTES: usize = 300;

/// Returns the text of a ticket.
pub(super) fn format(process: u128, nonce: u128, address: &str) -> String {
    format!("1 {process:032x} {nonce:032x} {address}")
}

/// Returns the nonce and the address of a ticket; `None` if the text is not exactly that of a ticket.
pub(super) fn parse(text: &str) -> Option<(u128, &str)> {
    let mut fields = text.splitn(4, ' ');
    if fields.next() != Some("1") {
        return None;
    }
    let _process = parse_number(fields.next()?)?;
    let nonce = parse_number(fields.next()?)?;
    let address = fields.next()?;
    check_address(address).ok()?;
    Some((nonce, address))
}

fn parse_number(text: &str) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == 32 && text.bytes().all(is_digit);
    u128::from_str_radix(text, 16).ok().filter(|_| is_number)
}

/// Why a replica's address cannot be in a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the address that other replicas connect to must have 1 to {MAX_ADDRESS_BYTES} characters of ASCII, without spaces"
)]
pub struct InvalidAddress;

/// Checks the address of a replica.
///
/// # Errors
///
/// Fails if it has a space or a character that is not printable ASCII, or is empty or too long.
pub fn check_address(address: &str) -> Result<(), InvalidAddress> {
    let is_valid =
        (1..=MAX_ADDRESS_BYTES).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_graphic());
    is_valid.then_some(()).ok_or(InvalidAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: &str = "0123456789abcdef0123456789abcdef";
    const NONCE: &str = "000000000000000000000000000000ff";

    #[test]
    fn a_ticket_parses_as_it_was_formatted() {
        let text = format(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, 255, "tls://[::1]:5003");
        assert_eq!(text, format!("1 {PROCESS} {NONCE} tls://[::1]:5003"));
        assert_eq!(parse(&text), Some((255, "tls://[::1]:5003")));
        let text = format(u128::MAX, u128::MAX, &"a".repeat(MAX_ADDRESS_BYTES));
        assert_eq!(parse(&text), Some((u128::MAX, "a".repeat(MAX_ADDRESS_BYTES).as_str())));
    }

    #[test]
    fn other_texts_are_not_tickets() {
        let upper = NONCE.to_uppercase();
        for text in [
            String::new(),
            "1".to_owned(),
            format!("2 {PROCESS} {NONCE} a:1"),
            format!("01 {PROCESS} {NONCE} a:1"),
            format!(" 1 {PROCESS} {NONCE} a:1"),
            format!("1  {PROCESS} {NONCE} a:1"),
            format!("1 {PROCESS} {NONCE}"),
            format!("1 {PROCESS} {NONCE} "),
            format!("1 {PROCESS} {NONCE}  a:1"),
            format!("1 {PROCESS} {NONCE} a:1 "),
            format!("1 {PROCESS} {NONCE} a:1 b"),
            format!("1 {PROCESS} {NONCE} a:1\n"),
            format!("1 {PROCESS} {NONCE} ä:1"),
            format!("1 {PROCESS} {upper} a:1"),
            format!("1 {PROCESS} 0{NONCE} a:1"),
            format!("1 {PROCESS} {} a:1", &NONCE[1..]),
            format!("1 {PROCESS} +{} a:1", &NONCE[1..]),
            format!("1 {PROCESS} {NONCE} {}", "a".repeat(MAX_ADDRESS_BYTES + 1)),
        ] {
            assert_eq!(parse(&text), None, "{text:?}");
        }
    }
}
