//! The cycle that makes lists exact again: features are made, stored and compared.
//!
//! There is one cycle at a time; meanwhile the next window fills. A comparison of all rows with each other runs beside
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::Space;
use kindred_shared::job::CompareReply;
use kindred_similarity::RowMask;

use super::{Domain, Phase};
use crate::backlog::Pending;
use crate::blocks::NewRow;
use crate::comparison::{Comparison, FeatureBatch};
use crate::effect::{CommitStep, Effect, Made, Observation, Ticket, ToExtract};
use crate::intake::Failure;
use crate::planning::Planner;
use crate::rebuild::Rebuild;
use crate::slot::Slot;
use crate::store::{FeatureRow, Write};
use crate::time::Now;

/// Most items that are put off, in batches; on top of that, up to twice the number of items that have a list.
const MOST_UNCOMPARED: usize = 8;
/// If at least one in this many items was put off, all rows are compared with each other: that compares about five
/// times as many pairs per second as windows do, and changes each list only once.
const MANY: usize = 8;
/// Most pairs of one cycle. The candidates of its tasks are kept until the last task is answered; this limits them to
/// about 30 MB, however large the domain is.
const MAX_PAIRS: u64 = 1 << 27;
/// Most bytes of texts in one cycle: 16 MiB. Their features are stored in one commit, and while the store writes it all
/// other domains wait.
const MOST_BYTES: usize = 16 << 20;
/// Items that a cycle may have, however large the domain is.
const LEAST_BATCH: usize = 256;

impl Domain {
    /// Ends a window whose events have all been withdrawn.
    pub(super) fn end_withdrawn_window(&mut self) {
        let is_withdrawn = !self.backlog.has_items() && self.acceptance.arrivals() == 0;
        if is_withdrawn && matches!(self.phase, Phase::Idle) {
            self.backlog.turn(None);
        }
    }

    /// Starts a cycle if one is due: a window has closed, or lists are too short.
    pub(super) fn start_cycle(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        let is_over = !self.backlog.is_collecting(now.monotonic);
        let has_items = self.backlog.has_items() || self.has_outdated();
        if is_over && has_items && self.start_extracting(now) {
            return;
        }
        if self.rebuild.is_none() && (self.lists.need_repair() || !self.uncompared.is_empty()) {
            self.compare(now, FeatureBatch::default());
        }
    }

    /// Starts to make features; returns whether there is an item that needs one.
    fn start_extracting(&mut self, now: Now) -> bool {
        let mut batch = FeatureBatch::default();
        let mut rows = Vec::new();
        let most = self.most_items();
        let mut taken = self.backlog.take(most, MOST_BYTES);
        let events = taken.len();
        batch.oldest = taken.iter().map(|(_, pending)| pending.since).min();
        // Features requested by events are made with the current habits as well.
        let asked: BTreeSet<Slot> = taken.iter().map(|(slot, _)| *slot).collect();
        for slot in self.take_outdated(most - events, &asked) {
            taken.push((slot, self.asked_again(now, slot)));
            batch.made_again.insert(slot);
        }
        if taken.is_empty() {
            return false;
        }
        for (slot, pending) in taken {
            rows.push(ToExtract {
                slot,
                id: self.catalogue.id(slot).clone(),
                version: pending.version,
                material: pending.material.clone(),
            });
            let asked = Pending {
                material: None,
                ..pending
            };
            batch.asked.insert(slot, asked);
        }
        // Items that are still being stored belong to the next window, which they opened.
        self.backlog.turn(self.acceptance.first_arrival());
        if events > 0 {
            self.outbox.observe(Observation::WindowClosed(events));
        }
        let ticket = self.outbox.ticket();
        self.phase = Phase::Extracting { ticket, batch };
        let model = self.model().clone();
        self.outbox.push(Effect::Extract {
            ticket,
            model,
            rows,
            settings: Arc::clone(&self.text_settings),
            spaces: self.catalogue.blocks().rows_by_space(),
            lengths: self.catalogue.lengths().clone(),
            habits: Arc::clone(&self.surveying.habits),
        });
        true
    }

