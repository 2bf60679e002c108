//! Hand-written tests of the machine: single steps that the simulation rarely takes.
#![allow(clippy::unwrap_used)] // a test may panic

mod anew;
mod beside;
mod keeping;
mod lengths;
mod logging;
mod patches;
mod quotas;
mod vectors;

use std::sync::atomic::AtomicBool;

use chrono::DateTime;
use kindred_shared::event::{Configure, Delete, Limits, parse};
use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{Feature, ItemId, Space, compare_all};
use kindred_similarity::Kernel;
use serde_json::Map;

use super::*;
use crate::effect::{Comparing, Made, Observation, ToExtract};
use crate::habits::{SampleSize, Survey};
use crate::loaded::{Loaded, Opened};
use crate::material::{rows_of, tombstone};
use crate::store::{FeatureRow, ItemRow, Liveness};
use crate::view_change::ViewChange;
use crate::window::WindowSize;

fn at(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        unix_ms: 1_000_000,
    }
}

fn open_ticket(effects: &[Effect]) -> Option<Ticket> {
    effects.iter().find_map(|effect| match effect {
        Effect::Open { ticket } => Some(*ticket),
        _ => None,
    })
}

fn load_ticket(effects: &[Effect]) -> Option<Ticket> {
    effects.iter().find_map(|effect| match effect {
        Effect::Load { ticket, .. } => Some(*ticket),
        _ => None,
    })
}

/// A machine that has read its store, which is empty but for the domain's own rows.
fn started(opened: Opened) -> (DomainName, Domain) {
    let (domain, mut machine, load) = opened_only(opened);
    let result = Ok(Box::<Loaded>::default());
    let ticket = load;
    let effects = machine.handle(at(0), Input::Loaded { ticket, result });
    // A former owner's write could replace the habits of a domain that was left dirty.
    if let Some((ticket, CommitStep::Habits)) = committed(&effects) {
        answer(&mut machine, at(0), ticket);
    }
    (domain, machine)
}

/// A machine that has read the domain's own rows, and waits for the rest.
fn opened_only(opened: Opened) -> (DomainName, Domain, Ticket) {
    opened_with(opened, 4_096)
}

fn process_settings(batch_items: usize) -> Arc<ProcessSettings> {
    Arc::new(ProcessSettings {
        model: ModelName::new("words-1").unwrap(),
        window: WindowSize {
            length: Duration::from_millis(250),
            events: 20,
        },
        auto_register: true,
        task_pairs: 50,
        batch_items,
        scrub_lists: 8_192,
        attributes: 64,
        material_bytes: 100,
        sample: SampleSize::default(),
        many_outdated: usize::MAX,
    })
}

/// The same, with cycles of this many items.
fn opened_with(opened: Opened, batch_items: usize) -> (DomainName, Domain, Ticket) {
    let domain = DomainName::new("news").unwrap();
    let tenure = Tenure {
        domain: domain.clone(),
        partition: Partition(0),
        epoch: Epoch(1),
    };
    let (mut machine, effects) = Domain::start(tenure, process_settings(batch_items));
    let ticket = open_ticket(&effects).unwrap();
    let result = Ok(Box::new(opened));
    let effects = machine.handle(at(0), Input::Opened { ticket, result });
    let load = load_ticket(&effects).unwrap();
    (domain, machine, load)
}

