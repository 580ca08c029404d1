//! Certificates and private keys in PEM (RFC 7468), for the servers and the client.
//!
//! It depends on rustls and on [`wire::quoted`](crate::wire::quoted).

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::wire::quoted::Quoted;

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
    let certificates = parsed?;
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
        _ if has_encrypted_key(text) => PemError::EncryptedKey,
        pem::Error::NoItemsFound => PemError::NoKey,
        malformed => malformed.into(),
    })
}

/// Whether a text has an encrypted key: in PKCS #8 (RFC 7468, section 11), or in the older form of RFC 1421, section 4.6.1.1.
fn has_encrypted_key(text: &[u8]) -> bool {
    let has = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
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
    /// The last line of a section is missing. The text is the quoted label of the section.
    #[error("it is truncated: the END line of the section {0} is missing")]
    Truncated(String),
    /// The file has no certificate.
    #[error("it contains no certificate in PEM")]
    NoCertificate,
    /// The file has no private key.
    #[error("it contains no unencrypted private key in PEM")]
    NoKey,
    /// The private key is encrypted.
    #[error("the private key is encrypted; decrypt it with: openssl pkey -in FILE -out NEW")]
    EncryptedKey,
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

impl From<pem::Error> for PemError {
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::MissingSectionEnd { end_marker } => Self::Truncated(Quoted(&end_marker).to_string()),
            other => Self::Malformed(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_key_has_an_error_of_its_own() {
        let traditional = b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                            -----END EC PRIVATE KEY-----\n";
        let pkcs8 = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for text in [&traditional[..], pkcs8] {
            assert!(matches!(private_key(text), Err(PemError::EncryptedKey)), "{}", text.escape_ascii());
        }
        assert!(matches!(private_key(b""), Err(PemError::NoKey)));
        let invalid = b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n";
        assert!(matches!(private_key(invalid), Err(PemError::Malformed(_))));
    }

    #[test]
    fn a_truncated_section_is_named() {
        let error = certificates(b"-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap_err();
        assert_eq!(error.to_string(), "it is truncated: the END line of the section 'CERTIFICATE' is missing");
        let error = private_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap_err();
        assert_eq!(error.to_string(), "it is truncated: the END line of the section 'PRIVATE KEY' is missing");
    }
}
