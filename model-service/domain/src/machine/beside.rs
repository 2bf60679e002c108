//! A model beside the served one has a machine of its own, which follows the machine of the served model.
//!
//! Events are durable before they are passed on ([`Input::Follow`]). So this machine acknowledges nothing and writes no
//! items: only features, lists and the state of its model. It may have missed events while it was not running. So when
//! it loads a dirty domain, it makes the features that are missing, and stores all lists again ([`BesideRow::seen`]).
//!
//! [`Input::Follow`]: crate::effect::Input::Follow
//! [`BesideRow::seen`]: crate::store::BesideRow::seen

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::{ItemId, ModelName};

use super::{Domain, Phase, Tenure};
use crate::effect::{Effect, Passed};
use crate::material::Material;
use crate::models::ModelReport;
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
    /// Changes that were passed on while the store was being read, the newest of each item: at most as many as the
    /// domain has items.
    passed: BTreeMap<ItemId, ItemRow>,
    /// Items that had no feature when the domain was loaded and may not have a list yet.
    unmade: BTreeSet<Slot>,
    /// Once all lists are computed: those that were not stored then, and still are not, each with the number of commits
    /// that it takes: one on its way may have an earlier state, or none.
    unstored: Option<BTreeMap<Slot, u8>>,
    /// Whether it has been as complete as the served model since it was loaded.
    is_whole: bool,
}

impl Behind {
    /// Whether it was passed on meanwhile that the item is live.
    pub(super) fn is_back(&self, id: &ItemId) -> bool {
        let passed = self.passed.get(id);
        passed.is_some_and(|row| row.liveness == Liveness::Live)
    }
}

impl Domain {
    /// Starts the machine of a model beside the served one, of this name and kind. It begins by reading the store.
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

    /// What this machine reports to the machine of the served model.
    pub fn report(&self) -> ModelReport {
        ModelReport {
            is_whole: self.behind.is_whole,
            is_clean: self.may_sleep(),
            failed: None,
            habits: Arc::clone(&self.surveying.habits),
        }
    }

    /// The name of this machine's model.
    pub(super) fn model_name(&self) -> &ModelName {
        match self.outbox.model_beside() {
            Some(name) => name,
            None => self.models().active(self.model()),
        }
    }

    /// Records that the store has no feature for an item.
    pub(super) fn is_unmade(&mut self, slot: Slot) {
        if self.outbox.model_beside().is_some() {
            self.behind.unmade.insert(slot);
        }
    }

    /// Processes changes that were passed on.
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

    /// While the domain is being read, only readers of the previous view are updated at once.
    pub(super) fn follow_later(&mut self, now: Now, passed: &[Passed]) {
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

    /// Everything is read: the changes passed on meanwhile are processed. What was read may be older, wholly or in
    /// part, so the features of these items are made from the store's present content.
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

    /// What was processed is durable already, so readers see it at once.
    fn show_followed(&mut self, now: Now) {
        let (departed, renewed) = self.acceptance.take_seen();
        self.depart_now(now, &departed);
        self.renew(now, renewed);
    }

    /// Checks whether all lists that were missing when the domain was loaded have been computed and stored. Later
    /// events do not matter: under a steady load some list is always waiting to be stored.
    pub(super) fn look_whether_whole(&mut self) {
        let is_beside = self.outbox.model_beside().is_some();
        if !is_beside || self.behind.is_whole || !self.lists.are_served() {
            return;
        }
        if self.behind.unstored.is_none() && self.are_all_made() && self.is_computed() {
            let mut unstored = BTreeMap::new();
            for slot in self.flush.slots() {
                *unstored.entry(slot).or_default() += 1;
            }
            self.behind.unstored = Some(unstored);
        }
        let unstored = self.behind.unstored.as_ref();
        self.behind.is_whole = unstored.is_some_and(BTreeMap::is_empty);
    }

    /// Whether every item that had no feature when the domain was loaded has a list now, or needs none.
    fn are_all_made(&mut self) -> bool {
        while let Some(slot) = self.behind.unmade.first() {
            let item = self.catalogue.item(*slot);
            if item.is_visible() && !item.listed {
                return false;
            }
            self.behind.unmade.pop_first();
        }
        true
    }

    /// Whether all lists are computed, apart from those that the current window changes.
    fn is_computed(&self) -> bool {
        // A sample without enough texts, as of items with vectors only, gives no habits, however often it is examined.
        let has_habits = !self.reads_texts()
            || self.surveying.habits.of > 0
            || self.catalogue.live() < self.settings.sample.fewest;
        self.rebuild.is_none()
            && !self.lists.need_repair()
            && self.uncompared.is_empty()
            && self.catalogue.outdated().is_empty()
            && has_habits
    }

    /// Records that lists are stored.
    pub(super) fn note_stored(&mut self, slots: &[Slot]) {
        let Some(unstored) = &mut self.behind.unstored else {
            return;
        };
        for slot in slots {
            if let Some(commits) = unstored.get_mut(slot) {
                *commits -= 1;
                if *commits == 0 {
                    unstored.remove(slot);
                }
            }
        }
    }
}