    /// Most items of the next cycle.
    fn most_items(&self) -> usize {
        let most = MAX_PAIRS / self.catalogue.live().max(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        most.max(LEAST_BATCH).min(self.settings.batch_items)
    }

    /// Features are made: those of versions that are still current are stored.
    pub(super) fn extracted(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Vec<Made>, Failure>,
    ) {
        let mut batch = match &mut self.phase {
            Phase::Extracting {
                ticket: awaited,
                batch,
            } if *awaited == ticket => std::mem::take(batch),
            _ => return,
        };
        match result {
            Ok(made) => batch.made = made,
            Err(failure) => return self.extract_later(now, batch, failure),
        }
        if let Err(failure) = self.catalogue.agree_on_lengths(&batch.made) {
            return self.extract_later(now, batch, failure);
        }
        self.leave_unmade(&batch);
        batch.retain_wanted(&self.catalogue);
        self.drop_overtaken(&mut batch);
        let rows: Vec<Write> = batch
            .made
            .iter()
            .filter_map(|made| Some(Write::Item((**made.row.as_ref()?).clone())))
            .collect();
        if rows.is_empty() {
            return self.store_features(batch);
        }
        // The reason why an item has no feature must be durable before the feature that stands in for it: a crash may
        // leave any part of a commit, and a feature without a reason would be taken for that of the item's text.
        let ticket = self.commit(CommitStep::Features, false, rows);
        self.phase = Phase::StoringRejected { ticket, batch };
    }

    /// Drops rejections of items whose event has come again meanwhile: the rejected text may have been stored only in
    /// part, and may be complete now.
    fn drop_overtaken(&self, batch: &mut FeatureBatch) {
        batch.made.retain(|made| {
            let comes_again =
                self.backlog.contains(made.slot) || self.acceptance.has_arrival(made.slot);
            made.row.is_none() || !comes_again
        });
    }

    fn store_features(&mut self, batch: FeatureBatch) {
        let rows = batch.made.iter().map(|made| {
            Write::Feature(FeatureRow {
                id: self.catalogue.id(made.slot).clone(),
                version: made.version,
                space: made.space.clone(),
                habits: made.habits,
                feature: made.feature.clone(),
            })
        });
        let rows: Vec<Write> = rows.collect();
        if rows.is_empty() {
            self.phase = Phase::Idle;
            return;
        }
        let ticket = self.commit(CommitStep::Features, false, rows);
        self.phase = Phase::StoringFeatures { ticket, batch };
    }

    /// Features could not be made: they are requested again after a growing delay.
    fn extract_later(&mut self, now: Now, batch: FeatureBatch, failure: Failure) {
        self.trouble = Some(failure.detail);
        for (slot, pending) in batch.asked {
            if batch.made_again.contains(&slot) {
                // It is still outdated.
                continue;
            }
            let item = self.catalogue.item(slot);
            let is_wanted = item.wants_feature_of(pending.version, pending.content_hash);
            // A newer event of the item may already be waiting.
            if is_wanted && !self.backlog.contains(slot) {
                self.backlog.add(slot, pending);
            }
        }
        self.phase = Phase::BackingOff {
            until: now.monotonic + self.retry.failed(),
        };
    }

    /// Features are durable and are compared now. Or the reasons why items have none are durable.
    pub(super) fn features_stored(&mut self, now: Now, ticket: Ticket) {
        if let Phase::StoringRejected {
            ticket: awaited,
            batch,
        } = &mut self.phase
            && *awaited == ticket
        {
            let mut batch = std::mem::take(batch);
            batch.retain_wanted(&self.catalogue);
            self.drop_overtaken(&mut batch);
            self.store_features(batch);
        } else if let Phase::StoringFeatures {
            ticket: awaited,
            batch,
        } = &mut self.phase
            && *awaited == ticket
        {
            let batch = std::mem::take(batch);
            self.compare(now, batch);
        }
    }

    /// Puts new features into blocks, and requests the comparison of their rows, and of the rows whose lists are too
    /// short, with all others.
    fn compare(&mut self, now: Now, mut batch: FeatureBatch) {
        // Some may have been withdrawn or changed while their features were being stored.
        batch.retain_wanted(&self.catalogue);
        self.leave_in_store(&mut batch);
        for made in &batch.made {
            // The same event may have come twice, and been put off the first time.
            self.uncompared.remove(made.slot);
        }
        if self.is_flooded(&batch) {
            self.put_off(&mut batch);
        } else if self.rebuild.is_none() {
            self.take_uncompared(now, &mut batch);
        }
        if self.rebuild.is_some() {
            self.put_off_many(&mut batch);
        }
        let mut comparison = Comparison::default();
        let mut rows = self.place(batch, &mut comparison);
        // A running comparison of all rows may already compute the lists that are too short.
        let mut repaired = match self.rebuild {
            Some(_) => BTreeSet::new(),
            None => self.lists.take_repairs(),
        };
        repaired.retain(|slot| {
            self.catalogue.item(*slot).is_current() && !comparison.fresh.contains_key(slot)
        });
        let mut spaces: BTreeSet<Space> = rows.keys().cloned().collect();
        let of_repaired = repaired.iter();
        spaces.extend(of_repaired.filter_map(|slot| self.catalogue.space_of(*slot).cloned()));
        for space in spaces {
            let mut new = rows.remove(&space).unwrap_or_default();
            self.catalogue.fit_lengths(&space, &mut new);
            let mut keys = self.catalogue.blocks().keys(&space).to_vec();
            let new = self.catalogue.add_rows(&space, new);
            let planner = self.planner();
            planner.fresh(&keys, &new, &repaired, &mut comparison);
            keys.extend(new);
            planner.repairs(&space, &keys, &repaired, &mut comparison);
        }
        comparison.repaired = repaired;
        self.dispatch(now, comparison);
    }

    /// Assigns features to items; returns the rows to add.
    fn place(
        &mut self,
        mut batch: FeatureBatch,
        comparison: &mut Comparison,
    ) -> BTreeMap<Space, Vec<NewRow>> {
        let mut rows: BTreeMap<Space, Vec<NewRow>> = BTreeMap::new();
        for made in std::mem::take(&mut batch.made) {
            let slot = made.slot;
            self.catalogue.update(slot, |item| {
                // A rejected item is tried again with its next event; otherwise its text was complete.
                item.is_doubtful = made.rejected().is_some();
                item.habits = made.made_with();
            });
            self.catalogue.made_here(slot);
            if batch.made_again.contains(&slot) && self.catalogue.has_made(&made) {
                continue;
            }
            // Its previous row is not in any block any more.
            if self.retire(slot) {
                comparison.moved.insert(slot);
            }
            if !self.catalogue.item(slot).is_visible() {
                continue;
            }
            comparison.fresh.insert(slot, batch.since(slot));
            if let Some((space, row)) = self.catalogue.give(made) {
                rows.entry(space).or_default().push(row);
            }
        }
        rows
    }

    /// Excludes the item's row from comparisons from now on, and discards what a running comparison finds for it.
    /// Returns whether there was a row.
    pub(super) fn retire(&mut self, slot: Slot) -> bool {
        let had_row = self.catalogue.retire(slot);
        if had_row && let Some(rebuild) = &mut self.rebuild {
            rebuild.outdate(slot);
        }
        had_row
    }

    /// Whether so many items wait behind a batch that its comparison can be postponed until they are there.
    fn is_flooded(&self, batch: &FeatureBatch) -> bool {
        let full = self.most_items();
        let many_wait = batch.of_events() >= full || self.backlog.len() >= full;
        // Even so, lists are computed from time to time.
        let most =
            2 * self.catalogue.blocks().live_rows() + MOST_UNCOMPARED * self.settings.batch_items;
        many_wait && (self.rebuild.is_some() || self.uncompared.len() < most)
    }

    /// Postpones the comparison of new items of a batch. Items that have a list are compared: their list would be
    /// missing.
    fn put_off(&mut self, batch: &mut FeatureBatch) {
        for made in std::mem::take(&mut batch.made) {
            let is_new = self.catalogue.item(made.slot).placement.is_none();
            match batch.asked.remove(&made.slot) {
                Some(pending) if is_new => self.uncompared.add(pending, made),
                Some(pending) => {
                    batch.asked.insert(made.slot, pending);
                    batch.made.push(made);
                }
                None => {}
            }
        }
    }

    /// While all rows are being compared with each other, lists that do not exist yet collect whatever windows find:
    /// only a few items are compared before it ends, the others after it.
    fn put_off_many(&mut self, batch: &mut FeatureBatch) {
        let rows = self.catalogue.blocks().live_rows();
        // For full batches that is 4 million candidates, about 50 MB.
        let candidates = self.settings.batch_items.pow(2) / 4;
        let few = (candidates / rows.max(1)).max(1);
        if batch.made.len() <= few {
            return;
        }
        for made in batch.made.split_off(few) {
            if let Some(pending) = batch.asked.remove(&made.slot) {
                self.uncompared.add(pending, made);
            }
        }
    }

    /// Includes items that were put off: if they are many compared to all others, all rows are compared with each
    /// other, including new ones of the batch; otherwise some are compared with the batch.
    fn take_uncompared(&mut self, now: Now, batch: &mut FeatureBatch) {
        let rows = self.catalogue.blocks().live_rows();
        if self.uncompared.is_empty() || MANY * self.uncompared.count_new(&self.catalogue) < rows {
            let most = self.most_items();
            return self.uncompared.take(most, &self.catalogue, batch);
        }
        self.put_off(batch);
        let mut all = self.uncompared.take_new(&self.catalogue);
        all.retain_wanted(&self.catalogue);
        let mut comparison = Comparison::default();
        for (space, mut new) in self.place(all, &mut comparison) {
            self.catalogue.fit_lengths(&space, &mut new);
            self.catalogue.add_rows(&space, new);
        }
        self.rebuild(now, comparison, false);
    }

    /// Compares every pair of rows once and feeds both sides. Its fresh items are those of the given comparison.
    pub(super) fn rebuild(&mut self, now: Now, mut comparison: Comparison, rewrite: bool) {
        let blocks = self.catalogue.blocks();
        for space in blocks.spaces() {
            let residents = blocks.keys(space).iter().map(|key| blocks.get(*key));
            let (rows, slots) = residents
                .map(|one| {
                    (
                        (Arc::clone(&one.block), RowMask::clone(&one.live)),
                        Arc::clone(&one.slots),
                    )
                })
                .unzip();
            comparison.add_all(rows, slots);
        }
        comparison.look_for_oldest();
        let ticket = self.outbox.ticket();
        let tasks = comparison.tasks();
        let rebuild = Rebuild::new(ticket, comparison, rewrite);
        if tasks.is_empty() {
            return self.finish_rebuild(now, rebuild);
        }
        self.outbox.push(Effect::Compare { ticket, tasks });
        self.rebuild = Some(rebuild);
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            catalogue: &self.catalogue,
            lists: &self.lists,
            task_pairs: self.settings.task_pairs,
        }
    }

