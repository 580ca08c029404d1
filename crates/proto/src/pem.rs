//! Certificates and private keys in PEM (RFC 7468), for the servers and the client. It depends on rustls only.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use thiserror::Error;

/// Returns the cryptography of all TLS connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns the certificates of a text, at least one.
///
/// # Errors
///
/// Fails if the text has no certificate or an invalid one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = parsed.map_err(PemError::Malformed)?;
    if certificates.is_empty() {
        Err(PemError::NoCertificate)
    } else if certificates.iter().any(|certificate| ParsedCertificate::try_from(certificate).is_err()) {
        Err(PemError::InvalidCertificate)
    } else {
        Ok(certificates)
    }
}

/// Returns the certificates of authorities, at least one.
///
/// # Errors
///
/// Fails if the text has no certificate, or one that cannot be that of an authority.
pub fn authorities(text: &[u8]) -> Result<RootCertStore, PemError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(text)? {
        store.add(certificate).map_err(|_| PemError::InvalidCertificate)?;
    }
    Ok(store)
}

/// Returns the first private key of a text.
///
/// # Errors
///
/// Fails if the text has no private key, or only an encrypted one.
pub fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => PemError::NoKey,
        malformed => PemError::Malformed(malformed),
    })
}

/// Joins a certificate chain and the private key of its first certificate.
///
/// # Errors
///
/// Fails if the key is invalid, or is that of another certificate.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, PemError> {
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(PemError::Mismatch),
        Err(error) => Err(PemError::InvalidKey(error)),
    }
}

/// Why a file with certificates or a key is invalid.
#[derive(Debug, Error)]
pub enum PemError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The file is longer than 1 MiB.
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// A section of the file is not valid PEM.
    #[error("it is not valid PEM: {0}")]
    Malformed(pem::Error),
    /// The file has no certificate.
    #[error("it contains no certificate in PEM")]
    NoCertificate,
    /// The file has no private key.
    #[error("it contains no unencrypted private key in PEM")]
    NoKey,
    /// A section is not a certificate of an authority or a server.
    #[error("it contains an invalid certificate")]
    InvalidCertificate,
    /// The key is invalid, or its kind is not supported.
    #[error("the key cannot be used: {0}")]
    InvalidKey(rustls::Error),
    /// The key is not that of the certificate.
    #[error("it is not the key of the certificate")]
    Mismatch,
}
