//! The log: an entry is durable with its change, then copied, and only then dropped.

use kindred_shared::event::{ModelChange, Modelled, Recorded};
use serde_json::{Value, json};

use super::*;
use crate::log::{LogEntry, MOST_IN_ROW};

fn configure(domain: &DomainName, n: u64) -> Arc<Event> {
    Arc::new(Event::Configure(Box::new(Configure {
        domain: domain.clone(),
        request: format!("request {n}"),
        settings: Map::from_iter([("max_items".to_owned(), n.into())]),
        by: format!("key {n}"),
    })))
}

fn deliver(machine: &mut Domain, tag: u64, event: Arc<Event>) -> Vec<Effect> {
    let tag = DeliveryTag(tag);
    machine.handle(at(0), Input::Event { tag, event })
}

/// The entries in the row that a commit writes.
fn in_row(writes: &[Write]) -> Vec<LogEntry> {
    let rows = writes.iter().filter_map(|write| match write {
        Write::Settings(row) => Some(row.log.newest().to_vec()),
        _ => None,
    });
    rows.flatten().collect()
}

/// The entries that a commit copies to the table.
fn copied(writes: &[Write]) -> Vec<LogEntry> {
    let entries = writes.iter().filter_map(|write| match write {
        Write::Log(entry) => Some(entry.clone()),
        _ => None,
    });
    entries.collect()
}

/// What entries are after, and by whom.
fn told(entries: &[LogEntry]) -> Vec<(String, Value)> {
    let told = entries
        .iter()
        .map(|entry| (entry.by.clone(), entry.after.clone()));
    told.collect()
}

fn of(n: u64) -> (String, Value) {
    (format!("key {n}"), json!({ "max_items": n }))
}

/// Commits of a step, with whether they are fenced.
fn of_step(effects: &[Effect], wanted: CommitStep) -> Vec<(Ticket, bool, Vec<Write>)> {
    let commits = effects.iter().filter_map(|effect| match effect {
        Effect::Commit {
            ticket,
            fence,
            writes,
            step,
        } if *step == wanted => Some((*ticket, *fence, writes.clone())),
        _ => None,
    });
    commits.collect()
}

#[test]
fn an_entry_is_copied_once_it_is_durable_and_dropped_once_it_is_copied() {
    let (domain, mut machine) = started(registered(0));
    let effects = deliver(&mut machine, 1, configure(&domain, 1));
    let (first, fence, writes) = of_step(&effects, CommitStep::Settings).remove(0);
    assert!(fence);
    assert_eq!(told(&in_row(&writes)), [of(1)]);
    assert!(
        of_step(&effects, CommitStep::Log).is_empty(),
        "it is not durable"
    );
    // The next one comes before the first is durable.
    let effects = deliver(&mut machine, 2, configure(&domain, 2));
    let (second, _, writes) = of_step(&effects, CommitStep::Settings).remove(0);
    assert_eq!(told(&in_row(&writes)), [of(1), of(2)]);

    let effects = answer(&mut machine, at(0), first);
    let (copy, _, writes) = of_step(&effects, CommitStep::Log).remove(0);
    assert_eq!(told(&copied(&writes)), [of(1)], "the second is not durable");
    let effects = answer(&mut machine, at(0), second);
    assert!(
        of_step(&effects, CommitStep::Log).is_empty(),
        "one after the other"
    );
    // Until the copy is durable the row keeps what it has.
    let effects = deliver(&mut machine, 3, configure(&domain, 3));
    let (third, _, writes) = of_step(&effects, CommitStep::Settings).remove(0);
    assert_eq!(told(&in_row(&writes)), [of(1), of(2), of(3)]);
    let effects = answer(&mut machine, at(0), copy);
    let (copy, _, writes) = of_step(&effects, CommitStep::Log).remove(0);
    assert_eq!(told(&copied(&writes)), [of(2)]);
    answer(&mut machine, at(0), copy);
    answer(&mut machine, at(0), third);
    let effects = deliver(&mut machine, 4, configure(&domain, 4));
    let (_, _, writes) = of_step(&effects, CommitStep::Settings).remove(0);
    let entries = in_row(&writes);
    assert_eq!(told(&entries), [of(3), of(4)]);
    assert!(entries.windows(2).all(|two| two[0].number < two[1].number));
    assert_eq!(entries[1].before, json!({"max_items": 3}));
}

