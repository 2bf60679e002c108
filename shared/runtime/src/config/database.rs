//! Configuration of the database.

use std::path::PathBuf;

use super::secret::{Secrecy, Secret};
use super::section::Role::{ModelService, Operator};
use super::section::{CLUSTERED, Role, Validate, section};
use super::{ConfigError, Origins, values};
use crate::cql::CqlOptions;
use crate::tls::TlsFiles;

/// Roles that create tables.
const OWNING: &[Role] = &[ModelService, Operator];

section! {
    /// Cassandra or ScyllaDB.
    struct Database;

    /// Nodes of Cassandra or ScyllaDB through which the cluster is found.
    cql_nodes: Vec<String> = "127.0.0.1:9042" {
        roles: CLUSTERED,
        expects: "host:port pairs separated by commas, such as db1:9042,[::1]:9042; the port may be left out",
        read: values::cql_nodes,
        show: |list| list.join(","),
    }

    /// Keyspace of the tables; created if it does not exist.
    cql_keyspace: String = "kindred" {
        roles: CLUSTERED,
        expects: "1 to 48 lower case letters, digits and underscores, a letter first",
        read: values::keyspace,
        show: String::clone,
    }

    /// Replication factor of a keyspace that Kindred creates; with 3 or more, no acknowledged write is
    /// lost with a node.
    cql_replication: u8 = "1" {
        roles: OWNING,
        expects: "a whole number of 1 to 99",
        read: |text| values::count(text, 1, 99),
        show: u8::to_string,
    }

    /// Role to log in to the database with; empty: none.
    cql_user: String = "" {
        roles: CLUSTERED,
        expects: "a name, together with cql_password",
        read: |text| Some(text.to_owned()),
        show: String::clone,
    }

    /// Password of cql_user.
    cql_password: Secret = "" {
        roles: CLUSTERED,
        expects: "a password, together with cql_user",
        read: |text| Some(Secret::new(text)),
        show: values::show_secret,
        secrecy: Secrecy::Whole,
    }

    /// CA certificates to trust for the nodes, in PEM; enables TLS. Each node's certificate must name its address.
    /// Empty: no TLS.
    cql_ca: Option<PathBuf> = "" {
        roles: CLUSTERED,
        expects: "a file",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Client certificate for the database, followed by its chain, in PEM; re-read when it changes.
    cql_cert: Option<PathBuf> = "" {
        roles: CLUSTERED,
        expects: "a file, together with cql_key and cql_ca",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Key of cql_cert, in PEM.
    cql_key: Option<PathBuf> = "" {
        roles: CLUSTERED,
        expects: "a file, together with cql_cert",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Accept a database whose commit log is synced periodically, which loses acknowledged writes
    /// when a node is killed.
    cql_allow_periodic: bool = "false" {
        roles: OWNING,
        expects: "true or false",
        read: values::truth,
        show: bool::to_string,
    }
}

impl Validate for Database {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let user = (!self.cql_user.is_empty()).then_some(());
        let password = (!self.cql_password.expose().is_empty()).then_some(());
        values::both(origins, ("cql_user", &user), ("cql_password", &password))?;
        let (cert, key) = (("cql_cert", &self.cql_cert), ("cql_key", &self.cql_key));
        values::both(origins, cert, key)?;
        if self.cql_cert.is_some() && self.cql_ca.is_none() {
            return Err(values::lacks(origins, "cql_ca", "cql_cert"));
        }
        Ok(())
    }
}

impl Database {
    /// Role and password, if a role is configured.
    pub fn login(&self) -> Option<(&str, &str)> {
        (!self.cql_user.is_empty()).then(|| (self.cql_user.as_str(), self.cql_password.expose()))
    }

    /// The options for connecting.
    pub fn options(&self) -> CqlOptions {
        let (user, password) = self.login().unzip();
        CqlOptions {
            nodes: self.cql_nodes.clone(),
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            tls: self.cql_ca.is_some().then(|| TlsFiles {
                ca: self.cql_ca.clone(),
                identity: self.cql_cert.clone().zip(self.cql_key.clone()),
            }),
        }
    }
}
