//! The tables, created by numbered migrations. Each migration may run any number of times.

mod lists;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::{Consistency, Statement};
use scylla::value::CqlTimestamp;

use super::failure::{Trouble, is_unauthorized};
use lists::Shape;

/// Longest wait until all nodes know a schema change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// One step from an empty keyspace to the current schema.
struct Migration {
    number: i32,
    name: &'static str,
    /// `{ks}` stands for the keyspace.
    statements: &'static [&'static str],
    /// Columns added afterwards if they are missing. They are null in older rows.
    columns: &'static [Column],
}

const MIGRATIONS: &[Migration] = &[
    FIRST_TABLES,
    Migration {
        number: 2,
        name: "model services that are there",
        // Rows have a time to live, and each is rewritten again and again.
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.instances (owner text PRIMARY KEY, \
             address text) WITH gc_grace_seconds = 3600",
        ],
        columns: &[],
    },
    Migration {
        number: 3,
        name: "settings of domains; models side by side",
        // Version 0.1 deletes an item's features of all models when it writes one. It must not run
        // on features side by side, and refuses a keyspace that has this migration.
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.domain_settings (domain text PRIMARY KEY, \
             settings text, updated_at timestamp)",
        ],
        columns: &[],
    },
    Migration {
        number: LISTS,
        name: "lists of a domain in one partition",
        // Rows are replaced whole, and deleted with their items. A scan of a domain has to skip
        // what was deleted in the last day.
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.similar_items (domain text, id text, \
             neighbours frozen<list<frozen<tuple<text, float>>>>, model text, updated_at timestamp, \
             PRIMARY KEY (domain, id)) WITH gc_grace_seconds = 86400",
        ],
        columns: &[],
    },
    Migration {
        number: 5,
        name: "pictures of items, their publication and first event; removals of domains",
        statements: &[],
        columns: &[
            Column::of_items("image", "text"),
            Column::of_items("publish_at", "timestamp"),
            Column::of_items("accepted_at", "timestamp"),
            Column {
                table: "domains",
                name: "removal",
                kind: "text",
            },
        ],
    },
    Migration {
        number: 6,
        name: "keys",
        // Written only by lightweight transactions.
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.access_keys (id text PRIMARY KEY, hash blob, \
             grants frozen<set<text>>, created_at timestamp, expires_at timestamp)",
        ],
        columns: &[],
    },
    Migration {
        number: 7,
        name: "habits that features were made with",
        statements: &[],
        columns: &[Column {
            table: "item_features",
            name: "habits",
            kind: "bigint",
        }],
    },
    Migration {
        number: 8,
        name: "experiments, and what readers did",
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.domain_experiments (domain text, name text, run bigint, \
             experiment text, PRIMARY KEY (domain, name))",
            "CREATE TABLE IF NOT EXISTS {ks}.experiment_readers (domain text, run bigint, bucket smallint, \
             reader blob, tally blob, PRIMARY KEY ((domain, run, bucket), reader))",
        ],
        columns: &[],
    },
    Migration {
        number: 9,
        name: "models beside the served one",
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.domain_models (domain text, model text, state text, \
             habits text, PRIMARY KEY (domain, model))",
            "CREATE TABLE IF NOT EXISTS {ks}.similar_items_by_model (domain text, model text, id text, \
             neighbours frozen<list<frozen<tuple<text, float>>>>, updated_at timestamp, \
             PRIMARY KEY ((domain, model), id)) WITH gc_grace_seconds = 86400",
        ],
        columns: &[],
    },
    Migration {
        number: 10,
        name: "logs of changes",
        statements: &[
            "CREATE TABLE IF NOT EXISTS {ks}.domain_log (domain text, number bigint, entry text, \
             PRIMARY KEY (domain, number))",
        ],
        columns: &[],
    },
    Migration {
        number: 11,
        name: "named vectors of items",
        statements: &[],
        columns: &[
            Column::of_items("vector_hashes", "frozen<map<text, bigint>>"),
            Column {
                table: "item_texts",
                name: "vectors",
                kind: "frozen<map<text, blob>>",
            },
        ],
    },
];

/// A column added to an existing table.
struct Column {
    table: &'static str,
    name: &'static str,
    kind: &'static str,
}

impl Column {
    const fn of_items(name: &'static str, kind: &'static str) -> Self {
        let table = "items";
        Self { table, name, kind }
    }

