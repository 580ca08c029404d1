//! The close reasons of connections, as in the log and in the metrics. It depends only on the errors of WebSocket
//! frames.

use std::fmt;
use std::io;

use crate::wire::websocket::Violation;

/// Why a connection ended.
#[derive(Debug)]
pub enum CloseReason {
    /// The peer closed its sending half and got its replies.
    PeerClosed,
    /// The handler closed the connection.
    Finished,
    /// A request was not complete within the request timeout, or waited too long for the rate of its client network.
    RequestTimeout,
    /// No request arrived within the idle timeout.
    IdleTimeout,
    /// The connection was idle during a drain, or had only a part of a request.
    Drained,
    /// The connection was not finished at the drain deadline.
    Aborted,
    /// The peer acknowledged nothing within the write timeout, or after a half-close not everything within six of them.
    WriteTimeout,
    /// A read or write failed, most often because the peer reset the connection.
    Io(io::Error),
    /// The peer had to send a PROXY protocol header, and sent none or an invalid one.
    BadProxyHeader(io::Error),
    /// The TLS handshake failed or took too long.
    TlsFailed(io::Error),
    /// The peer ended a TLS connection without a `close_notify` alert.
    TlsTruncated,
    /// The connection's task panicked.
    Panic,
    /// The last request has no reply, because its outcome is not known.
    OutcomeUnknown,
    /// The client of a web endpoint got an HTTP response instead of a WebSocket connection: the page, or an error.
    HttpResponse,
    /// The peer sent something else than WebSocket frames, or frames that this server does not accept.
    WebSocketFailed(io::Error),
}

impl CloseReason {
    /// The values of the label `reason`, in the order of the variants.
    pub(super) const LABELS: [&str; 15] = [
        "peer_closed",
        "finished",
        "request_timeout",
        "idle_timeout",
        "drained",
        "aborted",
        "write_timeout",
        "io_error",
        "bad_proxy_header",
        "tls_failed",
        "tls_truncated",
        "panic",
        "outcome_unknown",
        "http_response",
        "websocket_failed",
    ];

    /// Returns the index of this reason in [`LABELS`](Self::LABELS).
    pub(super) const fn index(&self) -> usize {
        match self {
            Self::PeerClosed => 0,
            Self::Finished => 1,
            Self::RequestTimeout => 2,
            Self::IdleTimeout => 3,
            Self::Drained => 4,
            Self::Aborted => 5,
            Self::WriteTimeout => 6,
            Self::Io(_) => 7,
            Self::BadProxyHeader(_) => 8,
            Self::TlsFailed(_) => 9,
            Self::TlsTruncated => 10,
            Self::Panic => 11,
            Self::OutcomeUnknown => 12,
            Self::HttpResponse => 13,
            Self::WebSocketFailed(_) => 14,
        }
    }
}

impl CloseReason {
    /// Returns the reason of a connection whose stream has failed.
    pub(super) fn of_stream_error(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // TLS: the peer's FIN came without close_notify.
            Self::TlsTruncated
        } else if Violation::of(&error).is_some() {
            Self::WebSocketFailed(error)
        } else if error.kind() == io::ErrorKind::ConnectionAborted && error.raw_os_error().is_none() {
            // See `Stream::wait_error`.
            Self::PeerClosed
        } else {
            Self::Io(error)
        }
    }

    /// Returns the value of the label `reason`.
    pub(crate) const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Returns the error that ended the connection.
    pub(crate) const fn error(&self) -> Option<&io::Error> {
        match self {
            Self::Io(error) | Self::BadProxyHeader(error) | Self::TlsFailed(error) | Self::WebSocketFailed(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        self.error().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}
