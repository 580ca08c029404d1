//! TLS of the client: which servers it trusts, which certificate it presents, and why a handshake failed.
//!
//! It depends on rustls, and reads the files with certificates and keys. [`Tls`] comes first, then the errors.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible, ProtocolVersion,
    RootCertStore, SignatureScheme,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::ErrorKind;
use crate::pem::{self, PemError, provider};

/// The options of all TLS connections: by default, the authorities of the system and no client certificate.
#[derive(Debug, Default)]
pub struct Tls {
    authorities: Option<RootCertStore>,
    identity: Option<Arc<CertifiedKey>>,
    server_name: Option<ServerName<'static>>,
    insecure: bool,
    /// Made at the first use, because the authorities of the system may be missing where no server uses TLS.
    config: OnceLock<Result<Arc<ClientConfig>, HandshakeError>>,
}

/// Maximum size of a file in bytes. The authorities of a system take about 220 KB.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl Tls {
    /// Trusts the authorities in this PEM file instead of those of the system.
    ///
    /// # Errors
    ///
    /// Fails if the file has no certificate or an invalid one.
    pub fn with_authorities(mut self, file: &Path) -> Result<Self, PemError> {
        self.authorities = Some(pem::authorities(&read(file)?)?);
        Ok(self)
    }

    /// Presents the certificate chain and the key to servers that request a certificate. See [`certificates`] and
    /// [`private_key`].
    ///
    /// # Errors
    ///
    /// Fails if the key is not that of the first certificate.
    pub fn with_identity(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, PemError> {
        self.identity = Some(pem::certified_key(chain, key)?);
        Ok(self)
    }

    /// Expects this name or IP address in the server's certificate instead of the host of the endpoint.
    ///
    /// # Errors
    ///
    /// Fails if it is neither a DNS name nor an IP address.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, InvalidDnsNameError> {
        self.server_name = Some(ServerName::try_from(name.to_owned())?);
        Ok(self)
    }

    /// Accepts any certificate of the server. Anyone on the network path can then read and change the data.
    #[must_use]
    pub fn without_verification(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Returns the configuration. The first call reads the authorities of the system, if they are needed.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, HandshakeError> {
        self.config.get_or_init(|| self.build().map(Arc::new)).clone()
    }

    fn build(&self) -> Result<ClientConfig, HandshakeError> {
        let provider = provider();
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(self.authorities.clone().map_or_else(system_authorities, Ok)?)
        };
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity)))),
            None => builder.with_no_client_auth(),
        };
        // Every connection makes a whole handshake, so that a load measures it, and no connection depends on another.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// Makes the handshake with the server of this host.
    pub(super) async fn handshake(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, ErrorKind> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| HandshakeError::InvalidName(host.to_owned()))?,
        };
        let connected = TlsConnector::from(self.config()?).connect(name, stream).await;
        connected.map_err(|error| match error.downcast::<rustls::Error>() {
            Ok(error) => HandshakeError::from(error).into(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => HandshakeError::Closed.into(),
            Err(error) => ErrorKind::Io(error),
        })
    }
}

/// Returns the authorities of the system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Skips invalid certificates,
/// because one of them must not disable all others.
fn system_authorities() -> Result<RootCertStore, HandshakeError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let reason = found.errors.first().map(|error| format!(": {error}"));
        return Err(HandshakeError::NoAuthorities(reason.unwrap_or_default()));
    }
    Ok(store)
}

fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(PemError::TooLong) } else { Ok(bytes) }
}

/// Returns the certificates of a PEM file, at least one.
///
/// # Errors
///
/// Fails if the file cannot be read, has no certificate or an invalid one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    pem::certificates(&read(file)?)
}

/// Returns the first private key of a PEM file.
///
/// # Errors
///
/// Fails if the file cannot be read or has no key that is not encrypted.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    pem::private_key(&read(file)?)
}

/// Why a handshake failed.
#[derive(Clone, Debug, Error)]
pub enum HandshakeError {
    /// The server's certificate is not signed by a trusted authority.
    #[error("the server's certificate is not signed by a trusted authority")]
    UnknownAuthority,
    /// The server's certificate is for other names than this one.
    #[error("the server's certificate is not valid for {0}")]
    WrongName(String),
    /// The server's certificate has expired.
    #[error("the server's certificate has expired")]
    Expired,
    /// The server requires a client certificate that it trusts. It sent this alert.
    #[error("the server requires a client certificate that it trusts (alert {0:?})")]
    ClientCertificate(AlertDescription),
    /// The server refused the parameters of the client, or a client without certificate.
    #[error("the server refused it: no cipher suite in common, or it requires a client certificate")]
    Refused,
    /// The server sent something else than TLS.
    #[error("the server does not speak TLS")]
    NotTls,
    /// The server has neither TLS 1.2 nor TLS 1.3.
    #[error("the server speaks neither TLS 1.2 nor TLS 1.3")]
    NoCommonVersion,
    /// The server closed the connection.
    #[error("the server closed the connection: it may be full, or not speak TLS")]
    Closed,
    /// The system has no certificates of authorities. The text is empty or a reason.
    #[error("this system has no certificates of trusted authorities{0}")]
    NoAuthorities(String),
    /// A certificate cannot be for this host.
    #[error("no certificate can be valid for the name '{0}'")]
    InvalidName(String),
    /// Another reason.
    #[error("{0}")]
    Other(rustls::Error),
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as Tls;
        match error {
            // An authority with the name of a trusted one, but with another key, makes a bad signature.
            Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UnknownAuthority
            }
            Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                Self::Expired
            }
            Tls::InvalidCertificate(CertificateError::NotValidForNameContext { expected, .. }) => {
                Self::WrongName(expected.to_str().into_owned())
            }
            Tls::AlertReceived(alert) if rejects_certificate(alert) => Self::ClientCertificate(alert),
            Tls::AlertReceived(AlertDescription::HandshakeFailure) => Self::Refused,
            Tls::AlertReceived(AlertDescription::ProtocolVersion)
            | Tls::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NoCommonVersion,
            Tls::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other),
        }
    }
}

impl HandshakeError {
    /// Returns the reason if this error of a read is the server's rejection of the client's certificate. In TLS 1.3 it
    /// arrives after the client has finished the handshake (RFC 8446, section 4.4.2.4).
    pub(super) fn from_read(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref() {
            Some(&rustls::Error::AlertReceived(alert)) if rejects_certificate(alert) => {
                Some(Self::ClientCertificate(alert))
            }
            _ => None,
        }
    }
}

fn rejects_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
            // The certificate is signed by another authority with the name of a trusted one.
            | AlertDescription::DecryptError
    )
}

/// What the two sides have agreed on in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The version, such as `TLS 1.3`.
    pub version: String,
    /// The name of the cipher suite.
    pub cipher_suite: String,
    /// The subject of the server's certificate (RFC 4514), not escaped; empty if it has none.
    pub subject: String,
}

impl Session {
    pub(super) fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let certificate = connection.peer_certificates().and_then(|chain| Certificate::from_der(chain.first()?).ok());
        let subject = certificate.map(|certificate| certificate.tbs_certificate().subject().to_string());
        Self {
            version: version.to_owned(),
            cipher_suite: suite.unwrap_or_default(),
            subject: subject.unwrap_or_default(),
        }
    }
}

/// Accepts any certificate, but only from the owner of its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