    fn dispatch(&mut self, now: Now, mut comparison: Comparison) {
        comparison.look_for_oldest();
        let tasks = comparison.tasks();
        if tasks.is_empty() {
            return self.finish_cycle(now, comparison);
        }
        let ticket = self.outbox.ticket();
        self.outbox.push(Effect::Compare { ticket, tasks });
        self.phase = Phase::Comparing {
            ticket,
            comparison: Box::new(comparison),
        };
    }

    /// A task is done or was given up; with the last one the lists are computed.
    pub(super) fn compared(
        &mut self,
        now: Now,
        ticket: Ticket,
        task: usize,
        result: Result<CompareReply, Failure>,
    ) {
        let comparison = match (&mut self.phase, &mut self.rebuild) {
            (_, Some(rebuild)) if rebuild.ticket == ticket => &mut rebuild.comparison,
            (
                Phase::Comparing {
                    ticket: awaited,
                    comparison,
                },
                _,
            ) if *awaited == ticket => comparison,
            _ => return,
        };
        if !comparison.awaits(task) {
            return;
        }
        let is_last = match result {
            Ok(reply) => {
                self.outbox.observe(Observation::Pairs(reply.pairs));
                comparison.answer(task, reply)
            }
            Err(failure) => {
                comparison.fail(now.monotonic, task);
                self.trouble = Some(failure.detail);
                false
            }
        };
        if !is_last {
            return;
        }
        if let Some(rebuild) = self.rebuild.take_if(|rebuild| rebuild.ticket == ticket) {
            self.finish_rebuild(now, rebuild);
        } else if let Phase::Comparing { comparison, .. } = &mut self.phase {
            let comparison = std::mem::take(&mut **comparison);
            self.finish_cycle(now, comparison);
        }
    }

