//! What only the embedded store must do, and the contract run against it.

#![allow(clippy::unwrap_used)] // a test may panic

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use redb::StorageBackend;
use redb::backends::FileBackend;
use tempfile::TempDir;

use super::super::contract::{
    Fixture, all_rows, content, domain, domain_row, feature, id, item, list, models, put, scan,
    store_contract,
};
use super::opening::{STORE_VERSION, UNFINISHED, VERSION};
use super::tables::META;
use super::*;
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::store::{Neighbour, Write};

struct Embedded(TempDir);

impl Embedded {
    fn fresh() -> Self {
        Self(TempDir::new().unwrap())
    }

    async fn store(&self) -> Arc<EmbeddedStore> {
        let dir = self.0.path().to_path_buf();
        eventually(|| match EmbeddedStore::open(&dir, &identity()) {
            // The previous user may be releasing it right now.
            Err(OpenError::InUse { .. }) => None,
            opened => Some(opened.unwrap()),
        })
        .await
    }
}

#[async_trait]
impl Fixture for Embedded {
    async fn open(&self) -> Arc<dyn Store> {
        self.store().await
    }

    async fn open_keys(&self) -> Arc<dyn KeyStore> {
        self.store().await
    }

    async fn open_experiments(&self) -> (Arc<dyn Store>, Arc<dyn ExperimentStore>) {
        let store = self.store().await;
        (Arc::clone(&store) as _, store)
    }
}

store_contract!(Embedded::fresh());

fn identity() -> Identity {
    Identity {
        models: models(),
        partitions: 4,
    }
}

/// Waits until something holds; fails after ten seconds.
async fn eventually<T>(mut is_so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = is_so() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never came to be");
        tokio::task::yield_now().await;
    }
}

fn refused(dir: &Path, identity: &Identity) -> OpenError {
    match EmbeddedStore::open(dir, identity) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn refuses_other_inputs_of_a_model_or_another_number_of_partitions() {
    let dir = TempDir::new().unwrap();
    drop(EmbeddedStore::open(dir.path(), &identity()).unwrap());
    let mut other = identity();
    other.models[0].inputs = "vectors en:cd34".into();
    let error = refused(dir.path(), &other);
    assert!(
        matches!(&error, OpenError::OtherModel { found, wanted, .. }
            if found == "words-1 (vectors en:ab12)" && wanted == "words-1 (vectors en:cd34)"),
        "{error}"
    );
    // A new model is simply added, and an unknown one is left alone.
    other.models[0].model = ModelName::new("words-2").unwrap();
    drop(EmbeddedStore::open(dir.path(), &other).unwrap());
    let other = Identity {
        partitions: 8,
        ..identity()
    };
    let error = refused(dir.path(), &other);
    assert!(matches!(
        error,
        OpenError::OtherPartitions {
            found: 4,
            wanted: 8,
            ..
        }
    ));
    drop(EmbeddedStore::open(dir.path(), &identity()).unwrap());
}

#[test]
fn refuses_a_newer_store() {
    let dir = TempDir::new().unwrap();
    drop(EmbeddedStore::open(dir.path(), &identity()).unwrap());
    let database = builder().open(dir.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert(VERSION, (STORE_VERSION + 1).to_le_bytes().as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(
        refused(dir.path(), &identity()),
        OpenError::Newer {
            found,
            known: STORE_VERSION,
            ..
        } if found == STORE_VERSION + 1
    ));
}

#[test]
fn refuses_a_store_in_use() {
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    assert!(matches!(
        refused(dir.path(), &identity()),
        OpenError::InUse { .. }
    ));
    drop(store);
    drop(EmbeddedStore::open(dir.path(), &identity()).unwrap());
}

#[test]
fn refuses_a_place_that_cannot_be_written() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a file");
    fs::write(&file, b"").unwrap();
    let error = refused(&file.join("below"), &identity());
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("a file"), "{error}");
}

#[test]
fn refuses_what_is_no_store() {
    for bytes in [b"".as_slice(), b"hello", &[0; 4096], &[0xff; 100_000]] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(FILE), bytes).unwrap();
        let error = refused(dir.path(), &identity());
        assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    }
}

