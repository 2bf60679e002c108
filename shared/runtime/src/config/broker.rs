//! Configuration of the broker.

use std::path::PathBuf;

use super::secret::{Secrecy, Secret};
use super::section::{CLUSTERED, Validate, section};
use super::{ConfigError, Origins, values};
use crate::amqp::{AddressError, Connector};
use crate::tls::TlsFiles;

section! {
    /// RabbitMQ.
    struct Broker;

    /// Address of the RabbitMQ broker. Its user and what it may do are described in deploy/.
    amqp_url: Secret = "amqp://guest:guest@127.0.0.1:5672/%2f" {
        roles: CLUSTERED,
        expects: "a URL such as amqp://user:password@host:5672/%2f, or amqps://… for TLS",
        read: values::amqp_url,
        show: values::show_secret,
        secrecy: Secrecy::Url,
    }

    /// CA certificates to trust for the broker, in PEM; empty: the system's.
    amqp_ca: Option<PathBuf> = "" {
        roles: CLUSTERED,
        expects: "a file, together with amqps:// in amqp_url",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Client certificate for the broker, followed by its chain, in PEM; re-read when it changes.
    amqp_cert: Option<PathBuf> = "" {
        roles: CLUSTERED,
        expects: "a file, together with amqp_key",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Key of amqp_cert, in PEM.
    amqp_key: Option<PathBuf> = "" {
        roles: CLUSTERED,
        expects: "a file, together with amqp_cert",
        read: values::optional_path,
        show: values::show_path,
    }
}

impl Validate for Broker {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let tls = [
            ("amqp_ca", &self.amqp_ca),
            ("amqp_cert", &self.amqp_cert),
            ("amqp_key", &self.amqp_key),
        ];
        values::both(origins, tls[1], tls[2])?;
        let given = tls.iter().find(|(_, file)| file.is_some());
        if let Some((name, _)) = given
            && !self.amqp_url.expose().starts_with("amqps://")
        {
            return Err(ConfigError::unsuitable(
                "amqp_url",
                self.amqp_url.expose(),
                origins.of("amqp_url"),
                format!("an address that begins with amqps://, because {name} has a value"),
            ));
        }
        Ok(())
    }
}

impl Broker {
    /// The connector to the broker; `program` names its connections in the management UI.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn connector(&self, program: &str) -> Result<Connector, AddressError> {
        let identity = self.amqp_cert.clone().zip(self.amqp_key.clone());
        let ca = self.amqp_ca.clone();
        Ok(Connector::new(self.amqp_url.expose(), program)?.with_tls(TlsFiles { ca, identity }))
    }
}