    /// The statement that adds it; on ScyllaDB it has no `IF NOT EXISTS`.
    fn statement(&self, keyspace: &Keyspace, is_scylla: bool) -> String {
        let Self { table, name, kind } = self;
        let unless = if is_scylla { "" } else { "IF NOT EXISTS " };
        format!("ALTER TABLE {keyspace}.{table} ADD {unless}{name} {kind}")
    }

    async fn is_there(&self, session: &Session, keyspace: &Keyspace) -> Result<bool, Trouble> {
        let query = "SELECT kind FROM system_schema.columns \
             WHERE keyspace_name = ? AND table_name = ? AND column_name = ?";
        let mut query = Statement::new(query);
        // The schema tables are local to each node.
        query.set_consistency(Consistency::One);
        let values = (keyspace.as_str(), self.table, self.name);
        let found = session.query_unpaged(query, values).await?;
        Ok(found.into_rows_result()?.rows_num() > 0)
    }
}

/// The migration that recreates the table of lists: before it, each list was a partition.
const LISTS: i32 = 4;

const FIRST_TABLES: Migration = Migration {
    number: 1,
    name: "first tables",
    statements: &[
        "CREATE TABLE IF NOT EXISTS {ks}.items (domain text, bucket smallint, id text, \
         version bigint, live boolean, hidden boolean, title text, url text, language text, \
         \"group\" text, categories frozen<set<text>>, published_at timestamp, \
         expires_at timestamp, attributes frozen<map<text, text>>, status text, since timestamp, \
         rejected text, content_hash bigint, PRIMARY KEY ((domain, bucket), id))",
        "CREATE TABLE IF NOT EXISTS {ks}.item_texts (domain text, id text, text text, \
         vector blob, PRIMARY KEY ((domain, id)))",
        "CREATE TABLE IF NOT EXISTS {ks}.item_features (domain text, model text, bucket smallint, \
         id text, version bigint, space text, dense blob, term_ids blob, term_weights blob, \
         PRIMARY KEY ((domain, model, bucket), id))",
        "CREATE TABLE IF NOT EXISTS {ks}.feature_blocks (domain text, hash blob, part smallint, \
         data blob, PRIMARY KEY ((domain, hash), part))",
        "CREATE TABLE IF NOT EXISTS {ks}.domains (domain text PRIMARY KEY, model text, partition smallint, \
         buckets smallint, registered_at timestamp, dirty bigint, live bigint, visible bigint, \
         next_expiry timestamp)",
        "CREATE TABLE IF NOT EXISTS {ks}.partitions (partition smallint PRIMARY KEY, \
         epoch bigint, owner text, address text, beat bigint)",
        "CREATE TABLE IF NOT EXISTS {ks}.meta (key text PRIMARY KEY, value text)",
    ],
    columns: &[],
};

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS {ks}.schema_migrations \
     (version int PRIMARY KEY, name text, applied_at timestamp)";

/// Number of the newest migration this program knows.
pub const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Name of a keyspace: a letter, then up to 47 letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace(String);

impl Keyspace {
    /// Validates a name. `None` if it is invalid.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = name.bytes();
        let fits = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.len() <= 48;
        fits.then(|| Self(name.to_owned()))
    }

    /// The name without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Replaces `{ks}` in a statement by the quoted name.
    pub(crate) fn fill(&self, statement: &str) -> String {
        statement.replace("{ks}", &self.to_string())
    }
}

impl fmt::Display for Keyspace {
    /// Quoted, so that the name keeps its capitals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

fn create_keyspace(keyspace: &Keyspace, replication_factor: u8, is_scylla: bool) -> String {
    // Conditional writes do not work with the tablets of every ScyllaDB version.
    let tablets = if is_scylla {
        " AND tablets = {'enabled': false}"
    } else {
        ""
    };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication_factor}}}{tablets}"
    )
}

/// Every statement that creates the schema, in order, to be run by a person who has the
/// permissions. The last ones record the migrations as done.
pub fn statements(keyspace: &Keyspace, replication_factor: u8, is_scylla: bool) -> Vec<String> {
    let mut statements = vec![
        create_keyspace(keyspace, replication_factor, is_scylla),
        keyspace.fill(MIGRATIONS_TABLE),
    ];
    for migration in MIGRATIONS {
        statements.extend(migration.statements.iter().map(|s| keyspace.fill(s)));
        let columns = migration.columns.iter();
        statements.extend(columns.map(|column| column.statement(keyspace, is_scylla)));
    }
    for Migration { number, name, .. } in MIGRATIONS {
        statements.push(format!(
            "INSERT INTO {keyspace}.schema_migrations (version, name, applied_at) \
             VALUES ({number}, '{name}', toTimestamp(now()))"
        ));
    }
    statements
}