#[test]
fn what_is_stored_is_for_its_user_alone() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("a/data");
    drop(EmbeddedStore::open(&data, &identity()).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir.path().join("a")), mode(&data)), (0o700, 0o700));
    let files: Vec<PathBuf> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 2, "a store and its lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // Modes that somebody has set stay unchanged.
    let open = fs::Permissions::from_mode(0o640);
    fs::set_permissions(data.join(FILE), open).unwrap();
    drop(EmbeddedStore::open(&data, &identity()).unwrap());
    assert_eq!(mode(&data.join(FILE)), 0o640);
}

#[test]
fn a_half_made_store_is_made_anew() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(UNFINISHED), b"half").unwrap();
    drop(EmbeddedStore::open(dir.path(), &identity()).unwrap());
    assert!(!dir.path().join(UNFINISHED).exists());
}

/// Rows with values of realistic sizes.
fn rows(first: usize, count: usize) -> Vec<Write> {
    let dense: Vec<f32> = (0..300).map(|n| n as f32).collect();
    let terms: Vec<u32> = (0..80).collect();
    let weights: Vec<f32> = dense[..80].to_vec();
    (first..first + count)
        .flat_map(|n| {
            let name = format!("package-{:05}", n * 7_919 % 20_000);
            let mut feature = feature(&name, 1);
            feature.feature =
                kindred_shared::Feature::new(dense.clone(), terms.clone(), weights.clone())
                    .unwrap();
            let mut list = list(&name, 0.5);
            list.neighbours = (0..50)
                .map(|n| Neighbour {
                    id: id(&format!("package-{n:05}")),
                    score: 0.25,
                })
                .collect();
            let content = content(&"some words of a text ".repeat(50));
            [
                Write::Item(item(&name, 1)),
                Write::Content(id(&name), content),
                Write::Feature(feature),
                Write::List(list),
            ]
        })
        .collect()
}

#[tokio::test]
async fn damage_anywhere_is_an_error_and_never_a_panic() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    put(&*store, &d, 1, 0, rows(0, 50)).await.unwrap();
    drop(store);
    let whole = fs::read(dir.path().join(FILE)).unwrap();
    let mut refusals = 0;
    // One byte in about every 13th page; and a truncated file.
    for at in (64..whole.len()).step_by(13 * 4096 + 97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(dir.path().join(FILE), bytes).unwrap();
        match EmbeddedStore::open(dir.path(), &identity()) {
            // An unused page, or damage that redb could repair: all rows must be there.
            Ok(store) => assert_eq!(scan(&*store, &d, 100).await.0.len(), 50),
            Err(OpenError::Unusable { .. }) => refusals += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals > 0, "no damage was found");
    fs::write(dir.path().join(FILE), &whole[..whole.len() / 2]).unwrap();
    let error = refused(dir.path(), &identity());
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_copy_of_the_open_file_has_all_that_was_acknowledged() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let d = domain("d");
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    put(&*store, &d, 1, 0, rows(0, 100)).await.unwrap();
    fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
    let copied = EmbeddedStore::open(copy.path(), &identity()).unwrap();
    assert_eq!(scan(&*copied, &d, 30).await.0.len(), 100);
}

#[tokio::test]
async fn old_markers_are_purged_when_it_is_opened() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let markers = |store: &EmbeddedStore| {
        store
            .shared
            .read(|t| {
                let rows = t.open_table(StampedTable::Items.definition())?;
                Ok(redb::ReadableTableMetadata::len(&rows)?)
            })
            .unwrap()
    };
    let lease = |epoch| Lease {
        epoch,
        owner: "me".into(),
        address: String::new(),
        beat: 0,
    };
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    let p = Partition(0);
    store.take_lease(p, None, &lease(1)).await.unwrap();
    put(&*store, &d, 1, 0, vec![Write::Item(item("a", 1))])
        .await
        .unwrap();
    let gone = ["a", "b"].map(|name| Write::PurgeItem(id(name)));
    put(&*store, &d, 1, 1, gone.to_vec()).await.unwrap();
    put(&*store, &d, 1, 2, vec![Write::Item(item("b", 1))])
        .await
        .unwrap();
    drop(store);

    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    assert_eq!(markers(&store), 2, "epoch 1 is the current one");
    let taken = store.take_lease(p, Some(&lease(1)), &lease(2)).await;
    assert_eq!(taken, Ok(Cas::Applied));
    drop(store);

    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    assert_eq!(markers(&store), 1, "only b is left");
    assert_eq!(scan(&*store, &d, 9).await.0, [item("b", 1)]);
}