#[test]
fn a_request_that_comes_again_or_changes_nothing_makes_no_entry() {
    let (domain, mut machine) = started(registered(0));
    let mut last = |tag, event| {
        let effects = deliver(&mut machine, tag, event);
        let all = [CommitStep::Settings, CommitStep::Models];
        let commit = all.iter().flat_map(|step| of_step(&effects, *step)).next();
        let (ticket, _, writes) = commit.expect("it is stored");
        answer(&mut machine, at(0), ticket);
        in_row(&writes).len()
    };
    assert_eq!(last(1, configure(&domain, 7)), 1);
    assert_eq!(last(2, configure(&domain, 7)), 1, "the same request");
    let mut same = Configure {
        domain: domain.clone(),
        request: "another".to_owned(),
        settings: Map::from_iter([("max_items".to_owned(), 7.into())]),
        by: "key".to_owned(),
    };
    assert_eq!(
        last(3, Arc::new(Event::Configure(Box::new(same.clone())))),
        1
    );
    let delete = Modelled {
        domain,
        request: "delete".to_owned(),
        name: ModelName::new("words-1").unwrap(),
        change: ModelChange::Delete,
        by: "key".to_owned(),
    };
    assert_eq!(
        last(4, Arc::new(Event::Model(Box::new(delete)))),
        1,
        "a conflict"
    );
    same.request = "one more".to_owned();
    same.settings = Map::new();
    assert_eq!(last(5, Arc::new(Event::Configure(Box::new(same)))), 2);
}

fn recorded(domain: &DomainName, number: i64, registered_at: i64) -> Arc<Event> {
    Arc::new(Event::Record(Box::new(Recorded {
        domain: domain.clone(),
        request: format!("experiment {number}"),
        registered_at,
        number,
        at: 500,
        what: "experiment.begun".to_owned(),
        before: Value::Null,
        after: json!({ "name": number }),
        by: "key".to_owned(),
    })))
}

