//! Small stand-ins for what the API asks, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use kindred_shared::event::{Event, Limits, Reason, Refusal};
use kindred_shared::job::Job;
use kindred_shared::worker::WorkerCard;
use kindred_shared::{DomainName, ItemId, ModelName, Space};

use super::api::Api;
use super::health::Readiness;
use super::owners::{Hosted, Owners};
use crate::metrics::Metrics;
use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, SeenWorker, SendError};
use kindred_domain::intake::{Confirm, Failure, Publish, PublishError};
use kindred_domain::store::{
    Batch, Cas, Content, DomainRow, Epoch, FeatureRow, FeatureStamp, ItemRow, Lease, ListRow,
    Liveness, Page, Partition, SettingsRow, Stamp, Store, StoreError,
};
use kindred_query::Views;

pub(super) fn domain(name: &str) -> DomainName {
    DomainName::new(name).expect("a domain")
}

pub(super) fn id(id: &str) -> ItemId {
    ItemId::new(id).expect("an id")
}

pub(super) fn item_row(name: &str, version: u64) -> ItemRow {
    ItemRow {
        id: id(name),
        version,
        liveness: Liveness::Live,
        since: DateTime::from_timestamp_millis(1).expect("a time"),
        hidden: false,
        title: Some(format!("title of {name}")),
        url: Some(format!("https://x.example/{name}")),
        language: None,
        group: None,
        categories: BTreeSet::new(),
        published_at: None,
        expires_at: None,
        attributes: BTreeMap::new(),
        rejected: None,
        content_hash: 0,
    }
}

/// Keeps rows in memory; they are put there by tests, never by the API.
#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) domains: Mutex<BTreeMap<DomainName, DomainRow>>,
    pub(super) items: Mutex<BTreeMap<(DomainName, ItemId), ItemRow>>,
    pub(super) stamps: Mutex<BTreeMap<(DomainName, ItemId), FeatureStamp>>,
    pub(super) lists: Mutex<BTreeMap<(DomainName, ItemId), ListRow>>,
    pub(super) away: AtomicBool,
}

impl FakeStore {
    pub(super) fn register(&self, name: &str) {
        let row = DomainRow {
            domain: domain(name),
            partition: 0,
            model: ModelName::new("words-1").expect("a name"),
            registered_at: DateTime::from_timestamp_millis(1_500).expect("a time"),
            dirty: None,
            live: 3,
            visible: 2,
            next_expiry: None,
        };
        self.domains
            .lock()
            .expect("unpoisoned")
            .insert(domain(name), row);
    }

    pub(super) fn put(&self, of: &str, row: ItemRow) {
        let key = (domain(of), row.id.clone());
        let stamp = FeatureStamp {
            version: row.version,
            space: Space::stored("words-1/en"),
            zero: false,
        };
        self.stamps
            .lock()
            .expect("unpoisoned")
            .insert(key.clone(), stamp);
        self.items.lock().expect("unpoisoned").insert(key, row);
    }

    fn there(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Away("unplugged".into()));
        }
        Ok(())
    }
}

fn no_scan<T>() -> Result<Page<T>, StoreError> {
    Err(StoreError::Damaged("the API never scans".into()))
}

#[async_trait]
impl Store for FakeStore {
    async fn lease(&self, _: Partition) -> Result<Option<Lease>, StoreError> {
        Ok(None)
    }

    async fn take_lease(
        &self,
        _: Partition,
        _: Option<&Lease>,
        _: &Lease,
    ) -> Result<Cas, StoreError> {
        Ok(Cas::Refused(None))
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn announce(&self, _: &str, _: &str, _: Duration) -> Result<(), StoreError> {
        Err(StoreError::Damaged("the API never writes".into()))
    }

    async fn withdraw(&self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Damaged("the API never writes".into()))
    }