/// A file that fails on demand.
#[derive(Debug)]
struct FaultyFile {
    file: FileBackend,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    write: Mutex<Option<io::ErrorKind>>,
    sync: Mutex<Option<io::ErrorKind>>,
    read: Mutex<Option<io::ErrorKind>>,
    panic_on_read: AtomicBool,
}

fn fault(of: &Mutex<Option<io::ErrorKind>>) -> io::Result<()> {
    of.lock().unwrap().map_or(Ok(()), |kind| Err(kind.into()))
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        assert!(!self.faults.panic_on_read.load(Ordering::SeqCst), "fault");
        fault(&self.faults.read)?;
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        fault(&self.faults.write)?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        fault(&self.faults.sync)?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        fault(&self.faults.write)?;
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn faulty(dir: &Path) -> (Arc<EmbeddedStore>, Arc<Faults>) {
    drop(EmbeddedStore::open(dir, &identity()).unwrap());
    let faults = Arc::new(Faults::default());
    let (path, shared) = (dir.join(FILE), Arc::clone(&faults));
    let open = move || {
        let file = File::options().read(true).write(true).open(&path)?;
        let file = FaultyFile {
            file: FileBackend::new(file)?,
            faults: Arc::clone(&shared),
        };
        // So small that reads have to access the file.
        Ok(builder()
            .set_cache_size(1 << 20)
            .create_with_backend(file)?)
    };
    let lock = lock(dir, "test").unwrap();
    let store = EmbeddedStore::start("test", Some(lock), &identity(), Box::new(open)).unwrap();
    (store, faults)
}

/// Commits repeatedly until it works; fails after ten seconds.
async fn commits_again(store: &EmbeddedStore, seq: u32, writes: Vec<Write>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = put(store, &domain("d"), 1, seq, writes.clone()).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_survived() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let (store, faults) = faulty(dir.path());
    put(&*store, &d, 1, 0, rows(0, 10)).await.unwrap();
    *faults.write.lock().unwrap() = Some(io::ErrorKind::StorageFull);
    for seq in 1..4 {
        let error = put(&*store, &d, 1, seq, rows(10, 10)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Full(detail) if detail.contains("free space")));
    }
    *faults.write.lock().unwrap() = None;
    commits_again(&store, 4, rows(20, 10)).await;
    assert_eq!(
        scan(&*store, &d, 100).await.0.len(),
        20,
        "nothing failed is there"
    );
    drop(store);
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    assert_eq!(scan(&*store, &d, 100).await.0.len(), 20);
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let (store, faults) = faulty(dir.path());
    *faults.sync.lock().unwrap() = Some(io::ErrorKind::Other);
    let error = put(&*store, &d, 1, 0, rows(0, 10)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unknown(_) | StoreError::Away(_)),
        "{error}"
    );
    *faults.sync.lock().unwrap() = None;
    commits_again(&store, 1, rows(0, 10)).await;
    assert_eq!(scan(&*store, &d, 100).await.0.len(), 10);
}

#[tokio::test]
async fn reads_alone_get_it_well_again() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let (store, faults) = faulty(dir.path());
    put(&*store, &d, 1, 0, rows(0, 2_000)).await.unwrap();
    for panics in [false, true] {
        let kind = (!panics).then_some(io::ErrorKind::Other);
        *faults.read.lock().unwrap() = kind;
        faults.panic_on_read.store(panics, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut seen = false;
        while !seen && Instant::now() < deadline {
            for n in 0..2_000 {
                let id = id(&format!("package-{:05}", n * 7_919 % 20_000));
                seen |= store.list(&d, &id).await.is_err();
            }
        }
        assert!(seen, "the fault was not met");
        *faults.read.lock().unwrap() = None;
        faults.panic_on_read.store(false, Ordering::SeqCst);
        if panics {
            break; // a panic while it is opened again counts as damage: a person has to look
        }
        while store.domains().await.is_err() {
            assert!(Instant::now() < deadline, "it stays away");
        }
        assert_eq!(scan(&*store, &d, 500).await.0.len(), 2_000);
    }
}

