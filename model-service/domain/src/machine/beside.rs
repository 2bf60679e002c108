//! A model beside the served one: it has a machine of its own, which follows that of the served one.
//!
//! What the domain has accepted is durable before it is passed on ([`Input::Follow`]). So this machine acknowledges
//! nothing and writes no item: only features, lists and what is said of the model itself. Whatever it missed while it
//! was not there it finds when it loads, as after a crash ([`Resolved::is_as_left`]).
//!
//! [`Input::Follow`]: crate::effect::Input::Follow
//! [`Resolved::is_as_left`]: crate::loaded::Resolved::is_as_left

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::{ItemId, ModelName};

use super::{Domain, Phase, Tenure};
use crate::effect::{Effect, Passed};
use crate::material::Material;
use crate::models::Tidings;
use crate::outbox::Outbox;
use crate::settings::ProcessSettings;
use crate::shown::Shown;
use crate::slot::Slot;
use crate::store::{Content, ItemRow, Liveness};
use crate::time::Now;
use crate::view_change::{Renewed, ViewChange};

/// How far a model beside the served one is behind it.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// What was passed on while all was being read. Of each item the newest: no more than the domain has.
    passed: BTreeMap<ItemId, ItemRow>,
    /// Items that had no feature when the domain was loaded, as far as they may have no list yet.
    unmade: BTreeSet<Slot>,
    /// Whether it has been as exact as the served one since it was loaded.
    is_whole: bool,
}

impl Domain {
    /// The machine of a model beside the served one, of this name and kind. It begins by reading the store.
    pub fn start_beside(
        tenure: Tenure,
        settings: Arc<ProcessSettings>,
        name: ModelName,
        kind: ModelName,
    ) -> (Self, Vec<Effect>) {
        let (mut domain, _) = Self::start(tenure, settings);
        domain.outbox = Outbox::beside(name, kind);
        domain.open();
        let effects = domain.outbox.drain();
        (domain, effects)
    }

    /// What the machine of the served model is to know of this one.
    pub fn tidings(&self) -> Tidings {
        Tidings {
            is_whole: self.behind.is_whole,
            is_clean: self.may_sleep(),
            failed: None,
            habits: Arc::clone(&self.surveying.habits),
        }
    }

    /// The name of the model that this machine is of.
    pub(super) fn model_name(&self) -> &ModelName {
        match self.outbox.model_beside() {
            Some(name) => name,
            None => self.models().active(self.model()),
        }
    }

    /// An item has no feature, as the store has it.
    pub(super) fn is_unmade(&mut self, slot: Slot) {
        if self.outbox.model_beside().is_some() {
            self.behind.unmade.insert(slot);
        }
    }

    /// Items are stored like this.
    pub(super) fn follow(&mut self, now: Now, passed: Vec<Passed>) {
        if !self.is_loaded() {
            return self.follow_later(now, &passed);
        }
        if self.row.is_none() {
            return;
        }
        for one in passed {
            match one {
                Passed::Live(material) => self.follow_live(now, material, true),
                Passed::Gone(row) => self.follow_gone(now, &row),
            }
        }
        self.show_followed(now);
    }

    /// While the domain is read, only readers of what there was before are told at once.
    fn follow_later(&mut self, now: Now, passed: &[Passed]) {
        let mut change = ViewChange::default();
        for row in passed.iter().map(Passed::row) {
            let is_early = row.publish_at.is_some_and(|at| at > now.date());
            let is_over = row.expires_at.is_some_and(|at| at <= now.date());
            let is_live = row.liveness == Liveness::Live;
            if is_live && !(row.hidden || is_early || is_over) {
                change.renewed.push(Renewed {
                    id: row.id.clone(),
                    expires_at: row.expires_at.map(|at| at.timestamp_millis()),
                    shown: Arc::new(Shown::of(row, &mut self.words)),
                });
            } else {
                change.gone.push(row.id.clone());
            }
            let known = self.behind.passed.get(&row.id);
            let is_older = known.is_some_and(|known| known.version > row.version);
            if matches!(self.phase, Phase::Loading(_)) && !is_older {
                self.behind.passed.insert(row.id.clone(), row.clone());
            }
        }
        if !change.is_empty() {
            self.serve(change);
        }
    }

    /// All is read: what was passed on meanwhile is taken in. What was read of it may be of before, or in part of it,
    /// so that its features are made of what the store has now.
    pub(super) fn catch_up(&mut self, now: Now) {
        if self.outbox.model_beside().is_none() {
            return;
        }
        for (id, row) in std::mem::take(&mut self.behind.passed) {
            if row.liveness != Liveness::Live {
                self.follow_gone(now, &row);
                continue;
            }
            let slot = self.catalogue.slot(&id);
            self.catalogue.update(slot, |item| {
                item.is_doubtful |= item.version == Some(row.version);
            });
            let content = Content::default();
            self.follow_live(now, Material { row, content }.into(), false);
        }
        self.show_followed(now);
    }

    fn follow_live(&mut self, now: Now, material: Arc<Material>, has_content: bool) {
        let row = &material.row;
        let (slot, version) = (self.catalogue.slot(&row.id), row.version);
        if self.catalogue.item(slot).version > Some(version) {
            return;
        }
        if row.expires_at.is_some_and(|at| at <= now.date()) {
            return self.withdraw(now, slot, version, Liveness::Expired);
        }
        self.put(now, slot, material, has_content);
    }

    fn follow_gone(&mut self, now: Now, row: &ItemRow) {
        let slot = self.catalogue.slot(&row.id);
        if self.catalogue.item(slot).version <= Some(row.version) {
            self.withdraw(now, slot, row.version, row.liveness);
        }
    }

    /// What was taken in is durable: readers see it at once.
    fn show_followed(&mut self, now: Now) {
        let (departed, renewed) = self.acceptance.take_seen();
        self.depart_now(now, &departed);
        self.renew(now, renewed);
    }

    /// Looks whether all lists have been made that there are to make, and stored. While events keep coming there is
    /// always something to do; what counts is that what was missing when it was loaded is made.
    pub(super) fn look_whether_whole(&mut self) {
        let is_beside = self.outbox.model_beside().is_some();
        if !is_beside || self.behind.is_whole || !self.lists.are_served() {
            return;
        }
        let has_habits =
            self.surveying.habits.are_known || self.catalogue.live() < self.settings.sample.fewest;
        let is_made = self.rebuild.is_none()
            && self.unmet.is_empty()
            && self.flush.is_empty()
            && self.catalogue.outdated().is_empty()
            && has_habits;
        if !is_made {
            return;
        }
        while let Some(slot) = self.behind.unmade.first().copied() {
            let item = self.catalogue.item(slot);
            if item.is_visible() && !item.listed {
                return;
            }
            self.behind.unmade.pop_first();
        }
        self.behind.is_whole = true;
    }
}
