//! Quotas of domains: they are checked where events are accepted, whichever way the events arrived.

use kindred_shared::event::Reason;

use super::*;
use crate::material::Material;

fn limited(live: u64, settings: DomainSettings) -> Opened {
    Opened {
        settings: Some(SettingsRow {
            settings,
            ..SettingsRow::default()
        }),
        ..registered(live)
    }
}

/// A loaded, empty domain, whose rounds are answered at once.
struct Bench {
    machine: Domain,
    next: u64,
}

impl Bench {
    fn new(settings: DomainSettings) -> Self {
        let (_, machine) = started(limited(0, settings));
        Self { machine, next: 1 }
    }

    /// The outcome of an event of an item: accepted, or the reason of its refusal.
    fn take(&mut self, id: &str, more: &str) -> Result<(), Reason> {
        let said = format!(r#"{{"domain":"news","id":"{id}",{more}}}"#);
        let (tag, event) = (DeliveryTag(self.next), event(&said));
        self.next += 1;
        let mut effects = self.machine.handle(at(0), Input::Event { tag, event });
        let mut outcomes = settled(&effects);
        while let Some((ticket, _)) = commits(&effects).first() {
            let (ticket, result) = (*ticket, Ok(()));
            effects = self
                .machine
                .handle(at(0), Input::Committed { ticket, result });
            outcomes.extend(settled(&effects));
        }
        let outcome = outcomes.into_iter().find(|(of, _)| *of == tag);
        match outcome.map(|(_, outcome)| outcome) {
            Some(Outcome::Stored(_)) => Ok(()),
            Some(Outcome::Refused(refusal)) => Err(refusal.reason),
            other => panic!("{said}: {other:?}"),
        }
    }
}

const PUT: &str = r#""type":"item.created","text":"words""#;
const DELETE: &str = r#""type":"item.deleted""#;
const OVER: Result<(), Reason> = Err(Reason::OverQuota);

#[test]
fn a_domain_has_so_many_items() {
    let mut bench = Bench::new(DomainSettings {
        max_items: Some(2),
        ..DomainSettings::default()
    });
    assert_eq!(bench.take("a", PUT), Ok(()));
    assert_eq!(bench.take("b", PUT), Ok(()));
    assert_eq!(bench.take("c", PUT), OVER);
    assert_eq!(bench.take("a", PUT), Ok(()), "it is there");
    let hidden = format!(r#"{PUT},"hidden":true"#);
    assert_eq!(bench.take("d", &hidden), Ok(()), "readers do not see it");
    assert_eq!(bench.take("d", DELETE), Ok(()));
    let old = format!(r#"{PUT},"version":1"#);
    assert_eq!(bench.take("d", &old), Ok(()), "it changes nothing");
    assert_eq!(bench.take("c", PUT), OVER);
    assert_eq!(bench.take("b", DELETE), Ok(()));
    assert_eq!(bench.take("c", PUT), Ok(()));
    assert_eq!(bench.machine.status().live, 2);
}

#[test]
fn texts_of_a_domain_are_so_long() {
    let mut bench = Bench::new(DomainSettings {
        max_text: Some(5),
        ..DomainSettings::default()
    });
    let long = r#""type":"item.created","text":"longer""#;
    assert_eq!(bench.take("a", PUT), Ok(()));
    assert_eq!(bench.take("a", long), OVER);
    assert_eq!(bench.take("a", &format!(r#"{long},"hidden":true"#)), Ok(()));
}

#[test]
fn a_domain_that_is_loaded_again_counts_what_its_row_says_if_it_was_left_clean() {
    let settings = || DomainSettings {
        max_items: Some(3),
        ..DomainSettings::default()
    };
    for (dirty, is_refused) in [(None, true), (Some(1), false)] {
        let mut opened = limited(3, settings());
        opened.row.as_mut().unwrap().dirty = dirty;
        let (_, mut machine, _) = opened_only(opened);
        let (tag, event) = (
            DeliveryTag(1),
            event(r#"{"type":"item.created","domain":"news","id":"new","text":"words"}"#),
        );
        let effects = machine.handle(at(1), Input::Event { tag, event });
        let [Effect::ReadItems { ticket, .. }] = &*effects else {
            panic!("the item's row is asked for: {effects:?}");
        };
        let (ticket, result) = (*ticket, Ok(vec![None]));
        let effects = machine.handle(at(2), Input::ItemsRead { ticket, result });
        let was_refused = matches!(&*settled(&effects), [(_, Outcome::Refused(_))]);
        assert_eq!(was_refused, is_refused, "dirty: {dirty:?}");
    }
}

#[test]
fn a_patch_behind_a_refused_event_changes_what_was_before() {
    let settings = DomainSettings {
        max_text: Some(5),
        ..DomainSettings::default()
    };
    let (_, mut machine) = started(limited(0, settings));
    let mut effects = vec![];
    for (tag, more) in [
        (1, PUT),
        (2, r#""type":"item.patched","group":"one""#),
        (3, r#""type":"item.created","text":"longer""#),
        (4, r#""type":"item.patched","url":"u""#),
    ] {
        let event = event(&format!(r#"{{"domain":"news","id":"a",{more}}}"#));
        let tag = DeliveryTag(tag);
        effects.extend(machine.handle(at(0), Input::Event { tag, event }));
    }
    // A store with one item.
    let (mut row, mut content, mut outcomes) = (None, None, vec![]);
    while !effects.is_empty() {
        outcomes.extend(settled(&effects));
        for effect in std::mem::take(&mut effects) {
            let input = match effect {
                Effect::Commit { ticket, writes, .. } => {
                    for write in writes {
                        match write {
                            Write::Item(written) => row = Some(written),
                            Write::Content(_, written) => content = Some(written),
                            _ => {}
                        }
                    }
                    let result = Ok(());
                    Input::Committed { ticket, result }
                }
                Effect::ReadWhole { ticket, .. } => {
                    let row = row.clone().expect("a row is stored");
                    let content = content.clone().expect("a text is stored");
                    let result = Ok(vec![Some(Material { row, content })]);
                    Input::WholeRead { ticket, result }
                }
                _ => continue,
            };
            effects.extend(machine.handle(at(0), input));
        }
    }
    let refused = |(tag, outcome): &(DeliveryTag, Outcome)| {
        matches!(outcome, Outcome::Refused(_)).then_some(tag.0)
    };
    let all: Vec<u64> = outcomes.iter().map(|(tag, _)| tag.0).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(outcomes.iter().find_map(refused), Some(3));
    let row = row.expect("a row");
    assert_eq!(content.expect("a text").text.as_deref(), Some("words"));
    assert_eq!(
        (row.group.as_deref(), row.url.as_deref()),
        (Some("one"), Some("u"))
    );
}