/// Overwrites rows without the store's knowledge.
fn overwrite(dir: &Path, rows: &[(StampedTable, Vec<u8>, Vec<u8>)]) {
    let database = builder().open(dir.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    for (kind, key, value) in rows {
        let mut table = transaction.open_table(kind.definition()).unwrap();
        table.insert(&**key, &**value).unwrap();
    }
    transaction.commit().unwrap();
}

/// A value with this stamp and this body.
fn value(stamp: i64, body: &[u8]) -> Vec<u8> {
    [&stamp.to_le_bytes()[..], &[1], body].concat()
}

/// Bytes that are not a row of any table.
fn damaged_values() -> Vec<Vec<u8>> {
    vec![
        vec![],
        b"short".to_vec(),
        value(1, &[]),
        value(1, &[0xff; 7]),
        value(1, &[0xff; 400]),
        value(1, &[1; 400]),
        [&1_i64.to_le_bytes()[..], &[9; 100]].concat(),
    ]
}

#[tokio::test]
async fn invalid_rows_fail_no_reads_and_can_be_rewritten() {
    let (bad, good) = (domain("bad"), domain("good"));
    for damage in damaged_values() {
        let dir = TempDir::new().unwrap();
        let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
        put(&*store, &good, 1, 0, rows(0, 3)).await.unwrap();
        drop(store);
        let feature = feature_key("bad", &identity().models[0].model, "a");
        let kinds = [
            StampedTable::Items,
            StampedTable::Contents,
            StampedTable::Lists,
        ];
        let mut damaged: Vec<_> = kinds
            .map(|kind| (kind, key(&bad, "a"), damage.clone()))
            .into();
        damaged.push((StampedTable::Features, feature, damage.clone()));
        damaged.push((StampedTable::Settings, key(&bad, ""), damage.clone()));
        damaged.push((StampedTable::Domains, key(&bad, ""), damage.clone()));
        overwrite(dir.path(), &damaged);

        let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
        assert_eq!(store.items(&bad, &[id("a")]).await, Ok(vec![None]));
        assert_eq!(store.contents(&bad, &[id("a")]).await, Ok(vec![None]));
        assert_eq!(store.list(&bad, &id("a")).await, Ok(None));
        assert_eq!(store.settings(&bad).await, Ok(None));
        // Nothing tells which model it was of.
        assert_eq!(store.domain(&bad).await, Ok(None));
        assert_eq!(store.domains().await, Ok(vec![]));
        let words = identity().models[0].model.clone();
        let stamp = store.feature_stamp(&bad, &words, &id("a")).await;
        assert_eq!(stamp, Ok(None));
        let features = store.scan_features(&bad, &words, None, 9).await.unwrap();
        assert!(features.rows.is_empty() && features.next.is_none());
        assert_eq!(scan(&*store, &bad, 9).await.0, []);
        assert_eq!(store.damaged(&bad).count, 6, "{damage:?}");
        assert_eq!(store.damaged_rows(), 6);

        let mut writes = all_rows("a", 1);
        writes.push(Write::Domain(domain_row(&bad, 1)));
        writes.push(Write::Settings(SettingsRow::default()));
        put(&*store, &bad, 1, 0, writes).await.unwrap();
        assert_eq!(scan(&*store, &bad, 9).await.0, [item("a", 1)]);
        assert_eq!(store.domain(&bad).await, Ok(Some(domain_row(&bad, 1))));
        assert_eq!(store.damaged_rows(), 0);
        assert_eq!(scan(&*store, &good, 9).await.0.len(), 3);
    }
}

#[tokio::test]
async fn a_damaged_row_of_a_domain_is_made_up_of_its_features() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    put(&*store, &d, 1, 0, all_rows("a", 1)).await.unwrap();
    drop(store);
    overwrite(
        dir.path(),
        &[(StampedTable::Domains, key(&d, ""), b"short".to_vec())],
    );
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    let row = store.domain(&d).await.unwrap().unwrap();
    assert_eq!(row.model.as_str(), "words-1");
    assert!(row.is_there() && row.dirty.is_some());
    assert_eq!(store.domains().await, Ok(vec![row]));
}

