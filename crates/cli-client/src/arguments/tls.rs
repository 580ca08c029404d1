//! The options of TLS.

use std::path::{Path, PathBuf};

use clap::Args;
use proto::client::Tls;
use proto::client::tls::{certificates, private_key};
use proto::pem::PemError;

use crate::error::CliError;
use crate::language::{explain, texts};

#[derive(Args, Debug)]
pub(crate) struct TlsOptions {
    #[arg(long, global = true, value_name = "FILE", help = texts::cacert())]
    cacert: Option<PathBuf>,

    #[arg(long, global = true, value_name = "FILE", help = texts::cert())]
    cert: Option<PathBuf>,

    #[arg(long, global = true, value_name = "FILE", help = texts::key())]
    key: Option<PathBuf>,

    #[arg(long, global = true, value_name = "NAME", help = texts::server_name())]
    pub(crate) server_name: Option<String>,

    #[arg(long, global = true, help = texts::insecure())]
    pub(crate) insecure: bool,
}

impl TlsOptions {
    /// Reads the files, also if no server uses TLS.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] for an invalid file or name, and for a certificate without its key.
    pub(crate) fn load(&self) -> Result<Tls, CliError> {
        let mut tls = Tls::default();
        if let Some(file) = &self.cacert {
            tls = tls.with_authorities(file).map_err(|error| invalid("--cacert", file, &error))?;
        }
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert).map_err(|error| invalid("--cert", cert, &error))?;
                let private = private_key(key).map_err(|error| invalid("--key", key, &error))?;
                tls = tls.with_identity(chain, private).map_err(|error| invalid("--key", key, &error))?;
            }
            (None, None) => {}
            (Some(_), None) => return Err(CliError::Usage(texts::needs_option("--cert", "--key"))),
            (None, Some(_)) => return Err(CliError::Usage(texts::needs_option("--key", "--cert"))),
        }
        if let Some(name) = &self.server_name {
            let invalid = |_| CliError::Usage(texts::invalid_value(name, "--server-name", texts::not_a_server_name()));
            tls = tls.with_server_name(name).map_err(invalid)?;
        }
        if self.insecure {
            tls = tls.without_verification();
        }
        Ok(tls)
    }
}

fn invalid(option: &str, file: &Path, error: &PemError) -> CliError {
    CliError::Usage(texts::invalid_file(option, file.display(), explain::file(error)))
}
