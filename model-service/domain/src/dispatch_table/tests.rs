#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use kindred_shared::job::{ExtractTask, JobRefusal, Task, TermCounts};
use kindred_shared::{Feature, ItemId, Space};
use proptest::prelude::*;

use super::*;

/// Room for two jobs of one domain and three in all: every job counts for at least 2 ms.
const LIMITS: DispatchLimits = DispatchLimits {
    total: 3,
    per_thread: Duration::from_millis(8),
    deadline: Duration::from_secs(30),
};

fn job(domain: &str) -> Job {
    Job {
        domain: DomainName::new(domain).unwrap(),
        task: Task::Extract(Arc::new(ExtractTask {
            space: Space::stored("words-1/en"),
            rows: vec![TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: vec![],
            }],
        })),
    }
}

fn sends(actions: &[Action]) -> Vec<(u64, u32)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { id, attempt, .. } => Some((id.0, attempt.0)),
            Action::GiveUp { .. } => None,
        })
        .collect()
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn done() -> Reply {
    Reply::Extracted(vec![Feature::zero()])
}

#[test]
fn domains_take_turns_within_their_limits() {
    let mut table = DispatchTable::new(LIMITS);
    for domain in ["a", "a", "a", "b", "c"] {
        table.submit(job(domain));
    }
    assert_eq!(sends(&table.poll(at(0), 1)), [(1, 1), (4, 1), (5, 1)]);
    assert!(matches!(
        table.answer(at(1), JobId(4), Attempt(1), done()),
        ReplyOutcome::Due(_)
    ));
    assert_eq!(sends(&table.poll(at(1), 1)), [(2, 1)]);
    table.answer(at(1), JobId(5), Attempt(1), done());
    assert_eq!(
        sends(&table.poll(at(1), 1)),
        [],
        "domain a has two in flight"
    );
}

/// A job that takes as long as a piece.
fn piece(domain: &str) -> Job {
    let item = TermCounts {
        id: ItemId::new("a").unwrap(),
        terms: vec![("x".repeat(effort::PIECE_TERM_BYTES - 8).into(), 1)],
    };
    Job {
        domain: DomainName::new(domain).unwrap(),
        task: Task::Extract(Arc::new(ExtractTask {
            space: Space::stored("words-1/en"),
            rows: vec![item],
        })),
    }
}

/// Simulates workers with this many threads that take jobs in the order they were sent. Returns how
/// many other jobs are answered between a job's submission and its answer, and how long that takes.
fn overtaken(threads: usize, others: &[&str]) -> (usize, Duration) {
    let limits = DispatchLimits {
        total: 256,
        per_thread: WORK_PER_THREAD,
        deadline: Duration::from_secs(30),
    };
    let mut table = DispatchTable::new(limits);
    table.set_threads(threads);
    for domain in others {
        let piece = piece(domain);
        (0..1_000).for_each(|_| {
            table.submit(piece.clone());
        });
    }
    let mut queue: VecDeque<JobId> = VecDeque::new();
    let (mut now, mut small) = (at(0), None);
    for round in 0.. {
        let actions = table.poll(now, 1);
        queue.extend(sends(&actions).iter().map(|(id, _)| JobId(*id)));
        assert!(queue.len() >= 2 * threads, "no thread is without work");
        if round == 20 {
            small = Some((table.submit(job("small")), now));
            let actions = table.poll(now, 1);
            queue.extend(sends(&actions).iter().map(|(id, _)| JobId(*id)));
        }
        now += effort::PIECE;
        for (nth, id) in queue.drain(..threads).enumerate() {
            table.answer(now, id, Attempt(1), done());
            if let Some((small, came)) = small
                && small == id
            {
                return ((round - 20) * threads + nth, now - came);
            }
        }
    }
    unreachable!("it goes on until the job is answered")
}

#[test]
fn one_job_does_not_wait_behind_a_thousand_of_others() {
    for threads in [1, 2, 16] {
        let (before, after) = overtaken(threads, &["large"]);
        assert!(before <= 2 * threads, "{before} pieces before it");
        assert!(after <= 3 * effort::PIECE, "after {after:?}");
        let (before, after) = overtaken(threads, &["a", "b", "c", "d"]);
        assert!(before <= 4 * threads, "{before} pieces before it");
        assert!(after <= 5 * effort::PIECE, "after {after:?}");
    }
}

#[test]
fn what_takes_longer_than_all_may_is_sent_alone() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(piece("a"));
    table.submit(job("b"));
    assert_eq!(sends(&table.poll(at(0), 1)), [(1, 1)]);
    table.answer(at(1), JobId(1), Attempt(1), done());
    assert_eq!(sends(&table.poll(at(1), 1)), [(2, 1)]);
    table.submit(piece("a"));
    assert_eq!(sends(&table.poll(at(1), 1)), []);
    table.set_threads(20);
    assert_eq!(sends(&table.poll(at(1), 1)), [(3, 1)]);
}

