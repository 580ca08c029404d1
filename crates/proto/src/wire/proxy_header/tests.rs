#![expect(clippy::unnecessary_wraps, reason = "the expected values are compared with the results of `parse`")]

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::testing::properties::proxy_header::{self, HeaderV2, line, v2_family};

/// The maximum length of a v1 line, from the specification.
const MAX_LINE: usize = 107;

fn complete(source: &str, length: usize) -> Result<Parsed, InvalidHeader> {
    Ok(Parsed::Complete { source: Some(source.parse().unwrap()), length })
}

fn without_source(length: usize) -> Result<Parsed, InvalidHeader> {
    Ok(Parsed::Complete { source: None, length })
}

fn incomplete(missing: usize) -> Result<Parsed, InvalidHeader> {
    Ok(Parsed::Incomplete { missing })
}

fn error(bytes: &[u8]) -> String {
    parse(bytes).expect_err(&bytes.escape_ascii().to_string()).to_string()
}

/// A v2 header: version and command, family and protocol, and what follows the length.
fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = LOCAL.to_vec();
    header[12..14].copy_from_slice(&[version_and_command, family]);
    header[14..].copy_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

const ADDRESSES_V4: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn the_lines_of_the_specification_are_parsed() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    assert_eq!(parse(line), complete("192.168.0.1:56324", line.len()));
    let request = [line, &b"GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"[..]].concat();
    assert_eq!(parse(&request), complete("192.168.0.1:56324", line.len()));
    assert_eq!(
        parse(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
        complete("255.255.255.255:65535", 56)
    );
    let group = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {group} {group} 65535 65535\r\n");
    assert_eq!(parse(longest.as_bytes()), complete(&format!("[{group}]:65535"), 104));
    assert_eq!(parse(b"PROXY UNKNOWN\r\n"), without_source(15));
    let longest = format!("PROXY UNKNOWN {group} {group} 65535 65535\r\n");
    assert_eq!(parse(longest.as_bytes()), without_source(MAX_LINE));
}

