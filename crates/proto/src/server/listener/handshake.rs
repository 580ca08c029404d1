//! The steps of a connection between accept and its first request: the PROXY protocol header, the TLS handshake, and
//! the HTTP request of a web endpoint.
//!
//! It depends on `peer` and `web`, on TLS and timeouts in `config`, on `connection`, metrics and the table of
//! connections. The accept loop runs each step in a separate task, within `timeouts.handshake`.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::DescriptorEncoder;
use rustls::{AlertDescription, Error as TlsError, ProtocolVersion};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::peer::Peer;
use super::web::WebMetrics;
use crate::server::config::tls::ServerTls;
use crate::server::config::trusted_networks::TrustedNetworks;
use crate::server::connection::close::half_close;
use crate::server::connection::stream::Stream;
use crate::server::observe::connections::table::{CONNECTIONS, TlsDetails};
use crate::server::observe::metrics::counters::Counters;
use crate::server::observe::metrics::encode::{counter, gauge};
use crate::server::observe::metrics::latency::LatencyHistogram;
use crate::wire::quoted::Printable;

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// Clients of a service, perhaps through a proxy.
    Service,
    /// The same, for clients that begin with an HTTP request.
    Web,
    /// Other processes of the service, which connect without a proxy.
    Internal,
    /// Clients of the admin listener.
    Admin,
}

/// The settings of handshakes, which a reload replaces, and their metrics. Shared by all listeners of a process.
#[derive(Debug)]
pub(crate) struct Handshakes {
    settings: watch::Sender<Arc<HandshakeSettings>>,
    metrics: Arc<TlsMetrics>,
    web: Arc<WebMetrics>,
}

/// The settings of handshakes.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandshakeSettings {
    /// Maximum time from accept to the end of the handshake.
    pub(crate) timeout: Duration,
    /// The clients of services that begin with a PROXY protocol header.
    pub(crate) trusted: TrustedNetworks,
    /// The TLS configurations.
    pub(crate) tls: ServerTls,
}

impl Handshakes {
    pub(crate) fn new(settings: HandshakeSettings) -> Self {
        Self { settings: watch::Sender::new(Arc::new(settings)), metrics: Arc::default(), web: Arc::default() }
    }

    /// Replaces the settings for later connections. Without a certificate in them, the current one stays: a `tls://`
    /// endpoint listens until a restart, and must not serve plain text meanwhile.
    pub(crate) fn set(&self, mut settings: HandshakeSettings) {
        if settings.tls.services.is_none() {
            settings.tls = self.settings.borrow().tls.clone();
        }
        self.settings.send_replace(Arc::new(settings));
    }

    /// Returns the handshakes of one listener, with or without TLS.
    pub(crate) fn of_listener(&self, kind: ListenerKind, is_tls: bool) -> ListenerHandshakes {
        let mut settings = self.settings.subscribe();
        let current = Arc::clone(&settings.borrow_and_update());
        // The exported metrics count the handshakes of all listeners except the admin listener.
        let metrics = if kind == ListenerKind::Admin { Arc::default() } else { Arc::clone(&self.metrics) };
        let web = (kind == ListenerKind::Web).then(|| Arc::clone(&self.web));
        ListenerHandshakes { kind, is_tls, settings, current, metrics, web }
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let TlsMetrics { results, duration } = &*self.metrics;
        let series = results.series("result", &HandshakeResult::LABELS);
        counter(encoder, "tls_handshakes", "TLS handshakes of the services, by result", series)?;
        duration.encode(
            encoder,
            "tls_handshake_duration_seconds",
            "Duration of complete TLS handshakes of the services",
        )?;
        if let Some(expiry) = self.settings.borrow().tls.expiry {
            let help = "When the server's certificate expires, in seconds since 1970";
            gauge(encoder, "tls_certificate_expiry_timestamp_seconds", help, &expiry)?;
        }
        self.web.encode(encoder)
    }
}

/// The handshakes of one listener.
#[derive(Debug)]
pub(crate) struct ListenerHandshakes {
    kind: ListenerKind,
    is_tls: bool,
    settings: watch::Receiver<Arc<HandshakeSettings>>,
    /// The current settings.
    current: Arc<HandshakeSettings>,
    metrics: Arc<TlsMetrics>,
    /// Of a web endpoint.
    web: Option<Arc<WebMetrics>>,
}

impl ListenerHandshakes {
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(crate) fn is_web(&self) -> bool {
        self.web.is_some()
    }

    /// Returns the handshake of a connection; `None` if it begins with a request.
    pub(crate) fn for_connection(&mut self, peer: Peer) -> Option<Handshake> {
        // `has_changed` is cheap, and fails once the sender is dropped; the settings are then final.
        if self.settings.has_changed().unwrap_or(false) {
            self.current = Arc::clone(&self.settings.borrow_and_update());
        }
        let ServerTls { services, admin, .. } = &self.current.tls;
        let tls = if self.kind == ListenerKind::Admin { admin } else { services };
        let tls = tls.as_ref().filter(|_| self.is_tls);
        let tls = tls.map(|config| TlsHandshake { config: Arc::clone(config), metrics: Arc::clone(&self.metrics) });
        let has_proxies = matches!(self.kind, ListenerKind::Service | ListenerKind::Web);
        let expects_header = has_proxies && self.current.trusted.trusts(peer.ip());
        let web = self.web.clone();
        let deadline = || Instant::now() + self.current.timeout;
        let is_any = expects_header || tls.is_some() || web.is_some();
        is_any.then(|| Handshake { deadline: deadline(), expects_header, tls, web })
    }
}

