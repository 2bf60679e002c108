//! Configuration of TLS for HTTP.

use std::path::PathBuf;

use super::section::Role::{self, Client, ModelService, Standalone};
use super::section::{Validate, section};
use super::{ConfigError, Origins, values};

/// Roles that serve HTTP, and those that send requests.
const BOTH: &[Role] = &[Standalone, ModelService, Client];

section! {
    /// TLS for HTTP.
    struct Tls;

    /// File with the certificate of this service and its chain, in PEM; enables HTTPS. Commands and instances
    /// present it to services that ask for a certificate. Re-read when it changes.
    tls_cert: Option<PathBuf> = "" {
        roles: BOTH,
        expects: "a path, together with tls_key, or nothing",
        read: values::optional_path,
        show: values::show_path,
    }

    /// File with the private key of tls_cert, in PEM.
    tls_key: Option<PathBuf> = "" {
        roles: BOTH,
        expects: "a path, together with tls_cert, or nothing",
        read: values::optional_path,
        show: values::show_path,
    }

    /// File with CA certificates, in PEM: clients must present a certificate signed by one of them; empty: clients
    /// need none.
    tls_client_ca: Option<PathBuf> = "" {
        roles: &[Standalone, ModelService],
        expects: "a path, together with tls_cert, or nothing",
        read: values::optional_path,
        show: values::show_path,
    }

    /// File with CA certificates to trust for services that commands and instances connect to, in PEM; empty: those
    /// that browsers trust.
    tls_ca: Option<PathBuf> = "" {
        roles: BOTH,
        expects: "a path, or nothing",
        read: values::optional_path,
        show: values::show_path,
    }
}

impl Validate for Tls {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let lacks = |name, other: &str| {
            let expected = format!("a path, because {other} has one");
            Err(ConfigError::unsuitable(
                name,
                "",
                origins.of(name),
                expected,
            ))
        };
        match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (Some(_), None, _) => lacks("tls_key", "tls_cert"),
            (None, Some(_), _) => lacks("tls_cert", "tls_key"),
            (None, None, Some(_)) => lacks("tls_cert", "tls_client_ca"),
            (Some(_), Some(_), _) | (None, None, None) => Ok(()),
        }
    }
}

impl Tls {
    /// No TLS: for a short-lived service beside the one that the configuration describes.
    pub fn none() -> Self {
        Self {
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_ca: None,
        }
    }

    /// The URL scheme of services with this configuration.
    pub fn scheme(&self) -> &'static str {
        match self.tls_cert {
            Some(_) => "https",
            None => "http",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::path::Path;

    use super::super::{Config, Flags};

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let read = |flags: &[(&'static str, &str)]| {
            let values = flags.iter().map(|(key, text)| (*key, (*text).to_owned()));
            let flags = Flags {
                file: None,
                values: values.collect(),
            };
            Config::resolve(&flags, [], Path::new("/nonexistent")).map(|(config, _)| config.tls)
        };
        for (flags, name) in [
            (&[("tls_cert", "c")][..], "tls_key"),
            (&[("tls_key", "k")], "tls_cert"),
            (&[("tls_client_ca", "a")], "tls_cert"),
        ] {
            let error = read(flags).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
        assert_eq!(read(&[]).unwrap().scheme(), "http");
        let both = read(&[("tls_cert", "c"), ("tls_key", "k"), ("tls_client_ca", "a")]).unwrap();
        assert_eq!(both.scheme(), "https");
    }
}
