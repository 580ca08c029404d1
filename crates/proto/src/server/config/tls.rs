//! Reads the files of `[tls]` into the TLS configurations of the listeners.
//!
//! It depends on `builder`, `file` and `sections`. It checks all that can be wrong with the files, so that a server starts,
//! or accepts a reload, only with TLS that works.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme, WantsVerifier};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::builder::InvalidKey;
use super::file::read_text;
use super::sections::TlsConfig;
use crate::pem::{self, PemError};

/// The TLS configurations of a server, `None` without a certificate.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// For the endpoints of services.
    pub(crate) services: Option<Arc<rustls::ServerConfig>>,
    /// For the endpoints of the admin listener.
    pub(crate) admin: Option<Arc<rustls::ServerConfig>>,
    /// When the server's certificate expires, in seconds since 1970.
    pub(crate) expiry: Option<i64>,
    /// A hash of the files, which shows whether they have changed; 0 without a certificate.
    pub(crate) hash: u64,
}

impl ServerTls {
    /// Reads the files of `[tls]`, and `admin.client_ca`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, has no certificate or key, or if the key is not that of the certificate.
    pub(crate) fn read(files: &TlsConfig, admin_client_ca: &str) -> Result<Self, InvalidKey> {
        if files.certificate.is_empty() {
            return Ok(Self::default());
        }
        let chain = read("tls.certificate", &files.certificate, pem::certificates)?;
        let key = read("tls.key", &files.key, pem::private_key)?;
        let mut hasher = DefaultHasher::new();
        (&chain, key.secret_der()).hash(&mut hasher);
        let expiry = expiry(&chain[0]);
        let key = pem::certified_key(chain, key).map_err(|error| InvalidKey {
            key: "tls.key",
            problem: format!("cannot use {} with {}: {error}", files.key, files.certificate),
        })?;
        let mut config = |client_ca_key, client_ca: &str| {
            let builder = verify_clients(client_ca_key, client_ca, &mut hasher)?;
            let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&key))));
            // The client keeps the ticket for a resumption, so the server stores no session. A resumption does not verify the
            // client's certificate again, and it may have expired, so a server with `client_ca` issues no tickets.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            if client_ca.is_empty() {
                config.ticketer = ring::Ticketer::new().map_err(|error| InvalidKey {
                    key: "tls.key",
                    problem: format!("cannot make a ticket key: {error}"),
                })?;
            }
            Ok(Arc::new(config))
        };
        let services = Some(config("tls.client_ca", &files.client_ca)?);
        let admin = Some(config("admin.client_ca", admin_client_ca)?);
        Ok(Self { services, admin, expiry, hash: hasher.finish() })
    }

    /// Returns whether the certificate has expired at `now`.
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        self.expiry.is_some_and(|expiry| expiry < now.cast_signed())
    }
}

/// Starts a configuration that asks clients for certificates, if `client_ca` names a file.
fn verify_clients(
    key: &'static str,
    client_ca: &str,
    hasher: &mut DefaultHasher,
) -> Result<rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>, InvalidKey> {
    let provider = pem::provider();
    let invalid = |problem: String| InvalidKey { key, problem: format!("{client_ca}: {problem}") };
    let builder: rustls::ConfigBuilder<rustls::ServerConfig, WantsVerifier> =
        rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| invalid(error.to_string()))?;
    if client_ca.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let authorities = read(key, client_ca, pem::authorities)?;
    for authority in &authorities.roots {
        let name_constraints = authority.name_constraints.as_deref();
        (&*authority.subject, &*authority.subject_public_key_info, name_constraints).hash(hasher);
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build();
    let verifier = verifier.map_err(|error| invalid(error.to_string()))?;
    Ok(builder.with_client_cert_verifier(Arc::new(ShortChains(verifier))))
}

/// Rejects long certificate chains, and verifies the others.
///
/// The search for a path from a client's certificate to an authority tries all orders of the other certificates, if they
/// claim to have issued each other, and blocks its worker thread meanwhile. Measured with rustls-webpki 0.103: 4 such
/// certificates take 0.75 ms, 6 take 5 ms, and 10 take 120 ms.
#[derive(Debug)]
struct ShortChains(Arc<dyn ClientCertVerifier>);

