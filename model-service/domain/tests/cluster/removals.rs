//! Domains that are removed and created again, and patches among their events.
//!
//! What a removal affects depends on its place in the queue, not on versions, and brokers redeliver unacknowledged
//! events: an earlier event that is redelivered after the removal counts as new. So which items must exist follows from
//! the times when events first were in a queue, and which may exist from the times when an owner last reported them as
//! stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::store::{DomainRow, ItemRow, RemovalStage, Write};
use kindred_query::DomainView;
use kindred_shared::event::{Changes, Event, Patch, Removal};
use kindred_shared::{DomainName, ItemId};

use crate::invariants::{Checked, Invariant, Violation, is_shown, violated};
use crate::simulated::tables::Tables;
use crate::world::World;

/// The record of removals, and of events that compete with them.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    asked: u64,
    /// When each event first was in a queue.
    enqueued: BTreeMap<String, Duration>,
    /// When an owner last reported an event as stored.
    stored: BTreeMap<String, Duration>,
    /// Patches and changes of models that were refused because their item or domain did not exist.
    refused: BTreeSet<String>,
    /// When a domain's row last began to say that the domain is removed.
    removed: BTreeMap<DomainName, Duration>,
}

/// The identity of an event; duplicates have the same.
fn name(event: &Event) -> String {
    match event {
        Event::Configure(configure) => configure.request.clone(),
        Event::Model(modelled) => modelled.request.clone(),
        Event::Record(recorded) => recorded.request.clone(),
        Event::Remove(removal) => removal.request.clone(),
        Event::Upsert(_) | Event::Delete(_) | Event::Patch(_) => {
            format!("version {}", event.version().unwrap_or_default())
        }
    }
}

impl Removals {
    /// An event arrives in a queue.
    pub(crate) fn enqueued(&mut self, now: Duration, event: &Event) {
        self.enqueued.entry(name(event)).or_insert(now);
    }

    /// An owner reports it as stored.
    pub(crate) fn stored(&mut self, now: Duration, event: &Event) {
        self.stored.insert(name(event), now);
    }

    /// Whether the event's effect may have been removed with its domain.
    pub(crate) fn may_be_gone(&self, event: &Event) -> bool {
        let removed = self.removed.get(event.domain());
        removed.is_some_and(|removed| {
            self.enqueued
                .get(&name(event))
                .is_none_or(|at| at <= removed)
        })
    }

    /// Whether an owner refused it, and none accepted it.
    pub(crate) fn is_refused(&self, event: &Event) -> bool {
        let name = name(event);
        self.refused.contains(&name) && !self.stored.contains_key(&name)
    }

    pub(crate) fn has_removed(&self, domain: &DomainName) -> bool {
        self.removed.contains_key(domain)
    }
}

/// Whether a write says that its domain is being removed.
pub(crate) fn removes(write: &Write) -> bool {
    let is_sweeping = |row: &DomainRow| {
        let removal = row.removal.as_ref();
        removal.is_some_and(|removed| removed.stage == RemovalStage::Sweeping)
    };
    matches!(write, Write::Domain(row) if is_sweeping(row))
}

impl World {
    /// A client removes a domain.
    pub(crate) fn removal(&mut self, domain: DomainName) -> Event {
        let removals = &mut self.books.removals;
        removals.asked += 1;
        let request = format!("removal {}", removals.asked);
        Event::Remove(Removal { domain, request })
    }

    /// A client changes some fields of an item.
    pub(crate) fn patch(&mut self, domain: DomainName, id: ItemId, version: Option<u64>) -> Event {
        let url = format!("https://sim.example/patched/{}", self.dice.roll(1_000));
        Event::Patch(Box::new(Patch {
            domain,
            id,
            version,
            changes: Changes {
                url: Some(Some(url)),
                hidden: (self.dice.one_in(3)).then(|| Some(self.dice.one_in(2))),
                ..Changes::default()
            },
        }))
    }

    /// The domain's row says that it is removed: everything known about it is from before.
    pub(crate) fn removed(&mut self, domain: &DomainName) {
        self.books.removals.removed.insert(domain.clone(), self.now);
        self.books.acknowledged.retain(|(of, _), _| of != domain);
    }

    /// An owner refuses an event. Only removals, patches and changes of models that have nothing to act on may be
    /// refused.
    pub(crate) fn refuse(&mut self, event: &Event, why: &str, is_certain: bool) {
        match event {
            Event::Remove(_) => {}
            Event::Model(_) if is_certain && self.books.must_exist(event.domain()) => {
                let detail = format!("{event:?} is refused, and its domain is there: {why}");
                self.check(violated(Invariant::DurableBeforeAcknowledged, detail));
            }
            Event::Patch(_) | Event::Model(_) => {
                self.books.removals.refused.insert(name(event));
            }
            Event::Upsert(_) | Event::Delete(_) | Event::Configure(_) | Event::Record(_) => {
                let detail = format!("{event:?} is refused: {why}");
                self.check(violated(Invariant::NeverBlocked, detail));
            }
        }
    }

