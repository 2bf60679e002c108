//! What only the clustered store must do, and the contract run against it.
//!
//! The nodes are in `KINDRED_TEST_CQL_NODES` (`host:port,…`), the role in `KINDRED_TEST_CQL_USER`
//! and `KINDRED_TEST_CQL_PASSWORD`, if set. Every test creates its own keyspace and drops it.

#![allow(clippy::unwrap_used)] // a test may panic

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::DateTime;
use kindred_runtime::cql::{self, CqlOptions};
use kindred_runtime::cql_blocks;
use kindred_shared::BlockStore;
use scylla::response::PagingState;
use scylla::statement::Statement;

use super::super::contract::{
    Fixture, domain, domain_row, feature, item, models, put, scan, stamp, store_contract, words,
};
use super::schema::{Keyspace, NEWEST, Standing};
use super::*;
use crate::store::OpenError;
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::keys::KeyStore;
use kindred_domain::material::tombstone;
use kindred_domain::store::{Liveness, Write};

const NODES: &str = "KINDRED_TEST_CQL_NODES";

/// A keyspace for one test.
struct Clustered(CassandraOptions);

impl Clustered {
    fn fresh() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nodes = std::env::var(NODES).unwrap_or_else(|_| panic!("{NODES} is not set"));
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self(CassandraOptions {
            database: CqlOptions {
                nodes: nodes.split(',').map(str::to_owned).collect(),
                user: std::env::var("KINDRED_TEST_CQL_USER").ok(),
                password: std::env::var("KINDRED_TEST_CQL_PASSWORD").ok(),
                tls: None,
            },
            keyspace: format!("Test_{}_{number}", std::process::id()),
            replication_factor: 1,
            partitions: 4,
            models: models(),
            agreement: Agreement::default(),
            allow_periodic: false,
        })
    }

    async fn store(&self) -> Arc<CassandraStore> {
        // A machine busy with all tests at once may need a second attempt.
        CassandraStore::wait(&self.0).await.unwrap()
    }

    fn keyspace(&self) -> Keyspace {
        Keyspace::new(&self.0.keyspace).unwrap()
    }

    fn fill(&self, statement: &str) -> String {
        self.keyspace().fill(statement)
    }

    async fn refused(&self, change: impl FnOnce(&mut CassandraOptions)) -> OpenError {
        let mut options = self.0.clone();
        change(&mut options);
        match CassandraStore::wait(&options).await {
            Ok(_) => panic!("it was opened"),
            Err(error) => error,
        }
    }
}

impl Drop for Clustered {
    fn drop(&mut self) {
        let options = self.0.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let session = cql::connect(&options.database, &options.keyspace).await;
                let drop = format!("DROP KEYSPACE IF EXISTS \"{}\"", options.keyspace);
                let _ = session.unwrap().query_unpaged(drop, ()).await;
            });
        });
        let _ = dropping.join();
    }
}

#[async_trait]
impl Fixture for Clustered {
    async fn open(&self) -> Arc<dyn Store> {
        self.store().await
    }

    async fn open_keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(self.store().await.keys().await.unwrap())
    }

    async fn open_experiments(&self) -> (Arc<dyn Store>, Arc<dyn ExperimentStore>) {
        let store = self.store().await;
        (Arc::clone(&store) as _, store)
    }
}

store_contract!(Clustered::fresh());

#[tokio::test]
async fn refuses_what_it_was_not_made_for() {
    let fixture = Clustered::fresh();
    drop(fixture.store().await);
    let other = |options: &mut CassandraOptions| {
        options.models[0].inputs = "vectors en:cd34".into();
    };
    let error = fixture.refused(other).await;
    assert!(
        matches!(&error, OpenError::OtherModel { found, wanted, .. }
            if found == "words-1 (vectors en:ab12)" && wanted == "words-1 (vectors en:cd34)"),
        "{error}"
    );
    let error = fixture.refused(|options| options.partitions = 8).await;
    assert!(matches!(
        error,
        OpenError::OtherPartitions {
            found: 4,
            wanted: 8,
            ..
        }
    ));
    let error = fixture
        .refused(|options| options.keyspace = "no;name".into())
        .await;
    assert!(matches!(error, OpenError::Unusable { .. }));

    let store = fixture.store().await;
    let newer = "INSERT INTO {ks}.schema_migrations (version, name) VALUES (99, 'later')";
    let newer = fixture.fill(newer);
    store.session.query_unpaged(newer, ()).await.unwrap();
    let error = fixture.refused(|_| ()).await;
    assert!(matches!(
        error,
        OpenError::Newer {
            found: 99,
            known: NEWEST,
            ..
        }
    ));
}

