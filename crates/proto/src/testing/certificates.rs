//! Certificates for the tests of TLS, in files of a temporary folder.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate authority. Dropping it removes its files.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    /// The file with the certificate of the authority, in PEM.
    pub certificate: PathBuf,
}

/// The files of a certificate, in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority. All have the same name.
    pub fn new() -> Self {
        Self::named("test authority")
    }

    /// Creates an authority with this name.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        let certificate = folder.path().join("authority.pem");
        std::fs::write(&certificate, issuer.pem()).unwrap();
        Self { issuer, folder, certificate }
    }

    /// Returns the folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Issues a certificate for a server: for `localhost`, `127.0.0.1` and `::1`. It is P-256.
    pub fn issue_server(&self) -> CertificateFiles {
        self.issue("server", &["localhost", "127.0.0.1", "::1"], |_| {})
    }

    /// Issues another certificate for the same names, in other files.
    pub fn issue_other_server(&self) -> CertificateFiles {
        self.issue("other-server", &["localhost", "127.0.0.1", "::1"], |_| {})
    }

    /// Issues a certificate for a server with another name, `wrong.example`.
    pub fn issue_wrong_host(&self) -> CertificateFiles {
        self.issue("wrong-host", &["wrong.example"], |_| {})
    }

    /// Issues a certificate for `localhost`, `127.0.0.1` and `::1` that expired in 2001.
    pub fn issue_expired(&self) -> CertificateFiles {
        self.issue("expired", &["localhost", "127.0.0.1", "::1"], |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// Issues a certificate for `localhost`, `127.0.0.1` and `::1` that is not valid before 2100.
    pub fn issue_not_yet_valid(&self) -> CertificateFiles {
        self.issue("not-yet-valid", &["localhost", "127.0.0.1", "::1"], |params| {
            params.not_before = date_time_ymd(2100, 1, 1);
            params.not_after = date_time_ymd(2101, 1, 1);
        })
    }

    /// Issues a certificate for an authority with the names `localhost`, `127.0.0.1` and `::1`.
    pub fn issue_authority(&self) -> CertificateFiles {
        self.issue("issued-authority", &["localhost", "127.0.0.1", "::1"], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
    }

    /// Issues a certificate for a client.
    pub fn issue_client(&self) -> CertificateFiles {
        self.issue("client", &["client.example"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// Issues a certificate for a client with this name as its subject.
    pub fn issue_client_named(&self, name: &str) -> CertificateFiles {
        self.issue("named-client", &["client.example"], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// Issues a certificate for a server that is also a client of other servers.
    pub fn issue_replica(&self) -> CertificateFiles {
        self.issue("replica", &["localhost", "127.0.0.1", "::1"], |params| {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        })
    }

    /// Issues a certificate for a client that expired in 2001.
    pub fn issue_expired_client(&self) -> CertificateFiles {
        self.issue("expired-client", &["client.example"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    fn issue(&self, name: &str, alt_names: &[&str], change: impl Fn(&mut CertificateParams)) -> CertificateFiles {
        let alt_names: Vec<_> = alt_names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(alt_names).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("test {name}"));
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix| self.folder.path().join(format!("{name}{suffix}"));
        let files = CertificateFiles { certificate: file(".pem"), key: file("-key.pem") };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
