//! A model beside the served one is whole once the lists of everything that it was built from are stored.

use super::*;
use crate::effect::Passed;
use crate::material::Material;
use crate::store::{Beside, BesideRow};

fn material(id: u64) -> Material {
    let said = format!(
        r#"{{"type":"item.created","domain":"news","id":"{id:03}","version":1,"text":"t"}}"#
    );
    let Event::Upsert(upsert) = &*event(&said) else {
        panic!("an upsert");
    };
    let (row, content) = rows_of(upsert, 1, DateTime::UNIX_EPOCH);
    Material { row, content }
}

/// The machine of a model that is built of three items. Workers are slow, and windows are short. Returns it and the
/// request to read everything.
fn opened_beside() -> (Shell, Ticket) {
    opened_from(registered(3), Beside::default())
}

/// The same, with these rows of the domain and of the model.
fn opened_from(opened: Opened, beside: Beside) -> (Shell, Ticket) {
    let tenure = Tenure {
        domain: DomainName::new("news").unwrap(),
        partition: Partition(0),
        epoch: Epoch(1),
    };
    let [name, kind] = ["m", "words-1"].map(|name| ModelName::new(name).unwrap());
    let settings = DomainSettings {
        window: Some(Duration::from_millis(1)),
        ..DomainSettings::default()
    };
    let opened = Opened {
        settings: Some(SettingsRow {
            settings,
            ..SettingsRow::default()
        }),
        ..opened
    };
    let (machine, effects) =
        Domain::start_beside(tenure, process_settings(4_096), name, kind.clone());
    let mut shell = Shell::new(machine);
    shell.is_slow = true;
    let ticket = open_ticket(&effects).unwrap();
    let result = Ok(Box::new(opened.of_model(&kind, beside)));
    let opened = Input::Opened { ticket, result };
    let effects = shell.machine.handle(at(shell.now), opened);
    let ticket = load_ticket(&effects).unwrap();
    (shell, ticket)
}

/// The same, once it has read the items, with their features or without.
fn building(has_features: bool) -> Shell {
    let (mut shell, ticket) = opened_beside();
    let result = Ok(three_items(has_features));
    shell.input(Input::Loaded { ticket, result });
    shell
}

fn three_items(has_features: bool) -> Box<Loaded> {
    let mut loaded = Box::new(Loaded::of(&ModelName::new("words-1").unwrap(), None));
    for id in 0..3 {
        let row = material(id).row;
        loaded.add_item(&row);
        if has_features {
            loaded.add_feature(FeatureRow {
                id: row.id,
                version: 1,
                space: Space::stored("words-1/en"),
                habits: 0,
                feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
            });
        }
    }
    loaded
}

/// The served model's machine passes on a new item.
fn follow(shell: &mut Shell, id: u64) {
    let passed = vec![Passed::Live(material(id).into())];
    shell.input(Input::Follow { passed });
}

/// The features that were requested are made.
fn extract(shell: &mut Shell) {
    for (ticket, rows) in std::mem::take(&mut shell.extracting) {
        shell.extract(ticket, rows);
    }
}

fn stored_lists(shell: &Shell) -> Vec<&str> {
    let lists = shell.stored.iter().filter_map(|write| match write {
        Write::BesideList(_, row) => Some(row.id.as_str()),
        _ => None,
    });
    let mut lists: Vec<&str> = lists.collect();
    lists.sort_unstable();
    lists.dedup();
    lists
}

#[test]
fn a_model_becomes_whole_while_some_list_is_always_to_be_stored() {
    let mut shell = building(true);
    // From now on the next item always comes before the features of the previous one are made.
    follow(&mut shell, 3);
    shell.compare_all();
    assert!(!shell.machine.report().is_whole, "no list is stored");
    for id in 4..20 {
        shell.wait(100);
        follow(&mut shell, id);
        extract(&mut shell);
        assert_ne!(shell.machine.status().unstored, 0, "{id}");
    }
    assert!(shell.machine.report().is_whole);
    assert_eq!(stored_lists(&shell)[..3], ["000", "001", "002"]);
}

