//! Patches of items that are gone.

use kindred_shared::event::Reason;

use super::*;

/// The outcome of an event of the item `a`, whose rows the store does not have any more.
fn take(machine: &mut Domain, number: u64, more: &str) -> Outcome {
    let said = format!(r#"{{"domain":"news","id":"a",{more}}}"#);
    let (tag, event) = (DeliveryTag(number), event(&said));
    let mut effects = machine.handle(at(0), Input::Event { tag, event });
    let mut outcomes = Vec::new();
    while !effects.is_empty() {
        outcomes.extend(settled(&effects));
        let inputs = effects.into_iter().filter_map(|effect| match effect {
            Effect::Commit { ticket, .. } => Some(Input::Committed {
                ticket,
                result: Ok(()),
            }),
            Effect::ReadWhole { ticket, .. } => Some(Input::WholeRead {
                ticket,
                result: Ok(vec![None]),
            }),
            _ => None,
        });
        let inputs: Vec<Input> = inputs.collect();
        let answers = inputs.into_iter().map(|input| machine.handle(at(0), input));
        effects = answers.flatten().collect();
    }
    let outcome = outcomes.into_iter().find(|(of, _)| *of == tag);
    outcome.expect("it is settled").1
}

#[test]
fn a_patch_from_before_its_items_end_has_no_effect_and_a_later_one_is_refused() {
    let (_, mut machine) = started(registered(0));
    let put = r#""type":"item.created","text":"words","version":5"#;
    assert_eq!(take(&mut machine, 1, put), Outcome::Stored(Some(5)));
    let delete = r#""type":"item.deleted","version":9"#;
    assert_eq!(take(&mut machine, 2, delete), Outcome::Stored(Some(9)));
    let patch = |version: &str| format!(r#""type":"item.patched","url":"u"{version}"#);
    let older = take(&mut machine, 3, &patch(r#","version":7"#));
    assert_eq!(older, Outcome::Stored(Some(7)));
    for (number, version) in [(4, r#","version":9"#), (5, r#","version":10"#), (6, "")] {
        match take(&mut machine, number, &patch(version)) {
            Outcome::Refused(refusal) => assert_eq!(refusal.reason, Reason::UnknownItem),
            other => panic!("{version}: {other:?}"),
        }
    }
    assert_eq!(machine.status().live, 0);
}

/// Otherwise a patch of an item that is stored only in part failed until the item's newer event came again, which it
/// could hold up.
#[test]
fn an_older_patch_has_no_effect_whatever_is_stored_of_its_item() {
    let (_, mut machine) = started(registered(0));
    let put = r#""type":"item.created","text":"words","version":5"#;
    assert_eq!(take(&mut machine, 1, put), Outcome::Stored(Some(5)));
    let older = r#""type":"item.patched","url":"u","version":3"#;
    assert_eq!(take(&mut machine, 2, older), Outcome::Stored(Some(3)));
    assert_eq!(machine.status().live, 1);
}
