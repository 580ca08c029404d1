//! Properties of the PROXY header, and printers of valid headers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::wire::proxy_header::{InvalidHeader, LOCAL, MAX_BYTES, Parsed, parse};

/// The maximum number of reads for a header: of a v1 line with `UNKNOWN`, 15 bytes, then two at a time.
const MAX_READS: usize = 47;

/// Checks the parser and the reader. The first two bytes of `data` determine the lengths of the pieces that arrive, the
/// others are the bytes sent.
pub fn check(data: &[u8]) {
    let [first_cut, second_cut, sent @ ..] = data else { return };
    let whole = parse(sent);
    check_prefixes(sent, &whole);
    #[cfg(feature = "server")]
    check_reader(sent, &whole);
    check_split(sent, [*first_cut, *second_cut], &whole);
    match whole {
        Ok(Parsed::Complete { source: Some(source), .. }) => check_printed(source),
        Ok(Parsed::Complete { source: None, .. }) => {
            // A header that names a client never counts as one without a name.
            let names_client = sent.starts_with(b"PROXY TCP") || matches!(sent[12..14], [0x21, 0x11 | 0x21]);
            assert!(!names_client);
        }
        Ok(_) => {}
        Err(error) => check_message(&error),
    }
    check_tlvs(sent);
}

/// Checks each prefix against the whole: `missing` is a lower bound, a result is final, and an error stays one.
fn check_prefixes(sent: &[u8], whole: &Result<Parsed, InvalidHeader>) {
    // The prefixes of a long header differ in the bytes of its TLVs only. Each one costs a pass over the TLVs.
    let lengths = (0..sent.len().min(256)).chain(sent.len().saturating_sub(16)..sent.len());
    for length in lengths {
        match (parse(&sent[..length]), whole) {
            (Ok(Parsed::Incomplete { missing }), Ok(Parsed::Complete { length: end, .. })) => {
                assert!(missing >= 1 && length + missing <= *end, "{missing} bytes behind {length} of {end}");
            }
            (Ok(Parsed::Incomplete { missing }), Ok(Parsed::Incomplete { missing: later })) => {
                assert!(missing >= 1 && length + missing <= sent.len() + later, "{missing} behind {length}");
            }
            (Ok(Parsed::Incomplete { missing }), Err(_)) => {
                assert!(missing >= 1 && length + missing <= MAX_BYTES, "{missing} behind {length}");
            }
            (parsed @ Ok(Parsed::Complete { length: end, .. }), whole) => {
                assert_eq!(parsed, *whole);
                assert!(end <= length);
            }
            (Err(_), whole) => assert!(whole.is_err(), "{length} bytes are an error, but not {}", sent.len()),
        }
    }
    // Neither v1 nor v2 is an error at 16 bytes at the latest.
    if sent.len() >= 16 && !sent.starts_with(b"PROXY ") && !sent.starts_with(&LOCAL[..12]) {
        assert!(parse(&sent[..16]).is_err());
    }
}

/// Checks that the reader has the result of the parser, and leaves the bytes behind the header in the stream.
#[cfg(feature = "server")]
fn check_reader(sent: &[u8], whole: &Result<Parsed, InvalidHeader>) {
    use crate::server::listener::proxy::{HeaderError, read_header};
    use futures::FutureExt;

    let mut stream = sent;
    let read = read_header(&mut stream).now_or_never().unwrap();
    match (read, whole) {
        (Ok(read), Ok(Parsed::Complete { source, length })) => {
            assert_eq!(read, *source);
            assert_eq!(stream, &sent[*length..]);
        }
        (Err(HeaderError::Closed { received }), Ok(Parsed::Incomplete { .. })) => assert_eq!(received, sent.len()),
        // The reader may see an earlier and different error.
        (Err(HeaderError::Invalid(error)), Err(_)) => check_message(&error),
        (read, whole) => panic!("{read:?}, not {whole:?}"),
    }
}

/// Checks that the pieces in which the bytes arrive change nothing.
fn check_split(sent: &[u8], cuts: [u8; 2], whole: &Result<Parsed, InvalidHeader>) {
    let mut lengths = cuts.iter().map(|&cut| usize::from(cut) + 1).cycle();
    let (mut length, mut reads, mut all_arrived) = (0, 0, true);
    loop {
        match parse(&sent[..length]) {
            Ok(Parsed::Incomplete { missing }) => {
                let arrives = lengths.next().unwrap_or(1).min(sent.len() - length);
                if arrives == 0 {
                    assert_eq!(parse(&sent[..length]), *whole);
                    return;
                }
                length += missing.min(arrives);
                reads += 1;
                all_arrived &= missing <= arrives;
            }
            parsed @ Ok(Parsed::Complete { length: end, .. }) => {
                assert_eq!(parsed, *whole);
                assert_eq!(end, length, "read behind the header");
                // Behind a CR within an `UNKNOWN` line, one byte is read.
                let has_inner_cr = sent[..end - 2].contains(&b'\r');
                assert!(!all_arrived || has_inner_cr || reads <= MAX_READS, "{reads} reads");
                return;
            }
            Err(_) => return assert!(whole.is_err()),
        }
    }
}

