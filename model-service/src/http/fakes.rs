//! What tests run the application on: a store in memory, and small stand-ins for the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use compute_worker::Worker;
use compute_worker::models::Models;
use compute_worker::word_vectors::Vectors;
use kindred_shared::event::{Event, Limits, Reason, Refusal};
use kindred_shared::job::Job;
use kindred_shared::model::ModelInputs;
use kindred_shared::worker::WorkerCard;
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};
use kindred_similarity::Kernel;

use super::guard::Guard;
use super::hosts::Hosts;
use super::parts::{Lobby, Parts, Queries, Reads, Workers, Writes};
use super::readiness::Readiness;
use super::relay::Others;
use crate::actors::clock::Clock;
use crate::actors::experiments::Experiments;
use crate::actors::owner::Owner;
use crate::actors::scans::Scans;
use crate::actors::texts::Texts;
use crate::actors::waking::Waking;
use crate::client::Trust;
use crate::intake::embedded::NoWatchers;
use crate::metrics::Metrics;
use crate::owners::{HostedPartitions, Owners};
use crate::preprocessing::Preprocessors;
use crate::store::embedded::{EmbeddedStore, Identity};
use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, SeenWorker, SendError};
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::intake::{Confirm, Failure, Publish, PublishError};
use kindred_domain::store::{
    DomainRow, Epoch, FeatureRow, ItemRow, Liveness, Partition, Stamp, Store, Write, WriteBatch,
};
use kindred_query::{Term, Views};

pub(super) fn domain(name: &str) -> DomainName {
    DomainName::new(name).expect("a domain")
}

pub(super) fn id(id: &str) -> ItemId {
    ItemId::new(id).expect("an id")
}

pub(super) fn words_1() -> ModelName {
    ModelName::new("words-1").expect("a name")
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
        image: None,
        language: None,
        group: None,
        categories: BTreeSet::new(),
        published_at: None,
        publish_at: None,
        expires_at: None,
        accepted_at: None,
        attributes: BTreeMap::new(),
        rejected: None,
        content_hash: 0,
        vector_hashes: BTreeMap::new(),
    }
}

/// A store in memory. Rows are written by tests, never by the application.
pub(super) struct Rows {
    pub(super) store: Arc<EmbeddedStore>,
    written: AtomicU32,
}

impl Bench {
    /// The same application with another guard.
    pub(super) fn lobby_with(&self, guard: Guard) -> Arc<Lobby> {
        let lobby = Arc::new(Lobby::new(Arc::new(Readiness::ready()), Hosts::Any, guard));
        lobby.open(self.parts());
        lobby
    }

    fn parts(&self) -> Parts {
        let store: Arc<dyn Store> = Arc::clone(&self.rows.store) as _;
        let hosted = Arc::new(HostedPartitions::default());
        let owners = Owners::new(Arc::clone(&store), hosted, 1, Duration::from_secs(6));
        Parts {
            reads: Arc::new(Reads::new(
                "here:8080".to_owned(),
                store,
                Arc::clone(&self.views),
                owners,
                Clock::start(),
                Others {
                    peers: None,
                    trust: Trust::default(),
                    scheme: "http",
                },
            )),
            queries: Arc::new(queries(&self.metrics, Arc::clone(&self.experiments))),
            writes: Arc::clone(&self.writes),
            workers: Arc::new(Workers(Arc::new(FakeJobs))),
        }
    }
}

impl Rows {
    fn new() -> Self {
        let identity = Identity {
            models: vec![ModelInputs {
                model: words_1(),
                inputs: String::new(),
            }],
            partitions: 1,
        };
        Self {
            store: EmbeddedStore::in_memory(&identity),
            written: AtomicU32::new(0),
        }
    }

    /// Writes rows of a domain.
    pub(super) async fn write(&self, of: &str, writes: Vec<Write>) {
        let stamp = Stamp::new(Epoch(1), self.written.fetch_add(1, Ordering::SeqCst));
        let batch = WriteBatch {
            domain: domain(of),
            fence: false,
            writes,
        };
        let stamp = stamp.expect("few writes");
        let written = self
            .store
            .commit(Partition(0), Epoch(1), stamp, batch)
            .await;
        written.expect("memory takes all");
    }

    pub(super) async fn register(&self, name: &str, dirty: Option<u64>) {
        let row = DomainRow {
            domain: domain(name),
            partition: 0,
            model: words_1(),
            registered_at: DateTime::from_timestamp_millis(1_500).expect("a time"),
            dirty,
            live: 3,
            visible: 2,
            next_expiry: None,
            removal: None,
        };
        self.write(name, vec![Write::Domain(row)]).await;
    }

    /// Puts an item with a feature of its version.
    pub(super) async fn put(&self, of: &str, row: ItemRow) {
        let dense = Feature::new(vec![1.0], vec![], vec![]).expect("a feature");
        let feature = feature_row(row.id.clone(), row.version, dense);
        self.write(of, vec![Write::Item(row), Write::Feature(feature)])
            .await;
    }
}