#[test]
fn a_model_is_not_whole_before_the_lists_of_items_without_features_are_stored() {
    let mut shell = building(false);
    // Lists that a former owner may have stored are deleted.
    shell.wait(2_000);
    assert!(!shell.machine.report().is_whole, "no feature is made");
    // An event keeps the lists from being stored at once.
    follow(&mut shell, 3);
    extract(&mut shell);
    assert!(stored_lists(&shell).is_empty());
    assert!(!shell.machine.report().is_whole, "no list is stored");
    shell.wait(1_000);
    assert_eq!(stored_lists(&shell), ["000", "001", "002"]);
    assert!(shell.machine.report().is_whole);
}

/// Whoever passed it on takes it as processed.
#[test]
fn what_is_gone_is_not_shown_if_the_machine_failed_when_it_was_passed_on() {
    let mut shell = building(true);
    shell.compare_all();
    let id = ItemId::new("001").unwrap();
    let row = tombstone(id.clone(), 2, Liveness::Deleted, at(shell.now).date());
    let passed = [Passed::Gone(row.into())];
    let effects = shell.machine.restart(at(shell.now), &passed);
    let gone = effects.iter().filter_map(|effect| match effect {
        Effect::Serve(change) => Some(change.gone.clone()),
        _ => None,
    });
    assert_eq!(gone.flatten().collect::<Vec<_>>(), [id]);
}

/// Another model of this kind may have made it, and need not make it again.
#[test]
fn a_feature_that_was_made_while_the_model_was_loaded_is_not_deleted() {
    let (mut shell, ticket) = opened_beside();
    follow(&mut shell, 1);
    let result = Ok(three_items(true));
    shell.input(Input::Loaded { ticket, result });
    shell.compare_all();
    shell.wait(100);
    assert_eq!(shell.extracting.len(), 1, "it is made again");
    let deletes = |write: &Write| matches!(write, Write::DeleteFeature(..));
    assert!(!shell.stored.iter().any(deletes), "{:?}", shell.stored);
}

/// The numbers of items, and features that another model of this kind made, are as they were when the model was clean.
#[test]
fn lists_are_stored_again_if_items_changed_while_the_machine_was_not_running() {
    for is_dirty_first in [true, false] {
        let clean = registered(3);
        let mut dirty = registered(3);
        dirty.row.as_mut().unwrap().dirty = Some(1);
        let beside = BesideRow::of(clean.row.as_ref().unwrap());
        let kind = ModelName::new("words-1").unwrap();
        let mut loaded = three_items(true);
        let gone = ItemId::new("gone").unwrap();
        let now = DateTime::UNIX_EPOCH;
        loaded.add_item(&tombstone(gone.clone(), 2, Liveness::Deleted, now));
        let seen = |opened: &Opened| {
            let row = opened.row.clone().unwrap();
            BesideRow::seen(Some(beside.clone()), row, &kind)
        };
        loaded.row = Some(seen(&dirty));
        let opened = if is_dirty_first { dirty } else { clean };
        let beside = Beside {
            row: Some(beside.clone()),
            ..Beside::default()
        };
        let (mut shell, ticket) = opened_from(opened, beside);
        let result = Ok(loaded);
        shell.input(Input::Loaded { ticket, result });
        shell.compare_all();
        shell.wait(2_000);
        assert_eq!(stored_lists(&shell), ["000", "001", "002"]);
        let deletes =
            |write: &Write| matches!(write, Write::DeleteBesideList(_, id) if *id == gone);
        assert!(shell.stored.iter().any(deletes), "{:?}", shell.stored);
        let marks = |write: &Write| matches!(write, Write::Beside(_, row) if row.dirty == Some(1));
        assert!(shell.stored.first().is_some_and(marks), "first it is dirty");
        shell.wait(2_000);
        assert!(shell.machine.report().is_clean);
    }
}

/// So it costs nothing to wake a domain.
#[test]
fn no_list_is_stored_again_if_the_domain_is_clean() {
    let clean = registered(3);
    let beside = Beside {
        row: Some(BesideRow::of(clean.row.as_ref().unwrap())),
        ..Beside::default()
    };
    let (mut shell, ticket) = opened_from(clean, beside);
    let result = Ok(three_items(true));
    shell.input(Input::Loaded { ticket, result });
    shell.compare_all();
    shell.wait(2_000);
    assert!(shell.stored.is_empty(), "{:?}", shell.stored);
}
