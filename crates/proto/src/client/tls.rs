//! TLS of the client: which servers it trusts, which certificate it presents, and why a handshake failed.
//!
//! It depends on rustls, and reads the files with certificates and keys. [`Tls`] comes first, then the errors.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use rustls::AlertDescription;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible, ProtocolVersion, RootCertStore,
    SignatureScheme,
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
            Ok(error) => self.reason(error).into(),
            Err(error) if is_close(&error) => HandshakeError::Closed.into(),
            Err(error) => ErrorKind::Io(error),
        })
    }

    /// Returns why a handshake with these options failed.
    fn reason(&self, error: rustls::Error) -> HandshakeError {
        match error.into() {
            // The chain is not verified, so the signature is that of the server in the handshake.
            HandshakeError::UnknownAuthority if self.insecure => HandshakeError::UnusableKey,
            reason => reason,
        }
    }

    /// Adds to the alert of a server whether a client certificate was presented.
    pub(super) fn explain(&self, kind: ErrorKind) -> ErrorKind {
        match kind {
            ErrorKind::Handshake(HandshakeError::ClientCertificate(alert))
                if self.identity.is_some() && alert != AlertDescription::CertificateRequired =>
            {
                HandshakeError::RejectedCertificate(alert).into()
            }
            other => other,
        }
    }
}

/// Whether the server has closed the connection, with a FIN or with a RST. It sends a RST if it has not read everything.
fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Returns the authorities of the system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Skips invalid certificates,
/// because one of them must not disable all others.
fn system_authorities() -> Result<RootCertStore, HandshakeError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let file = variable("SSL_CERT_FILE");
    for error in found.errors {
        // A file that the variable names must be readable, also if there are other certificates.
        if let rustls_native_certs::ErrorKind::Io { inner, path } = error.kind
            && (store.is_empty() || file.as_ref() == Some(&path))
        {
            let path = path.to_string_lossy().into();
            return Err(HandshakeError::UnreadableAuthorities { path, error: Arc::new(inner) });
        }
    }
    if store.is_empty() {
        let place = file.or_else(|| variable("SSL_CERT_DIR"));
        return Err(HandshakeError::NoAuthorities(place.map(|path| path.to_string_lossy().into())));
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
    /// The server's certificate is not valid yet.
    #[error("the server's certificate is not valid yet")]
    NotValidYet,
    /// The server's certificate is for other purposes, such as clients.
    #[error("the server's certificate is not for servers")]
    WrongPurpose,
    /// The server's certificate is that of an authority.
    #[error("the server's certificate is that of an authority, not of a server")]
    IsAuthority,
    /// The server has signed the handshake with another key than that of its certificate. Where certificates are verified,
    /// this is [`HandshakeError::UnknownAuthority`].
    #[error("the key of the server's certificate cannot be used, or the server does not have it")]
    UnusableKey,
    /// The server requires a client certificate that it trusts. It sent this alert.
    #[error("the server requires a client certificate that it trusts (alert {0:?})")]
    ClientCertificate(AlertDescription),
    /// The server rejects the certificate of the client. It sent this alert.
    #[error("the server rejects the client's certificate{reason} (alert {0:?})", reason = rejection(*.0))]
    RejectedCertificate(AlertDescription),
    /// The server refused the parameters of the client, or a client without certificate.
    #[error("the server refused it: no cipher suite in common, or it requires a client certificate")]
    Refused,
    /// The server sent something else than TLS.
    #[error("the server does not speak TLS")]
    NotTls,
    /// The server has neither TLS 1.2 nor TLS 1.3.
    #[error("the server speaks neither TLS 1.2 nor TLS 1.3")]
    NoCommonVersion,
    /// The server closed the connection, with a FIN or with a RST.
    #[error(
        "the server closed the connection before the handshake was done: it may be full, expect a PROXY protocol header, \
         or not speak TLS"
    )]
    Closed,
    /// This file or folder, or the system, has no certificates of authorities.
    #[error("{place} has no certificates of trusted authorities", place = .0.as_deref().unwrap_or("this system"))]
    NoAuthorities(Option<Box<str>>),
    /// A file or folder with the certificates of authorities cannot be read.
    #[error("the certificates of trusted authorities cannot be read: {path}: {error}")]
    UnreadableAuthorities {
        /// The path.
        path: Box<str>,
        /// Why it cannot be read.
        error: Arc<io::Error>,
    },
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
            Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                Self::NotValidYet
            }
            Tls::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => Self::WrongPurpose,
            // The error of rustls-webpki, which rustls does not export.
            Tls::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity" => {
                Self::IsAuthority
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

/// Returns why a server rejects a certificate, if the alert says it.
fn rejection(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => ": it has expired, or is not valid yet",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            ": it is not signed by an authority that the server trusts"
        }
        AlertDescription::UnsupportedCertificate => ": it is not for clients",
        AlertDescription::CertificateRevoked => ": it has been revoked",
        _ => "",
    }
}

/// Whether the server rejects the client's certificate with this alert, or the lack of one.
pub(super) fn rejects_certificate(alert: AlertDescription) -> bool {
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

/// The parameters that a handshake negotiated.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_signature_is_one_of_the_key_only_where_the_chain_is_not_verified() {
        let reason = |tls: Tls| tls.reason(rustls::Error::InvalidCertificate(CertificateError::BadSignature));
        assert!(matches!(reason(Tls::default()), HandshakeError::UnknownAuthority));
        assert!(matches!(reason(Tls::default().without_verification()), HandshakeError::UnusableKey));
    }
}
