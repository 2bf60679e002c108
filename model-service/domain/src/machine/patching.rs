//! Patches: an event that contains only changes needs the rest of its item, including the text, from the store.
//!
//! The item's later events wait behind it, so that their order is kept; events of other items do not wait. The text is
//! written again under the new version, for the reason given in [`crate::round`].

use std::collections::BTreeMap;

use kindred_shared::ItemId;
use kindred_shared::event::{Event, Patch, Reason, Refusal, Upsert};

use super::Domain;
use crate::effect::{Effect, Ticket};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::material::{Material, upsert_of};
use crate::slot::Slot;
use crate::time::Now;

impl Domain {
    /// Whether an event must wait until its whole item is read.
    pub(super) fn needs_whole(&self, event: &Event) -> bool {
        let waits = |id| self.whole.waits_for(id);
        matches!(event, Event::Patch(_)) || event.id().is_some_and(waits)
    }

    /// Reads the items about which patches have arrived, once nothing about them is on its way to the store.
    pub(super) fn read_whole(&mut self) {
        let (catalogue, acceptance) = (&self.catalogue, &self.acceptance);
        let is_stored = |id: &ItemId| {
            let slot = catalogue.known(id);
            slot.is_none_or(|slot| !acceptance.is_writing(slot))
        };
        let outbox = &mut self.outbox;
        if let Some((ticket, ids)) = self.whole.ask(|| outbox.ticket(), is_stored) {
            self.outbox.push(Effect::ReadWhole { ticket, ids });
        }
    }

    /// Some items are read, including their texts: the events that waited for them are processed.
    pub(super) fn whole_read(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Vec<Option<Material>>, Failure>,
    ) {
        let Some(asked) = self.whole.answered(ticket) else {
            return;
        };
        let materials = match result {
            Ok(materials) => materials,
            Err(failure) => {
                let tags = asked.events.into_iter().map(|(tag, _)| tag).collect();
                self.outbox.settle(tags, &Outcome::Failed(failure.clone()));
                return self.reload_later(now, failure);
            }
        };
        let read = asked.ids.into_iter().zip(materials);
        let mut items: BTreeMap<ItemId, Material> = read
            .filter_map(|(id, material)| Some((id, material?)))
            .collect();
        // As the events processed before say.
        let mut changed: BTreeMap<ItemId, Upsert> = BTreeMap::new();
        for (tag, event) in asked.events {
            let Event::Patch(patch) = &*event else {
                let is_let_in = self.take_whole(now, tag, &event);
                let id = event.id().filter(|_| is_let_in);
                if let Some(id) = id.filter(|id| self.is_taken(id, &event)) {
                    items.remove(id);
                    match &*event {
                        Event::Upsert(upsert) => changed.insert(id.clone(), Upsert::clone(upsert)),
                        _ => changed.remove(id),
                    };
                }
                continue;
            };
            if let Some(slot) = self.newer_than(patch) {
                self.accept(now, tag, slot, patch.version, None);
                continue;
            }
            let before = match changed.remove(&patch.id) {
                Some(item) => Some(item),
                None => match self.read_before(items.remove(&patch.id)) {
                    Ok(item) => item,
                    Err(failure) => {
                        self.outbox.settle(vec![tag], &Outcome::Failed(failure));
                        continue;
                    }
                },
            };
            if let Some(after) = self.patch(now, tag, patch, before) {
                changed.insert(patch.id.clone(), after);
            }
        }
    }

    /// Whether an event about an item was not older than the known version.
    fn is_taken(&self, id: &ItemId, event: &Event) -> bool {
        let slot = self.catalogue.known(id);
        let newest = slot.and_then(|slot| self.catalogue.item(slot).version);
        event
            .version()
            .is_none_or(|version| newest == Some(version))
    }

    /// An item as it was read; `None`: it never existed.
    fn read_before(&self, read: Option<Material>) -> Result<Option<Upsert>, Failure> {
        let Some(material) = read else {
            return Ok(None);
        };
        let slot = self.catalogue.known(&material.row.id);
        let is_newest = slot
            .is_some_and(|slot| self.catalogue.item(slot).version == Some(material.row.version));
        let is_there = slot.is_some_and(|slot| self.catalogue.item(slot).live);
        if !is_there {
            return Ok(None);
        }
        // The row belongs to an event that was stored only in part and will come again, or that is not acknowledged.
        if !(is_newest && material.is_whole()) {
            let detail = "the item is not completely stored yet; send it again, then patch it";
            return Err(Failure::passing(detail));
        }
        Ok(Some(upsert_of(&self.tenure.domain, material)))
    }

    /// The item of a patch that is older than the item's known version: like every older event, it has no effect,
    /// whatever is stored of the item, and it is not refused, which would make a dead letter of it if it comes again.
    fn newer_than(&self, patch: &Patch) -> Option<Slot> {
        let slot = self.catalogue.known(&patch.id)?;
        let known = self.catalogue.item(slot).version;
        let is_older = patch.version.is_some_and(|version| Some(version) < known);
        is_older.then_some(slot)
    }

    /// Processes a patch that is not older than its item; returns the item after it.
    fn patch(
        &mut self,
        now: Now,
        tag: DeliveryTag,
        patch: &Patch,
        before: Option<Upsert>,
    ) -> Option<Upsert> {
        let slot = self.catalogue.known(&patch.id);
        let slot = slot.filter(|slot| self.catalogue.item(*slot).live);
        let (Some(slot), Some(mut item)) = (slot, before) else {
            let detail = "there is no such item to patch: send the whole item";
            let refusal = Refusal::new(Reason::UnknownItem, Some("id"), detail);
            self.outbox.settle(vec![tag], &Outcome::Refused(refusal));
            return None;
        };
        let before = item.clone();
        if let Err(refusal) = patch.apply(&mut item, self.settings.attributes) {
            self.outbox.settle(vec![tag], &Outcome::Refused(refusal));
            return Some(before);
        }
        self.accept(now, tag, slot, patch.version, Some(&item));
        Some(item)
    }
}
