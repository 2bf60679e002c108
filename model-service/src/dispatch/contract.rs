//! What every implementation of the job queue must do.
//!
//! Workers of a fixture run [`perform`]; `dispatch_contract!` makes a test of every case.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use kindred_shared::job::{ExtractTask, Job, Reply, Task};
use kindred_shared::{DomainName, Feature, Space};

use kindred_domain::dispatch::*;

/// Longest a case may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// An expiry that no case reaches.
const FAR: Duration = Duration::from_secs(600);

/// A job queue under test, with workers that run [`perform`].
pub(crate) trait Fixture: Send + Sync {
    /// The edge.
    fn jobs(&self) -> Arc<dyn Jobs>;

    /// The gate its workers wait at.
    fn gate(&self) -> &Gate;

    /// Jobs that fit before it is full, including those workers have taken.
    fn capacity(&self) -> usize;

    /// Closes the edge.
    fn close(&self);
}

/// Makes a test of every case; `$fixture` is an expression that makes a fresh [`Fixture`].
macro_rules! dispatch_contract {
    (@each $fixture:expr; $($case:ident),+) => {$(
        $crate::dispatch::contract::dispatch_contract!(@one $fixture; $case);
    )+};
    (@one $fixture:expr; $case:ident) => {
        #[tokio::test]
        async fn $case() {
            let fixture = $fixture;
            tokio::time::timeout(
                $crate::dispatch::contract::DEADLINE,
                $crate::dispatch::contract::$case(&fixture),
            )
            .await
            .expect("the case ends before its deadline");
        }
    };
    ($fixture:expr) => {
        $crate::dispatch::contract::dispatch_contract!(@each $fixture;
            every_reply_reaches_its_sender, an_expired_job_is_not_done, a_full_queue_says_so,
            a_panic_is_answered, waiting_for_a_reply_can_be_given_up, closing_ends_it);
    };
}
pub(crate) use dispatch_contract;

/// Holds workers while it is closed. Open at first.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    shut: bool,
    /// Workers that have reached the gate so far.
    came: usize,
    /// Words of the completed jobs.
    done: Vec<String>,
}

impl Gate {
    fn set(&self, shut: bool) {
        self.state.lock().unwrap().shut = shut;
        self.changed.notify_all();
    }

    fn pass(&self, word: &str) {
        let mut state = self.state.lock().unwrap();
        state.came += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |s| s.shut).unwrap();
        state.done.push(word.to_string());
    }

    fn came(&self) -> usize {
        self.state.lock().unwrap().came
    }

    fn done(&self) -> Vec<String> {
        self.state.lock().unwrap().done.clone()
    }
}

/// Opens the gate at the end of a case, even a failed one, so that no worker waits forever.
struct Shut<'a>(&'a Gate);

impl<'a> Shut<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.set(true);
        Self(gate)
    }
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A job that carries a word: `panic` panics, `fail` fails, others get a reply.
pub(crate) fn job(word: &str) -> Job {
    Job {
        domain: DomainName::new("contract").unwrap(),
        task: Task::Extract(Arc::new(ExtractTask {
            space: Space::stored(word),
            rows: vec![],
        })),
    }
}

/// How a worker does a job.
pub(crate) fn perform(gate: &Gate, job: &Job) -> Reply {
    let Task::Extract(task) = &job.task else {
        return Reply::Failed("not a job of these tests".into());
    };
    let word = task.space.as_str();
    gate.pass(word);
    match word {
        "panic" => panic!("told to"),
        "fail" => Reply::Failed("told to".into()),
        _ => {
            // Splits its work, like real jobs.
            let (left, right) = rayon::join(|| word.len() as f32, || 1.0);
            Reply::Extracted(vec![
                Feature::new(vec![left, right], vec![], vec![]).unwrap(),
            ])
        }
    }
}

async fn send(jobs: &dyn Jobs, id: u64, word: &str) -> Result<(), SendError> {
    jobs.send(JobId(id), Attempt(1), FAR, job(word)).await
}

