//! Version 2 of the PROXY header: a fixed part of 16 bytes, then addresses, then TLVs.
//!
//! It uses the types of its parent only.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{InvalidHeader, MAX_BYTES, Parsed, canonical};

/// The first bytes of a header.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the part that every header has: signature, version and command, family and protocol, length.
pub(super) const FIXED_BYTES: usize = 16;

/// `PP2_TYPE_CRC32C`.
const CRC32C_TYPE: u8 = 0x03;
const CRC32C_BYTES: usize = 4;

/// The type and the length of a TLV.
const TLV_HEADER_BYTES: usize = 3;

/// Parses a header that starts with the [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    let [version_and_command, family] = [12, 13].map(|index| bytes.get(index).copied());
    let (version, command) = version_and_command.map_or((2, 0), |byte| (byte >> 4, byte & 0x0f));
    if version != 2 {
        return Err(InvalidHeader::Version(version));
    }
    let is_local = match command {
        0 => true,
        1 => false,
        _ => return Err(InvalidHeader::Command(command)),
    };
    // A receiver must ignore the family of a LOCAL header, and must reject a PROXY header with a family or a protocol
    // that is not assigned.
    if let Some(family) = family
        && !is_local
        && (family >> 4 > 3 || family & 0x0f > 2)
    {
        return Err(InvalidHeader::Family(family));
    }
    let Some(&[.., family, high, low]) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(Parsed::Incomplete { missing: FIXED_BYTES - bytes.len() });
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BYTES {
        return Err(InvalidHeader::TooLong(length));
    }
    let header = &bytes[..bytes.len().min(length)];
    let address_bytes = if is_local { None } else { address_bytes(family) };
    if let Some(expected) = address_bytes {
        if length < FIXED_BYTES + expected {
            return Err(InvalidHeader::AddressesTooShort { family, length: length - FIXED_BYTES, expected });
        }
        check_tlvs(header, length, FIXED_BYTES + expected)?;
    }
    if header.len() < length {
        return Ok(Parsed::Incomplete { missing: length - header.len() });
    }
    let source = if is_local { None } else { source(family, &header[FIXED_BYTES..]) };
    Ok(Parsed::Complete { source, length })
}

/// Returns the length of the addresses. `None`: it is not specified, so the receiver cannot know where the TLVs begin,
/// and ignores them with the addresses.
fn address_bytes(family: u8) -> Option<usize> {
    match (family >> 4, family & 0x0f) {
        (1, 1 | 2) => Some(2 * 4 + 2 * 2),
        (2, 1 | 2) => Some(2 * 16 + 2 * 2),
        (3, 1 | 2) => Some(2 * 108),
        _ => None,
    }
}

/// Returns the source of TCP over IPv4 or IPv6. Source address, destination address, source port, destination port.
fn source(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    let port = |index| addresses.get(index..index + 2).and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
    match family {
        0x11 => Some(canonical(Ipv4Addr::from(*addresses.first_chunk()?).into(), port(8)?)),
        0x21 => Some(canonical(Ipv6Addr::from(*addresses.first_chunk()?).into(), port(32)?)),
        _ => None,
    }
}

/// Checks the TLVs from `offset` to `length`, the end of the header, as far as they are received, and then the checksum.
fn check_tlvs(header: &[u8], length: usize, mut offset: usize) -> Result<(), InvalidHeader> {
    let mut checksum = None;
    while offset < length {
        if length - offset < TLV_HEADER_BYTES {
            return Err(InvalidHeader::Tlv(offset));
        }
        let Some(&[kind, high, low]) = header.get(offset..).and_then(<[u8]>::first_chunk) else {
            return Ok(());
        };
        let value = offset + TLV_HEADER_BYTES;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        if end > length {
            return Err(InvalidHeader::Tlv(offset));
        }
        if kind == CRC32C_TYPE {
            if end - value != CRC32C_BYTES {
                return Err(InvalidHeader::ChecksumLength(end - value));
            }
            if checksum.replace(value).is_some() {
                return Err(InvalidHeader::SecondChecksum);
            }
        }
        offset = end;
    }
    match checksum {
        Some(at) if header.len() == length => check_checksum(header, at),
        _ => Ok(()),
    }
}

/// Checks the checksum at `at`, which was computed with zeros there.
fn check_checksum(header: &[u8], at: usize) -> Result<(), InvalidHeader> {
    let (before, rest) = header.split_at(at);
    let Some((received, after)) = rest.split_first_chunk::<CRC32C_BYTES>() else { return Ok(()) };
    let received = u32::from_be_bytes(*received);
    let expected = crc32c(before.iter().chain(&[0; CRC32C_BYTES]).chain(after));
    if received == expected { Ok(()) } else { Err(InvalidHeader::Checksum { received, expected }) }
}

/// Returns the CRC-32C of RFC 4960, appendix B: the Castagnoli polynomial, reflected.
///
/// It takes a bit at a time, since it runs once per connection, over at most [`MAX_BYTES`].
pub(super) fn crc32c<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u32 {
    const REFLECTED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let shift = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { REFLECTED_POLYNOMIAL } else { 0 };
    !bytes.into_iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}