#[test]
fn an_ipv6_address_may_be_written_in_every_usual_form() {
    for (text, source) in [
        ("::", "[::]:1"),
        ("2001:DB8::a", "[2001:db8::a]:1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "[2001:db8::1]:1"),
        ("1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:1"),
        ("64:ff9b::192.0.2.1", "[64:ff9b::c000:201]:1"),
        // Of an IPv4 client at a listener for both families.
        ("::ffff:192.0.2.1", "192.0.2.1:1"),
    ] {
        let line = format!("PROXY TCP6 {text} ::1 1 2\r\n");
        assert_eq!(parse(line.as_bytes()), complete(source, line.len()), "{line}");
    }
}

#[test]
fn the_rest_of_an_unknown_line_is_ignored_up_to_its_cr_lf() {
    for rest in ["", " ", " x", " TCP4 1.1.1.1 1.1.1.1 1 1", " a\rb", " a\nb\r", " \0\u{ff}"] {
        let line = format!("PROXY UNKNOWN{rest}\r\n");
        assert_eq!(parse(line.as_bytes()), without_source(line.len()), "{rest:?}");
    }
    for line in ["PROXY UNKNOWNS\r\n", "PROXY UNKNOWN\n", "PROXY UNKNOWN\r\r\n", "PROXY UNKNOWN\t\r\n"] {
        assert_eq!(parse(line.as_bytes()), Err(InvalidHeader::LineEnd), "{line:?}");
    }
}

#[test]
fn a_line_that_is_not_exactly_as_specified_is_an_error() {
    for text in [
        "TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "TCP4 1.2.3.4\t5.6.7.8 1 2\r\n",
        "TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.4.5 5.6.7.8 1 2\r\n",
        "TCP4 ::1 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.4 ::1 1 2\r\n",
        "TCP6 1.2.3.4 ::1 1 2\r\n",
        "TCP6 ::1 5.6.7.8 1 2\r\n",
        "TCP6 ::1:: ::1 1 2\r\n",
        "TCP6 [::1] ::1 1 2\r\n",
        "TCP6 fe80::1%lo ::1 1 2\r\n",
        "TCP6 12345:: ::1 1 2\r\n",
        "TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 00 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 \r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\rx",
        "tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        " TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    ] {
        let line = format!("PROXY {text}");
        assert!(parse(line.as_bytes()).is_err(), "{line:?}");
    }
}

#[test]
fn what_cannot_become_a_header_is_an_error_at_once() {
    assert_eq!(parse(b""), incomplete(15));
    for (viable, next) in [
        ("", "a"),
        ("P", "G"),
        ("PROXY", "\t"),
        ("PROXY TCP", "5"),
        ("PROXY TCP4 25", "6"),
        ("PROXY TCP4 0", "1"),
        ("PROXY TCP4 1.2.3.4", "."),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 6553", "6"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0", "0"),
        ("PROXY TCP6 :", " "),
        ("PROXY TCP6 1:2:3:4:5:6:7:8", ":"),
        ("PROXY TCP6 1::2", "::"),
        ("\r\n\r\n\0\r\nQUIT\n", "\x10"),
        ("\r\n\r\n\0\r\nQUIT\n", "\x22"),
        ("\r\n\r\n\0\r\nQUIT\n\x21", "\x41"),
        ("\r\n\r\n\0\r\nQUIT\n\x21", "\x13"),
        ("\r\n\r\n\0\r\nQUIT\n\x21\x11\0", "\x0b"),
        ("\r\n\r\n\0\r\nQUIT\n\x20\x11\x10", "\0"),
    ] {
        assert!(matches!(parse(viable.as_bytes()), Ok(Parsed::Incomplete { .. })), "{viable:?}");
        let text = [viable, next].concat();
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    // The end of the line no longer fits.
    let line = |length: usize| format!("{:x<1$}", "PROXY UNKNOWN ", length).into_bytes();
    assert_eq!(parse(&line(105)), incomplete(2));
    assert_eq!(parse(&line(106)), Err(InvalidHeader::LineTooLong));
    assert_eq!(parse(&[line(105), b"\r\n".to_vec()].concat()), without_source(MAX_LINE));
    assert_eq!(parse(&[line(106), b"\r\n".to_vec()].concat()), Err(InvalidHeader::LineTooLong));
}

#[test]
fn a_v2_header_has_the_source_of_tcp_only() {
    assert_eq!(parse(&v2(0x21, 0x11, &ADDRESSES_V4)), complete("192.168.0.1:56324", 28));
    let mut addresses = [0; 36];
    addresses[..2].copy_from_slice(&[0x20, 0x01]);
    addresses[15] = 7;
    addresses[32..34].copy_from_slice(&[0x01, 0xbb]);
    assert_eq!(parse(&v2(0x21, 0x21, &addresses)), complete("[2001::7]:443", 52));
    addresses[..16].copy_from_slice(&Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets());
    assert_eq!(parse(&v2(0x21, 0x21, &addresses)), complete("192.0.2.1:443", 52));

    // UDP and Unix sockets; unspecified families and protocols, whose addresses have no specified length.
    for (family, length) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        let header = v2(0x21, family, &vec![9; length]);
        assert_eq!(parse(&header), without_source(header.len()), "{family:#x}");
        assert!(error(&v2(0x21, family, &vec![9; length - 1])).contains("too few"), "{family:#x}");
    }
    for family in [0x00, 0x01, 0x02, 0x10, 0x20, 0x30] {
        for length in [0, 1, 5, 300] {
            assert_eq!(parse(&v2(0x21, family, &vec![9; length])), without_source(16 + length), "{family:#x}");
        }
    }
}

