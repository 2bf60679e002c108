//! A keyspace of a test's own, and its tables as any client reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use kindred_domain::store::{DomainRow, FeatureRow, ItemRow, ListRow, Liveness, Neighbour};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::services::{ANSWER, variable, wait};
use crate::exactness::stored::{Stored, StoredDomain};
use crate::support::deadline::wait_for;

/// What deploy/ gives the programs' roles.
const ROLES: &str = include_str!("../../deploy/cassandra/roles.cql");

/// Longest until a session knows that the database is back.
const CONNECTED: Duration = Duration::from_secs(30);

/// Who a program is to the database.
pub(crate) type Login = Option<(String, String)>;

/// A keyspace; removed with its roles when dropped.
pub(crate) struct Database {
    session: Session,
    nodes: String,
    keyspace: String,
    admin: Login,
}

/// `neighbours` of a row of `similar_items`.
pub(crate) type Neighbours = Vec<(String, f32)>;

impl Database {
    /// Connects; makes nothing. `name` is the keyspace's own part.
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        let nodes = variable("KINDRED_TEST_CQL_NODES");
        let admin = std::env::var("KINDRED_TEST_CQL_USER").ok().map(|user| {
            let password = std::env::var("KINDRED_TEST_CQL_PASSWORD").unwrap_or_default();
            (user, password)
        });
        let session = wait(async {
            let mut builder = SessionBuilder::new()
                .known_nodes(nodes.split(','))
                .connection_timeout(ANSWER);
            if let Some((user, password)) = &admin {
                builder = builder.user(user, password);
            }
            builder.build().await
        })
        .expect("the database");
        Self {
            session,
            nodes,
            keyspace: format!("kindred_{name}"),
            admin,
        }
    }

    pub(crate) fn nodes(&self) -> &str {
        &self.nodes
    }

    pub(crate) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// A role that may make keyspaces and tables.
    pub(crate) fn admin(&self) -> Login {
        self.admin.clone()
    }

    /// The role of model services in deploy/, for this keyspace.
    pub(crate) fn service(&self) -> Login {
        self.role("service")
    }

    /// The role of compute workers in deploy/, for this keyspace.
    pub(crate) fn worker(&self) -> Login {
        self.role("worker")
    }

    /// The role of who only reads lists in deploy/, for this keyspace.
    pub(crate) fn reader(&self) -> Login {
        self.role("reader")
    }

    fn role(&self, role: &str) -> Login {
        let name = format!("{}_{role}", self.keyspace);
        self.admin
            .as_ref()
            .map(|_| (name, format!("change-{role}")))
    }

    /// Runs deploy/cassandra/roles.cql with the names of this keyspace. The tables must be there.
    /// Does nothing where the database asks for no passwords.
    #[track_caller]
    pub(crate) fn make_roles(&self) {
        if self.admin.is_none() {
            return;
        }
        let own = &self.keyspace;
        let statements = ROLES
            .lines()
            .filter(|line| !line.starts_with("--"))
            .collect::<Vec<_>>()
            .join("\n")
            .replace("kindred_", &format!("{own}_"))
            .replace("KEYSPACE kindred ", &format!("KEYSPACE {own} "))
            .replace("TABLE kindred.", &format!("TABLE {own}."));
        for statement in statements.split(';').map(str::trim) {
            if !statement.is_empty() {
                self.execute(statement);
            }
        }
    }

    /// Runs one statement on a new session of this role.
    ///
    /// # Errors
    /// What the database says, in words.
    pub(crate) fn as_role(
        &self,
        (user, password): &(String, String),
        statement: &str,
    ) -> Result<(), String> {
        wait(async {
            let session = SessionBuilder::new()
                .known_nodes(self.nodes.split(','))
                .user(user, password)
                .connection_timeout(ANSWER)
                .build()
                .await
                .map_err(|error| error.to_string())?;
            session
                .query_unpaged(statement, ())
                .await
                .map_err(|error| error.to_string())?;
            Ok(())
        })
    }

    #[track_caller]
    pub(crate) fn execute(&self, statement: &str) {
        wait(self.session.query_unpaged(statement, ()))
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Every row of a statement. After the database was away, this session needs a while to notice that it
    /// is back.
    #[track_caller]
    fn rows<T>(&self, select: &str) -> Vec<T>
    where
        T: for<'f, 'm> DeserializeRow<'f, 'm> + 'static,
    {
        let statement =
            format!("SELECT {select}").replace("FROM ", &format!("FROM {}.", self.keyspace));
        let read = || {
            wait(async {
                let pager = self
                    .session
                    .query_iter(statement.as_str(), ())
                    .await
                    .map_err(|error| error.to_string())?;
                let rows = pager
                    .rows_stream::<T>()
                    .map_err(|error| error.to_string())?;
                rows.try_collect::<Vec<T>>()
                    .await
                    .map_err(|error| error.to_string())
            })
        };
        wait_for(&statement, CONNECTED, read)
    }

    /// Address of a partition's owner, if it has one.
    #[track_caller]
    pub(crate) fn owner_address(&self, partition: i16) -> Option<String> {
        self.rows::<(i16, Option<String>)>("partition, address FROM partitions")
            .into_iter()
            .find(|(of, _)| *of == partition)
            .and_then(|(_, address)| address)
    }

    /// Domain, id, version, live and hidden of every item.
    #[track_caller]
    pub(crate) fn item_states(&self) -> Vec<(String, String, i64, bool, bool)> {
        self.rows("domain, id, version, live, hidden FROM items")
    }

    /// Reads of lists as sites do them.
    #[track_caller]
    pub(crate) fn lists(&self) -> Lists<'_> {
        let statement = format!(
            "SELECT neighbours FROM {}.similar_items WHERE domain = ? AND id = ?",
            self.keyspace
        );
        Lists {
            session: &self.session,
            select: wait(self.session.prepare(statement.as_str())).expect("a prepared statement"),
        }
    }

    /// All tables, as the check of exactness wants them. Call it when every domain is quiet.
    #[track_caller]
    pub(crate) fn read(&self) -> Stored {
        let mut stored = Stored::new();
        for (name,) in self.rows::<(String,)>("domain FROM domains") {
            stored.insert(name.clone(), domain(&name));
        }
        type Item = (String, String, i64, bool, bool, Option<CqlTimestamp>);
        let items: Vec<Item> =
            self.rows("domain, id, version, live, hidden, expires_at FROM items");
        for (of, its, version, live, hidden, expires_at) in items {
            let item = item(&its, version, live, hidden, expires_at);
            let domain = stored.get_mut(&of).expect("a domain of the table domains");
            let twice = domain.items.insert(item.id.clone(), item);
            assert!(twice.is_none(), "{of}/{its} is in two buckets");
        }
        type Features = (
            String,
            String,
            i64,
            String,
            Option<Vec<u8>>,
            Option<Vec<u8>>,
            Option<Vec<u8>>,
        );
        let features: Vec<Features> = self
            .rows("domain, id, version, space, dense, term_ids, term_weights FROM item_features");
        for (of, its, version, space, dense, term_ids, term_weights) in features {
            let feature = FeatureRow {
                habits: 0,
                id: id(&its),
                version: number(version),
                space: Space::stored(&space),
                feature: feature(&dense, &term_ids, &term_weights)
                    .unwrap_or_else(|error| panic!("the feature of {of}/{its}: {error}")),
            };
            let domain = stored.get_mut(&of).expect("a domain of the table domains");
            // A feature of another version does not count; one of another model may have stayed.
            let item = domain.items.get(&feature.id);
            if item.is_some_and(|item| item.version == feature.version) {
                let twice = domain.features.insert(feature.id.clone(), feature);
                assert!(
                    twice.is_none(),
                    "{of}/{its} has two features of its version"
                );
            }
        }
        type List = (String, String, Option<Neighbours>, String);
        let lists: Vec<List> = self.rows("domain, id, neighbours, model FROM similar_items");
        for (of, its, neighbours, model) in lists {
            let list = ListRow {
                id: id(&its),
                neighbours: neighbours
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(other, score)| Neighbour {
                        id: id(&other),
                        score,
                    })
                    .collect(),
                model: ModelName::new(&model).expect("a model's name"),
                updated_at: Utc::now(),
            };
            let domain = stored.get_mut(&of).expect("a domain of the table domains");
            domain.lists.insert(list.id.clone(), list);
        }
        stored
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that failed may have left no database, or no keyspace.
        let mut statements = vec![format!("DROP KEYSPACE IF EXISTS {}", self.keyspace)];
        if self.admin.is_some() {
            for role in ["service", "worker", "reader"] {
                statements.push(format!("DROP ROLE IF EXISTS {}_{role}", self.keyspace));
            }
        }
        for statement in statements {
            let _ = wait(self.session.query_unpaged(statement.as_str(), ()));
        }
    }
}

