//! Dense parts of one space have the same length, whatever workers answer and whatever the store has.

use super::*;

/// Features of these items, with dense parts of this length.
fn made(rows: Vec<ToExtract>, length: usize) -> Vec<Made> {
    let mut dense = vec![0.0; length];
    dense[0] = 1.0;
    let made = rows.into_iter().map(|row| Made {
        slot: row.slot,
        version: row.version,
        space: Space::stored("words-1/en"),
        feature: Feature::new(dense.clone(), vec![], vec![]).unwrap(),
        habits: 0,
        row: None,
    });
    made.collect()
}

/// A domain whose items have features of length one.
fn filled() -> Shell {
    let (_, machine) = started(Opened::default());
    let mut shell = Shell::new(machine);
    shell.publish(0..3);
    shell.wait(1_000);
    assert_eq!(shell.stored_list("000"), Some(2));
    shell.is_slow = true;
    shell
}

#[test]
fn features_of_another_length_are_not_stored_and_asked_for_again() {
    let mut shell = filled();
    shell.publish(3..4);
    shell.wait(1_000);
    let (ticket, rows) = shell.extracting.pop().unwrap();
    let before = shell.stored.len();
    let result = Ok(made(rows, 2));
    shell.input(Input::Extracted { ticket, result });
    assert_eq!(shell.stored.len(), before, "nothing of it is stored");
    let trouble = shell.machine.status().trouble.unwrap();
    assert!(trouble.contains("words-1/en"), "{trouble}");
    assert!(trouble.contains("2 values, and others have 1"), "{trouble}");

    // Other workers answer correctly.
    shell.wait(60_000);
    let (ticket, rows) = shell.extracting.pop().unwrap();
    let result = Ok(made(rows, 1));
    shell.input(Input::Extracted { ticket, result });
    shell.wait(60_000);
    assert_eq!(shell.stored_list("003"), Some(3));
    assert_eq!(shell.machine.status().trouble, None);
}

#[test]
fn features_of_one_window_are_equally_long() {
    let (_, machine) = started(Opened::default());
    let mut shell = Shell::new(machine);
    shell.is_slow = true;
    shell.publish(0..2);
    shell.wait(1_000);
    let (ticket, mut rows) = shell.extracting.pop().unwrap();
    let second = rows.split_off(1);
    let result = Ok([made(rows, 1), made(second, 2)].concat());
    shell.input(Input::Extracted { ticket, result });
    assert!(shell.machine.status().trouble.is_some());
    let features = shell.stored.iter();
    assert!(
        !features
            .clone()
            .any(|write| matches!(write, Write::Feature(_)))
    );
}

#[test]
fn stored_features_of_another_length_than_most_are_made_again() {
    let (_, mut machine, ticket) = opened_only(registered(4));
    let mut loaded = Box::<Loaded>::default();
    for (n, dense) in [vec![1.0], vec![0.6, 0.8], vec![1.0]]
        .into_iter()
        .enumerate()
    {
        let said = format!(
            r#"{{"type":"item.created","domain":"news","id":"{n:03}","version":1,"text":"t"}}"#
        );
        let Event::Upsert(upsert) = &*event(&said) else {
            panic!("it is an upsert");
        };
        let row = rows_of(upsert, 1, DateTime::UNIX_EPOCH).0;
        loaded.add_item(&row);
        loaded.add_feature(FeatureRow {
            id: row.id,
            version: 1,
            space: Space::stored("words-1/en"),
            feature: Feature::new(dense, vec![], vec![]).unwrap(),
            habits: 0,
        });
    }
    let effects = machine.handle(
        at(10),
        Input::Loaded {
            ticket,
            result: Ok(loaded),
        },
    );
    let mut shell = Shell::new(machine);
    shell.is_slow = true;
    shell.answer(effects);
    shell.compare_all();
    shell.wait(1_000);
    let (ticket, rows) = shell.extracting.pop().unwrap();
    let asked: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(asked, ["001"]);
    let result = Ok(made(rows, 1));
    shell.input(Input::Extracted { ticket, result });
    shell.wait(60_000);
    for id in ["000", "001", "002"] {
        assert_eq!(shell.stored_list(id), Some(2), "{id}");
    }
}