#[tokio::test]
async fn the_schema_is_made_by_hand_too_and_any_number_of_times() {
    let fixture = Clustered::fresh();
    let keyspace = fixture.keyspace();
    let session = cql::connect(&fixture.0.database, keyspace.as_str())
        .await
        .unwrap();
    let standing = schema::check(&session, &keyspace).await.unwrap();
    assert_eq!(standing, Standing::Behind((1..=NEWEST).collect()));
    for _ in 0..2 {
        for statement in schema::statements(&keyspace, 1, false) {
            // Several tests create keyspaces at once, and the database does so one after the other.
            let mut statement = Statement::new(statement);
            statement.set_request_timeout(Some(Duration::from_secs(60)));
            session.query_unpaged(statement, ()).await.unwrap();
        }
        let standing = schema::check(&session, &keyspace).await.unwrap();
        assert_eq!(standing, Standing::Current);
    }
    schema::migrate(&session, &keyspace, 1).await.unwrap();
    fixture.store().await;
}

#[tokio::test]
async fn says_that_the_database_is_not_there() {
    let mut options = CassandraOptions {
        database: CqlOptions {
            // Nobody listens on the port "discard".
            nodes: vec!["127.0.0.1:9".into()],
            user: None,
            password: None,
            tls: None,
        },
        keyspace: "kindred".into(),
        replication_factor: 1,
        partitions: 1,
        models: models(),
        agreement: Agreement::default(),
        allow_periodic: false,
    };
    let error = CassandraStore::connect(&options).await.err().unwrap();
    assert!(matches!(&error, ConnectError::Away { place, .. } if place.contains("127.0.0.1:9")));
    options.keyspace = "9lives".into();
    let error = CassandraStore::connect(&options).await.err().unwrap();
    assert!(matches!(
        error,
        ConnectError::Refused(OpenError::Unusable { .. })
    ));
}

/// Version 0.1 named the model of all features in one row of `meta`, and refuses a keyspace with an
/// unknown migration.
#[tokio::test]
async fn takes_over_what_the_first_version_made() {
    let fixture = Clustered::fresh();
    let store = fixture.store().await;
    let d = domain("taken-over");
    let mut writes = vec![Write::Feature(feature("a", 1))];
    writes.push(Write::Domain(domain_row(&d, 1)));
    put(&*store, &d, 1, 0, writes).await.unwrap();
    let as_then = [
        "DROP TABLE {ks}.domain_settings",
        "DROP TABLE {ks}.similar_items",
        LISTS_OF_THE_FIRST_VERSION,
        "DELETE FROM {ks}.schema_migrations WHERE version = 3",
        "DELETE FROM {ks}.schema_migrations WHERE version = 4",
        "DELETE FROM {ks}.meta WHERE key = 'inputs:words-1' IF EXISTS",
        "DELETE FROM {ks}.meta WHERE key = 'inputs:own' IF EXISTS",
        "INSERT INTO {ks}.meta (key, value) VALUES ('model', 'words-1 (vectors en:0101)') \
         IF NOT EXISTS",
    ];
    for statement in as_then {
        let statement = fixture.fill(statement);
        store.session.query_unpaged(statement, ()).await.unwrap();
    }
    drop(store);
    let error = fixture.refused(|_| ()).await;
    assert!(
        matches!(&error, OpenError::OtherModel { found, .. } if found == "words-1 (vectors en:0101)"),
        "{error}"
    );
    let mut same = fixture.0.clone();
    same.models[0].inputs = "vectors en:0101".into();
    for _ in 0..2 {
        let store = CassandraStore::wait(&same).await.unwrap();
        let page = store.scan_features(&d, &words(), None, 9).await.unwrap();
        assert_eq!(page.rows, [feature("a", 1)]);
        assert_eq!(store.settings(&d).await, Ok(None));
        let standing = schema::check(&store.session, &fixture.keyspace())
            .await
            .unwrap();
        assert_eq!(standing, Standing::Current);
    }
}