#[test]
fn a_change_of_an_experiment_is_recorded_once_and_in_its_own_domain() {
    let opened = registered(0);
    let since = opened
        .row
        .as_ref()
        .unwrap()
        .registered_at
        .timestamp_millis();
    let (domain, mut machine) = started(opened);
    let names = |effects: &[Effect]| {
        let commits = of_step(effects, CommitStep::Models);
        let entries = commits.iter().flat_map(|(_, _, writes)| in_row(writes));
        entries
            .map(|entry| entry.after["name"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let effects = deliver(&mut machine, 1, recorded(&domain, 20, since));
    assert_eq!(names(&effects), [20]);
    let entry = in_row(&of_step(&effects, CommitStep::Models)[0].2).remove(0);
    assert_eq!(
        (entry.at.timestamp_millis(), entry.by.as_str()),
        (500, "key")
    );
    for (tag, number, all) in [(2, 20, vec![20]), (3, 19, vec![20]), (4, 21, vec![20, 21])] {
        let effects = deliver(&mut machine, tag, recorded(&domain, number, since));
        assert_eq!(names(&effects), all, "{number}");
    }
    // One of a domain of that name that is gone.
    let effects = deliver(&mut machine, 5, recorded(&domain, 30, since - 1));
    assert_eq!(names(&effects), [0; 0]);
    let outcomes = settled(&effects);
    assert!(matches!(
        outcomes[..],
        [(DeliveryTag(5), Outcome::Stored(None))]
    ));
    let (domain, mut machine) = started(Opened::default());
    let effects = deliver(&mut machine, 1, recorded(&domain, 1, since));
    assert_eq!((names(&effects), settled(&effects).len()), (vec![], 1));
}

#[test]
fn events_wait_while_the_row_has_no_room() {
    let (domain, mut machine) = started(registered(0));
    let most = MOST_IN_ROW as u64;
    let mut last = None;
    for n in 1..=most {
        let effects = deliver(&mut machine, n, configure(&domain, n));
        last = of_step(&effects, CommitStep::Settings).pop();
    }
    let (last, _, writes) = last.unwrap();
    assert_eq!(in_row(&writes).len(), MOST_IN_ROW);
    for n in most + 1..most + 3 {
        assert!(deliver(&mut machine, n, configure(&domain, n)).is_empty());
    }
    let effects = answer(&mut machine, at(0), last);
    let (copy, _, writes) = of_step(&effects, CommitStep::Log).remove(0);
    assert_eq!(copied(&writes).len(), MOST_IN_ROW);
    let effects = answer(&mut machine, at(0), copy);
    let commits = of_step(&effects, CommitStep::Settings);
    let rows: Vec<_> = commits
        .iter()
        .map(|(_, _, writes)| told(&in_row(writes)))
        .collect();
    assert_eq!(rows, [vec![of(most + 1)], vec![of(most + 1), of(most + 2)]]);
}

#[test]
fn entries_that_were_read_are_copied_once_the_row_is_written_again() {
    let opened = |entries: usize| {
        let mut set = SettingsRow::default();
        for n in 0..entries {
            let changed = crate::log::settings_changed(
                &DomainSettings::default(),
                &DomainSettings {
                    max_items: Some(n as u64),
                    ..DomainSettings::default()
                },
            );
            set.log
                .append_all(at(0), "key", changed.into_iter().collect());
        }
        Opened {
            settings: Some(set),
            ..registered(0)
        }
    };
    // A machine that has read everything, and what it asked for meanwhile.
    let loaded = |opened: Opened| {
        let domain = DomainName::new("news").unwrap();
        let tenure = Tenure {
            domain: domain.clone(),
            partition: Partition(0),
            epoch: Epoch(1),
        };
        let (mut machine, effects) = Domain::start(tenure, process_settings(4_096));
        let (ticket, result) = (open_ticket(&effects).unwrap(), Ok(Box::new(opened)));
        let mut effects = machine.handle(at(0), Input::Opened { ticket, result });
        let ticket = load_ticket(&effects).unwrap();
        let result = Ok(Box::<Loaded>::default());
        effects.extend(machine.handle(at(0), Input::Loaded { ticket, result }));
        (domain, machine, effects)
    };
    let (domain, mut machine, effects) = loaded(opened(3));
    let copies = of_step(&effects, CommitStep::Log);
    assert!(copies.is_empty(), "reading changes nothing");
    let effects = deliver(&mut machine, 1, configure(&domain, 9));
    let copies = of_step(&effects, CommitStep::Log);
    assert!(
        copies.is_empty(),
        "a former owner may still replace what was read"
    );
    let (ticket, _, _) = of_step(&effects, CommitStep::Settings).remove(0);
    let effects = answer(&mut machine, at(0), ticket);
    let copies = of_step(&effects, CommitStep::Log);
    assert_eq!((copies.len(), copied(&copies[0].2).len()), (1, 4));

    let (domain, mut machine, mut effects) = loaded(opened(MOST_IN_ROW));
    effects.extend(deliver(&mut machine, 1, configure(&domain, 99)));
    assert!(of_step(&effects, CommitStep::Log).is_empty());
    assert!(of_step(&effects, CommitStep::Settings).is_empty());
    let (ticket, is_fenced, writes) = of_step(&effects, CommitStep::Models).remove(0);
    assert_eq!((is_fenced, in_row(&writes).len()), (true, MOST_IN_ROW));
    let effects = answer(&mut machine, at(0), ticket);
    let copies = of_step(&effects, CommitStep::Log);
    assert_eq!((copies.len(), copied(&copies[0].2).len()), (1, MOST_IN_ROW));
    let effects = answer(&mut machine, at(0), copies[0].0);
    let commits = of_step(&effects, CommitStep::Settings);
    assert_eq!(in_row(&commits[0].2).len(), 1);
}
