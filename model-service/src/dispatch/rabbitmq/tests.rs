//! The contract on a real broker with a small worker, and cases that need a broker.

#![allow(clippy::unwrap_used)] // a test may panic

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::StreamExt;
use kindred_runtime::amqp::{declare, reply_properties};
use kindred_shared::block_store::MemoryBlockStore;
use kindred_shared::job::{CompareReply, CompareTask, Floor, Side, Task};
use kindred_shared::wire::{
    JobKind, PROTOCOL_HEADER, decode_block, encode_reply, missing_blocks, parse_job,
};
use kindred_shared::{BlockBuilder, DomainName, Feature, ItemId, Space};
use kindred_similarity::RowMask;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};

use super::super::contract::{Fixture, Gate, dispatch_contract, job, perform};
use super::*;
use crate::test_broker::{DEADLINE, Scope, consume, until};

/// Jobs a worker works on at once.
const LANES: usize = 2;
const CAPACITY: usize = 6;

struct Rabbit {
    jobs: Arc<RabbitJobs>,
    gate: Arc<Gate>,
    store: Arc<MemoryBlockStore>,
    workers: Vec<tokio::task::JoinHandle<()>>,
    scope: Scope,
}

impl Rabbit {
    async fn without_workers() -> Self {
        let scope = Scope::fresh().await;
        let store = Arc::new(MemoryBlockStore::default());
        let options = RabbitJobsOptions {
            names: scope.names.clone(),
            boot_id: "b1".into(),
            capacity: CAPACITY,
        };
        let blocks = Arc::<MemoryBlockStore>::clone(&store);
        let jobs = RabbitJobs::start(scope.connector.clone(), options, blocks);
        until("jobs can be sent", || jobs.is_connected()).await;
        Self {
            jobs,
            gate: Arc::default(),
            store,
            workers: vec![],
            scope,
        }
    }

    async fn fresh() -> Self {
        let mut fixture = Self::without_workers().await;
        for _ in 0..LANES {
            for kind in [JobKind::Extract, JobKind::Compare] {
                let lane = Lane::open(&fixture, kind).await;
                fixture.workers.push(tokio::spawn(lane));
            }
        }
        until("workers are seen", || fixture.jobs.workers() == LANES).await;
        fixture
    }
}

struct Lane;

impl Lane {
    #[allow(clippy::new_ret_no_self)] // it is a task
    async fn open(fixture: &Rabbit, kind: JobKind) -> impl Future<Output = ()> + use<> {
        let (connection, channel) = fixture.scope.open().await;
        channel
            .basic_qos(1, BasicQosOptions::default())
            .await
            .unwrap();
        let mut jobs = consume(&channel, fixture.scope.names.jobs(kind)).await;
        let (gate, store) = (Arc::clone(&fixture.gate), Arc::clone(&fixture.store));
        async move {
            while let Some(Ok(message)) = jobs.next().await {
                answer(&channel, &gate, &store, kind, message).await;
            }
            drop::<Connection>(connection);
        }
    }
}

async fn answer(
    channel: &Channel,
    gate: &Arc<Gate>,
    store: &MemoryBlockStore,
    kind: JobKind,
    message: Delivery,
) {
    let parts = parse_job(kind, &message.data).unwrap();
    let mut blocks = HashMap::new();
    let mut missing = vec![];
    for hash in parts.wanted() {
        match store.get(parts.domain(), &hash).await.unwrap() {
            Some(bytes) => {
                blocks.insert(hash, Arc::new(decode_block(&bytes).unwrap()));
            }
            None => missing.push(hash),
        }
    }
    let reply = if missing.is_empty() {
        let job = parts.assemble(|hash| blocks.get(hash).cloned()).unwrap();
        let gate = Arc::clone(gate);
        let done = tokio::task::spawn_blocking(move || {
            catch_unwind(AssertUnwindSafe(|| match &job.task {
                Task::Extract(_) => perform(&gate, &job),
                Task::Compare(task) => Reply::Compared(CompareReply {
                    pairs: (task.left.block.rows() * task.rights[0].block.rows()) as u64,
                    found: vec![],
                }),
            }))
            .unwrap_or_else(|_| Reply::Failed("it panicked: told to".into()))
        });
        encode_reply(&done.await.unwrap())
    } else {
        missing_blocks(&missing)
    };
    let properties = reply_properties(&reply, &message.properties);
    let key = message.properties.reply_to().clone().unwrap();
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), key, options, &reply.body, properties);
    // The channel closes at the end of a case.
    if sent.await.is_ok() {
        let _ = message.ack(BasicAckOptions::default()).await;
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.abort());
        self.jobs.close();
    }
}

impl Fixture for Rabbit {
    fn jobs(&self) -> Arc<dyn Jobs> {
        Arc::<RabbitJobs>::clone(&self.jobs)
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }

    fn close(&self) {
        self.jobs.close();
    }
}

dispatch_contract!(Rabbit::fresh().await);

/// Compares a small block with a large one.
fn comparison() -> Job {
    let side = |rows: usize, terms: u32| {
        let mut builder = BlockBuilder::new(Space::stored("words-1/en"), 0);
        let (ids, weights) = ((0..terms).collect(), vec![0.5; terms as usize]);
        let feature = Feature::new(vec![], ids, weights).unwrap();
        for row in 0..rows {
            builder.push(ItemId::new(&format!("i{row}")).unwrap(), 1, &feature);
        }
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(rows),
            floors: vec![Floor::Open; rows],
        }
    };
    Job {
        domain: DomainName::new("contract").unwrap(),
        task: Task::Compare(Arc::new(CompareTask {
            left: side(2, 3),
            within_left: true,
            rights: vec![side(4_000, 100)],
            keep: 64,
        })),
    }
}

async fn reply(fixture: &Rabbit) -> Returned {
    let reply = tokio::time::timeout(DEADLINE, fixture.jobs.next_reply()).await;
    reply.unwrap().unwrap()
}

#[tokio::test]
async fn large_blocks_are_stored_once_and_again_when_they_are_missing() {
    let fixture = Rabbit::fresh().await;
    let (job, far) = (comparison(), Duration::from_secs(60));
    for id in 0..2 {
        let sent = fixture
            .jobs
            .send(JobId(id), Attempt(1), far, job.clone())
            .await;
        assert_eq!(sent, Ok(()));
        let returned = reply(&fixture).await;
        assert!(matches!(returned.reply, Reply::Compared(found) if found.pairs == 8_000));
        assert_eq!(fixture.store.len(), 1, "only the large one");
    }
    // Deleted behind our back: one attempt fails, the next stores it again.
    let Task::Compare(task) = &job.task else {
        unreachable!("it compares")
    };
    let bytes = kindred_shared::wire::encode_block(&task.rights[0].block);
    let hash = kindred_shared::wire::hash_of(&bytes);
    fixture.store.delete(&job.domain, &hash).await.unwrap();
    assert!(fixture.store.is_empty());
    let sent = fixture
        .jobs
        .send(JobId(2), Attempt(1), far, job.clone())
        .await;
    assert_eq!(sent, Ok(()));
    assert!(
        matches!(reply(&fixture).await.reply, Reply::Failed(why) if why.contains("not stored"))
    );
    let sent = fixture.jobs.send(JobId(2), Attempt(2), far, job).await;
    assert_eq!(sent, Ok(()));
    assert!(matches!(reply(&fixture).await.reply, Reply::Compared(_)));
}

/// Sends a job that kills six workers.
async fn send_killer(fixture: &Rabbit, jobs: &RabbitJobs, id: JobId, attempt: Attempt) {
    let far = Duration::from_secs(60);
    let sent = jobs.send(id, attempt, far, job("poison")).await;
    assert_eq!(sent, Ok(()));
    for _ in 0..6 {
        let (connection, channel) = fixture.scope.open().await;
        let mut queue = consume(&channel, fixture.scope.names.jobs(JobKind::Extract)).await;
        next(&mut queue).await;
        // The worker dies while working on it.
        kindred_runtime::amqp::close(&connection).await;
    }
}

