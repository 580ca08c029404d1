//! Reads the PROXY header at the start of a connection from a trusted network.
//!
//! It depends on [`proxy_header`](crate::wire::proxy_header), which parses the header, and on tokio's streams.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::proxy_header::{InvalidHeader, Parsed, parse};

/// Reads the header, and nothing behind it. Returns the address of the client, or `None` if the header has none: then the
/// peer of the socket counts as the client.
///
/// It has no timeout, and is not cancel safe: the bytes read so far are lost. It buffers at most
/// [`MAX_BYTES`](crate::wire::proxy_header::MAX_BYTES). Bytes that are all
/// there take at most 3 reads for v2, 14 for v1 with TCP, and 47 for v1 with `UNKNOWN` (more only if CRs alone are in it).
///
/// # Errors
///
/// Returns an error if the bytes cannot become a header, as soon as this is known; if the stream ends within the header
/// or before it; and if the stream fails.
pub(crate) async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = Vec::new();
    loop {
        match parse(&header)? {
            Parsed::Complete { source, .. } => return Ok(source),
            Parsed::Incomplete { missing } => {
                header.reserve_exact(missing);
                if (&mut *stream).take(missing as u64).read_buf(&mut header).await? == 0 {
                    return Err(HeaderError::Closed { received: header.len() });
                }
            }
        }
    }
}

/// The reason why a connection has no PROXY header.
#[derive(Debug, Error)]
pub(crate) enum HeaderError {
    /// The bytes are not a header.
    #[error(transparent)]
    Invalid(#[from] InvalidHeader),
    /// The peer closed the connection.
    #[error("closed after {received} bytes of the PROXY header")]
    Closed {
        /// The bytes of the header that arrived.
        received: usize,
    },
    /// The connection failed.
    #[error("cannot read the PROXY header: {0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