/// Checks that a source is the same after printing and parsing.
fn check_printed(source: SocketAddr) {
    assert_eq!(source.ip(), source.ip().to_canonical());
    let complete = |length| Ok(Parsed::Complete { source: Some(source), length });
    let line = line(source, source);
    assert_eq!(parse(line.as_bytes()), complete(line.len()));
    let header = HeaderV2 { family: v2_family(source), source, destination: source, tlvs: Vec::new() };
    for checksum in [false, true] {
        let bytes = header.to_bytes(checksum);
        assert_eq!(parse(&bytes), complete(bytes.len()));
    }
}

/// Checks a valid header with the bytes as TLVs, and with a checksum.
fn check_tlvs(sent: &[u8]) {
    let values = sent.chunks(61).take(40);
    let tlvs = values.map(|value| if value[0] == 3 { (4, value.to_vec()) } else { (value[0], value.to_vec()) });
    let header = HeaderV2::tcp([192, 0, 2, 7], 7, tlvs.collect());
    let mut bytes = header.to_bytes(true);
    assert_eq!(parse(&bytes), Ok(Parsed::Complete { source: Some(header.source), length: bytes.len() }));
    // The destination changes nothing but the checksum.
    bytes[20] ^= 1;
    assert!(matches!(parse(&bytes), Err(InvalidHeader::Checksum { .. })));
}

/// Checks that an error is a short line of printable ASCII.
fn check_message(error: &InvalidHeader) {
    let text = error.to_string();
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() < 200, "{text:?}");
}

/// Returns a v1 header. Both addresses have the same family.
pub fn line(source: SocketAddr, destination: SocketAddr) -> String {
    let family = if source.is_ipv4() { 4 } else { 6 };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY TCP{family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

/// Returns the family and protocol of a v2 header for TCP.
pub fn v2_family(address: SocketAddr) -> u8 {
    if address.is_ipv4() { 0x11 } else { 0x21 }
}

/// A v2 header with the command PROXY.
#[derive(Clone, Debug)]
pub struct HeaderV2 {
    /// The address family and the transport protocol.
    pub family: u8,
    /// The address of the client.
    pub source: SocketAddr,
    /// The address of the proxy, of the same family.
    pub destination: SocketAddr,
    /// The type and the value of each TLV.
    pub tlvs: Vec<(u8, Vec<u8>)>,
}

impl HeaderV2 {
    /// Returns the header of a client with this address and port.
    pub fn tcp(client: [u8; 4], port: u16, tlvs: Vec<(u8, Vec<u8>)>) -> Self {
        let (source, destination) = ((client, port).into(), (Ipv4Addr::LOCALHOST, 443).into());
        Self { family: 0x11, source, destination, tlvs }
    }

    /// Returns the bytes, with a checksum TLV at the end if `checksum` is set.
    pub fn to_bytes(&self, checksum: bool) -> Vec<u8> {
        let mut bytes = LOCAL.to_vec();
        bytes[12] = 0x21;
        bytes[13] = self.family;
        for address in [self.source, self.destination] {
            match address.ip() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
        }
        bytes.extend([self.source, self.destination].iter().flat_map(|address| address.port().to_be_bytes()));
        for (kind, value) in &self.tlvs {
            bytes.push(*kind);
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value);
        }
        if checksum {
            bytes.extend([3, 0, 4, 0, 0, 0, 0]);
        }
        let length = u16::try_from(bytes.len() - LOCAL.len()).unwrap();
        bytes[14..16].copy_from_slice(&length.to_be_bytes());
        if checksum {
            let (rest, value) = bytes.split_last_chunk_mut::<4>().unwrap();
            *value = crc32c(&[&*rest, &[0; 4]].concat()).to_be_bytes();
        }
        bytes
    }
}

/// Returns the CRC-32C by polynomial division, the definition, as RFC 4960 has it in appendix B.
///
/// The polynomial is not reflected here, but each byte and the result are. The parser has the other way.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            let carry = remainder >> 31;
            remainder = (remainder << 1) ^ (carry * 0x1edc_6f41);
        }
    }
    !remainder.reverse_bits()
}