/// Reads lists, many at once.
pub(crate) struct Lists<'a> {
    session: &'a Session,
    select: PreparedStatement,
}

impl Lists<'_> {
    /// The list of one item; `None`: it has no row.
    ///
    /// # Errors
    /// What the driver says, in words.
    pub(crate) fn one(&self, domain: &str, id: &str) -> Result<Option<Neighbours>, String> {
        wait(self.read(domain, id))
    }

    /// The lists of several items, in their order.
    ///
    /// # Errors
    /// What the driver says, in words.
    pub(crate) fn all(
        &self,
        domain: &str,
        ids: &[String],
    ) -> Result<Vec<Option<Neighbours>>, String> {
        wait(join_all(ids.iter().map(|id| self.read(domain, id))))
            .into_iter()
            .collect()
    }

    async fn read(&self, domain: &str, id: &str) -> Result<Option<Neighbours>, String> {
        let rows = self
            .session
            .execute_unpaged(&self.select, (domain, id))
            .await
            .map_err(|error| error.to_string())?
            .into_rows_result()
            .map_err(|error| error.to_string())?;
        let row = rows
            .maybe_first_row::<(Option<Neighbours>,)>()
            .map_err(|error| error.to_string())?;
        Ok(row.map(|(neighbours,)| neighbours.unwrap_or_default()))
    }
}

