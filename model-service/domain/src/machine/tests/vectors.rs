//! Named vectors: a change of one is made anew by the models that use it, and by no other.

use super::*;

/// Three items with a feature and a list, in a domain whose model is of this kind.
fn filled(kind: &str) -> Shell {
    let set = DomainSettings {
        model: Some(ModelName::new(kind).unwrap()),
        ..Default::default()
    };
    let opened = Opened {
        settings: Some(SettingsRow {
            settings: set,
            ..SettingsRow::default()
        }),
        ..registered(0)
    };
    let (_, machine) = started(opened);
    let mut shell = Shell::new(machine);
    for id in ["000", "001", "002"] {
        publish(&mut shell, id, 1, r#""title":"t","vectors":{"clip":[1]}"#);
    }
    shell.wait(1_000);
    assert_eq!(shell.stored_list("000"), Some(2));
    shell.is_slow = true;
    shell
}

fn publish(shell: &mut Shell, id: &str, version: u64, fields: &str) {
    let said = format!(
        r#"{{"type":"item.updated","domain":"news","id":"{id}","version":{version},{fields}}}"#
    );
    let (tag, event) = (DeliveryTag(version), event(&said));
    shell.input(Input::Event { tag, event });
    shell.wait(1_000);
}

/// Whether a feature of item `001` had to be made after this event, and the versions of the stored ones.
fn after(kind: &str, fields: &str) -> (bool, Vec<u64>) {
    let mut shell = filled(kind);
    let before = shell.stored.len();
    publish(&mut shell, "001", 2, fields);
    let features = shell.stored[before..].iter();
    let features = features.filter_map(|write| match write {
        Write::Feature(row) => Some(row.version),
        _ => None,
    });
    (!shell.extracting.is_empty(), features.collect())
}

#[test]
fn a_change_of_a_vector_concerns_the_models_that_use_it() {
    let other_vector = r#""title":"t","vectors":{"clip":[2]}"#;
    let other_text = r#""title":"u","vectors":{"clip":[1]}"#;
    let one_more = r#""title":"t","vectors":{"clip":[1],"audio":[1]}"#;
    let none = r#""title":"t""#;
    for (kind, fields, is_made) in [
        ("words-1", other_vector, false),
        ("words-1", other_text, true),
        ("words-1", one_more, false),
        ("words-1", none, false),
        ("vectors-clip", other_vector, true),
        ("vectors-clip", other_text, false),
        ("vectors-clip", one_more, false),
        ("vectors-clip", none, true),
    ] {
        let expected = if is_made { vec![] } else { vec![2] };
        assert_eq!(after(kind, fields), (is_made, expected), "{kind}: {fields}");
    }
}

#[test]
fn what_is_gone_leaves_no_feature_of_a_named_vector() {
    let mut shell = filled("vectors-clip");
    let before = shell.stored.len();
    let said = r#"{"type":"item.deleted","domain":"news","id":"001","version":2}"#;
    let (tag, event) = (DeliveryTag(2), event(said));
    shell.input(Input::Event { tag, event });
    let kind = ModelName::new("vectors-clip").unwrap();
    let is_deleted = |write: &Write| matches!(write, Write::DeleteFeature(of, id) if *of == kind && id.as_str() == "001");
    assert!(shell.stored[before..].iter().any(is_deleted));
}