#[test]
fn an_overdue_job_is_sent_again_with_a_longer_deadline_and_given_up_in_the_end() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    let mut now = at(0);
    for attempt in 1..=ATTEMPTS {
        assert_eq!(sends(&table.poll(now, 1)), [(1, attempt)]);
        let deadline = table.deadline().unwrap();
        assert_eq!(deadline - now, at(30) * (1 << (attempt - 1)));
        now = deadline;
    }
    let given_up = table.poll(now, 1);
    assert!(matches!(
        &given_up[..],
        [Action::GiveUp {
            id: JobId(1),
            by_worker: false,
            ..
        }]
    ));
    assert!(table.is_empty() && table.in_flight() == 0);
}

#[test]
fn nothing_is_sent_again_while_nobody_works() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    table.poll(at(0), 0);
    for hour in 1..10 {
        assert!(table.poll(at(hour * 3600), 0).is_empty());
    }
    assert_eq!(sends(&table.poll(at(40_000), 1)), [(1, 2)]);
}

#[test]
fn the_first_answer_counts_and_others_are_late() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    table.poll(at(0), 1);
    assert_eq!(sends(&table.poll(at(30), 1)), [(1, 2)]);
    assert!(matches!(
        table.answer(at(31), JobId(1), Attempt(1), done()),
        ReplyOutcome::Due(_)
    ));
    assert!(matches!(
        table.answer(at(32), JobId(1), Attempt(2), done()),
        ReplyOutcome::Late
    ));
}

#[test]
fn a_worker_that_cannot_is_asked_again_later() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    table.poll(at(0), 1);
    let failed = Reply::Failed("no".into());
    assert!(matches!(
        table.answer(at(1), JobId(1), Attempt(1), failed),
        ReplyOutcome::Retried
    ));
    assert!(table.poll(at(1), 1).is_empty());
    assert_eq!(sends(&table.poll(at(2), 1)), [(1, 2)]);
}

#[test]
fn a_job_that_workers_cannot_take_up_is_not_at_fault() {
    let refused = Reply::Refused(JobRefusal {
        reason: "unknown-protocol".to_owned(),
        detail: "it is of protocol 7".to_owned(),
    });
    for (reply, word) in [
        (Reply::UnknownModel("words-0".into()), "words-0"),
        (refused, "unknown-protocol: it is of protocol 7"),
    ] {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        let mut now = 0;
        for attempt in 1..=ATTEMPTS {
            assert_eq!(sends(&table.poll(at(now), 1)), [(1, attempt)]);
            let answer = table.answer(at(now), JobId(1), Attempt(attempt), reply.clone());
            assert!(matches!(answer, ReplyOutcome::Retried));
            now += 100;
        }
        let actions = table.poll(at(now), 1);
        assert!(
            matches!(&actions[..], [Action::GiveUp { by_worker: false, reason, .. }]
                if reason.contains(word)),
            "{actions:?}"
        );
    }
}

#[test]
fn an_impossible_answer_is_ignored_and_the_job_is_sent_again() {
    let two = || Reply::Extracted(vec![Feature::zero(); 2]);
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    let mut now = 0;
    for attempt in 1..=ATTEMPTS {
        assert_eq!(sends(&table.poll(at(now), 1)), [(1, attempt)]);
        let answer = table.answer(at(now), JobId(1), Attempt(attempt), two());
        assert!(
            matches!(&answer, ReplyOutcome::Unfit(unfit) if unfit.fault == Fault::WrongCount),
            "{answer:?}"
        );
        assert_eq!(table.in_flight(), 0);
        // A repeated bad answer is refused again and changes nothing.
        let again = table.answer(at(now), JobId(1), Attempt(attempt), two());
        assert!(matches!(again, ReplyOutcome::Unfit(_)));
        now += 100;
    }
    // No item is to blame.
    let actions = table.poll(at(now), 1);
    assert!(
        matches!(&actions[..], [Action::GiveUp { by_worker: false, reason, .. }]
            if reason.contains("wrong-count: 2 features for 1 items")),
        "{actions:?}"
    );
}

#[test]
fn a_good_answer_counts_after_a_refused_one() {
    let dense = |length: usize| {
        let mut values = vec![0.0; length];
        values[0] = 1.0;
        Reply::Extracted(vec![Feature::new(values, vec![], vec![]).unwrap()])
    };
    let mut table = DispatchTable::new(LIMITS);
    table.submit_for(job("a"), Some(3));
    table.poll(at(0), 1);
    let refused = table.answer(at(1), JobId(1), Attempt(1), dense(2));
    assert!(matches!(refused, ReplyOutcome::Unfit(unfit) if unfit.fault == Fault::WrongLength));
    assert_eq!(sends(&table.poll(at(2), 1)), [(1, 2)]);
    let good = table.answer(at(3), JobId(1), Attempt(2), dense(3));
    assert!(matches!(good, ReplyOutcome::Due(_)));
    assert!(table.is_empty());
}