#[test]
fn the_family_and_the_block_of_a_local_header_are_skipped() {
    assert_eq!(parse(&LOCAL), without_source(16));
    for family in [0x00, 0x11, 0x21, 0x31, 0x55, 0xff] {
        for length in [0, 1, 12, 36, 300, MAX_BYTES - 16] {
            let header = v2(0x20, family, &vec![3; length]);
            assert_eq!(parse(&header), without_source(header.len()), "{family:#x}, {length}");
        }
    }
}

#[test]
fn a_v2_header_that_is_not_as_specified_is_an_error() {
    for (header, reason) in [
        (v2(0x11, 0x11, &ADDRESSES_V4), "v2: the version is 1, not 2"),
        (v2(0x31, 0x11, &ADDRESSES_V4), "v2: the version is 3, not 2"),
        (v2(0x22, 0x11, &ADDRESSES_V4), "v2: the command is 0x2, neither LOCAL nor PROXY"),
        (v2(0x21, 0x41, &ADDRESSES_V4), "v2: the address family and protocol 0x41 are not assigned"),
        (v2(0x21, 0x13, &ADDRESSES_V4), "v2: the address family and protocol 0x13 are not assigned"),
        (v2(0x21, 0x11, &[0; 11]), "v2: 11 bytes are too few for the 12 bytes of addresses of 0x11"),
        (v2(0x21, 0x21, &ADDRESSES_V4), "v2: 12 bytes are too few for the 36 bytes of addresses of 0x21"),
        (v2(0x20, 0x00, &[0; 4081]), "v2: the header has 4097 bytes, more than 4096"),
        (v2(0x21, 0x11, &vec![0; 65535]), "v2: the header has 65551 bytes, more than 4096"),
    ] {
        assert_eq!(error(&header), reason);
        assert_eq!(error(&header[..16]), reason, "known from the first 16 bytes");
    }
}

#[test]
fn tlvs_are_skipped_but_must_fit() {
    let with_tlvs = |tlvs: &[u8]| v2(0x21, 0x11, &[&ADDRESSES_V4, tlvs].concat());
    for tlvs in [
        &b""[..],
        b"\x04\0\0",
        b"\x04\0\x03abc\x04\0\0",
        b"\x01\0\x02h2\x05\0\x04\0\0\0\0\xee\0\x01x",
        // The SSL TLV has others inside, which are not looked at.
        b"\x20\0\x08\x01\0\0\0\0\x21\xff\xff",
    ] {
        let header = with_tlvs(tlvs);
        assert_eq!(parse(&header), complete("192.168.0.1:56324", header.len()), "{tlvs:?}");
    }
    let longest = with_tlvs(&[&[4, 0x0f, 0xe1][..], &[0; 4065]].concat());
    assert_eq!(longest.len(), MAX_BYTES);
    assert_eq!(parse(&longest), complete("192.168.0.1:56324", MAX_BYTES));

    for (tlvs, received, reason) in [
        (&b"\x04"[..], 16, "v2: the TLV at byte 28 goes beyond the end of the header"),
        (b"\x04\0", 16, "v2: the TLV at byte 28 goes beyond the end of the header"),
        (b"\x04\0\x01", 31, "v2: the TLV at byte 28 goes beyond the end of the header"),
        (b"\x04\0\x01x\x04\xff\xffabc", 35, "v2: the TLV at byte 32 goes beyond the end of the header"),
        (b"\x04\0\x01x\x04", 31, "v2: the TLV at byte 32 goes beyond the end of the header"),
        (b"\x03\0\x03abc", 31, "v2: the CRC32c has 3 bytes, not 4"),
        (b"\x03\0\x00", 31, "v2: the CRC32c has 0 bytes, not 4"),
        (b"\x03\0\x04abcd\x03\0\x04abcd", 38, "v2: the header has two CRC32c checksums"),
    ] {
        let header = with_tlvs(tlvs);
        assert_eq!(error(&header), reason);
        assert_eq!(error(&header[..received]), reason, "known as soon as the TLV's length");
    }
}

