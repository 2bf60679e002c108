//! The pipeline with a scripted broker, and the saved position.
#![allow(clippy::unwrap_used)] // a test may panic

use std::cell::RefCell;
use std::collections::BTreeMap;

use kindred_runtime::amqp::{Confirmed, Outgoing, PublishFault, event_properties};
use proptest::prelude::*;

use super::pipeline::Broker;
use super::*;
use crate::cli::import::Reject;

const PLACE: &str = "broker:5672//";

/// Accepts or refuses the nth message as scripted; accepts all others.
#[derive(Default)]
struct Scripted {
    faults: BTreeMap<usize, PublishFault>,
    handed: RefCell<Vec<(u64, bool)>>,
}

impl Broker for Scripted {
    async fn send(&self, message: Outgoing) -> Confirmed {
        let mut handed = self.handed.borrow_mut();
        let answer = match self.faults.get(&handed.len()) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        };
        let number = String::from_utf8(message.body).unwrap().parse().unwrap();
        handed.push((number, answer.is_ok()));
        Box::pin(async { answer })
    }
}

#[derive(Default)]
struct Seen {
    settled: Vec<u64>,
    said: RefCell<Vec<String>>,
}

impl Watch for Seen {
    fn settled(&mut self, entry: PipelineEntry) -> Result<(), CommandError> {
        self.settled.push(entry.after.records);
        Ok(())
    }

    fn say(&self, words: &str) {
        self.said.borrow_mut().push(words.to_owned());
    }
}

fn event(number: u64) -> PipelineEntry {
    PipelineEntry {
        after: Position {
            file: 0,
            records: number,
        },
        work: Work::Event(Box::new(Outgoing {
            exchange: "e".into(),
            key: "d".into(),
            properties: event_properties("item.created", "m"),
            body: number.to_string().into_bytes(),
            mandatory: true,
        })),
        mark: None,
    }
}

fn rejected(number: u64) -> PipelineEntry {
    let reject = Reject {
        file: "f".to_owned(),
        line: number,
        reason: "invalid-json".to_owned(),
        detail: String::new(),
        event: String::new(),
    };
    PipelineEntry {
        work: Work::Rejected(Box::new(reject)),
        ..event(number)
    }
}

/// Runs all entries through; time passes by itself.
fn run_all(
    broker: &Scripted,
    entries: Vec<PipelineEntry>,
    in_flight: usize,
    timeout: Duration,
) -> (Result<(), CommandError>, Seen) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let flow = Flow {
        place: PLACE.to_owned(),
        in_flight,
        timeout,
    };
    let mut seen = Seen::default();
    let result = runtime.block_on(async {
        let (hand, work) = mpsc::channel(entries.len().max(1));
        for entry in entries {
            hand.send(entry).await.unwrap();
        }
        drop(hand);
        pipeline::run(broker, work, &flow, &mut seen).await
    });
    (result, seen)
}

fn away() -> PublishFault {
    PublishFault::Away("lost".to_owned())
}

proptest! {
    /// Whatever is lost or refused, each event is confirmed, each entry is settled once and in
    /// order, and the last deliveries of any two events are in their order.
    #[test]
    fn everything_arrives_in_order(
        kinds in prop::collection::vec(any::<bool>(), 0..40),
        faults in prop::collection::btree_map(0_usize..60, any::<bool>(), 0..8),
        in_flight in 1_usize..12,
    ) {
        let faults = faults
            .into_iter()
            .map(|(at, full)| (at, if full { PublishFault::Refused } else { away() }))
            .collect();
        let broker = Scripted { faults, ..Scripted::default() };
        let entries = (1..)
            .zip(&kinds)
            .map(|(n, good)| if *good { event(n) } else { rejected(n) })
            .collect();
        let (result, seen) = run_all(&broker, entries, in_flight, Duration::from_secs(3600));
        prop_assert_eq!(result, Ok(()));
        let all: Vec<u64> = (1..=kinds.len() as u64).collect();
        prop_assert_eq!(&seen.settled, &all);
        let handed = broker.handed.borrow();
        let last: Vec<Option<usize>> = (1..)
            .zip(&kinds)
            .filter(|(_, good)| **good)
            .map(|(n, _)| handed.iter().rposition(|one| *one == (n, true)))
            .collect();
        prop_assert!(last.iter().all(Option::is_some));
        prop_assert!(last.is_sorted(), "{:?}", handed);
    }
}

#[test]
fn a_message_that_reaches_no_queue_or_is_forbidden_ends_it() {
    let table = [
        (
            PublishFault::Unroutable("NO_ROUTE".to_owned()),
            "topology is missing",
        ),
        (
            PublishFault::Away("ACCESS_REFUSED - write".to_owned()),
            "forbids this user to publish",
        ),
    ];
    for (fault, words) in table {
        let broker = Scripted {
            faults: [(1, fault)].into(),
            ..Scripted::default()
        };
        let entries = (1..=4).map(event).collect();
        let (result, seen) = run_all(&broker, entries, 2, Duration::from_secs(60));
        let failure = result.unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.contains(words), "{failure}");
        assert_eq!(seen.settled, [1]);
    }
}

#[test]
fn gives_up_when_nothing_is_taken_for_too_long_and_says_so_once() {
    let faults = (1..10_000).map(|at| (at, PublishFault::Refused)).collect();
    let broker = Scripted {
        faults,
        ..Scripted::default()
    };
    let entries = (1..=3).map(event).collect();
    let (result, seen) = run_all(&broker, entries, 3, Duration::ZERO);
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.message.contains("full"), "{failure}");
    assert_eq!(seen.settled, [1]);

    let broker = Scripted {
        faults: [(0, away()), (1, away()), (2, away())].into(),
        ..Scripted::default()
    };
    let (result, seen) = run_all(&broker, vec![event(1)], 3, Duration::from_secs(60));
    assert_eq!(result, Ok(()));
    let said = seen.said.borrow();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("trying again"), "{said:?}");
    assert!(said[1].contains("accepts events again"), "{said:?}");
}

#[test]
fn a_position_is_of_these_files_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    std::fs::write(&file, "{}\n").unwrap();
    let files = [file.clone()];
    let state_file = StateFile::new(beside(&file, ".publish.json"));
    let missing = ResumePoint::load(&state_file, &files).unwrap_err();
    assert_eq!(missing.exit, Exit::Usage);

    let mut state = ResumePoint::begin(&files);
    state.position = Position {
        file: 0,
        records: 9,
    };
    state_file.save(&state).unwrap();
    assert_eq!(ResumePoint::load(&state_file, &files).unwrap(), state);
    std::fs::write(&file, "{}\n{}\n").unwrap();
    let changed = ResumePoint::load(&state_file, &files).unwrap_err();
    assert!(changed.message.contains("have changed"), "{changed}");
    state_file.remove().unwrap();
    state_file.remove().unwrap();
    assert!(!state_file.is_there());
}