#[test]
fn an_overdue_job_is_sent_again_as_soon_as_there_is_a_worker() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    assert_eq!(sends(&table.poll(at(0), 1)), [(1, 1)]);
    // The worker is gone when the deadline comes; another appears soon after.
    assert_eq!(sends(&table.poll(LIMITS.deadline, 0)), []);
    let looks_again = table.deadline().unwrap();
    assert!(looks_again <= LIMITS.deadline + at(1), "{looks_again:?}");
    assert_eq!(sends(&table.poll(looks_again, 0)), []);
    assert_eq!(sends(&table.poll(looks_again + at(1), 1)), [(1, 2)]);
    assert_eq!(table.overdue(), 1);
}

#[test]
fn a_job_that_kills_workers_is_given_up_at_once_whichever_sending_did() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    table.poll(at(0), 1);
    assert_eq!(sends(&table.poll(at(30), 1)), [(1, 2)]);
    assert!(table.condemn(at(31), JobId(1), "it kills workers".into()));
    let actions = table.poll(at(31), 1);
    assert!(
        matches!(&actions[..], [Action::GiveUp { id: JobId(1), by_worker: true, reason }]
            if reason == "it kills workers"),
        "{actions:?}"
    );
    assert!(table.is_empty() && table.in_flight() == 0);
    assert!(!table.condemn(at(32), JobId(1), "again".into()));
}

#[test]
fn a_full_queue_costs_no_attempt() {
    let mut table = DispatchTable::new(LIMITS);
    table.submit(job("a"));
    for second in 0..20 {
        assert_eq!(sends(&table.poll(at(second), 1)), [(1, 1)]);
        table.not_sent(at(second), JobId(1));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(u8),
    Answer(u8, bool),
    NotSent(u8),
    Cancel(u8),
    Condemn(u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8).prop_map(Step::Submit),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(n, ok)| Step::Answer(n, ok)),
        1 => any::<u8>().prop_map(Step::NotSent),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Condemn),
        2 => (0..90u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_job_ends_once_and_limits_hold(steps in prop::collection::vec(step(), 1..150)) {
        let mut table = DispatchTable::new(LIMITS);
        let mut now = Duration::ZERO;
        let mut open: BTreeSet<u64> = BTreeSet::new();
        let mut sent: Vec<(u64, u32)> = vec![];
        let pick = |sent: &[(u64, u32)], n: u8| {
            (!sent.is_empty()).then(|| sent[usize::from(n) % sent.len()])
        };
        for step in steps {
            match step {
                Step::Submit(domain) => {
                    open.insert(table.submit(job(&format!("d{domain}"))).0);
                }
                Step::Answer(n, ok) => {
                    if let Some((id, attempt)) = pick(&sent, n) {
                        let reply = if ok { done() } else { Reply::Failed("no".into()) };
                        let answer = table.answer(now, JobId(id), Attempt(attempt), reply);
                        if let ReplyOutcome::Due(_) = answer {
                            prop_assert!(open.remove(&id), "a job ended twice");
                        }
                    }
                }
                Step::NotSent(n) => {
                    if let Some((id, _)) = pick(&sent, n) {
                        table.not_sent(now, JobId(id));
                    }
                }
                Step::Cancel(n) => {
                    if let Some((id, _)) = pick(&sent, n) {
                        table.cancel(JobId(id));
                        open.remove(&id);
                    }
                }
                Step::Condemn(n) => {
                    if let Some((id, _)) = pick(&sent, n) {
                        let waited = table.condemn(now, JobId(id), "it kills".into());
                        prop_assert_eq!(waited, open.contains(&id));
                    }
                }
                Step::Wait(seconds) => now += at(u64::from(seconds)),
            }
            for action in table.poll(now, 1) {
                match action {
                    Action::Send { id, attempt, .. } => {
                        prop_assert!(open.contains(&id.0) && attempt.0 <= ATTEMPTS);
                        sent.push((id.0, attempt.0));
                    }
                    Action::GiveUp { id, .. } => {
                        prop_assert!(open.remove(&id.0), "a job ended twice");
                    }
                }
            }
            prop_assert!(table.in_flight() <= LIMITS.total);
            prop_assert!(table.in_flight.values().all(|flight| (1..=2).contains(&flight.jobs)));
            prop_assert_eq!(table.len(), open.len());
            let queued = table.jobs.values().filter(|entry| entry.state == JobState::Queued);
            prop_assert_eq!(queued.count(), table.queued.len());
            let of_all = table.in_flight.values().map(|flight| flight.jobs);
            prop_assert_eq!(of_all.sum::<usize>(), table.in_flight());
        }
        // Without further input, every job is given up in the end.
        for _ in 0..10_000 {
            if open.is_empty() { break; }
            now = table.deadline().unwrap_or(now).max(now);
            for action in table.poll(now, 1) {
                if let Action::GiveUp { id, .. } = action {
                    open.remove(&id.0);
                }
            }
        }
        prop_assert!(open.is_empty() && table.is_empty());
    }
}