    /// Whether answers with this ticket belong to a comparison of all rows.
    pub(super) fn is_rebuilt_by(&self, ticket: Ticket) -> bool {
        let rebuild = self.rebuild.as_ref();
        rebuild.is_some_and(|rebuild| rebuild.ticket == ticket)
    }

    /// Requests failed tasks again, once their delay is over.
    pub(super) fn retry_comparison(&mut self, now: Now) {
        let window = match &mut self.phase {
            Phase::Comparing { ticket, comparison } => Some((*ticket, &mut **comparison)),
            _ => None,
        };
        let rebuild = self.rebuild.as_mut();
        let rebuild = rebuild.map(|rebuild| (rebuild.ticket, &mut rebuild.comparison));
        for (ticket, comparison) in window.into_iter().chain(rebuild) {
            if let Some(tasks) = comparison.take_retries(now.monotonic) {
                self.outbox.push(Effect::Compare { ticket, tasks });
            }
        }
    }

    fn finish_cycle(&mut self, now: Now, comparison: Comparison) {
        self.phase = Phase::Idle;
        self.retry.worked();
        self.trouble = None;
        // Before readers get the blocks, so that they do not keep blocks that are merged away.
        self.catalogue.compact();
        self.merge(now, comparison);
    }

    fn finish_rebuild(&mut self, now: Now, rebuild: Rebuild) {
        self.retry.worked();
        self.trouble = None;
        self.catalogue.compact();
        self.merge_rebuilt(now, rebuild);
    }
}
