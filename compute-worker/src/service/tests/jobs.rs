//! Whatever happens to a job, it is settled only when that loses nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kindred_runtime::amqp::{card_from_value, job_properties};
use kindred_shared::block_store::BlockStore;
use kindred_shared::job::{
    CompareReply, CompareTask, ExtractTask, Floor, Job, Reply, Side, Task, TermCounts,
};
use kindred_shared::wire::{
    DecodedReply, EncodedJob, JobAddress, JobKind, PROTOCOL_HEADER, decode_reply, encode_block,
    encode_job, hash_of,
};
use kindred_shared::worker::WORKER_HEADER;
use kindred_shared::{Block, BlockBuilder, DomainName, Feature, ItemId, Space};
use kindred_similarity::RowMask;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use tokio::time::Instant;

use super::edges::{BrokerCall, FakeBroker, FakeStore};
use crate::models::Models;
use crate::service::blocks::Blocks;
use crate::service::job::{JobHandler, Lost, Published, Taken};
use crate::service::read_block;
use crate::service::status::{JobEnd, WorkerStatus};
use crate::word_vectors::Vectors;
use crate::{Worker, pool};
use kindred_similarity::Kernel;

const EXPIRES: Duration = Duration::from_secs(30);

fn domain() -> DomainName {
    DomainName::new("news.example").unwrap()
}

fn worker() -> Worker {
    let models = Models::new(Arc::new(Vectors::none()));
    Worker::new(models, Kernel::Scalar, Arc::new(pool(2).unwrap()))
}

fn handler(store: &Arc<FakeStore>) -> JobHandler {
    let status = Arc::new(WorkerStatus::new("box-1".to_owned(), "scalar", 2));
    let store: Arc<dyn BlockStore> = Arc::clone(store) as _;
    let blocks = Blocks::new(store, read_block, 1 << 20, Arc::clone(&status));
    JobHandler::new(worker(), Arc::new(blocks), status)
}

fn extract() -> Job {
    let task = ExtractTask {
        space: Space::stored("words-1/en"),
        rows: vec![TermCounts {
            id: ItemId::new("a").unwrap(),
            terms: vec![("mouse".into(), 1)],
        }],
    };
    Job {
        domain: domain(),
        task: Task::Extract(Arc::new(task)),
    }
}

fn block(name: &str, dimension: usize) -> Arc<Block> {
    let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
    for row in 0..3 {
        let id = ItemId::new(&format!("{name}{row}")).unwrap();
        let mut dense = vec![0.0; dimension];
        dense[row] = 0.6;
        dense[(row + 1) % dimension] = 0.8;
        builder.push(id, 1, &Feature::new(dense, vec![], vec![]).unwrap());
    }
    Arc::new(builder.build())
}

fn compare(left: &Arc<Block>, right: &Arc<Block>) -> Job {
    let side = |block: &Arc<Block>| Side {
        block: Arc::clone(block),
        live: RowMask::all(block.rows()),
        floors: vec![Floor::Open; block.rows()],
    };
    let task = CompareTask {
        left: side(left),
        within_left: true,
        rights: vec![side(right)],
        keep: 8,
    };
    Job {
        domain: domain(),
        task: Task::Compare(Arc::new(task)),
    }
}

/// A job as delivered by the broker.
fn taken(job: &EncodedJob, broker: &FakeBroker) -> Taken {
    let address = JobAddress { job: 7, attempt: 2 };
    let properties = job_properties(job, address, &"kindred.replies.x".into(), EXPIRES);
    with(job.kind, properties, job.body.clone(), broker)
}

fn with(kind: JobKind, properties: BasicProperties, body: Vec<u8>, broker: &FakeBroker) -> Taken {
    Taken {
        kind,
        properties,
        body,
        at: Instant::now(),
        settle: Box::new(broker.clone()),
    }
}

/// A job that carries its blocks.
fn inline(job: &Job) -> EncodedJob {
    encode_job(job, &|_| None).unwrap()
}

/// A job that names its blocks.
fn named(job: &Job) -> EncodedJob {
    encode_job(job, &|block| Some(hash_of(&encode_block(block)))).unwrap()
}

async fn store(store: &FakeStore, blocks: &[&Arc<Block>]) {
    for block in blocks {
        let bytes = encode_block(block);
        store
            .put(&domain(), &hash_of(&bytes), &bytes)
            .await
            .unwrap();
    }
}

/// The one answer, which was sent before the one acknowledgement.
#[track_caller]
fn answered(broker: &FakeBroker) -> (BasicProperties, DecodedReply) {
    let asked = broker.asked();
    let [BrokerCall::Answer(queue, properties, body), BrokerCall::Ack] = asked.as_slice() else {
        panic!("{asked:?} is an answer and then an acknowledgement");
    };
    assert_eq!(queue.as_str(), "kindred.replies.x");
    let kind = properties.kind().as_ref().unwrap();
    let answer = decode_reply(kind.as_str(), body).unwrap();
    (BasicProperties::clone(properties), answer)
}

