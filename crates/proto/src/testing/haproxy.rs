//! haproxy in front of a server or of a listener of the test.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::certificates::CertificateFiles;
use super::process::ChildProcess;

/// A running haproxy. Dropping it kills it.
#[derive(Debug)]
pub struct HaProxy {
    /// The address of its listener.
    pub address: SocketAddr,
    _process: ChildProcess,
    _folder: TempDir,
}

impl HaProxy {
    /// Starts it with a listener on a free port of `ip`. `listen` and `server` are the options of the listener and of
    /// the connections to `backend`.
    pub fn start(ip: IpAddr, backend: SocketAddr, listen: &str, server: &str) -> Self {
        // HAProxy inherits its listener as standard input, so the port is free, and clients can connect at once.
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 1m\n timeout client 1m\n timeout server 1m\n\
             frontend front\n bind fd@0 {listen}\n unique-id-format %[uuid()]\n default_backend back\n\
             backend back\n server test {backend} {server}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(config).stdin(Stdio::from(OwnedFd::from(listener)));
        Self { address, _process: ChildProcess::start(&mut command), _folder: folder }
    }
}

/// Writes the certificate and its key to one file beside them, as haproxy needs them, and returns its path.
pub fn joined(files: &CertificateFiles) -> PathBuf {
    let both = files.certificate.with_extension("both.pem");
    let parts = [&files.certificate, &files.key].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&both, parts.concat()).unwrap();
    both
}