/// Sends, waiting for room while the queue is full.
async fn send_in_time(jobs: &dyn Jobs, id: u64, word: &str) {
    while let Err(error) = send(jobs, id, word).await {
        assert_eq!(error, SendError::Full);
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn every_reply_reaches_its_sender(fixture: &impl Fixture) {
    let jobs = fixture.jobs();
    assert!(jobs.workers() > 0);
    let mut answered = BTreeSet::new();
    for round in 0..20 {
        for n in 0..3 {
            let id = JobId(round * 3 + n);
            let word = "x".repeat(id.0 as usize + 1);
            let attempt = Attempt(n as u32 + 1);
            let sent = jobs.send(id, attempt, FAR, job(&word)).await;
            assert_eq!(sent, Ok(()));
        }
        // In any order.
        for _ in 0..3 {
            let returned = jobs.next_reply().await.unwrap();
            assert_eq!(u64::from(returned.attempt.0), returned.job.0 % 3 + 1);
            let Reply::Extracted(features) = returned.reply else {
                panic!("{:?}", returned.reply);
            };
            let words = returned.job.0 as f32 + 1.0;
            assert_eq!(features[0].dense(), [words, 1.0]);
            assert!(answered.insert(returned.job), "answered twice");
        }
    }
    assert_eq!(answered.len(), 60);
}

pub(crate) async fn an_expired_job_is_not_done(fixture: &impl Fixture) {
    let jobs = fixture.jobs();
    let gate = Shut::new(fixture.gate());
    let sent = jobs
        .send(JobId(0), Attempt(1), Duration::ZERO, job("too late"))
        .await;
    assert_eq!(sent, Ok(()));
    drop(gate);
    send_in_time(&*jobs, 1, "in time").await;
    let returned = jobs.next_reply().await.unwrap();
    assert_eq!(returned.job, JobId(1), "the other has no reply");
    assert_eq!(fixture.gate().done(), ["in time"]);
}

pub(crate) async fn a_full_queue_says_so(fixture: &impl Fixture) {
    let jobs = fixture.jobs();
    let gate = Shut::new(fixture.gate());
    let mut sent = 0;
    // Workers take jobs while these are sent, so the queue may be full too early at first.
    while sent < fixture.capacity() {
        send_in_time(&*jobs, sent as u64, "waits").await;
        sent += 1;
    }
    assert_eq!(send(&*jobs, 99, "one too many").await, Err(SendError::Full));
    assert!(
        fixture.gate().came() < fixture.capacity(),
        "not all are in hand"
    );
    drop(gate);
    for _ in 0..sent {
        assert!(matches!(
            jobs.next_reply().await.unwrap().reply,
            Reply::Extracted(_)
        ));
    }
    send_in_time(&*jobs, 100, "room again").await;
    assert_eq!(jobs.next_reply().await.unwrap().job, JobId(100));
}

pub(crate) async fn a_panic_is_answered(fixture: &impl Fixture) {
    let jobs = fixture.jobs();
    for (id, word) in (0..).zip(["panic", "fail", "panic", "fine", "panic", "fine"]) {
        send_in_time(&*jobs, id, word).await;
        let returned = jobs.next_reply().await.unwrap();
        assert_eq!(returned.job, JobId(id));
        match (word, returned.reply) {
            ("fine", reply) => assert!(matches!(reply, Reply::Extracted(_))),
            (_, Reply::Failed(why)) => assert!(why.contains("told to"), "{why}"),
            (_, reply) => panic!("{reply:?}"),
        }
    }
}

pub(crate) async fn waiting_for_a_reply_can_be_given_up(fixture: &impl Fixture) {
    let jobs = fixture.jobs();
    let gate = Shut::new(fixture.gate());
    send_in_time(&*jobs, 7, "slow").await;
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::ZERO, jobs.next_reply()).await;
        assert!(given_up.is_err(), "nothing is done yet");
    }
    drop(gate);
    assert_eq!(jobs.next_reply().await.unwrap().job, JobId(7));
}

pub(crate) async fn closing_ends_it(fixture: &impl Fixture) {
    let jobs = fixture.jobs();
    send_in_time(&*jobs, 1, "before").await;
    assert!(jobs.next_reply().await.is_some());
    fixture.close();
    let late = send(&*jobs, 2, "after").await;
    assert!(matches!(late, Err(SendError::Away(_))));
    assert!(jobs.next_reply().await.is_none());
    assert_eq!(jobs.workers(), 0);
}
