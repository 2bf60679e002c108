//! TLS: the certificate of this service, and the verification of its clients.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kindred_runtime::tls::{TlsError, authorities, certificates, private_key, unusable};
use kindred_runtime::watched::Watched;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config;

/// How often files are checked for changes.
const LOOK: Duration = Duration::from_secs(5);

/// The current TLS configuration of a service.
#[derive(Debug)]
pub(crate) struct Tls(Watched<ServerConfig, TlsError>);

impl Tls {
    /// From the configuration; `None`: plain HTTP.
    ///
    /// # Errors
    /// When a file cannot be read or has invalid content.
    pub(crate) fn configured(config: &config::Tls) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(cert), Some(key)) = (config.tls_cert.clone(), config.tls_key.clone()) else {
            return Ok(None);
        };
        let client_ca = config.tls_client_ca.clone();
        let files = [Some(cert.clone()), Some(key.clone()), client_ca.clone()];
        let files = files.into_iter().flatten().collect();
        let watched = Watched::new(files, move || server(&cert, &key, client_ca.as_deref()))?;
        Ok(Some(Arc::new(Self(watched))))
    }

    /// Performs a client's handshake.
    ///
    /// # Errors
    /// When the client violates the protocol.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let current = self.0.current();
        let accepted = TlsAcceptor::from(current).accept(stream).await?;
        Ok(Stream::Tls(Box::new(accepted)))
    }

    /// Reloads files when they change, for the life of the process.
    pub(crate) async fn keep_reading(self: Arc<Self>) {
        let mut turn = tokio::time::interval(LOOK);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            let this = Arc::clone(&self);
            // An error means that the process is ending.
            let _ = tokio::task::spawn_blocking(move || this.0.look()).await;
        }
    }
}

fn server(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerConfig, TlsError> {
    let (chain, secret) = (certificates(cert)?, private_key(key)?);
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let server = match client_ca {
        None => server.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let verifier = verifier.map_err(|error| unusable(file, error))?;
            server.with_client_cert_verifier(verifier)
        }
    };
    let mut server = server
        .with_single_cert(chain, secret)
        .map_err(|error| unusable(cert, format!("certificate and key do not match: {error}")))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

/// A client's stream, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
