//! Machines of models beside the served one, as the machine of the served one has them run.

use std::collections::BTreeMap;

use kindred_shared::event::{MIX, ModelChange, Modelled, Removal, Weight};

use super::*;

fn name(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

/// Handles a request to change a model; returns the effects.
fn change(machine: &mut Domain, tag: u64, model: &str, change: ModelChange) -> Vec<Effect> {
    let event = Modelled {
        domain: DomainName::new("news").unwrap(),
        request: format!("request {tag}"),
        name: name(model),
        change,
        by: "key".to_owned(),
    };
    let (tag, event) = (DeliveryTag(tag), Arc::new(Event::Model(Box::new(event))));
    machine.handle(at(1), Input::Event { tag, event })
}

fn put(kind: &str, of: &[&str]) -> ModelChange {
    let of = of
        .iter()
        .map(|part| (name(part), Weight::new(1.0).unwrap()));
    ModelChange::Put {
        kind: name(kind),
        of: of.collect::<BTreeMap<_, _>>(),
    }
}

/// The models whose machines are to run from now on, if there are others than before.
fn kept(effects: &[Effect]) -> Option<(Ticket, Vec<&str>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Keep { ticket, models } => {
            let names = models.iter().map(|one| one.name.as_str());
            Some((*ticket, names.collect()))
        }
        _ => None,
    })
}

#[test]
fn a_model_is_built_only_once_it_is_stored_with_what_it_mixes() {
    let (_, mut machine) = started(registered(0));
    let effects = change(&mut machine, 1, "a", put("vectors-clip", &[]));
    let first = commits(&effects)[0].0;
    let effects = change(&mut machine, 2, "b", put(MIX, &["words-1", "a"]));
    let second = commits(&effects)[0].0;
    let effects = answer(&mut machine, at(2), first);
    assert_eq!(kept(&effects), None);
    let effects = answer(&mut machine, at(3), second);
    let (_, names) = kept(&effects).unwrap();
    assert_eq!(names, ["a", "b"]);
}

/// The machine of a domain with a model `a` beside the served one, whose machine runs.
fn with_model() -> Domain {
    let (_, mut machine) = started(registered(0));
    let effects = change(&mut machine, 1, "a", put("vectors-clip", &[]));
    let stored = commits(&effects)[0].0;
    let effects = answer(&mut machine, at(2), stored);
    let (ticket, _) = kept(&effects).unwrap();
    machine.handle(at(3), Input::Kept { ticket });
    machine
}

#[test]
fn an_event_is_settled_only_once_the_machine_of_a_deleted_model_has_ended() {
    let mut machine = with_model();
    let effects = change(&mut machine, 2, "a", ModelChange::Delete);
    let stored = commits(&effects)[0].0;
    let effects = answer(&mut machine, at(4), stored);
    assert_eq!(kept(&effects).unwrap().1, [""; 0]);

    // Readers may still see what that machine shows.
    let delete = event(r#"{"type":"item.deleted","domain":"news","id":"i","version":1}"#);
    let (tag, event) = (DeliveryTag(3), delete);
    let effects = machine.handle(at(5), Input::Event { tag, event });
    let stored = commits(&effects)[0].0;
    let effects = answer(&mut machine, at(6), stored);
    assert_eq!(settled(&effects), []);
    let passing = effects.iter().find_map(|effect| match effect {
        Effect::Pass { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let ticket = passing.unwrap();
    let effects = machine.handle(at(7), Input::Passed { ticket });
    assert_eq!(settled(&effects), [(tag, Outcome::Stored(Some(1)))]);
}

#[test]
fn a_removal_is_acknowledged_only_once_the_machines_of_other_models_have_ended() {
    let mut machine = with_model();
    let event = Event::Remove(Removal {
        domain: DomainName::new("news").unwrap(),
        request: "removal".to_owned(),
    });
    let (tag, event) = (DeliveryTag(2), Arc::new(event));
    let effects = machine.handle(at(4), Input::Event { tag, event });
    let (ending, none) = kept(&effects).unwrap();
    assert_eq!(none, [""; 0]);
    let stored = commits(&effects)[0].0;
    let effects = answer(&mut machine, at(5), stored);
    assert_eq!(settled(&effects), [], "readers may still see the model");
    let effects = machine.handle(at(6), Input::Kept { ticket: ending });
    assert_eq!(settled(&effects), [(tag, Outcome::Stored(None))]);
}

#[test]
fn machines_that_may_still_run_are_ended_again_if_the_answer_was_lost() {
    let mut machine = with_model();
    let effects = change(&mut machine, 2, "a", ModelChange::Delete);
    let stored = commits(&effects)[0].0;
    let effects = answer(&mut machine, at(4), stored);
    let (lost, _) = kept(&effects).unwrap();
    let effects = machine.restart(at(5), &[]);
    let (again, none) = kept(&effects).unwrap();
    assert_eq!(none, [""; 0]);
    assert!(again > lost);
}

#[test]
fn features_of_all_models_are_deleted_with_an_item() {
    let mut machine = with_model();
    let delete = event(r#"{"type":"item.deleted","domain":"news","id":"i","version":1}"#);
    let (tag, event) = (DeliveryTag(2), delete);
    let effects = machine.handle(at(4), Input::Event { tag, event });
    let (_, writes) = commits(&effects).remove(0);
    let named = |write: &Write| match write {
        Write::DeleteFeature(kind, id) => (kind.as_str(), id.as_str()) == ("vectors-clip", "i"),
        _ => false,
    };
    assert!(writes.iter().any(named), "{writes:?}");
}