/// The handshake that one connection has to make.
#[derive(Debug)]
pub struct Handshake {
    /// When it has to be complete.
    pub(crate) deadline: Instant,
    /// Whether a PROXY protocol header comes first.
    pub(crate) expects_header: bool,
    pub(crate) tls: Option<TlsHandshake>,
    /// Counts the HTTP request, if the connection begins with one.
    pub(crate) web: Option<Arc<WebMetrics>>,
}

/// The TLS handshake of one connection.
#[derive(Debug)]
pub(crate) struct TlsHandshake {
    config: Arc<rustls::ServerConfig>,
    metrics: Arc<TlsMetrics>,
}

/// A failed handshake is closed after this long, whether or not the client has read the alert.
const ALERT_TIMEOUT: Duration = Duration::from_millis(100);

impl TlsHandshake {
    /// Makes the handshake until `deadline`, and counts its result.
    ///
    /// # Errors
    ///
    /// Returns why it failed. The client then has the alert that says so, if TLS has one for it.
    pub(crate) async fn accept<S: Stream>(self, stream: S, deadline: Instant) -> io::Result<TlsStream<S>> {
        let started = Instant::now();
        let handshake = TlsAcceptor::from(self.config).accept(stream).into_fallible();
        let (error, stream) = match timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => {
                self.metrics.results.add(HandshakeResult::Ok as usize, 1);
                self.metrics.duration.observe(started.elapsed(), 1);
                if let Some(socket) = stream.socket() {
                    let details = tls_details(stream.get_ref().1);
                    CONNECTIONS.add_details(socket.as_raw_fd(), |of| of.tls = Some(details));
                }
                return Ok(stream);
            }
            Ok(Err((error, stream))) => (error, Some(stream)),
            Err(_) => (io::ErrorKind::TimedOut.into(), None),
        };
        self.metrics.results.add(HandshakeResult::of(&error) as usize, 1);
        if let Some(mut stream) = stream {
            // A close with unread data would reset the connection, and the client would not get the alert.
            half_close(&mut stream, ALERT_TIMEOUT).await;
        }
        Err(error)
    }
}

/// Maximum characters of a subject that is kept.
const MAX_SUBJECT_CHARACTERS: usize = 256;

/// Returns the result of a handshake, for the list of connections.
fn tls_details(connection: &rustls::ServerConnection) -> TlsDetails {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "unknown",
    };
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.and_then(|certificate| Certificate::from_der(certificate).ok());
    let subject = certificate.map(|certificate| certificate.tbs_certificate().subject().to_string());
    let shortened = |subject: String| subject.chars().take(MAX_SUBJECT_CHARACTERS).collect::<String>();
    let client_subject = subject.map(|subject| Printable(&shortened(subject)).to_string().into());
    TlsDetails { version, client_subject }
}

/// Counts TLS handshakes.
#[derive(Debug, Default)]
pub(crate) struct TlsMetrics {
    results: Counters<{ HandshakeResult::LABELS.len() }>,
    duration: LatencyHistogram,
}

/// The result of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandshakeResult {
    Ok,
    Timeout,
    /// The client presented no certificate, but `client_ca` requires one.
    NoCertificate,
    /// The certificate of the client is not valid, or the client has rejected that of the server.
    BadCertificate,
    /// Not TLS, or no common version or cipher suite, or a violation of the protocol.
    Protocol,
    /// The client closed or reset the connection.
    Closed,
}

impl HandshakeResult {
    /// The values of the label `result`, in the order of the variants.
    const LABELS: [&str; 6] = ["ok", "timeout", "no_certificate", "bad_certificate", "protocol", "closed"];

    fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::Timeout;
        }
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(TlsError::NoCertificatesPresented) => Self::NoCertificate,
            Some(
                TlsError::InvalidCertificate(_)
                | TlsError::AlertReceived(
                    AlertDescription::BadCertificate
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::UnknownCA
                    // The issuer has the name of an authority that the client trusts, but another key.
                    | AlertDescription::DecryptError,
                ),
            ) => Self::BadCertificate,
            Some(_) => Self::Protocol,
            None => Self::Closed,
        }
    }
}

/// Logs a warning if the certificate has expired.
pub(crate) fn warn_if_expired(tls: &ServerTls) {
    if tls.is_expired(SystemTime::now()) {
        tracing::warn!("the TLS certificate has expired; clients reject it until a reload reads another one");
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::server::config::sections::TlsConfig;
    use crate::testing::certificates::Authority;

    #[tokio::test]
    async fn a_reload_without_a_certificate_does_not_turn_off_tls() {
        let files = Authority::new();
        let server = files.issue_server();
        let paths = TlsConfig {
            certificate: server.certificate.display().to_string(),
            key: server.key.display().to_string(),
            client_ca: String::new(),
        };
        let tls = ServerTls::read(&paths, "").unwrap();
        let handshakes = Handshakes::new(HandshakeSettings { tls, ..HandshakeSettings::default() });
        let mut listeners = [ListenerKind::Service, ListenerKind::Admin].map(|kind| handshakes.of_listener(kind, true));
        handshakes.set(HandshakeSettings::default());
        for listener in &mut listeners {
            assert!(listener.for_connection(Peer::Unix).is_some_and(|handshake| handshake.tls.is_some()));
        }
    }
}
