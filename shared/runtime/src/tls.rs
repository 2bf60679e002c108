//! TLS for connections to the broker and the database: which authorities they trust, and which certificate they
//! present.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use crate::watched::Watched;

/// PEM files for a TLS connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the only authorities to trust; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate, followed by its chain, and its key; `None`: the other side does not ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a TLS connection cannot be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system trusts no authority.
    #[error("the system has no certificates of authorities ({0}): install them, or name a file")]
    NoRoots(String),
    /// The files do not go together.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

impl TlsFiles {
    /// The client configuration, from the files as they are now. A certificate and key that are replaced later are used
    /// from the next connection on.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        Ok(match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let own = Identity::read(cert.clone(), key.clone(), provider)?;
                builder.with_client_cert_resolver(Arc::new(own))
            }
        })
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        if let Some(file) = &self.ca {
            return authorities(file);
        }
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            let why = system.errors.iter().map(ToString::to_string);
            return Err(TlsError::NoRoots(why.collect::<Vec<_>>().join("; ")));
        }
        Ok(roots)
    }
}

/// The error for an unusable file.
pub fn unusable(file: &Path, why: impl fmt::Display) -> TlsError {
    TlsError::File {
        file: file.to_owned(),
        why: why.to_string(),
    }
}

/// The certificates in a file, at least one.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(file, error))?;
    if all.is_empty() {
        return Err(unusable(file, "it has no certificate in PEM"));
    }
    Ok(all)
}

/// The authorities whose certificates are in a file.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        let added = roots.add(authority);
        added.map_err(|error| unusable(file, error))?;
    }
    Ok(roots)
}

/// The private key of a file.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| unusable(file, format!("no private key in PEM: {error}")))
}

/// Our own certificate and its key, checked for changes at each connection.
#[derive(Debug)]
struct Identity(Watched<CertifiedKey, TlsError>);

impl Identity {
    fn read(cert: PathBuf, key: PathBuf, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let files = vec![cert.clone(), key.clone()];
        let watched = Watched::new(files, move || load(&cert, &key, &provider));
        watched.map(Self)
    }

    /// The current pair, or the last one that matched.
    fn current(&self) -> Arc<CertifiedKey> {
        self.0.look();
        self.0.current()
    }
}

fn load(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (chain, secret) = (certificates(cert)?, private_key(key)?);
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| unusable(key, error))
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// Writes a new self-signed certificate and its key to files.
    fn write(place: &TempDir, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = cert.self_signed(&key).unwrap();
        let files = ["pem", "key"].map(|ending| place.path().join(format!("own.{ending}")));
        fs::write(&files[0], cert.pem()).unwrap();
        fs::write(&files[1], key.serialize_pem()).unwrap();
        let [cert, key] = files;
        (cert, key)
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let place = TempDir::new().unwrap();
        let (cert, key) = write(&place, "kindred");
        let other = TempDir::new().unwrap();
        let (_, others) = write(&other, "other");
        let nowhere = place.path().join("nowhere");
        let of = |ca: &Path, identity: Option<(&Path, &Path)>| TlsFiles {
            ca: Some(ca.to_owned()),
            identity: identity.map(|(cert, key)| (cert.to_owned(), key.to_owned())),
        };
        of(&cert, Some((&cert, &key))).client().unwrap();
        for (files, named) in [
            (of(&nowhere, None), &nowhere),
            (of(&key, None), &key),
            (of(&cert, Some((&nowhere, &key))), &nowhere),
            (of(&cert, Some((&cert, &cert))), &cert),
            (of(&cert, Some((&cert, &others))), &others),
        ] {
            let error = files.client().unwrap_err().to_string();
            assert!(error.starts_with(&named.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_certificate_that_is_replaced_is_used_from_then_on() {
        let place = TempDir::new().unwrap();
        let (cert, key) = write(&place, "first");
        let provider = Arc::new(ring::default_provider());
        let identity = Identity::read(cert, key.clone(), provider).unwrap();
        let first = identity.current();
        assert_eq!(identity.current().cert, first.cert);
        // A half-written file changes nothing.
        let whole = fs::read(&key).unwrap();
        fs::write(&key, "-----BEGIN").unwrap();
        assert_eq!(identity.current().cert, first.cert);
        fs::write(&key, whole).unwrap();
        write(&place, "second");
        assert_ne!(identity.current().cert, first.cert);
    }
}