pub(super) fn feature_row(id: ItemId, version: u64, feature: Feature) -> FeatureRow {
    FeatureRow {
        habits: 0,
        id,
        version,
        space: Space::stored("words-1/en"),
        feature,
    }
}

/// The version of events without one.
pub(super) const GIVEN_VERSION: u64 = 77;

/// Records events. Events of items and domains whose names begin with `quota` or `unknown` are
/// refused, those of `full` and `away` fail; a confirmation needs two polls, so that many are in
/// flight.
#[derive(Default)]
pub(super) struct FakePublish {
    pub(super) events: Mutex<Vec<Event>>,
    in_flight: Arc<AtomicUsize>,
    pub(super) most_in_flight: AtomicUsize,
}

#[async_trait]
impl Publish for FakePublish {
    async fn publish(&self, event: Event) -> Result<Confirm, PublishError> {
        let (name, unknown) = match event.id() {
            Some(id) => (id.to_string(), Reason::UnknownItem),
            None => (event.domain().to_string(), Reason::UnknownDomain),
        };
        if name.starts_with("away") {
            return Err(PublishError::Away("the service is stopping".into()));
        }
        let version = Some(event.version().unwrap_or(GIVEN_VERSION));
        self.events.lock().expect("unpoisoned").push(event);
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let in_flight = Arc::clone(&self.in_flight);
        Ok(Box::pin(async move {
            tokio::task::yield_now().await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
            let refused = |reason, detail: &str| {
                let detail = detail.into();
                let field = None;
                Err(PublishError::Refused(Refusal {
                    reason,
                    field,
                    detail,
                }))
            };
            if name.starts_with("quota") {
                return refused(Reason::OverQuota, "the domain is full");
            }
            if name.starts_with("unknown") {
                return refused(unknown, "there is none of this name");
            }
            if name.starts_with("full") {
                return Err(PublishError::Failed(Failure {
                    needs_help: true,
                    detail: "the disk is full".into(),
                }));
            }
            Ok(version)
        }))
    }
}

/// A job queue with one worker.
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

/// The application on fakes.
pub(super) struct Bench {
    pub(super) lobby: Arc<Lobby>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) writes: Arc<Writes>,
    pub(super) rows: Rows,
    pub(super) publish: Arc<FakePublish>,
    pub(super) views: Arc<Views>,
    /// The term of all views.
    pub(super) term: Arc<Term>,
    /// The experiments of the domains of partition 0, which is owned here.
    pub(super) experiments: Arc<Experiments>,
}

/// Queries whose texts are read without word vectors.
fn queries(metrics: &Arc<Metrics>, experiments: Arc<Experiments>) -> Queries {
    let scans = Scans::new(Kernel::Auto, 1, Arc::clone(metrics)).expect("a thread");
    let models = Models::new(Arc::new(Vectors::none()));
    let worker = Worker::new(models, Kernel::Auto, Arc::clone(scans.pool()));
    let languages = ["en", "de"].map(str::to_owned);
    let preprocessors = Preprocessors::new(&languages, "en").expect("known languages");
    let extract = Arc::new(move |job: &Job| worker.perform(job));
    Queries {
        scans,
        texts: Texts::new(Arc::new(preprocessors), extract),
        waking: Arc::new(Waking::default()),
        limits: Limits {
            message_bytes: 20_000,
            text_bytes: 1_000,
            ..Limits::default()
        },
        experiments,
    }
}

pub(super) fn bench() -> Bench {
    let rows = Rows::new();
    let publish = Arc::new(FakePublish::default());
    let views = Arc::new(Views::default());
    let metrics = Arc::new(Metrics::new());
    let limits = Limits {
        message_bytes: 2_000,
        ..Limits::default()
    };
    let writes = Arc::new(Writes::new(
        Arc::clone(&publish) as Arc<dyn Publish>,
        limits,
        Arc::clone(&metrics),
    ));
    let lobby = Arc::new(Lobby::new(
        Arc::new(Readiness::ready()),
        Hosts::Any,
        Guard::open(),
    ));
    let term = Arc::new(Term::endless());
    let experiments = Experiments::new(
        Arc::clone(&rows.store) as Arc<dyn ExperimentStore>,
        Arc::clone(&rows.store) as Arc<dyn Store>,
        Arc::clone(&views),
        Arc::new(NoWatchers),
        Arc::clone(&metrics),
    );
    let owner = Owner::new(Partition(0), Epoch(1), Arc::clone(&term), Arc::default());
    experiments.host(Partition(0), Arc::new(owner));
    let bench = Bench {
        lobby,
        metrics,
        writes,
        rows,
        publish,
        views,
        term,
        experiments,
    };
    bench.lobby.open(bench.parts());
    bench
}