/// It would silently defeat all later writes.
#[tokio::test]
async fn a_stamp_that_no_owner_had_keeps_nothing_away() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    let lease = Lease {
        epoch: 3,
        owner: "me".into(),
        address: String::new(),
        beat: 0,
    };
    store.take_lease(Partition(0), None, &lease).await.unwrap();
    put(&*store, &d, 3, 7, all_rows("a", 1)).await.unwrap();
    // It is from the owner's own time, so it stays.
    put(&*store, &d, 2, 9, all_rows("a", 2)).await.unwrap();
    assert_eq!(scan(&*store, &d, 9).await.0, [item("a", 1)]);
    drop(store);
    let never = value(i64::MAX, &[]);
    overwrite(dir.path(), &[(StampedTable::Items, key(&d, "a"), never)]);
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    put(&*store, &d, 3, 8, all_rows("a", 4)).await.unwrap();
    assert_eq!(scan(&*store, &d, 9).await.0, [item("a", 4)]);
}

#[tokio::test]
async fn damaged_rows_of_a_removed_domain_are_swept() {
    let dir = TempDir::new().unwrap();
    let d = domain("d");
    drop(EmbeddedStore::open(dir.path(), &identity()).unwrap());
    let kinds = [
        StampedTable::Items,
        StampedTable::Contents,
        StampedTable::Lists,
    ];
    let damaged = kinds.map(|kind| (kind, key(&d, "a"), b"short".to_vec()));
    overwrite(dir.path(), &damaged);
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    assert_eq!(store.list(&d, &id("a")).await, Ok(None));
    assert_eq!(store.damaged_rows(), 1);
    let stamp = Stamp::new(Epoch(1), 0).unwrap();
    assert_eq!(store.sweep(&d, stamp, 100).await, Ok(true));
    assert_eq!(store.damaged_rows(), 0);
    let lists = store.scan_list_ids(&d, None, 9).await.unwrap();
    assert!(lists.rows.is_empty());
}

#[tokio::test]
async fn many_commits_share_a_sync() {
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
    let tasks = (0..200).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let d = domain(&format!("d{n}"));
            put(&*store, &d, 1, 0, vec![Write::Item(item("a", 1))]).await
        })
    });
    for done in futures_util::future::join_all(tasks).await {
        assert_eq!(done.unwrap(), Ok(()));
    }
    let commits = store.commits();
    assert!((1..100).contains(&commits), "{commits} commits");
    assert!(store.commit_time() > Duration::ZERO);
    assert!(store.rows_written().contains(&("items", 200)));
}

/// Directory of a test that starts itself as another process.
const CHILD_DIR: &str = "KINDRED_TEST_STORE_CHILD";

/// The other process: commits batch after batch and reports each, until it is killed.
async fn child(dir: &str) {
    let store = EmbeddedStore::open(Path::new(dir), &identity()).unwrap();
    let d = domain("d");
    let first = scan(&*store, &d, 1_000).await.0.len() / 5;
    for (seq, batch) in (0..).zip(first..) {
        put(&*store, &d, 1, seq, rows(batch * 5, 5)).await.unwrap();
        // When the parent is gone, this fails and ends the process.
        writeln!(io::stdout(), "committed batch {batch}").unwrap();
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_acknowledged() {
    if let Ok(dir) = std::env::var(CHILD_DIR) {
        return child(&dir).await;
    }
    let dir = TempDir::new().unwrap();
    let name = "store::embedded::tests::a_kill_loses_nothing_acknowledged";
    let mut acknowledged = 0;
    for round in 1..=5 {
        let program: PathBuf = std::env::current_exe().unwrap();
        let mut process = Process::new(program)
            .args(["--exact", name, "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map(|line| line.unwrap());
        let mut said = 0;
        while said < round * 7 {
            let line = lines.next().unwrap();
            if let Some((_, batch)) = line.split_once("committed batch ") {
                acknowledged = batch.parse::<usize>().unwrap() + 1;
                said += 1;
            }
        }
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(9));
        let store = EmbeddedStore::open(dir.path(), &identity()).unwrap();
        let found = scan(&*store, &domain("d"), 1_000).await.0.len();
        assert!(found >= acknowledged * 5, "{found} of {acknowledged} × 5");
        assert_eq!(found % 5, 0, "a batch is whole or not there");
    }
}
