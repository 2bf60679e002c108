//! The section of the database.

use super::secret::{Secrecy, Secret};
use super::section::Role::{ModelService, Operator};
use super::section::{CLUSTERED, Role, Validate, section};
use super::{ConfigError, Origins, values};
use crate::cql::CqlOptions;

/// Those that make tables.
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

    /// Keyspace of the tables; made if it is not there.
    cql_keyspace: String = "kindred" {
        roles: CLUSTERED,
        expects: "1 to 48 lower case letters, digits and underscores, a letter first",
        read: values::keyspace,
        show: String::clone,
    }

    /// Replication factor of a keyspace that is made; 3 or more keeps what is acknowledged when a
    /// node is lost.
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
        let lacks = |name, other: &str| {
            let expected = format!("a value, because {other} has one");
            Err(ConfigError::unsuitable(
                name,
                "",
                origins.of(name),
                expected,
            ))
        };
        match (
            self.cql_user.is_empty(),
            self.cql_password.expose().is_empty(),
        ) {
            (false, true) => lacks("cql_password", "cql_user"),
            (true, false) => lacks("cql_user", "cql_password"),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

impl Database {
    /// Role and password, if the database asks for them.
    pub fn login(&self) -> Option<(&str, &str)> {
        (!self.cql_user.is_empty()).then(|| (self.cql_user.as_str(), self.cql_password.expose()))
    }

    /// Which database, and as whom.
    pub fn options(&self) -> CqlOptions {
        let (user, password) = self.login().unzip();
        CqlOptions {
            nodes: self.cql_nodes.clone(),
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
        }
    }
}