#[test]
fn the_checksum_is_the_one_of_the_specification() {
    // From RFC 3720, appendix B.4, which prints them with the low byte first. HAProxy sends the high byte first.
    let ascending: Vec<u8> = (0..32).collect();
    for (bytes, crc) in [(&[0; 32][..], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (&ascending, 0x46dd_794e)] {
        assert_eq!(v2::crc32c(bytes), crc);
    }
    assert_eq!(v2::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_wrong_checksum_is_an_error() {
    let header = HeaderV2::tcp([192, 0, 2, 1], 5, vec![(0x04, b"abc".to_vec())]).to_bytes(true);
    assert_eq!(parse(&header), complete("192.0.2.1:5", header.len()));
    let at = header.len() - 4;
    let mut zeroed = header.clone();
    zeroed[at..].fill(0);
    let expected = u32::from_be_bytes(header[at..].try_into().unwrap());
    assert_eq!(parse(&zeroed), Err(InvalidHeader::Checksum { received: 0, expected }));
    assert_eq!(parse(&zeroed[..header.len() - 1]), incomplete(1));
}

#[test]
fn an_error_quotes_the_received_bytes_escaped_and_truncated() {
    assert_eq!(error(b"\x16\x03\x01'"), r"'\x16\x03\x01\'' is not the start of a PROXY header");
    assert_eq!(error(&[b'x'; 5000]), format!("'{}...' is not the start of a PROXY header", "x".repeat(24)));
    assert_eq!(error(b"PROXY TCP4 1.2.3.4 \x1b[2J"), r"v1: '\x1b[2J' is not an IPv4 address");
    assert_eq!(error(b"PROXY TCP6 1.2.3.4 "), "v1: '1.2.3.4' is not an IPv6 address");
    assert_eq!(
        error(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 070\r\n"),
        "v1: '070' is not a port from 0 to 65535 without leading zeros"
    );
    assert_eq!(
        error(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r3"),
        "v1: the line does not end with CR LF after its last field"
    );
    assert_eq!(error(&[b"PROXY UNKNOWN ", &[b'x'; 99][..]].concat()), "v1: no CR LF in the first 107 bytes");
}

/// Returns the length of the shortest string that completes `text`, of at most `depth` bytes, by trying all of them.
fn shortest_ending(text: &str, depth: usize, is_valid: &impl Fn(&str) -> bool) -> Option<usize> {
    if is_valid(text) {
        return Some(0);
    }
    let depth = depth.checked_sub(1)?;
    let endings = ["0", ":", "."].iter().filter_map(|next| shortest_ending(&format!("{text}{next}"), depth, is_valid));
    endings.min().map(|length| length + 1)
}

fn ip(is_v6: bool) -> BoxedStrategy<IpAddr> {
    if is_v6 {
        // Groups of zero, so that `::` occurs.
        let group = prop_oneof![Just(0), any::<u16>()];
        prop::array::uniform8(group).prop_map(|groups| Ipv6Addr::from(groups).into()).boxed()
    } else {
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).into()).boxed()
    }
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let pair = any::<bool>().prop_flat_map(|is_v6| (ip(is_v6), ip(is_v6), any::<[u16; 2]>()));
    pair.prop_map(|(source, destination, ports)| {
        (SocketAddr::new(source, ports[0]), SocketAddr::new(destination, ports[1]))
    })
}

fn tlvs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let kind = any::<u8>().prop_filter("the checksum is added last", |kind| *kind != 0x03);
    prop::collection::vec((kind, prop::collection::vec(any::<u8>(), 0..40)), 0..8)
}

proptest! {
    #[test]
    fn a_printed_line_parses_to_its_source((source, destination) in addresses(), cuts: [u8; 2], rest: Vec<u8>) {
        let line = line(source, destination);
        prop_assert_eq!(parse(line.as_bytes()), Ok(Parsed::Complete { source: Some(source_of(source)), length: line.len() }));
        proxy_header::check(&[&cuts, line.as_bytes(), &rest].concat());
    }

    #[test]
    fn a_binary_header_parses_to_its_source(
        (source, destination) in addresses(), tlvs in tlvs(), checksum: bool, cuts: [u8; 2], rest: Vec<u8>,
    ) {
        let header = HeaderV2 { family: v2_family(source), source, destination, tlvs }.to_bytes(checksum);
        prop_assert_eq!(parse(&header), Ok(Parsed::Complete { source: Some(source_of(source)), length: header.len() }));
        proxy_header::check(&[&cuts, &header[..], &rest].concat());
    }

    #[test]
    fn a_changed_bit_of_a_header_with_a_checksum_is_an_error((source, destination) in addresses(), tlvs in tlvs(), bit: usize) {
        let mut header = HeaderV2 { family: v2_family(source), source, destination, tlvs }.to_bytes(true);
        // A change of the first 16 bytes can make the header longer, or LOCAL.
        let bit = 128 + bit % (8 * header.len() - 128);
        header[bit / 8] ^= 1 << (bit % 8);
        // A change can hide the checksum in another TLV; then only the TLVs are checked.
        if parse(&header).is_ok() {
            let addresses = if source.is_ipv4() { 12 } else { 36 };
            prop_assert!(bit / 8 >= 16 + addresses);
        }
    }

    #[test]
    fn no_bytes_violate_the_properties(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        proxy_header::check(&bytes);
    }

    #[test]
    fn no_line_violates_the_properties(cuts in "[a-z]{2}", line in "PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f.: \r\n]{0,100}(\r\n)?") {
        proxy_header::check(&[cuts.as_bytes(), line.as_bytes()].concat());
    }

    #[test]
    fn no_binary_header_violates_the_properties(
        cuts: [u8; 2], command in 0x1f_u8..0x23, family: u8, rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        proxy_header::check(&[&cuts, &v2(command, family, &rest)[..]].concat());
    }

    #[test]
    fn the_missing_bytes_of_an_address_are_the_fewest_possible(
        (text, is_v6) in prop_oneof![
            any::<[u8; 16]>().prop_map(|octets| (Ipv6Addr::from(octets).to_string(), true)),
            prop::array::uniform8(0_u16..3).prop_map(|groups| (Ipv6Addr::from(groups).to_string(), true)),
            "[0f:.]{0,12}".prop_map(|text| (text, true)),
            "(1:){6}[0-9]{1,3}[.]?[0-9]{0,3}[.]?".prop_map(|text| (text, true)),
            "[0-9]{1,3}([.][0-9]{1,3}){0,4}[.]?".prop_map(|text| (text, false)),
        ],
        length: usize,
    ) {
        let text = &text[..length % (text.len() + 1)];
        let (start, others, is_valid): (_, _, fn(&str) -> bool) = if is_v6 {
            ("PROXY TCP6 ", " :: 0 0\r\n", |text| text.parse::<Ipv6Addr>().is_ok())
        } else {
            ("PROXY TCP4 ", " 0.0.0.0 0 0\r\n", |text| text.parse::<Ipv4Addr>().is_ok())
        };
        let missing = match parse(format!("{start}{text}").as_bytes()) {
            Ok(Parsed::Incomplete { missing }) => Some(missing - others.len()),
            parsed => { prop_assert!(parsed.is_err()); None }
        };
        // An IPv4 address without its first byte misses 7 bytes, everything else at most 6.
        prop_assert_eq!(missing, shortest_ending(text, 7, &is_valid), "{}", text);
    }
}

/// Returns the address as the parser does.
fn source_of(source: SocketAddr) -> SocketAddr {
    SocketAddr::new(source.ip().to_canonical(), source.port())
}