const LISTS_OF_THE_FIRST_VERSION: &str = "CREATE TABLE {ks}.similar_items (domain text, id text, \
     neighbours frozen<list<frozen<tuple<text, float>>>>, model text, updated_at timestamp, \
     PRIMARY KEY ((domain, id)))";

impl Clustered {
    /// As the first version left it: one partition per list, and clean domains.
    async fn with_lists_of_their_own(&self, store: &CassandraStore, domains: &[DomainName]) {
        for (n, d) in (0..).zip(domains) {
            let clean = DomainRow {
                dirty: None,
                partition: n % 2,
                ..domain_row(d, 1)
            };
            let writes = vec![Write::Domain(clean)];
            put(store, d, 3, 9, writes).await.unwrap();
        }
        let as_then = [
            "DROP TABLE {ks}.similar_items",
            LISTS_OF_THE_FIRST_VERSION,
            "INSERT INTO {ks}.similar_items (domain, id, model) VALUES ('moved', 'a', 'words-1')",
            "DELETE FROM {ks}.schema_migrations WHERE version = 4",
        ];
        for statement in as_then {
            let statement = self.fill(statement);
            store.session.query_unpaged(statement, ()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn lists_move_into_one_partition_a_domain_and_are_made_again() {
    let fixture = Clustered::fresh();
    let (store, keyspace) = (fixture.store().await, fixture.keyspace());
    let owned = Lease {
        epoch: 5,
        owner: "gone".into(),
        address: "127.0.0.1:8080".into(),
        beat: 3,
    };
    let taken = store.take_lease(Partition(1), None, &owned).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let domains = ["moved", "moved-2", "moved-3"].map(domain);
    fixture.with_lists_of_their_own(&store, &domains).await;
    let behind = Ok(Standing::Behind(vec![4]));
    let standing = async || {
        let standing = schema::check(&store.session, &keyspace).await;
        standing.map_err(|error| error.to_string())
    };
    assert_eq!(standing().await, behind);

    // Running the printed statements by hand does not migrate the lists.
    for statement in schema::statements(&keyspace, 1, false) {
        store.session.query_unpaged(statement, ()).await.unwrap();
    }
    assert_eq!(standing().await, behind);
    let dirty = async || {
        let rows = domains.iter().map(|d| store.domain(d));
        let rows = futures_util::future::try_join_all(rows).await.unwrap();
        rows.into_iter()
            .map(|row| row.unwrap().dirty)
            .collect::<Vec<_>>()
    };
    assert_eq!(dirty().await, [None; 3]);

    store
        .announce("one", "host:1", Duration::from_secs(60))
        .await
        .unwrap();
    let refused = schema::migrate(&store.session, &keyspace, 1).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("one, at host:1") && refused.contains("stop every"),
        "{refused}"
    );
    assert_eq!((standing().await, dirty().await), (behind, vec![None; 3]));
    store.withdraw("one").await.unwrap();

    // Domains 1 and 3 belong to partition 0, which never had an owner; the owner of the other
    // partition died.
    for _ in 0..2 {
        schema::migrate(&store.session, &keyspace, 1).await.unwrap();
        assert_eq!(standing().await, Ok(Standing::Current));
        // Marked twice: before the table was dropped and after it was recreated.
        assert_eq!(dirty().await, [Some(5), Some(7), Some(5)]);
    }
    let lease = store.lease(Partition(1)).await.unwrap().unwrap();
    assert_eq!((lease.epoch, lease.is_vacant()), (7, true));
    for d in &domains {
        let page = store.scan_list_ids(d, None, 9).await.unwrap();
        assert_eq!((page.rows.len(), page.next), (0, None));
        // A late write of a former owner has no effect.
        let clean = DomainRow {
            dirty: None,
            ..domain_row(d, 1)
        };
        put(&*store, d, 3, 10, vec![Write::Domain(clean)])
            .await
            .unwrap();
    }
    assert_eq!(dirty().await, [Some(5), Some(7), Some(5)]);
}

#[tokio::test]
async fn lists_that_were_dropped_before_a_crash_are_made_again() {
    let fixture = Clustered::fresh();
    let (store, keyspace) = (fixture.store().await, fixture.keyspace());
    // After the table was dropped; and after it was recreated but before that was recorded.
    for (remade, names) in [(false, ["moved", "moved-2"]), (true, ["again", "again-2"])] {
        let domains = names.map(domain);
        fixture.with_lists_of_their_own(&store, &domains).await;
        let drop_it = fixture.fill("DROP TABLE {ks}.similar_items");
        store.session.query_unpaged(drop_it, ()).await.unwrap();
        if remade {
            for statement in schema::statements(&keyspace, 1, false) {
                if statement.contains("similar_items") {
                    store.session.query_unpaged(statement, ()).await.unwrap();
                }
            }
        }
        schema::migrate(&store.session, &keyspace, 1).await.unwrap();
        let standing = schema::check(&store.session, &keyspace).await.unwrap();
        assert_eq!(standing, Standing::Current);
        for d in &domains {
            let row = store.domain(d).await.unwrap().unwrap();
            assert!(row.dirty.is_some(), "{row:?}");
        }
    }
}

#[tokio::test]
async fn an_owner_that_beats_keeps_its_lists() {
    let fixture = Clustered::fresh();
    let (store, keyspace) = (fixture.store().await, fixture.keyspace());
    let mut lease = Lease {
        epoch: 1,
        owner: "alone".into(),
        address: "host:2".into(),
        beat: 0,
    };
    let taken = store.take_lease(Partition(0), None, &lease).await;
    assert_eq!(taken, Ok(Cas::Applied));
    fixture
        .with_lists_of_their_own(&store, &[domain("beaten")])
        .await;
    let beating = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let next = Lease {
                beat: lease.beat + 1,
                ..lease.clone()
            };
            let beaten = store.take_lease(Partition(0), Some(&lease), &next).await;
            assert_eq!(beaten, Ok(Cas::Applied));
            lease = next;
        }
    };
    let refused = tokio::select! {
        result = schema::migrate(&store.session, &keyspace, 1) => result.unwrap_err().to_string(),
        () = beating => unreachable!(),
    };
    assert!(refused.contains("alone, at host:2"), "{refused}");
    let standing = schema::check(&store.session, &keyspace).await.unwrap();
    assert_eq!(standing, Standing::Behind(vec![4]));
}

#[tokio::test]
async fn a_domain_keeps_the_buckets_it_was_registered_with() {
    let fixture = Clustered::fresh();
    let store = fixture.store().await;
    let d = domain("three");
    let insert = "INSERT INTO {ks}.domains \
         (domain, partition, model, buckets, registered_at, live, visible) \
         VALUES ('three', 0, 'words-1', 3, 0, 0, 0) USING TIMESTAMP 1";
    let insert = fixture.fill(insert);
    store.session.query_unpaged(insert, ()).await.unwrap();
    let mut writes: Vec<Write> = (0..50)
        .map(|n| Write::Item(item(&format!("i{n}"), 2)))
        .collect();
    writes.push(Write::Domain(domain_row(&d, 9)));
    put(&*store, &d, 1, 0, writes).await.unwrap();
    let store = fixture.store().await;
    assert_eq!(store.buckets(&d).await.unwrap(), 3);
    assert_eq!(scan(&*store, &d, 7).await.0.len(), 50);
    let buckets = fixture.fill("SELECT DISTINCT domain, bucket FROM {ks}.items");
    let found = store.session.query_unpaged(buckets, ()).await.unwrap();
    assert_eq!(found.into_rows_result().unwrap().rows_num(), 3);
}

/// Databases warn of a read that meets a thousand tombstones, and refuse one that meets a hundred thousand.
#[tokio::test]
async fn what_items_and_domains_lack_leaves_no_tombstones() {
    const ITEMS: usize = 500;
    let fixture = Clustered::fresh();
    let store = fixture.store().await;
    let d = domain("plain");
    let plain = |n: usize, version| {
        let id = ItemId::new(&format!("i{n}")).unwrap();
        Write::Item(tombstone(id, version, Liveness::Live, DateTime::UNIX_EPOCH))
    };
    let domains = (0..ITEMS).map(|n| domain_row(&domain(&format!("d{n}")), 1));
    for row in domains {
        let name = row.domain.clone();
        let row = DomainRow {
            dirty: None,
            next_expiry: None,
            removal: None,
            ..row
        };
        put(&*store, &name, 1, 0, vec![Write::Domain(row)])
            .await
            .unwrap();
    }
    for (seq, version) in [(0, 2), (1, 3)] {
        let writes = (0..ITEMS).map(|n| plain(n, version)).collect();
        put(&*store, &d, 1, seq, writes).await.unwrap();
    }
    for (table, rows) in [("items", ITEMS), ("domains", ITEMS)] {
        let read = Statement::new(fixture.fill(&format!("SELECT * FROM {{ks}}.{table}")));
        let read = read.with_page_size(2 * i32::try_from(ITEMS).unwrap());
        let read = store
            .session
            .query_single_page(read, (), PagingState::start())
            .await;
        let found = read.unwrap().0;
        let warnings: Vec<&str> = found.warnings().collect();
        assert!(warnings.is_empty(), "{table}: {warnings:?}");
        assert_eq!(
            found.into_rows_result().unwrap().rows_num(),
            rows,
            "{table}"
        );
    }
    // What it had before is gone all the same.
    put(&*store, &d, 1, 2, vec![Write::Item(item("i7", 4))])
        .await
        .unwrap();
    put(&*store, &d, 1, 3, vec![plain(7, 5)]).await.unwrap();
    let found = store
        .items(&d, &[ItemId::new("i7").unwrap()])
        .await
        .unwrap();
    let Write::Item(expected) = plain(7, 5) else {
        unreachable!()
    };
    assert_eq!(found, [Some(expected)]);
}

#[tokio::test]
async fn fences_of_many_batches_are_one() {
    const BATCHES: u32 = 64;
    let fixture = Clustered::fresh();
    let store = fixture.store().await;
    let p = Partition(3);
    let mine = Lease {
        epoch: 7,
        owner: "one".into(),
        address: "127.0.0.1:8080".into(),
        beat: 0,
    };
    assert_eq!(store.take_lease(p, None, &mine).await, Ok(Cas::Applied));
    let commits = (0..BATCHES).map(|n| {
        let batch = WriteBatch {
            domain: domain(&format!("fenced-{n}")),
            fence: true,
            writes: vec![Write::Item(item("a", 2))],
        };
        store.commit(p, Epoch(7), stamp(7, n), batch)
    });
    futures_util::future::try_join_all(commits).await.unwrap();
    let writes = store.rows_written();
    let of = |table| writes.iter().find(|(name, _)| *name == table).unwrap().1;
    assert_eq!(of("items"), u64::from(BATCHES));
    assert!(
        (2..=u64::from(BATCHES) / 2).contains(&of("partitions")),
        "{writes:?}"
    );
    assert_eq!(
        store.lease(p).await,
        Ok(Some(mine)),
        "a fence changes nothing"
    );
}

#[tokio::test]
async fn blocks_are_read_whole_by_who_may_only_read() {
    let fixture = Clustered::fresh();
    let store = fixture.store().await;
    let d = domain("blocks");
    let session = Arc::clone(store.session());
    let blocks = cql_blocks::CqlBlocks::writer(Arc::clone(&session), &fixture.0.keyspace)
        .await
        .unwrap();
    let reader = cql_blocks::CqlBlocks::reader(session, &fixture.0.keyspace)
        .await
        .unwrap();
    for (hash, length) in [([1; 16], 0), ([2; 16], 1 << 20), ([3; 16], (3 << 20) + 5)] {
        assert_eq!(reader.get(&d, &hash).await, Ok(None));
        let bytes: Vec<u8> = (0..length).map(|n: usize| (n % 251) as u8).collect();
        for _ in 0..2 {
            blocks.put(&d, &hash, &bytes).await.unwrap();
            assert_eq!(reader.get(&d, &hash).await, Ok(Some(bytes.clone())));
        }
        assert_eq!(reader.get(&domain("other"), &hash).await, Ok(None));
        assert!(reader.put(&d, &hash, &bytes).await.is_err());
    }
    blocks.delete(&d, &[3; 16]).await.unwrap();
    assert_eq!(reader.get(&d, &[3; 16]).await, Ok(None));
}
