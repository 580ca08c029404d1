//! Reads the files of `[tls]` into the TLS configurations of the listeners.
//!
//! It depends on `builder`, `file` and `sections`. It checks all that can be wrong with the files, so that a server starts,
//! or accepts a reload, only with TLS that works.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::builder::InvalidKey;
use super::file::read_text;
use super::sections::TlsConfig;

/// The TLS configurations of a server, `None` without a certificate.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// For the endpoints of services.
    pub(crate) services: Option<Arc<ServerConfig>>,
    /// For the endpoints of the admin listener.
    pub(crate) admin: Option<Arc<ServerConfig>>,
    /// When the server's certificate expires, in seconds since 1970.
    pub(crate) expiry: Option<i64>,
    /// A hash of the files, which shows whether they have changed.
    pub(crate) hash: u64,
}

impl ServerTls {
    /// Reads the files of `[tls]`, and `admin.client_ca`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, has no certificate or key, or if the key does not belong to the certificate.
    pub(crate) fn read(files: &TlsConfig, admin_client_ca: &str) -> Result<Self, InvalidKey> {
        if files.certificate.is_empty() {
            return Ok(Self::default());
        }
        let chain = certificates("tls.certificate", &files.certificate)?;
        let key = private_key("tls.key", &files.key)?;
        let mut hasher = DefaultHasher::new();
        (&chain, key.secret_der()).hash(&mut hasher);
        let mut config = |client_ca_key, client_ca: &str| {
            let builder = verify_clients(client_ca_key, client_ca, &mut hasher)?;
            let config = builder.with_single_cert(chain.clone(), key.clone_key());
            let mut config = config.map_err(|error| {
                let problem = match error {
                    rustls::Error::InconsistentKeys(_) => {
                        format!("{}: the key does not belong to the certificate in {}", files.key, files.certificate)
                    }
                    error => {
                        format!("{}: cannot use the certificate in {} with it: {error}", files.key, files.certificate)
                    }
                };
                InvalidKey { key: "tls.key", problem }
            })?;
            // A session is resumed with a ticket that the client keeps, so the server stores none. Each read of the files
            // makes new ticket keys: a client that an earlier `client_ca` admitted cannot resume its session.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.ticketer = ring::Ticketer::new().map_err(|error| InvalidKey {
                key: "tls.key",
                problem: format!("cannot make a ticket key: {error}"),
            })?;
            Ok(Arc::new(config))
        };
        let services = Some(config("tls.client_ca", &files.client_ca)?);
        let admin = Some(config("admin.client_ca", admin_client_ca)?);
        Ok(Self { services, admin, expiry: expiry(&chain[0]), hash: hasher.finish() })
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
) -> Result<ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>, InvalidKey> {
    let provider = Arc::new(ring::default_provider());
    let invalid = |problem: String| InvalidKey { key, problem: format!("{client_ca}: {problem}") };
    let builder: ConfigBuilder<ServerConfig, WantsVerifier> =
        ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| invalid(error.to_string()))?;
    if client_ca.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, client_ca)? {
        certificate.hash(hasher);
        roots.add(certificate).map_err(|error| invalid(format!("not the certificate of an authority: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(builder.with_client_cert_verifier(verifier.map_err(|error| invalid(error.to_string()))?))
}

/// Reads the certificates of a PEM file; at least one.
fn certificates(key: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>, InvalidKey> {
    let text = read(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(InvalidKey { key, problem: format!("{path}: no certificate in the file; PEM is expected") }),
        Err(error) => Err(InvalidKey { key, problem: format!("{path}: not valid PEM: {error}") }),
    }
}

fn private_key(key: &'static str, path: &str) -> Result<PrivateKeyDer<'static>, InvalidKey> {
    PrivateKeyDer::from_pem_slice(read(key, path)?.as_bytes()).map_err(|error| {
        let problem = format!("{path}: no private key in the file: {error}; unencrypted PEM is expected");
        InvalidKey { key, problem }
    })
}

fn read(key: &'static str, path: &str) -> Result<String, InvalidKey> {
    read_text(Path::new(path)).map_err(|error| InvalidKey { key, problem: format!("cannot read {path}: {error}") })
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
            (&empty, &server.key, None, "no certificate in the file"),
            (&server.key, &server.key, None, "no certificate in the file"),
            (&server.certificate, &missing, None, "tls.key: cannot read "),
            (&server.certificate, &empty, None, "no private key in the file"),
            (&server.certificate, &server.certificate, None, "no private key in the file"),
            (&server.certificate, &client.key, None, "the key does not belong to the certificate"),
            (&server.certificate, &server.key, Some(&empty), "tls.client_ca: "),
            (&server.certificate, &server.key, Some(&server.key), "no certificate in the file"),
        ] {
            let found = read_files(certificate, key, client_ca.map(PathBuf::as_path)).unwrap_err();
            assert!(found.contains(error), "{found}");
        }
    }
}
