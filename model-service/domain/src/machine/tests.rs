//! The machine by hand: single steps that the simulation would seldom take.
#![allow(clippy::unwrap_used)] // a test may panic

use kindred_shared::ItemId;
use kindred_shared::event::{Configure, Delete, Limits, parse};
use serde_json::Map;

use super::*;
use crate::loaded::Loaded;
use crate::window::WindowSize;

fn at(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        unix_ms: 1_000_000,
    }
}

fn load_ticket(effects: &[Effect]) -> Option<Ticket> {
    effects.iter().find_map(|effect| match effect {
        Effect::Load { ticket } => Some(*ticket),
        _ => None,
    })
}

/// A machine that has read its store.
fn started(loaded: Loaded) -> (DomainName, Domain) {
    let domain = DomainName::new("news").unwrap();
    let tenure = Tenure {
        domain: domain.clone(),
        partition: Partition(0),
        epoch: Epoch(1),
    };
    let settings = ProcessSettings {
        model: ModelName::new("words-1").unwrap(),
        window: WindowSize {
            length: Duration::from_millis(250),
            events: 20,
        },
        auto_register: true,
        strip_blocks: 2,
        material_bytes: 100,
    };
    let (mut machine, effects) = Domain::start(tenure, Arc::new(settings));
    let ticket = load_ticket(&effects).unwrap();
    let result = Ok(Box::new(loaded));
    machine.handle(at(0), Input::Loaded { ticket, result });
    (domain, machine)
}

#[test]
fn the_store_is_not_read_while_an_earlier_commit_is_on_its_way() {
    let (domain, mut machine) = started(Loaded::default());
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

    let effects = machine.restart(at(0));
    assert!(matches!(&*effects, [Effect::Settle(settled)] if settled.len() == 1));
    assert_eq!(
        machine.deadline(at(0)),
        None,
        "nothing to do before the commit is answered"
    );
    assert_eq!(load_ticket(&machine.handle(at(60_000), Input::Tick)), None);
    let answer = Input::Committed {
        ticket: committed,
        result: Ok(()),
    };
    let reload = load_ticket(&machine.handle(at(60_000), answer));
    assert!(
        reload.is_some_and(|reload| reload > committed),
        "tickets go on"
    );
}

#[test]
fn a_window_of_any_length_is_refused_from_the_broker_and_bounded_from_the_store() {
    let endless = Duration::from_secs(u64::MAX);
    let mut loaded = Loaded::default();
    let settings = DomainSettings {
        window: Some(endless),
        ..DomainSettings::default()
    };
    loaded.settings = Some(SettingsRow {
        settings,
        ..SettingsRow::default()
    });
    let (domain, mut machine) = started(loaded);
    let configure = |window: &str| {
        Arc::new(Event::Configure(Box::new(Configure {
            domain: domain.clone(),
            request: window.to_owned(),
            settings: Map::from_iter([("window".to_owned(), window.into())]),
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