    /// A removal is acknowledged: it must be durable, and readers must not see the domain any more.
    pub(crate) fn assert_removed<'a>(
        &mut self,
        removal: &Removal,
        mut views: impl Iterator<Item = &'a DomainView>,
    ) {
        let domain = &removal.domain;
        let tables = self.database.tables.get(domain);
        let row = tables.and_then(|tables| tables.domain.get(&()));
        let removed = row.and_then(|row| row.removal.as_ref());
        let checked = match removed {
            None => violated(
                Invariant::DurableBeforeAcknowledged,
                format!("{removal:?} is acknowledged, and the row is {row:?}"),
            ),
            Some(removed) if removed.stage != RemovalStage::Sweeping => Ok(()),
            Some(_) => views.try_for_each(|view| {
                let snapshot = view.snapshot();
                let items = snapshot
                    .as_ref()
                    .map(|snapshot| snapshot.items(i64::MIN).count());
                match items {
                    None | Some(0) => Ok(()),
                    Some(items) => violated(
                        Invariant::GoneMeansGone,
                        format!("{items} items of {domain} are served after its removal"),
                    ),
                }
            }),
        };
        self.check(checked);
    }

    /// The event that determines the final state of each item of a domain, from what was in its queue and is stored.
    pub(crate) fn newest_of(
        &self,
        domain: &DomainName,
        tables: &Tables,
    ) -> Result<Vec<(ItemId, Arc<Event>)>, Violation> {
        let removals = &self.books.removals;
        let is_removed = removals.has_removed(domain);
        let mut newest = Vec::new();
        for ((_, id), events) in self.books.events.iter().filter(|((of, _), _)| of == domain) {
            let mut counting = events.values().rev();
            let certain =
                counting.find(|event| !removals.is_refused(event) && !removals.may_be_gone(event));
            let row = tables.items.get(id);
            let lost = |version: Option<u64>| {
                let detail = format!("of {id} of {domain} version {version:?} is lost: {row:?}");
                Violation {
                    invariant: Invariant::DurableBeforeAcknowledged,
                    detail,
                }
            };
            let event = match (row, certain) {
                (None, None) => continue,
                (None, Some(certain)) => return Err(lost(certain.version())),
                (Some(row), certain) => {
                    let certain = certain.and_then(|event| event.version());
                    let event = events.get(&row.version).ok_or_else(|| lost(certain))?;
                    // An event that was accepted again after the removal may be newer than those published after it;
                    // and a patch that was stored is refused if it comes again after its item's end.
                    let may_be_newer = is_removed || matches!(**event, Event::Patch(_));
                    let is_newer = Some(row.version) > certain && may_be_newer;
                    if !(Some(row.version) == certain || is_newer) {
                        return Err(lost(certain));
                    }
                    event
                }
            };
            self.may_be_there(domain, event)?;
            newest.push((id.clone(), Arc::clone(event)));
        }
        Ok(newest)
    }

    /// Nothing from before a domain's removal may exist, unless it was accepted again.
    fn may_be_there(&self, domain: &DomainName, event: &Event) -> Checked {
        let removals = &self.books.removals;
        let Some(removed) = removals.removed.get(domain) else {
            return Ok(());
        };
        match removals.stored.get(&name(event)) {
            Some(stored) if stored >= removed => Ok(()),
            stored => violated(
                Invariant::GoneMeansGone,
                format!(
                    "{event:?} is back: {domain} was removed at {removed:?}, it was stored at {stored:?}"
                ),
            ),
        }
    }

    /// Checks that an item whose newest event is a patch is as the patch says, with the text of an earlier event.
    pub(crate) fn is_patched(&self, patch: &Patch, row: &ItemRow, tables: &Tables) -> Checked {
        let key = (patch.domain.clone(), patch.id.clone());
        let text = tables.contents.get(&patch.id);
        let mut before = self.books.events.get(&key).into_iter().flatten();
        let has_text = before.any(|(_, event)| match &**event {
            Event::Upsert(upsert) => {
                text.is_some_and(|content| content.text == upsert.text) || !is_shown(row)
            }
            _ => false,
        });
        let changes = &patch.changes;
        let is_live = row.liveness == kindred_domain::store::Liveness::Live;
        let is_changed = changes
            .hidden
            .flatten()
            .is_none_or(|hidden| hidden == row.hidden)
            && changes.url.as_ref() == Some(&row.url);
        if has_text && (is_changed || !is_live) {
            return Ok(());
        }
        violated(
            Invariant::Exact,
            format!("{row:?} with {text:?} is not what {patch:?} makes of an earlier event"),
        )
    }
}