#[track_caller]
fn compared(answer: DecodedReply) -> CompareReply {
    match answer {
        DecodedReply::Reply(Reply::Compared(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_is_answered_to_who_asked_and_then_acknowledged() {
    let (handler, broker) = (handler(&Arc::default()), FakeBroker::default());
    let end = handler
        .handle(taken(&inline(&extract()), &broker), &broker)
        .await;
    assert_eq!(end, JobEnd::Answered);
    let (properties, answer) = answered(&broker);
    assert_eq!(
        properties.correlation_id().as_ref().unwrap().as_str(),
        "7.2"
    );
    let headers = properties.headers().as_ref().unwrap();
    let card = card_from_value(headers.inner().get(WORKER_HEADER).unwrap()).unwrap();
    assert_eq!(
        (card.name.as_str(), card.kernel.as_str()),
        ("box-1", "scalar")
    );
    assert_eq!((card.threads, card.jobs_done), (2, 1));
    let DecodedReply::Reply(Reply::Extracted(features)) = answer else {
        panic!("{answer:?}");
    };
    let Reply::Extracted(wanted) = worker().perform(&extract()) else {
        panic!("a good job is done");
    };
    assert_eq!(features, wanted);
}

#[tokio::test]
async fn named_blocks_are_read_once_and_give_what_inline_ones_give() {
    let fakes = Arc::new(FakeStore::default());
    let (left, right) = (block("a", 4), block("b", 4));
    store(&fakes, &[&left, &right]).await;
    let job = compare(&left, &right);
    let Reply::Compared(wanted) = worker().perform(&job) else {
        panic!("a good job is done");
    };
    assert!(wanted.pairs > 0 && !wanted.found.is_empty());
    let handler = handler(&fakes);
    for message in [inline(&job), named(&job), named(&job)] {
        let broker = FakeBroker::default();
        let end = handler.handle(taken(&message, &broker), &broker).await;
        assert_eq!(end, JobEnd::Answered);
        let reply = compared(answered(&broker).1);
        assert_eq!((reply.pairs, &reply.found), (wanted.pairs, &wanted.found));
    }
    assert_eq!(fakes.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn blocks_that_are_not_there_or_damaged_are_asked_for() {
    let (left, right) = (block("a", 4), block("b", 4));
    let fakes = Arc::new(FakeStore::default());
    store(&fakes, &[&left]).await;
    let hash = |block: &Arc<Block>| hash_of(&encode_block(block));
    let message = named(&compare(&left, &right));
    for damaged in [false, true] {
        let mut wanted = vec![hash(&right)];
        if damaged {
            let bytes = encode_block(&right);
            fakes.put(&domain(), &hash(&left), &bytes).await.unwrap();
            wanted.push(hash(&left));
        }
        let broker = FakeBroker::default();
        let end = handler(&fakes)
            .handle(taken(&message, &broker), &broker)
            .await;
        assert_eq!(end, JobEnd::Failed);
        let DecodedReply::MissingBlocks(mut asked) = answered(&broker).1 else {
            panic!("an answer that names blocks");
        };
        asked.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(asked, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_in_time_is_waited_for() {
    let fakes = Arc::new(FakeStore::default());
    let (left, right) = (block("a", 4), block("b", 4));
    store(&fakes, &[&left, &right]).await;
    fakes.failures.store(9, Ordering::SeqCst);
    let (handler, broker) = (handler(&fakes), FakeBroker::default());
    let message = named(&compare(&left, &right));
    let end = handler.handle(taken(&message, &broker), &broker).await;
    assert_eq!(end, JobEnd::Answered);
    assert!(compared(answered(&broker).1).pairs > 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_past_its_deadline_is_acknowledged_undone() {
    let fakes = Arc::new(FakeStore::default());
    let (left, right) = (block("a", 4), block("b", 4));
    store(&fakes, &[&left, &right]).await;
    fakes.failures.store(usize::MAX, Ordering::SeqCst);
    let (handler, broker) = (handler(&fakes), FakeBroker::default());
    let begun = Instant::now();
    let message = named(&compare(&left, &right));
    let end = handler.handle(taken(&message, &broker), &broker).await;
    assert_eq!(end, JobEnd::Expired);
    assert!(begun.elapsed() <= EXPIRES);
    assert!(matches!(broker.asked().as_slice(), [BrokerCall::Ack]));
}

#[tokio::test]
async fn what_is_no_job_is_refused_with_the_reason() {
    let good = inline(&extract());
    let address = JobAddress { job: 7, attempt: 2 };
    let table = [
        (JobKind::Extract, b"{".to_vec(), "damaged"),
        (JobKind::Compare, good.body.clone(), "safetensors"),
    ];
    for (kind, body, word) in table {
        let (handler, broker) = (handler(&Arc::default()), FakeBroker::default());
        let properties = job_properties(&good, address, &"kindred.replies.x".into(), EXPIRES);
        let message = with(kind, properties, body, &broker);
        assert_eq!(handler.handle(message, &broker).await, JobEnd::Malformed);
        let (properties, answer) = answered(&broker);
        let correlation = properties.correlation_id().as_ref().unwrap();
        assert_eq!(correlation.as_str(), "7.2");
        let DecodedReply::Reply(Reply::Refused(refused)) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(refused.reason, "malformed-job");
        assert!(refused.detail.contains(word), "{refused}");
    }
}

#[tokio::test]
async fn blocks_that_do_not_fit_each_other_are_refused() {
    let fakes = Arc::new(FakeStore::default());
    let (left, right) = (block("a", 4), block("b", 5));
    store(&fakes, &[&left, &right]).await;
    let job = compare(&left, &right);
    for message in [inline(&job), named(&job)] {
        let (handler, broker) = (handler(&fakes), FakeBroker::default());
        let end = handler.handle(taken(&message, &broker), &broker).await;
        assert_eq!(end, JobEnd::Malformed);
        let DecodedReply::Reply(Reply::Refused(refused)) = answered(&broker).1 else {
            panic!("it is refused");
        };
        assert_eq!(refused.reason, "malformed-job");
        let words = "dense parts of 4 values meet others of 5";
        assert!(refused.detail.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn a_job_of_a_newer_protocol_is_refused_with_its_name() {
    let good = inline(&extract());
    let address = JobAddress { job: 7, attempt: 2 };
    let properties = job_properties(&good, address, &"kindred.replies.x".into(), EXPIRES);
    let mut headers = properties.headers().clone().unwrap();
    headers.insert(PROTOCOL_HEADER.into(), AMQPValue::LongString("7".into()));
    let (handler, broker) = (handler(&Arc::default()), FakeBroker::default());
    let newer = properties.with_headers(headers);
    let message = with(JobKind::Extract, newer, good.body.clone(), &broker);
    assert_eq!(handler.handle(message, &broker).await, JobEnd::Malformed);
    let DecodedReply::Reply(Reply::Refused(refused)) = answered(&broker).1 else {
        panic!("it is refused");
    };
    assert_eq!(refused.reason, "unknown-protocol");
    assert!(refused.detail.contains('7'), "{refused}");
}

#[tokio::test]
async fn what_does_not_say_whom_to_answer_is_dropped() {
    let good = inline(&extract());
    for body in [good.body.clone(), b"{".to_vec()] {
        let (handler, broker) = (handler(&Arc::default()), FakeBroker::default());
        let message = with(JobKind::Extract, BasicProperties::default(), body, &broker);
        assert_eq!(handler.handle(message, &broker).await, JobEnd::Malformed);
        assert!(matches!(broker.asked().as_slice(), [BrokerCall::Ack]));
    }
}

#[tokio::test]
async fn without_its_confirm_nothing_is_acknowledged() {
    let lost = || Err(Lost("told to".to_owned()));
    let good = inline(&extract());
    let damaged = EncodedJob {
        body: b"{".to_vec(),
        ..good.clone()
    };
    for job in [good, damaged] {
        let handler = handler(&Arc::default());
        let broker = FakeBroker::default().then(lost());
        let end = handler.handle(taken(&job, &broker), &broker).await;
        assert_eq!(end, JobEnd::Lost);
        assert!(matches!(
            broker.asked().as_slice(),
            [BrokerCall::Answer(..)]
        ));
    }
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_dropped_and_its_job_acknowledged() {
    let handler = handler(&Arc::default());
    let broker = FakeBroker::default().then(Ok(Published::Unroutable));
    let end = handler
        .handle(taken(&inline(&extract()), &broker), &broker)
        .await;
    assert_eq!(end, JobEnd::Orphaned);
    answered(&broker);
}

#[tokio::test(start_paused = true)]
async fn a_full_reply_queue_is_tried_again_until_the_deadline() {
    let good = inline(&extract());
    for (refusals, wanted) in [(3, JobEnd::Answered), (10_000, JobEnd::Expired)] {
        let handler = handler(&Arc::default());
        let refuse = |broker: FakeBroker, _| broker.then(Ok(Published::Refused));
        let broker = (0..refusals).fold(FakeBroker::default(), refuse);
        let end = handler.handle(taken(&good, &broker), &broker).await;
        assert_eq!(end, wanted);
        let asked = broker.asked();
        let (last, sent) = asked.split_last().unwrap();
        assert!(matches!(last, BrokerCall::Ack));
        assert!(sent.len() >= 4 && sent.iter().all(|one| matches!(one, BrokerCall::Answer(..))));
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_done_is_answered_with_its_failure() {
    let (handler, broker) = (handler(&Arc::default()), FakeBroker::default());
    let task = ExtractTask {
        space: Space::own(2),
        rows: vec![],
    };
    let job = Job {
        domain: domain(),
        task: Task::Extract(Arc::new(task)),
    };
    let end = handler.handle(taken(&inline(&job), &broker), &broker).await;
    assert_eq!(end, JobEnd::Failed);
    let DecodedReply::Reply(Reply::Failed(why)) = answered(&broker).1 else {
        panic!("it failed");
    };
    assert!(why.contains("does not make features from terms"), "{why}");
}
