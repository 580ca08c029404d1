//! Servers that speak TLS or listen on a Unix socket, in front of a server that speaks plain TCP.

use std::future::Future;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

pub use rustls::SupportedProtocolVersion;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
pub use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::TEST_TIMEOUT;
use super::blocking::reset_on_close;
use super::certificates::CertificateFiles;
use crate::client::tls::{certificates, private_key};

/// How the server ends a TLS connection after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With `close_notify` and a FIN.
    CloseNotify,
    /// With a FIN only.
    Truncation,
    /// With a RST.
    Reset,
    /// With a record that the client cannot decrypt.
    Garbage,
}

/// A record of application data (RFC 8446, section 5.2) that no key decrypts.
const GARBAGE: [u8; 37] = {
    let mut record = [0; 37];
    (record[0], record[1], record[2], record[4]) = (23, 3, 3, 32);
    record
};

/// A server that passes all bytes on, until it is dropped.
#[derive(Debug)]
pub struct Front {
    /// The endpoint.
    pub endpoint: String,
    ends: Receiver<Option<io::ErrorKind>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// Starts a server that speaks TLS.
    pub fn tls(backend: SocketAddr, config: Arc<ServerConfig>, end: End) -> Self {
        let acceptor = TlsAcceptor::from(config);
        Self::start(move |ended, endpoint| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            endpoint.send(format!("tls://{}", listener.local_addr().unwrap())).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, ended) = (acceptor.clone(), ended.clone());
                connections.spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    let socket: std::net::TcpStream = stream.as_fd().try_clone_to_owned().unwrap().into();
                    let stream = match acceptor.accept(stream).await {
                        Ok(stream) => stream,
                        Err(error) => {
                            // The test may have ended.
                            let _ = ended.send(Some(error.kind()));
                            return;
                        }
                    };
                    // The client may have closed the connection.
                    let before_end = || match end {
                        End::CloseNotify => {}
                        End::Truncation => drop(socket.shutdown(Shutdown::Write)),
                        End::Reset => reset_on_close(&socket),
                        End::Garbage => drop((&socket).write_all(&GARBAGE)),
                    };
                    pass_on(stream, backend, ended, before_end, end == End::Reset).await;
                });
            }
        })
    }

    /// Starts a server that listens on a Unix socket at `path`.
    pub fn unix(backend: SocketAddr, path: &Path) -> Self {
        let path = path.to_owned();
        Self::start(move |ended, endpoint| async move {
            let listener = UnixListener::bind(&path).unwrap();
            endpoint.send(format!("unix:{}", path.display())).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass_on(stream, backend, ended.clone(), || {}, false));
            }
        })
    }

    fn start<F: Future<Output = ()>>(
        serve: impl FnOnce(Sender<Option<io::ErrorKind>>, Sender<String>) -> F + Send + 'static,
    ) -> Self {
        let ((ended, ends), (sender, endpoint)) = (channel(), channel());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(stopped.run_until_cancelled(serve(ended, sender)));
        });
        let endpoint = endpoint.recv_timeout(TEST_TIMEOUT).unwrap();
        Self { endpoint, ends, stop, thread: Some(thread) }
    }

    /// Waits for the next client that ends its data or its handshake. Returns the error if it was not `close_notify`, or EOF on a Unix socket.
    pub fn next_end(&self) -> Option<io::ErrorKind> {
        self.ends.recv_timeout(TEST_TIMEOUT).unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Passes the bytes of both directions on. Calls `before_end` when the backend has ended its data. With `abort`, closes the
/// connection then.
async fn pass_on(
    client: impl AsyncRead + AsyncWrite,
    backend: SocketAddr,
    ended: Sender<Option<io::ErrorKind>>,
    before_end: impl FnOnce(),
    abort: bool,
) {
    let (mut client_read, mut client_write) = split(client);
    let Ok(backend) = TcpStream::connect(backend).await else { return };
    let (mut backend_read, mut backend_write) = backend.into_split();
    let requests = async {
        let copied = copy(&mut client_read, &mut backend_write).await;
        // The test may have ended.
        let _ = ended.send(copied.err().map(|error| error.kind()));
        let _ = backend_write.shutdown().await;
        Ok(())
    };
    let replies = async {
        let _ = copy(&mut backend_read, &mut client_write).await;
        before_end();
        if abort {
            return Err(());
        }
        let _ = client_write.shutdown().await;
        Ok(())
    };
    // An error ends both directions.
    let _ = tokio::try_join!(requests, replies);
}

/// Returns the configuration of a server with this certificate. With `client_ca`, clients must present a certificate that
/// it signed.
pub fn server_config(
    files: &CertificateFiles,
    client_ca: Option<&Path>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let builder = match client_ca {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(file).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let (chain, key) = (certificates(&files.certificate).unwrap(), private_key(&files.key).unwrap());
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}