/// The state of a keyspace's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every migration has been done.
    Current,
    /// These migrations are missing; all of them if the keyspace does not exist.
    Behind(Vec<u32>),
    /// A newer program has migrated it.
    Newer(u32),
}

/// The state of the keyspace's schema. Changes nothing.
///
/// # Errors
/// When the database does not answer, or the role may not read the keyspace.
pub async fn check(session: &Session, keyspace: &Keyspace) -> Result<Standing, Trouble> {
    let query = keyspace.fill("SELECT version FROM {ks}.schema_migrations");
    let mut done = BTreeSet::new();
    match session.query_unpaged(query, ()).await {
        Ok(found) => {
            let found = found.into_rows_result()?;
            for row in found.rows::<(i32,)>()? {
                done.insert(row?.0);
            }
        }
        // No such keyspace or table.
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid,
            _,
        ))) => {}
        Err(error) => return Err(error.into()),
    }
    if lists::shape(session, keyspace).await? != Shape::OnePartitionADomain {
        // Whatever is recorded: statements run by hand leave an existing table as it is.
        done.remove(&LISTS);
    }
    if let Some(newest) = done.last().and_then(|newest| u32::try_from(*newest).ok())
        && newest > NEWEST
    {
        return Ok(Standing::Newer(newest));
    }
    let missing: Vec<u32> = (1..=NEWEST)
        .filter(|number| i32::try_from(*number).is_ok_and(|number| !done.contains(&number)))
        .collect();
    Ok(if missing.is_empty() {
        Standing::Current
    } else {
        Standing::Behind(missing)
    })
}

/// Creates the keyspace if missing, and runs every missing migration.
///
/// # Errors
/// [`Trouble::Forbidden`] when the role lacks the permission: run `kindred schema` as a role that
/// has it. [`Trouble::InUse`] when a migration requires that no model service is alive, and one is.
pub async fn migrate(
    session: &Session,
    keyspace: &Keyspace,
    replication_factor: u8,
) -> Result<(), Trouble> {
    let missing = match check(session, keyspace).await? {
        Standing::Behind(missing) => missing,
        Standing::Current | Standing::Newer(_) => return Ok(()),
    };
    let create = create_keyspace(keyspace, replication_factor, is_scylla(session));
    run(session, keyspace, create).await?;
    run(session, keyspace, keyspace.fill(MIGRATIONS_TABLE)).await?;
    for migration in MIGRATIONS {
        if !u32::try_from(migration.number).is_ok_and(|number| missing.contains(&number)) {
            continue;
        }
        let is_lists = migration.number == LISTS;
        let dropped = is_lists && lists::clear_the_way(session, keyspace).await?;
        for statement in migration.statements {
            run(session, keyspace, keyspace.fill(statement)).await?;
        }
        for column in migration.columns {
            if !column.is_there(session, keyspace).await? {
                let add = column.statement(keyspace, is_scylla(session));
                run(session, keyspace, add).await?;
            }
        }
        if dropped {
            // Somebody may have stored lists meanwhile, in the table that was dropped.
            lists::mark_all_dirty(session, keyspace).await?;
        }
        let done = keyspace.fill(
            "INSERT INTO {ks}.schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
        );
        let now = CqlTimestamp(chrono::Utc::now().timestamp_millis());
        let values = (migration.number, migration.name, now);
        session.query_unpaged(done, values).await?;
        tracing::info!(
            keyspace = keyspace.as_str(),
            number = migration.number,
            name = migration.name,
            "store.migrated"
        );
    }
    Ok(())
}

async fn run(session: &Session, keyspace: &Keyspace, statement: String) -> Result<(), Trouble> {
    let mut statement = Statement::new(statement);
    statement.set_request_timeout(Some(CHANGE_TIMEOUT));
    match session.query_unpaged(statement, ()).await {
        Ok(_) => Ok(()),
        Err(error) if is_unauthorized(&error) => Err(Trouble::Forbidden(format!(
            "the schema of keyspace {} is out of date and this role may not change it ({error}); \
             run `kindred schema` as a role that may",
            keyspace.as_str()
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Whether the server is ScyllaDB: only its nodes have shards.
pub(crate) fn is_scylla(session: &Session) -> bool {
    let cluster = session.get_cluster_state();
    let nodes = cluster.get_nodes_info();
    nodes.iter().any(|node| node.sharder().is_some())
}