/// Maximum certificates between that of a client and that of an authority. One or two are common.
const MAX_INTERMEDIATES: usize = 4;

/// A client sent more than 4 certificates besides its own.
#[derive(Debug, Error)]
#[error("the client sent more than {MAX_INTERMEDIATES} intermediate certificates")]
struct ChainTooLong;

impl ClientCertVerifier for ShortChains {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(CertificateError::Other(OtherError(Arc::new(ChainTooLong))).into());
        }
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Reads a PEM file with one of the functions of [`pem`].
fn read<T>(key: &'static str, path: &str, parse: impl Fn(&[u8]) -> Result<T, PemError>) -> Result<T, InvalidKey> {
    let read = read_text(Path::new(path)).map_err(PemError::from);
    read.and_then(|text| parse(text.as_bytes())).map_err(|error| {
        let action = if matches!(error, PemError::Read(_)) { "read" } else { "use" };
        InvalidKey { key, problem: format!("cannot {action} {path}: {error}") }
    })
}

/// Returns when a certificate expires, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let not_after = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    not_after.as_secs().try_into().ok()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::testing::certificates::{Authority, CertificateFiles};

    fn text(path: &Path) -> String {
        path.display().to_string()
    }

    fn read_files(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerTls, String> {
        let files = TlsConfig {
            certificate: text(certificate),
            key: text(key),
            client_ca: client_ca.map(text).unwrap_or_default(),
        };
        ServerTls::read(&files, "").map_err(|InvalidKey { key, problem }| format!("{key}: {problem}"))
    }

    #[test]
    fn a_certificate_with_its_key_has_an_expiry_time() {
        let authority = Authority::new();
        let files = authority.issue_server();
        let tls = read_files(&files.certificate, &files.key, Some(&authority.certificate)).unwrap();
        assert!(tls.services.is_some() && tls.admin.is_some());
        assert!(!tls.is_expired(SystemTime::now()));
        let files = authority.issue_expired();
        let tls = read_files(&files.certificate, &files.key, None).unwrap();
        assert!(tls.is_expired(SystemTime::now()));
        assert_eq!(tls.expiry, Some(978_307_200), "2001-01-01");
        assert!(ServerTls::read(&TlsConfig::default(), "").unwrap().services.is_none());
    }

    #[test]
    fn the_hash_changes_with_the_certificate_and_with_the_authority_of_clients() {
        let (authority, other) = (Authority::new(), Authority::new());
        let hash =
            |files: &CertificateFiles, client_ca| read_files(&files.certificate, &files.key, client_ca).unwrap().hash;
        let files = authority.issue_server();
        let first = hash(&files, Some(&*authority.certificate));
        assert_eq!(hash(&files, Some(&authority.certificate)), first);
        assert_ne!(hash(&files, Some(&other.certificate)), first);
        let renewed = authority.issue_server();
        assert_ne!(hash(&renewed, Some(&authority.certificate)), first);
    }

    #[test]
    fn the_error_names_the_key_the_file_and_the_reason() {
        let authority = Authority::new();
        let (server, client) = (authority.issue_server(), authority.issue_client());
        let empty = authority.folder().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = authority.folder().join("missing.pem");
        for (certificate, key, client_ca, error) in [
            (&missing, &server.key, None, "tls.certificate: cannot read "),
            (&empty, &server.key, None, "it contains no certificate in PEM"),
            (&server.key, &server.key, None, "it contains no certificate in PEM"),
            (&server.certificate, &missing, None, "tls.key: cannot read "),
            (&server.certificate, &empty, None, "it contains no unencrypted private key in PEM"),
            (&server.certificate, &server.certificate, None, "it contains no unencrypted private key in PEM"),
            (&server.certificate, &client.key, None, "it is not the key of the certificate"),
            (&server.certificate, &server.key, Some(&empty), "tls.client_ca: "),
            (&server.certificate, &server.key, Some(&server.key), "it contains no certificate in PEM"),
        ] {
            let found = read_files(certificate, key, client_ca.map(PathBuf::as_path)).unwrap_err();
            assert!(found.contains(error), "{found}");
        }
    }
}