#[track_caller]
fn id(id: &str) -> ItemId {
    ItemId::new(id).expect("an id")
}

#[track_caller]
fn number(version: i64) -> u64 {
    u64::try_from(version).expect("a version")
}

/// What the check looks at; the rest is as of nothing.
fn domain(name: &str) -> StoredDomain {
    StoredDomain {
        row: DomainRow {
            domain: DomainName::new(name).expect("a domain's name"),
            partition: 0,
            model: ModelName::new("words-1").expect("a name"),
            registered_at: Utc::now(),
            // Whether it is dirty is no part of the contract; that it is quiet was asked before.
            dirty: None,
            live: 0,
            visible: 0,
            next_expiry: None,
            removal: None,
        },
        items: BTreeMap::new(),
        features: BTreeMap::new(),
        lists: BTreeMap::new(),
    }
}

/// What the check looks at; the rest is as of nothing.
fn item(
    its: &str,
    version: i64,
    live: bool,
    hidden: bool,
    expires_at: Option<CqlTimestamp>,
) -> ItemRow {
    ItemRow {
        id: id(its),
        version: number(version),
        liveness: if live {
            Liveness::Live
        } else {
            Liveness::Deleted
        },
        since: Utc::now(),
        hidden,
        title: None,
        url: None,
        image: None,
        language: None,
        group: None,
        categories: BTreeSet::new(),
        published_at: None,
        publish_at: None,
        expires_at: expires_at.and_then(|at| DateTime::from_timestamp_millis(at.0)),
        accepted_at: None,
        attributes: BTreeMap::new(),
        rejected: None,
        content_hash: 0,
        vector_hashes: BTreeMap::new(),
    }
}

/// CONTRACT: blobs of little-endian `f32` and `u32`; all empty is the zero feature.
fn feature(
    dense: &Option<Vec<u8>>,
    term_ids: &Option<Vec<u8>>,
    term_weights: &Option<Vec<u8>>,
) -> Result<Feature, String> {
    let dense = words(dense)?.map(f32::from_le_bytes).collect::<Vec<_>>();
    let ids = words(term_ids)?.map(u32::from_le_bytes).collect::<Vec<_>>();
    let weights = words(term_weights)?
        .map(f32::from_le_bytes)
        .collect::<Vec<_>>();
    if dense.is_empty() && ids.is_empty() && weights.is_empty() {
        return Ok(Feature::zero());
    }
    Feature::new(dense, ids, weights).map_err(|error| error.to_string())
}

fn words(blob: &Option<Vec<u8>>) -> Result<impl Iterator<Item = [u8; 4]>, String> {
    let bytes = blob.as_deref().unwrap_or_default();
    let (words, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(words.iter().copied())
    } else {
        Err(format!("a blob of {} bytes", bytes.len()))
    }
}