async fn next(consumer: &mut Consumer) -> Delivery {
    let message = tokio::time::timeout(DEADLINE, consumer.next()).await;
    message.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn over_a_slow_network_no_reply_waits_until_workers_are_counted() {
    const JOBS: usize = 40;
    let fixture = Rabbit::fresh().await;
    let options = RabbitJobsOptions {
        names: fixture.scope.names.clone(),
        boot_id: "far".into(),
        capacity: JOBS,
    };
    // Counting takes longer than the pause between two counts.
    let latency = Duration::from_millis(150);
    let connector = fixture.scope.over_a_slow_network(latency).await;
    let blocks = Arc::<MemoryBlockStore>::clone(&fixture.store);
    let jobs = RabbitJobs::start(connector, options, blocks);
    until("jobs can be sent", || jobs.is_connected()).await;
    let far = Duration::from_secs(60);
    let send = |id: usize| jobs.send(JobId(id as u64), Attempt(1), far, job("echo"));
    let sent = futures_util::future::join_all((0..JOBS).map(send)).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let replies = async {
        for _ in 0..JOBS {
            jobs.next_reply().await.unwrap();
        }
    };
    let all = tokio::time::timeout(DEADLINE, replies).await;
    assert!(all.is_ok(), "replies wait");
    jobs.close();
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_answered_and_kept() {
    let fixture = Rabbit::without_workers().await;
    assert_eq!(fixture.jobs.workers(), 0);
    send_killer(&fixture, &fixture.jobs, JobId(1), Attempt(3)).await;
    let returned = reply(&fixture).await;
    assert_eq!((returned.job, returned.attempt), (JobId(1), Attempt(3)));
    assert!(returned.kills_workers);
    assert!(matches!(returned.reply, Reply::Failed(why) if why.contains("it kills workers")));
    let (connection, channel) = fixture.scope.open().await;
    let mut dead = consume(&channel, fixture.scope.names.jobs_dead()).await;
    let kept = next(&mut dead).await;
    assert_eq!(kept.properties.kind().as_ref().unwrap().as_str(), "extract");
    kept.ack(BasicAckOptions::default()).await.unwrap();
    kindred_runtime::amqp::close(&connection).await;
}

/// Declares dead-lettering of jobs as version 0.1 did.
async fn as_before(channel: &Channel, names: &Names) {
    let queue = names.jobs_dead();
    let none = FieldTable::default;
    channel
        .exchange_delete(names.dead_jobs(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    channel
        .queue_bind(
            queue.clone(),
            names.dead(),
            queue,
            QueueBindOptions::default(),
            none(),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn only_jobs_that_killed_workers_are_kept_even_on_an_older_topology() {
    let fixture = Rabbit::without_workers().await;
    let names = fixture.scope.names.clone();
    let (connection, channel) = fixture.scope.open().await;
    as_before(&channel, &names).await;
    // As an upgraded service does, and another one when it starts.
    for _ in 0..2 {
        declare(&connection, &names, 1, None).await.unwrap();
    }
    // A running service's reply queue is bound again with its next connection.
    let upgraded = RabbitJobsOptions {
        names: names.clone(),
        boot_id: "b2".into(),
        capacity: CAPACITY,
    };
    let blocks = Arc::<MemoryBlockStore>::clone(&fixture.store);
    let upgraded = RabbitJobs::start(fixture.scope.connector.clone(), upgraded, blocks);
    until("jobs can be sent", || upgraded.is_connected()).await;

    // Sees every dead job, as the queue did before.
    let all = channel
        .queue_declare(
            "".into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let all = all.name().clone();
    let (key, options) = (names.jobs_dead(), QueueBindOptions::default());
    channel
        .queue_bind(
            all.clone(),
            names.dead(),
            key,
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let mut all = consume(&channel, all).await;
    let soon = Duration::from_millis(50);
    let sent = upgraded.send(JobId(1), Attempt(1), soon, job("echo")).await;
    assert_eq!(sent, Ok(()));
    let expired = next(&mut all).await;
    let address = |message: &Delivery| message.properties.correlation_id().clone().unwrap();
    assert_eq!(address(&expired).as_str(), "1.1");

    send_killer(&fixture, &upgraded, JobId(2), Attempt(1)).await;
    let returned = tokio::time::timeout(DEADLINE, upgraded.next_reply()).await;
    assert!(returned.unwrap().unwrap().kills_workers);
    upgraded.close();
    let (reading, dead) = fixture.scope.open().await;
    let mut dead = consume(&dead, names.jobs_dead()).await;
    // The expired one would have come first.
    assert_eq!(address(&next(&mut dead).await).as_str(), "2.1");
    kindred_runtime::amqp::close(&reading).await;
    kindred_runtime::amqp::close(&connection).await;
}

#[tokio::test]
async fn a_reply_of_a_newer_protocol_is_told_and_blames_no_item() {
    let fixture = Rabbit::without_workers().await;
    let far = Duration::from_secs(60);
    let sent = fixture
        .jobs
        .send(JobId(1), Attempt(1), far, job("echo"))
        .await;
    assert_eq!(sent, Ok(()));
    let (connection, channel) = fixture.scope.open().await;
    let mut jobs = consume(&channel, fixture.scope.names.jobs(JobKind::Extract)).await;
    let message = next(&mut jobs).await;
    let answer = encode_reply(&Reply::Extracted(vec![]));
    let properties = reply_properties(&answer, &message.properties);
    let mut headers = properties.headers().clone().unwrap();
    headers.insert(PROTOCOL_HEADER.into(), AMQPValue::LongString("7".into()));
    let key = message.properties.reply_to().clone().unwrap();
    let options = BasicPublishOptions::default();
    let newer = properties.with_headers(headers);
    let sent = channel.basic_publish("".into(), key, options, &answer.body, newer);
    sent.await.unwrap();
    message.ack(BasicAckOptions::default()).await.unwrap();
    let returned = reply(&fixture).await.reply;
    assert!(
        matches!(&returned, Reply::Refused(refused) if refused.reason == "unknown-protocol"),
        "{returned:?}"
    );
    kindred_runtime::amqp::close(&connection).await;
}