    async fn instances(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn commit(&self, _: Partition, _: Epoch, _: Stamp, _: Batch) -> Result<(), StoreError> {
        Err(StoreError::Damaged("the API never writes".into()))
    }

    async fn domains(&self) -> Result<Vec<DomainRow>, StoreError> {
        self.there()?;
        Ok(self
            .domains
            .lock()
            .expect("unpoisoned")
            .values()
            .cloned()
            .collect())
    }

    async fn domain(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError> {
        self.there()?;
        Ok(self
            .domains
            .lock()
            .expect("unpoisoned")
            .get(domain)
            .cloned())
    }

    async fn settings(&self, _: &DomainName) -> Result<Option<SettingsRow>, StoreError> {
        self.there()?;
        Ok(None)
    }

    async fn scan_items(
        &self,
        _: &DomainName,
        _: Option<&ItemId>,
        _: usize,
    ) -> Result<Page<ItemRow>, StoreError> {
        no_scan()
    }

    fn knows(&self, _: &ModelName) -> bool {
        true
    }

    async fn scan_features(
        &self,
        _: &DomainName,
        _: &ModelName,
        _: Option<&ItemId>,
        _: usize,
    ) -> Result<Page<FeatureRow>, StoreError> {
        no_scan()
    }

    async fn scan_list_ids(
        &self,
        _: &DomainName,
        _: Option<&ItemId>,
        _: usize,
    ) -> Result<Page<ItemId>, StoreError> {
        no_scan()
    }

    async fn items(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, StoreError> {
        self.there()?;
        let items = self.items.lock().expect("unpoisoned");
        let row = |id: &ItemId| items.get(&(domain.clone(), id.clone())).cloned();
        Ok(ids.iter().map(row).collect())
    }

    fn rows_written(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    async fn contents(
        &self,
        _: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, StoreError> {
        Ok(ids.iter().map(|_| None).collect())
    }

    async fn feature_stamp(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureStamp>, StoreError> {
        self.there()?;
        let key = (domain.clone(), id.clone());
        let stamp = self.stamps.lock().expect("unpoisoned").get(&key).cloned();
        Ok(stamp.filter(|stamp| stamp.space.model() == *model))
    }

    async fn list(&self, domain: &DomainName, id: &ItemId) -> Result<Option<ListRow>, StoreError> {
        self.there()?;
        let key = (domain.clone(), id.clone());
        Ok(self.lists.lock().expect("unpoisoned").get(&key).cloned())
    }
}

/// Records events. Ids that begin with `quota` are refused, `full` and `away` fail; a
/// confirmation needs two polls, so that many are on their way.
#[derive(Default)]
pub(super) struct FakePublish {
    pub(super) events: Mutex<Vec<Event>>,
    in_flight: Arc<AtomicUsize>,
    pub(super) most_in_flight: AtomicUsize,
}

#[async_trait]
impl Publish for FakePublish {
    async fn publish(&self, event: Event) -> Result<Confirm, PublishError> {
        let name = event.id().to_string();
        if name.starts_with("away") {
            return Err(PublishError::Away("the service is stopping".into()));
        }
        self.events.lock().expect("unpoisoned").push(event);
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let in_flight = Arc::clone(&self.in_flight);
        Ok(Box::pin(async move {
            tokio::task::yield_now().await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
            if name.starts_with("quota") {
                return Err(PublishError::Refused(Refusal {
                    reason: Reason::OverQuota,
                    field: None,
                    detail: "the domain is full".into(),
                }));
            }
            if name.starts_with("full") {
                return Err(PublishError::Failed(Failure {
                    needs_help: true,
                    detail: "the disk is full".into(),
                }));
            }
            Ok(())
        }))
    }
}

/// One worker that is there.
struct FakeJobs;

#[async_trait]
impl Jobs for FakeJobs {
    async fn send(&self, _: JobId, _: Attempt, _: Duration, _: Job) -> Result<(), SendError> {
        Ok(())
    }

    async fn next_reply(&self) -> Option<Returned> {
        None
    }

    fn workers(&self) -> usize {
        1
    }

    fn cards(&self) -> Vec<SeenWorker> {
        vec![SeenWorker {
            card: WorkerCard {
                name: "box-7".into(),
                kernel: "avx2".into(),
                threads: 4,
                jobs_done: 12,
            },
            ago: Duration::from_millis(1_500),
        }]
    }
}

/// An API on fakes.
pub(super) struct Bench {
    pub(super) api: Arc<Api>,
    pub(super) store: Arc<FakeStore>,
    pub(super) publish: Arc<FakePublish>,
    pub(super) views: Arc<Views>,
}

pub(super) fn bench() -> Bench {
    let store = Arc::new(FakeStore::default());
    let publish = Arc::new(FakePublish::default());
    let views = Arc::new(Views::default());
    let limits = Limits {
        message_bytes: 2_000,
        ..Limits::default()
    };
    let api = Arc::new(Api::new(
        Arc::clone(&publish) as Arc<dyn Publish>,
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::clone(&views),
        Arc::new(Metrics::new()),
        limits,
        Arc::new(Readiness::ready()),
        Owners::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(Hosted::default()),
            1,
        ),
        Arc::new(FakeJobs),
    ));
    Bench {
        api,
        store,
        publish,
        views,
    }
}