#[test]
fn the_store_is_not_read_while_an_earlier_commit_is_on_its_way() {
    let (domain, mut machine) = started(Opened::default());
    let event = Arc::new(Event::Delete(Delete {
        domain,
        id: ItemId::new("a").unwrap(),
        version: Some(1),
    }));
    let tag = DeliveryTag(1);
    let effects = machine.handle(at(0), Input::Event { tag, event });
    let committed = effects.iter().find_map(|effect| match effect {
        Effect::Commit { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let committed = committed.unwrap();

    let effects = machine.restart(at(0), &[]);
    assert!(matches!(&*effects, [Effect::Settle(settled)] if settled.len() == 1));
    assert_eq!(
        machine.deadline(at(0)),
        None,
        "nothing to do before the commit is answered"
    );
    assert_eq!(open_ticket(&machine.handle(at(60_000), Input::Tick)), None);
    let answer = Input::Committed {
        ticket: committed,
        result: Ok(()),
    };
    let reload = open_ticket(&machine.handle(at(60_000), answer));
    assert!(
        reload.is_some_and(|reload| reload > committed),
        "tickets go on"
    );
}

#[test]
fn a_commit_that_was_not_begun_when_the_machine_failed_is_not_waited_for() {
    let (_, mut machine) = started(registered(0));
    // As if the rest of the step had panicked.
    machine.commit(CommitStep::Events, true, vec![]);
    assert!(machine.restart(at(0), &[]).is_empty());
    let effects = machine.handle(at(60_000), Input::Tick);
    assert!(open_ticket(&effects).is_some());
}

#[test]
fn a_window_of_any_length_is_refused_from_the_broker_and_bounded_from_the_store() {
    let endless = Duration::from_secs(u64::MAX);
    let mut opened = Opened::default();
    let settings = DomainSettings {
        window: Some(endless),
        ..DomainSettings::default()
    };
    opened.settings = Some(SettingsRow {
        settings,
        ..SettingsRow::default()
    });
    let (domain, mut machine) = started(opened);
    let configure = |window: &str| {
        Arc::new(Event::Configure(Box::new(Configure {
            domain: domain.clone(),
            request: window.to_owned(),
            settings: Map::from_iter([("window".to_owned(), window.into())]),
            by: "k".to_owned(),
        })))
    };
    for (tag, window) in [(1, "584942417355y"), (2, "0s")] {
        let (tag, event) = (DeliveryTag(tag), configure(window));
        let effects = machine.handle(at(0), Input::Event { tag, event });
        let settled = effects.iter().find_map(|effect| match effect {
            Effect::Settle(settled) => settled.first().map(|(_, outcome)| outcome.clone()),
            _ => None,
        });
        assert!(matches!(settled, Some(Outcome::Refused(_))), "{window}");
    }
    let upsert = parse(
        br#"{"type":"item.created","domain":"news","id":"a","version":1,"text":"words"}"#,
        &Limits::default(),
    );
    let (tag, event) = (DeliveryTag(3), Arc::new(upsert.unwrap()));
    machine.handle(at(5), Input::Event { tag, event });
    assert_eq!(
        machine.backlog.closes(),
        Some(Duration::from_millis(60_005))
    );
}

/// The domain's row as its owner left it, clean.
fn registered(live: u64) -> Opened {
    Opened {
        row: Some(DomainRow {
            domain: DomainName::new("news").unwrap(),
            model: ModelName::new("words-1").unwrap(),
            partition: 0,
            registered_at: DateTime::UNIX_EPOCH,
            dirty: None,
            live,
            visible: live,
            next_expiry: None,
            removal: None,
        }),
        settings: None,
    }
}

fn event(said: &str) -> Arc<Event> {
    Arc::new(parse(said.as_bytes(), &Limits::default()).unwrap())
}

fn commits(effects: &[Effect]) -> Vec<(Ticket, Vec<Write>)> {
    let commits = effects.iter().filter_map(|effect| match effect {
        Effect::Commit { ticket, writes, .. } => Some((*ticket, writes.clone())),
        _ => None,
    });
    commits.collect()
}

fn settled(effects: &[Effect]) -> Vec<(DeliveryTag, Outcome)> {
    let settled = effects.iter().filter_map(|effect| match effect {
        Effect::Settle(settled) => Some(settled.clone()),
        _ => None,
    });
    settled.flatten().collect()
}

#[test]
fn events_are_accepted_before_the_domain_is_loaded() {
    let (_, mut machine, _) = opened_only(registered(3));
    let upsert = event(r#"{"type":"item.created","domain":"news","id":"a","text":"words"}"#);
    let delete = event(r#"{"type":"item.deleted","domain":"news","id":"a"}"#);
    let effects = machine.handle(
        at(5),
        Input::Event {
            tag: DeliveryTag(1),
            event: upsert,
        },
    );
    let [Effect::ReadItems { ticket, ids }] = &*effects else {
        panic!("only the item's row is asked for: {effects:?}");
    };
    assert_eq!(ids, &[ItemId::new("a").unwrap()]);
    // The store decides: a version from far ahead is still surpassed.
    let Event::Upsert(stored) = &*event(
        r#"{"type":"item.created","domain":"news","id":"a","version":1900000000000,"text":"old"}"#,
    ) else {
        panic!("an upsert");
    };
    let row = rows_of(stored, 1_900_000_000_000, DateTime::UNIX_EPOCH).0;
    let result = Ok(vec![Some(row)]);
    let ticket = *ticket;
    let effects = machine.handle(at(6), Input::ItemsRead { ticket, result });
    let [(first, writes)] = &*commits(&effects) else {
        panic!("one round: {effects:?}");
    };
    let version = |writes: &[Write]| {
        let item = writes.iter().find_map(|write| match write {
            Write::Item(row) => Some((row.version, row.liveness)),
            _ => None,
        });
        item.unwrap()
    };
    assert_eq!(version(writes), (1_900_000_000_001, Liveness::Live));
    let dirty = writes.iter().find_map(|write| match write {
        Write::Domain(row) => Some((row.dirty, row.live)),
        _ => None,
    });
    assert_eq!(dirty, Some((Some(1), 3)), "counted, though not all is read");
    // The row is known now.
    let effects = machine.handle(
        at(7),
        Input::Event {
            tag: DeliveryTag(2),
            event: delete,
        },
    );
    assert!(effects.is_empty(), "a round is on its way: {effects:?}");
    let (ticket, result) = (*first, Ok(()));
    let effects = machine.handle(at(8), Input::Committed { ticket, result });
    assert_eq!(
        settled(&effects),
        [(DeliveryTag(1), Outcome::Stored(Some(1_900_000_000_001)))]
    );
    let [(second, writes)] = &*commits(&effects) else {
        panic!("the next round: {effects:?}");
    };
    assert_eq!(version(writes), (1_900_000_000_002, Liveness::Deleted));
    let (ticket, result) = (*second, Ok(()));
    let effects = machine.handle(at(9), Input::Committed { ticket, result });
    assert_eq!(
        settled(&effects),
        [(DeliveryTag(2), Outcome::Stored(Some(1_900_000_000_002)))]
    );
    assert_eq!(machine.status().live, 2);
    assert_eq!(machine.status().state, LoadedState::Loading);
}

#[test]
fn new_features_of_an_item_that_came_back_while_its_domain_loaded_are_not_deleted() {
    let (_, mut machine, load) = opened_only(registered(0));
    let (tag, back) = (
        DeliveryTag(1),
        event(r#"{"type":"item.created","domain":"news","id":"a","version":2,"text":"t"}"#),
    );
    let effects = machine.handle(at(5), Input::Event { tag, event: back });
    let [Effect::ReadItems { ticket, ids }] = &*effects else {
        panic!("only the item's row is asked for: {effects:?}");
    };
    let gone = tombstone(ids[0].clone(), 1, Liveness::Deleted, at(0).date());
    let (ticket, result) = (*ticket, Ok(vec![Some(gone.clone())]));
    let effects = machine.handle(at(6), Input::ItemsRead { ticket, result });
    let ticket = commits(&effects)[0].0;
    answer(&mut machine, at(7), ticket);

    let mut loaded = Box::<Loaded>::default();
    loaded.add_item(&gone);
    loaded.add_feature(FeatureRow {
        id: gone.id,
        version: 1,
        space: Space::stored("words-1/en"),
        habits: 0,
        feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
    });
    let (ticket, result) = (load, Ok(loaded));
    let effects = machine.handle(at(8), Input::Loaded { ticket, result });
    let mut writes = commits(&effects).into_iter().flat_map(|(_, writes)| writes);
    assert!(!writes.any(|write| matches!(write, Write::DeleteFeatures(_))));
}

/// What other models made may stand in for an item of which only a part was stored.
#[test]
fn features_of_an_item_whose_event_comes_again_are_made_again() {
    let (_, mut machine, _) = opened_only(registered(1));
    let said = r#"{"type":"item.created","domain":"news","id":"a","version":1,"text":"t"}"#;
    let (tag, event) = (DeliveryTag(1), event(said));
    let Event::Upsert(upsert) = &*event else {
        panic!("an upsert");
    };
    let row = rows_of(upsert, 1, DateTime::UNIX_EPOCH).0;
    let effects = machine.handle(
        at(5),
        Input::Event {
            tag,
            event: Arc::clone(&event),
        },
    );
    let [Effect::ReadItems { ticket, .. }] = &*effects else {
        panic!("only the item's row is asked for: {effects:?}");
    };
    let (ticket, result) = (*ticket, Ok(vec![Some(row)]));
    let effects = machine.handle(at(6), Input::ItemsRead { ticket, result });
    let (_, writes) = commits(&effects).remove(0);
    let deletes = |write: &Write| matches!(write, Write::DeleteFeatures(_));
    assert!(writes.iter().any(deletes), "{writes:?}");
}

#[test]
fn a_list_that_lost_a_neighbour_while_its_domain_loaded_is_stored() {
    let (_, mut machine, load) = opened_only(registered(2));
    let items = ["a", "b"].map(|id| {
        let said = format!(
            r#"{{"type":"item.created","domain":"news","id":"{id}","version":1,"text":"t"}}"#
        );
        let Event::Upsert(upsert) = &*event(&said) else {
            panic!("an upsert");
        };
        rows_of(upsert, 1, DateTime::UNIX_EPOCH).0
    });
    let tag = DeliveryTag(1);
    let delete = event(r#"{"type":"item.deleted","domain":"news","id":"b","version":2}"#);
    let effects = machine.handle(at(1), Input::Event { tag, event: delete });
    let [Effect::ReadItems { ticket, .. }] = &*effects else {
        panic!("the item's row is asked for: {effects:?}");
    };
    let (ticket, result) = (*ticket, Ok(vec![Some(items[1].clone())]));
    let effects = machine.handle(at(2), Input::ItemsRead { ticket, result });
    let (ticket, result) = (commits(&effects)[0].0, Ok(()));
    machine.handle(at(3), Input::Committed { ticket, result });

    let mut loaded = Box::<Loaded>::default();
    for row in &items {
        loaded.add_item(row);
        loaded.add_feature(FeatureRow {
            id: row.id.clone(),
            version: 1,
            space: Space::stored("words-1/en"),
            habits: 0,
            feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
        });
    }
    let (ticket, result) = (load, Ok(loaded));
    let effects = machine.handle(at(4), Input::Loaded { ticket, result });
    let compare = effects.iter().find_map(|effect| match effect {
        Effect::Compare { ticket, tasks } => match &tasks[0].1 {
            Comparing::All(blocks) => Some((*ticket, blocks.clone())),
            Comparing::Some(_) => None,
        },
        _ => None,
    });
    let (ticket, blocks) = compare.unwrap();
    let blocks: Vec<_> = blocks
        .iter()
        .map(|(block, live)| (&**block, live))
        .collect();
    let found = compare_all(Kernel::Scalar, &blocks, KEEP, &AtomicBool::new(false)).unwrap();
    let result = Ok(CompareReply { pairs: 1, found });
    let task = 0;
    let mut effects = machine.handle(
        at(5),
        Input::Compared {
            ticket,
            task,
            result,
        },
    );
    effects.extend(machine.handle(at(2_000), Input::Tick));
    let stored = commits(&effects).into_iter().flat_map(|(_, writes)| writes);
    let mut lists: Vec<(String, Option<usize>)> = stored
        .filter_map(|write| match write {
            Write::List(row) => Some((row.id.to_string(), Some(row.neighbours.len()))),
            Write::DeleteList(id) => Some((id.to_string(), None)),
            _ => None,
        })
        .collect();
    lists.sort();
    assert_eq!(lists, [("a".to_owned(), Some(0)), ("b".to_owned(), None)]);
}

/// The commit that was asked for, if one was.
fn committed(effects: &[Effect]) -> Option<(Ticket, CommitStep)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { ticket, step, .. } => Some((*ticket, *step)),
        _ => None,
    })
}

fn answer(machine: &mut Domain, now: Now, ticket: Ticket) -> Vec<Effect> {
    let result = Ok(());
    machine.handle(now, Input::Committed { ticket, result })
}

#[test]
fn a_domain_is_marked_clean_after_a_second_of_quiet_and_says_before_that_it_is_quiet() {
    let mut opened = registered(0);
    opened.row.as_mut().unwrap().dirty = Some(1);
    let (domain, mut machine) = started(opened);
    assert!(machine.status().quiet && !machine.status().clean);
    assert_eq!(machine.deadline(at(0)), Some(Duration::from_secs(1)));
    assert_eq!(committed(&machine.handle(at(999), Input::Tick)), None);

    // An event just before the second is over: it begins again.
    let event = Arc::new(Event::Delete(Delete {
        domain,
        id: ItemId::new("a").unwrap(),
        version: Some(1),
    }));
    let tag = DeliveryTag(1);
    let effects = machine.handle(at(999), Input::Event { tag, event });
    let (ticket, step) = committed(&effects).unwrap();
    assert_eq!(step, CommitStep::Events);
    assert!(!machine.status().quiet, "the event is not stored");
    let effects = answer(&mut machine, at(1_100), ticket);
    let (ticket, step) = committed(&effects).unwrap();
    assert_eq!(step, CommitStep::Lists, "its list goes");
    assert_eq!(committed(&machine.handle(at(3_000), Input::Tick)), None);
    assert!(!machine.status().quiet, "its list is not stored");
    let effects = answer(&mut machine, at(3_000), ticket);
    assert_eq!(committed(&effects), None);
    let notified = effects.iter().find_map(|effect| match effect {
        Effect::Notify { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let ticket = notified.unwrap();
    machine.handle(at(3_000), Input::Notified { ticket });
    assert!(machine.status().quiet);
    assert_eq!(machine.deadline(at(3_000)), Some(Duration::from_secs(4)));

    let effects = machine.handle(at(4_000), Input::Tick);
    let (ticket, step) = committed(&effects).unwrap();
    assert_eq!(step, CommitStep::Clean);
    let status = machine.status();
    assert!(status.quiet && !status.clean && !machine.may_sleep());
    assert_eq!(status.state, LoadedState::Idle);
    answer(&mut machine, at(4_010), ticket);
    assert!(machine.status().clean && machine.may_sleep());
    assert_eq!(machine.deadline(at(4_010)), None);
}

/// Answers what a machine requests, until only comparisons of all rows are unanswered.
struct Shell {
    machine: Domain,
    now: u64,
    /// Requested comparisons of all rows.
    all: Vec<(Ticket, usize, Comparing)>,
    /// Number of requested comparisons of windows.
    windows: usize,
    /// Features that were requested and are not made yet, while extraction is slow.
    extracting: Vec<(Ticket, Vec<ToExtract>)>,
    is_slow: bool,
    stored: Vec<Write>,
    served: Vec<ViewChange>,
}

impl Shell {
    fn new(machine: Domain) -> Self {
        Self {
            machine,
            now: 10,
            all: Vec::new(),
            windows: 0,
            extracting: Vec::new(),
            is_slow: false,
            stored: Vec::new(),
            served: Vec::new(),
        }
    }

    /// A domain of three items that is clean; forgets what was stored until then.
    fn of_a_clean_domain() -> Self {
        let (_, machine) = started(Opened::default());
        let mut shell = Self::new(machine);
        shell.publish(0..3);
        for _ in 0..5 {
            shell.wait(60_000);
        }
        assert!(shell.machine.status().clean);
        shell.stored.clear();
        shell
    }

    fn publish(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            let said = format!(
                r#"{{"type":"item.created","domain":"news","id":"{id:03}","version":1,"text":"t"}}"#
            );
            let (tag, event) = (DeliveryTag(id), event(&said));
            let effects = self
                .machine
                .handle(at(self.now), Input::Event { tag, event });
            self.answer(effects);
        }
    }

    /// Lets time go by.
    fn wait(&mut self, ms: u64) {
        self.now += ms;
        let effects = self.machine.handle(at(self.now), Input::Tick);
        self.answer(effects);
    }

    fn answer(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit { ticket, writes, .. } => {
                    self.stored.extend(writes);
                    let result = Ok(());
                    self.input(Input::Committed { ticket, result });
                }
                Effect::ReadItems { ticket, ids } => {
                    let result = Ok(vec![None; ids.len()]);
                    self.input(Input::ItemsRead { ticket, result });
                }
                Effect::Survey { ticket, .. } => {
                    let result = Ok(Survey::default());
                    self.input(Input::Surveyed { ticket, result });
                }
                Effect::Extract { ticket, rows, .. } if self.is_slow => {
                    self.extracting.push((ticket, rows));
                }
                Effect::Extract { ticket, rows, .. } => self.extract(ticket, rows),
                Effect::Compare { ticket, tasks } => {
                    for (task, comparing) in tasks {
                        if matches!(comparing, Comparing::All(_)) {
                            self.all.push((ticket, task, comparing));
                        } else {
                            self.windows += 1;
                            self.compare(ticket, task, &comparing);
                        }
                    }
                }
                Effect::Notify { ticket, .. } => self.input(Input::Notified { ticket }),
                Effect::Serve(change) => self.served.push(change),
                _ => {}
            }
        }
    }

    fn extract(&mut self, ticket: Ticket, rows: Vec<ToExtract>) {
        let made = rows.into_iter().map(|row| Made {
            slot: row.slot,
            version: row.version,
            space: Space::stored("words-1/en"),
            habits: 0,
            feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
            row: None,
        });
        let result = Ok(made.collect());
        self.input(Input::Extracted { ticket, result });
    }

    fn compare(&mut self, ticket: Ticket, task: usize, comparing: &Comparing) {
        let cancelled = AtomicBool::new(false);
        let compared = match comparing {
            Comparing::Some(task) => task.compare(Kernel::Scalar, &cancelled).unwrap(),
            Comparing::All(blocks) => {
                let blocks: Vec<_> = blocks.iter().map(|(b, live)| (&**b, live)).collect();
                let found = compare_all(Kernel::Scalar, &blocks, KEEP, &cancelled).unwrap();
                CompareReply { pairs: 0, found }
            }
        };
        let result = Ok(compared);
        self.input(Input::Compared {
            ticket,
            task,
            result,
        });
    }

    fn compare_all(&mut self) {
        for (ticket, task, comparing) in std::mem::take(&mut self.all) {
            self.compare(ticket, task, &comparing);
        }
    }

    fn input(&mut self, input: Input) {
        let effects = self.machine.handle(at(self.now), input);
        self.answer(effects);
    }

    /// How many neighbours the newest stored list of an item has.
    fn stored_list(&self, id: &str) -> Option<usize> {
        self.stored.iter().rev().find_map(|write| match write {
            Write::List(row) if row.id.as_str() == id => Some(row.neighbours.len()),
            _ => None,
        })
    }
}

#[test]
fn a_flood_of_items_is_compared_all_at_once() {
    let (_, mut machine, ticket) = opened_with(Opened::default(), 2);
    let result = Ok(Box::<Loaded>::default());
    machine.handle(at(0), Input::Loaded { ticket, result });
    let mut shell = Shell::new(machine);
    shell.publish(0..16);
    assert_eq!(shell.machine.status().pending, 16);
    shell.wait(1_000);
    assert_eq!((shell.windows, shell.all.len()), (0, 1));
    assert_eq!(shell.machine.status().pending, 16);
    assert_eq!(shell.machine.status().state, LoadedState::Comparing);
    // Meanwhile, a window is compared with everything that is there.
    shell.publish(16..17);
    shell.wait(1_000);
    shell.wait(1_000);
    assert_eq!((shell.windows, shell.all.len()), (1, 1));
    assert_eq!(shell.stored_list("016"), Some(16));
    assert_eq!(shell.stored_list("000"), None);
    shell.compare_all();
    assert_eq!(shell.stored_list("000"), Some(16));
    assert!(shell.machine.status().quiet);
    // A few go with windows.
    shell.publish(17..19);
    shell.wait(1_000);
    assert!(shell.all.is_empty());
    assert_eq!(shell.stored_list("018"), Some(18));
}

#[test]
fn an_item_that_is_deleted_while_its_feature_is_made_keeps_no_domain_from_being_clean() {
    let mut shell = Shell::of_a_clean_domain();
    shell.is_slow = true;
    shell.publish(3..4);
    shell.wait(60_000);
    // Opens the next window, which nothing is left of.
    for said in [
        r#"{"type":"item.updated","domain":"news","id":"003","version":2,"text":"u"}"#,
        r#"{"type":"item.deleted","domain":"news","id":"003","version":3}"#,
    ] {
        let (tag, event) = (DeliveryTag(4), event(said));
        shell.input(Input::Event { tag, event });
    }
    shell.wait(60_000);
    for (ticket, rows) in std::mem::take(&mut shell.extracting) {
        shell.extract(ticket, rows);
    }
    // From here on the machine is left alone until the moments that it names.
    while let Some(deadline) = shell.machine.deadline(at(shell.now)) {
        let left = deadline.saturating_sub(at(shell.now).monotonic);
        shell.wait(u64::try_from(left.as_millis()).unwrap() + 1);
    }
    let status = shell.machine.status();
    assert!(status.quiet && status.clean, "{status:?}");
}

#[test]
fn an_item_that_was_put_off_and_comes_again_has_one_row() {
    let (_, mut machine, ticket) = opened_with(Opened::default(), 4);
    let result = Ok(Box::<Loaded>::default());
    machine.handle(at(0), Input::Loaded { ticket, result });
    let mut shell = Shell::new(machine);
    shell.publish(0..8);
    shell.wait(1_000);
    // While those are compared, more are put off; one of them comes a second time.
    shell.publish(8..12);
    shell.wait(1_000);
    shell.is_slow = true;
    shell.publish(8..9);
    shell.wait(1_000);
    shell.compare_all();
    for (ticket, rows) in std::mem::take(&mut shell.extracting) {
        shell.extract(ticket, rows);
    }
    shell.compare_all();
    shell.wait(1_000);
    assert_eq!(shell.machine.catalogue.blocks().live_rows(), 12);
    assert_eq!(shell.stored_list("000"), Some(11));
}

#[test]
fn while_a_domain_is_loaded_a_new_item_is_listed_before_all_is_compared() {
    let (_, machine, ticket) = opened_only(registered(2));
    let mut shell = Shell::new(machine);
    let mut loaded = Box::<Loaded>::default();
    for id in ["a", "b"] {
        let said = format!(
            r#"{{"type":"item.created","domain":"news","id":"{id}","version":1,"text":"t"}}"#
        );
        let Event::Upsert(upsert) = &*event(&said) else {
            panic!("an upsert");
        };
        let row = rows_of(upsert, 1, DateTime::UNIX_EPOCH).0;
        loaded.add_item(&row);
        loaded.add_feature(FeatureRow {
            id: row.id,
            version: 1,
            space: Space::stored("words-1/en"),
            habits: 0,
            feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
        });
    }
    shell.publish(0..1);
    let result = Ok(loaded);
    shell.input(Input::Loaded { ticket, result });
    shell.wait(1_000);
    shell.wait(1_000);
    assert_eq!(shell.stored_list("000"), Some(2));
    assert_eq!(shell.stored_list("a"), None, "its list is the stored one");
    assert!(shell.served.iter().all(|change| change.listed.is_empty()));
    shell.compare_all();
    assert_eq!(shell.stored_list("a"), Some(2));
    let listed = shell.served.iter().map(|change| change.listed.len());
    assert_eq!(listed.max(), Some(3));
    assert!(shell.machine.status().quiet);
}

/// Makes the one commit among these effects durable at `now`.
#[track_caller]
fn stored(machine: &mut Domain, now: Now, effects: &[Effect]) -> Vec<Effect> {
    let [(ticket, _)] = &commits(effects)[..] else {
        panic!("{effects:?} is one commit");
    };
    let (ticket, result) = (*ticket, Ok(()));
    machine.handle(now, Input::Committed { ticket, result })
}

#[test]
fn the_status_tells_since_when_the_oldest_item_waits() {
    let (_, mut machine, load) = opened_only(registered(0));
    let oldest = |machine: &Domain| {
        let status = machine.status();
        assert_eq!(status.oldest_pending.is_some(), status.pending > 0);
        status.oldest_pending.map(|at| at.as_millis())
    };
    let put = |machine: &mut Domain, ms: u64, tag: u64, id: &str| {
        let said =
            format!(r#"{{"type":"item.created","domain":"news","id":"{id}","text":"words"}}"#);
        let (tag, event) = (DeliveryTag(tag), event(&said));
        machine.handle(at(ms), Input::Event { tag, event })
    };
    assert_eq!(oldest(&machine), None);
    // Its row is not read yet.
    put(&mut machine, 10, 1, "a");
    assert_eq!(oldest(&machine), Some(10));
    let (ticket, result) = (load, Ok(Box::<Loaded>::default()));
    let effects = machine.handle(at(20), Input::Loaded { ticket, result });
    assert_eq!(oldest(&machine), Some(20), "taken in once all is read");
    let effects = stored(&mut machine, at(30), &effects);
    assert!(commits(&effects).is_empty(), "its window is open");
    let effects = put(&mut machine, 40, 2, "b");
    stored(&mut machine, at(50), &effects);
    assert_eq!(oldest(&machine), Some(20));
    // The window closes, and the next item opens another.
    let effects = machine.handle(at(1_000), Input::Tick);
    let extract = effects.iter().find_map(|effect| match effect {
        Effect::Extract { ticket, rows, .. } => Some((*ticket, rows.clone())),
        _ => None,
    });
    let (ticket, rows) = extract.unwrap();
    assert_eq!(rows.len(), 2);
    let effects = put(&mut machine, 1_010, 3, "c");
    assert_eq!(oldest(&machine), Some(20));
    stored(&mut machine, at(1_020), &effects);
    let made = rows.iter().map(|row| Made {
        slot: row.slot,
        version: row.version,
        space: Space::stored("words-1/en"),
        habits: 0,
        feature: Feature::zero(),
        row: None,
    });
    let result = Ok(made.collect());
    let effects = machine.handle(at(1_030), Input::Extracted { ticket, result });
    assert_eq!(oldest(&machine), Some(20));
    let effects = stored(&mut machine, at(1_040), &effects);
    let served = effects.iter().filter_map(|effect| match effect {
        Effect::Observe(Observation::Served(id, after)) => Some((id.as_str(), after.as_millis())),
        _ => None,
    });
    assert_eq!(served.collect::<Vec<_>>(), [("a", 1_020), ("b", 1_000)]);
    assert_eq!(oldest(&machine), Some(1_010), "both are served");
    assert_eq!(machine.status().unstored, 2);
}

#[test]
fn an_item_whose_time_is_over_before_it_is_stored_is_gone_when_that_is_acknowledged() {
    let (_, mut machine) = started(Opened::default());
    let said = |version: u64, more: &str| {
        event(&format!(
            r#"{{"type":"item.created","domain":"news","id":"a","version":{version},"text":"words"{more}}}"#
        ))
    };
    let tag = DeliveryTag(1);
    let event = said(1, "");
    let effects = machine.handle(at(0), Input::Event { tag, event });
    answer(&mut machine, at(0), committed(&effects).unwrap().0);
    // 500 ms from now.
    let event = said(2, r#","expires_at":"1970-01-01T00:16:40.5Z""#);
    let tag = DeliveryTag(2);
    let effects = machine.handle(at(0), Input::Event { tag, event });
    let (round, _) = committed(&effects).unwrap();
    let later = Now {
        monotonic: Duration::from_millis(600),
        unix_ms: 1_000_600,
    };
    machine.handle(later, Input::Tick);
    let effects = answer(&mut machine, later, round);
    let is_gone =
        |effect: &Effect| matches!(effect, Effect::Serve(change) if change.gone.len() == 1);
    let is_settled = |effect: &Effect| matches!(effect, Effect::Settle(_));
    let gone = effects.iter().position(is_gone).unwrap();
    assert!(gone < effects.iter().position(is_settled).unwrap());
}

#[test]
fn a_wall_clock_that_is_set_is_noticed_soon() {
    let (_, mut machine) = started(Opened::default());
    // In an hour, by a clock that is an hour slow and is corrected after 5 s.
    let event = event(
        r#"{"type":"item.created","domain":"news","id":"a","version":1,"text":"words","expires_at":"1970-01-01T01:16:40Z"}"#,
    );
    let clock = |moment: Duration| {
        let passed = i64::try_from(moment.as_millis()).unwrap();
        let set = if moment.as_secs() < 5 { 0 } else { 3_600_000 };
        Now {
            monotonic: moment,
            unix_ms: 1_000_000 + passed + set,
        }
    };
    let tag = DeliveryTag(1);
    let effects = machine.handle(at(0), Input::Event { tag, event });
    answer(&mut machine, at(0), committed(&effects).unwrap().0);
    let mut moment = Duration::ZERO;
    loop {
        moment = machine.deadline(clock(moment)).unwrap();
        assert!(moment < Duration::from_secs(20), "it is not noticed");
        let effects = machine.handle(clock(moment), Input::Tick);
        if committed(&effects).is_some_and(|(_, step)| step == CommitStep::Events) {
            break;
        }
    }
    assert_eq!(machine.status().live, 0);
}

/// A machine that has requested a feature of the item `a`, made from `upsert`, and a reply that rejects it.
fn extracting(upsert: &str) -> (Domain, Ticket, Made) {
    let (_, mut machine) = started(Opened::default());
    let (tag, event) = (DeliveryTag(1), event(upsert));
    let effects = machine.handle(at(0), Input::Event { tag, event });
    answer(&mut machine, at(0), committed(&effects).unwrap().0);
    let effects = machine.handle(at(300), Input::Tick);
    let extracted = effects.iter().find_map(|effect| match effect {
        Effect::Extract { ticket, rows, .. } => Some((*ticket, rows[0].clone())),
        _ => None,
    });
    let (ticket, asked) = extracted.unwrap();
    let rejected = ItemRow {
        rejected: Some("no worker can".to_owned()),
        ..asked.material.unwrap().row.clone()
    };
    let made = Made {
        slot: asked.slot,
        version: 1,
        space: Space::stored("words-1/en"),
        habits: 0,
        feature: Feature::zero(),
        row: Some(Box::new(rejected)),
    };
    (machine, ticket, made)
}

const WORDS: &str =
    r#"{"type":"item.created","domain":"news","id":"a","version":1,"text":"words"}"#;

#[test]
fn why_an_item_is_rejected_is_stored_before_the_feature_that_stands_in() {
    let (mut machine, ticket, made) = extracting(WORDS);
    let result = Ok(vec![made]);
    let effects = machine.handle(at(300), Input::Extracted { ticket, result });
    let [(reason, writes)] = &*commits(&effects) else {
        panic!("one commit");
    };
    assert!(matches!(&**writes, [Write::Item(row)] if row.rejected.is_some()));
    let effects = answer(&mut machine, at(310), *reason);
    let [(_, writes)] = &*commits(&effects) else {
        panic!("one commit");
    };
    assert!(matches!(&**writes, [Write::Feature(_)]));
}

#[test]
fn an_item_whose_event_has_come_again_is_not_rejected_for_what_was_read_before() {
    let (mut machine, ticket, made) = extracting(WORDS);
    let (tag, event) = (DeliveryTag(2), event(WORDS));
    let effects = machine.handle(at(310), Input::Event { tag, event });
    let (round, _) = committed(&effects).unwrap();
    let result = Ok(vec![made]);
    let effects = machine.handle(at(320), Input::Extracted { ticket, result });
    assert!(commits(&effects).is_empty());
    answer(&mut machine, at(330), round);
    let effects = machine.handle(at(900), Input::Tick);
    let is_asked = |effect: &Effect| matches!(effect, Effect::Extract { .. });
    assert!(effects.iter().any(is_asked), "its feature is made again");
}

#[test]
fn settings_are_settled_when_the_row_names_their_model_whoever_set_it_first() {
    let (domain, mut machine) = started(registered(0));
    let configure = |machine: &mut Domain, tag: u64| {
        let settings = Map::from_iter([("model".to_owned(), "words-2".into())]);
        let event = Arc::new(Event::Configure(Box::new(Configure {
            domain: domain.clone(),
            request: format!("request {tag}"),
            settings,
            by: "k".to_owned(),
        })));
        let tag = DeliveryTag(tag);
        let effects = machine.handle(at(0), Input::Event { tag, event });
        committed(&effects).unwrap().0
    };
    let first = configure(&mut machine, 1);
    let effects = answer(&mut machine, at(0), first);
    let (naming, step) = committed(&effects).unwrap();
    assert_eq!(step, CommitStep::Model);
    let second = configure(&mut machine, 2);
    let effects = answer(&mut machine, at(0), second);
    assert!(settled(&effects).is_empty(), "the row is not stored");
    let effects = answer(&mut machine, at(0), naming);
    let tags: Vec<u64> = settled(&effects).iter().map(|(tag, _)| tag.0).collect();
    assert_eq!(tags, [1, 2]);
}

#[test]
fn an_empty_feature_is_made_again_when_its_event_comes_again() {
    let (mut machine, ticket, made) = extracting(WORDS);
    let made = Made { row: None, ..made };
    let result = Ok(vec![made]);
    let effects = machine.handle(at(300), Input::Extracted { ticket, result });
    answer(&mut machine, at(300), committed(&effects).unwrap().0);
    let (tag, event) = (DeliveryTag(2), event(WORDS));
    let effects = machine.handle(at(400), Input::Event { tag, event });
    let (round, writes) = commits(&effects).pop().unwrap();
    let is_feature = |write: &Write| matches!(write, Write::Feature(_));
    assert!(!writes.iter().any(is_feature));
    answer(&mut machine, at(400), round);
    let effects = machine.handle(at(900), Input::Tick);
    let is_asked = |effect: &Effect| matches!(effect, Effect::Extract { .. });
    assert!(effects.iter().any(is_asked));
}

/// Found by the simulation: an owner that was replaced writes a round late, into a domain that its successor left
/// clean.
#[test]
fn what_a_former_owner_wrote_into_a_clean_domain_is_found_when_it_is_loaded() {
    let lists = |change: &dyn Fn(&mut ItemRow)| {
        let (_, machine, ticket) = opened_only(registered(3));
        let mut loaded = Box::<Loaded>::default();
        for id in ["a", "b", "c"] {
            let said = format!(
                r#"{{"type":"item.created","domain":"news","id":"{id}","version":1,"text":"t"}}"#
            );
            let Event::Upsert(upsert) = &*event(&said) else {
                panic!("an upsert");
            };
            let mut row = rows_of(upsert, 1, DateTime::UNIX_EPOCH).0;
            if id == "c" {
                change(&mut row);
            }
            loaded.add_item(&row);
            if row.liveness == Liveness::Live {
                loaded.add_feature(FeatureRow {
                    id: row.id.clone(),
                    version: 1,
                    space: Space::stored("words-1/en"),
                    habits: 0,
                    feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
                });
            }
        }
        let mut shell = Shell::new(machine);
        let result = Ok(loaded);
        shell.input(Input::Loaded { ticket, result });
        for _ in 0..4 {
            shell.compare_all();
            shell.wait(2_000);
        }
        assert!(shell.machine.status().clean);
        let mut lists: Vec<String> = shell
            .stored
            .iter()
            .filter_map(|write| match write {
                Write::List(row) => Some(row.id.to_string()),
                Write::DeleteList(id) => Some(format!("no {id}")),
                _ => None,
            })
            .collect();
        lists.sort();
        lists.dedup();
        lists
    };
    assert!(lists(&|_| {}).is_empty(), "it is as it was left");
    assert_eq!(lists(&|row| row.version = 2), ["a", "b", "c"]);
    assert_eq!(lists(&|row| row.hidden = true), ["a", "b", "no c"]);
    let delete = |row: &mut ItemRow| {
        row.liveness = Liveness::Deleted;
        row.since = at(0).date();
    };
    assert_eq!(lists(&delete), ["a", "b", "no c"]);
}

/// A domain that was removed at this time, and of which nothing else is left.
fn removed(at_ms: i64) -> Opened {
    let mut opened = registered(0);
    let row = opened.row.as_mut().unwrap();
    row.removal = Some(Removed {
        request: "r1".to_owned(),
        at: DateTime::from_timestamp_millis(at_ms).unwrap(),
        stage: RemovalStage::Done,
    });
    opened
}

#[test]
fn the_row_of_a_removed_domain_goes_after_thirty_days_and_before_what_comes_then() {
    const DAYS: i64 = 30 * 24 * 3_600_000;
    let now = |unix_ms: i64| Now {
        monotonic: Duration::ZERO,
        unix_ms,
    };
    let start = || {
        let tenure = Tenure {
            domain: DomainName::new("news").unwrap(),
            partition: Partition(0),
            epoch: Epoch(1),
        };
        let (machine, effects) = Domain::start(tenure, process_settings(4_096));
        (machine, open_ticket(&effects).unwrap())
    };
    // Until then it is kept, and says until when.
    let (mut machine, ticket) = start();
    let result = Ok(Box::new(removed(5)));
    let effects = machine.handle(now(5 + DAYS - 1), Input::Opened { ticket, result });
    assert!(load_ticket(&effects).is_some());
    assert_eq!(machine.next_expiry(), Some(5 + DAYS));

    let (mut machine, ticket) = start();
    let result = Ok(Box::new(removed(5)));
    let effects = machine.handle(now(5 + DAYS), Input::Opened { ticket, result });
    let [
        Effect::Commit {
            ticket,
            fence: true,
            writes,
            ..
        },
    ] = &*effects
    else {
        panic!("{effects:?}");
    };
    assert!(matches!(&**writes, [Write::PurgeDomain]));
    let event = Arc::new(Event::Delete(Delete {
        domain: DomainName::new("news").unwrap(),
        id: ItemId::new("a").unwrap(),
        version: Some(1),
    }));
    let tag = DeliveryTag(1);
    let effects = machine.handle(now(5 + DAYS), Input::Event { tag, event });
    assert!(effects.is_empty(), "it waits: {effects:?}");
    let (ticket, result) = (*ticket, Ok(()));
    let effects = machine.handle(now(5 + DAYS), Input::Committed { ticket, result });
    let ticket = open_ticket(&effects).unwrap();
    let result = Ok(Box::<Opened>::default());
    let effects = machine.handle(now(5 + DAYS), Input::Opened { ticket, result });
    let ticket = load_ticket(&effects).unwrap();
    let result = Ok(Box::<Loaded>::default());
    let effects = machine.handle(now(5 + DAYS), Input::Loaded { ticket, result });
    let registers = effects.iter().any(|effect| match effect {
        Effect::Commit { writes, .. } => writes
            .iter()
            .any(|write| matches!(write, Write::Domain(row) if row.removal.is_none())),
        _ => false,
    });
    assert!(registers, "{effects:?}");
}

/// Readers of a registered domain find it empty, whatever registered it.
#[test]
fn readers_are_told_that_a_domain_is_registered() {
    for first in [
        r#"{"type":"item.deleted","domain":"news","id":"a"}"#,
        r#"{"type":"item.created","domain":"news","id":"a","text":"words","hidden":true}"#,
        r#"{"type":"item.created","domain":"news","id":"a","text":"words"}"#,
    ] {
        let (_, mut machine) = started(Opened::default());
        let (tag, event) = (DeliveryTag(1), event(first));
        let effects = machine.handle(at(0), Input::Event { tag, event });
        let (ticket, _) = commits(&effects).remove(0);
        assert!(models(&effects).is_empty(), "nothing is stored yet");
        let result = Ok(());
        let effects = machine.handle(at(0), Input::Committed { ticket, result });
        assert_eq!(models(&effects).first(), Some(&"words-1"), "{first}");
    }
    let (domain, mut machine) = started(Opened::default());
    let configure = Event::Configure(Box::new(Configure {
        domain,
        request: "r".to_owned(),
        settings: Map::new(),
        by: "k".to_owned(),
    }));
    let (tag, event) = (DeliveryTag(1), Arc::new(configure));
    let effects = machine.handle(at(0), Input::Event { tag, event });
    let (ticket, _) = commits(&effects).remove(0);
    let result = Ok(());
    let effects = machine.handle(at(0), Input::Committed { ticket, result });
    assert_eq!(models(&effects).first(), Some(&"words-1"));
}

/// The models that readers are told of.
fn models(effects: &[Effect]) -> Vec<&str> {
    let served = effects.iter().filter_map(|effect| match effect {
        Effect::Serve(change) => change.model.as_ref().map(ModelName::as_str),
        _ => None,
    });
    served.collect()
}
