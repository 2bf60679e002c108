//! The cycle that makes lists exact again: features are made, stored, and compared.
//!
//! One cycle at a time; while it runs, the next window fills.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::Space;
use kindred_shared::job::CompareReply;

use super::{Domain, Phase};
use crate::backlog::Pending;
use crate::blocks::NewRow;
use crate::comparison::{Batch, Comparison};
use crate::effect::{CommitStep, Effect, Made, Observation, Ticket, ToExtract};
use crate::intake::Failure;
use crate::planning::Planner;
use crate::store::{FeatureRow, Write};
use crate::time::Now;

/// Most items of one cycle: windows of a domain with backlog are merged up to this.
const MAX_BATCH: usize = 4_096;
/// Most pairs of one cycle, so that the candidates of its tasks, which are held until the last one is
/// answered, are some 30 MB and not as many as a domain is large.
const MAX_PAIRS: u64 = 1 << 27;
/// Items of a cycle however large the domain is.
const LEAST_BATCH: usize = 256;

impl Domain {
    /// Begins a cycle if one is due: a window has closed, or lists are too short.
    pub(super) fn start_cycle(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        if !self.backlog.has_items() && self.acceptance.arrivals() == 0 {
            // What it was opened for was withdrawn since.
            self.backlog.turn(None);
        }
        if self.backlog.has_items() && !self.backlog.is_collecting(now.monotonic) {
            self.start_extracting();
        } else if self.lists.need_repair() {
            self.compare(now, Batch::default());
        }
    }

    fn start_extracting(&mut self) {
        let mut batch = Batch::default();
        let mut rows = Vec::new();
        for (slot, pending) in self.backlog.take(self.most_items()) {
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
        // Items still being stored belong to the next window, which they opened.
        self.backlog.turn(self.acceptance.first_arrival());
        self.outbox.observe(Observation::WindowClosed(rows.len()));
        let ticket = self.outbox.ticket();
        self.phase = Phase::Extracting { ticket, batch };
        let model = self.model().clone();
        self.outbox.push(Effect::Extract {
            ticket,
            model,
            rows,
            settings: Arc::clone(&self.text_settings),
        });
    }

    /// Most items of the next cycle.
    fn most_items(&self) -> usize {
        let most = MAX_PAIRS / self.catalogue.live().max(1);
        usize::try_from(most).map_or(MAX_BATCH, |most| most.clamp(LEAST_BATCH, MAX_BATCH))
    }

    /// Features are made: those of versions that still count are stored.
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
        batch.retain_wanted(&self.catalogue);
        let mut rows = Vec::with_capacity(batch.made.len());
        for made in &batch.made {
            if let Some(row) = &made.rejected {
                rows.push(Write::Item((**row).clone()));
            }
            rows.push(Write::Feature(FeatureRow {
                id: self.catalogue.id(made.slot).clone(),
                version: made.version,
                space: made.space.clone(),
                feature: made.feature.clone(),
            }));
        }
        if rows.is_empty() {
            self.phase = Phase::Idle;
            return;
        }
        let ticket = self.commit(CommitStep::Features, false, rows);
        self.phase = Phase::StoringFeatures { ticket, batch };
    }

    /// Features could not be made: they are asked for again after a growing delay.
    fn extract_later(&mut self, now: Now, batch: Batch, failure: Failure) {
        self.trouble = Some(failure.detail);
        for (slot, pending) in batch.asked {
            let item = self.catalogue.item(slot);
            let is_wanted = item.wants_feature_of(pending.version, pending.content_hash);
            // A newer event of the item may be waiting already.
            if is_wanted && !self.backlog.contains(slot) {
                self.backlog.add(slot, pending);
            }
        }
        self.phase = Phase::BackingOff {
            until: now.monotonic + self.retry.failed(),
        };
    }

    /// Features are durable: they are compared.
    pub(super) fn features_stored(&mut self, now: Now, ticket: Ticket) {
        if let Phase::StoringFeatures {
            ticket: awaited,
            batch,
        } = &mut self.phase
            && *awaited == ticket
        {
            let batch = std::mem::take(batch);
            self.compare(now, batch);
        }
    }

    /// Puts new features into blocks, and asks for the comparison of their rows, and of the rows
    /// whose lists are too short, with all others.
    fn compare(&mut self, now: Now, mut batch: Batch) {
        let mut comparison = Comparison::default();
        // Some may have been withdrawn or changed while their features were being stored.
        batch.retain_wanted(&self.catalogue);
        let mut rows: BTreeMap<Space, Vec<NewRow>> = BTreeMap::new();
        for made in std::mem::take(&mut batch.made) {
            let slot = made.slot;
            // What it was before is no row of any block any more.
            if self.catalogue.retire(slot) {
                comparison.moved.insert(slot);
            }
            if self.catalogue.item(slot).hidden {
                continue;
            }
            comparison.fresh.insert(slot, batch.since(slot));
            if let Some((space, row)) = self.catalogue.give(made) {
                rows.entry(space).or_default().push(row);
            }
        }
        let mut repaired = self.lists.take_repairs();
        repaired.retain(|slot| {
            self.catalogue.item(*slot).is_current() && !comparison.fresh.contains_key(slot)
        });
        let mut spaces: BTreeSet<Space> = rows.keys().cloned().collect();
        let of_repaired = repaired.iter();
        spaces.extend(of_repaired.filter_map(|slot| self.catalogue.space_of(*slot).cloned()));
        for space in spaces {
            let mut keys = self.catalogue.blocks().keys(&space).to_vec();
            let new = rows.remove(&space).unwrap_or_default();
            let new = self.catalogue.add_rows(&space, new);
            let planner = self.planner();
            planner.fresh(&keys, &new, &repaired, &mut comparison);
            keys.extend(new);
            planner.repairs(&space, &keys, &repaired, &mut comparison);
        }
        comparison.repaired = repaired;
        self.dispatch(now, comparison);
    }

    /// Every pair of rows there is, once, both sides fed.
    pub(super) fn rebuild(&mut self, now: Now, rewrite: bool) {
        let mut comparison = Comparison::of_all(rewrite);
        let blocks = self.catalogue.blocks();
        for space in blocks.spaces() {
            let residents = blocks.keys(space).iter().map(|key| blocks.get(*key));
            let (rows, slots) = residents
                .map(|one| {
                    (
                        (Arc::clone(&one.block), one.live.clone()),
                        Arc::clone(&one.slots),
                    )
                })
                .unzip();
            comparison.add_all(rows, slots);
        }
        self.dispatch(now, comparison);
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            catalogue: &self.catalogue,
            lists: &self.lists,
            task_pairs: self.settings.task_pairs,
        }
    }

    fn dispatch(&mut self, now: Now, comparison: Comparison) {
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

    /// A task is done or was given up; with the last one the lists are made.
    pub(super) fn compared(
        &mut self,
        now: Now,
        ticket: Ticket,
        task: usize,
        result: Result<CompareReply, Failure>,
    ) {
        let comparison = match &mut self.phase {
            Phase::Comparing {
                ticket: awaited,
                comparison,
            } if *awaited == ticket && comparison.awaits(task) => comparison,
            _ => return,
        };
        match result {
            Ok(reply) => {
                self.outbox.observe(Observation::Pairs(reply.pairs));
                if comparison.answer(task, reply) {
                    let comparison = std::mem::take(&mut **comparison);
                    self.finish_cycle(now, comparison);
                }
            }
            Err(failure) => {
                comparison.fail(now.monotonic, task);
                self.trouble = Some(failure.detail);
            }
        }
    }

    /// Asks again for the tasks that were given up, once their delay is over.
    pub(super) fn retry_comparison(&mut self, now: Now) {
        if let Phase::Comparing { ticket, comparison } = &mut self.phase
            && let Some(tasks) = comparison.take_retries(now.monotonic)
        {
            let ticket = *ticket;
            self.outbox.push(Effect::Compare { ticket, tasks });
        }
    }

    fn finish_cycle(&mut self, now: Now, comparison: Comparison) {
        self.phase = Phase::Idle;
        self.retry.worked();
        self.trouble = None;
        match comparison.rebuild {
            Some(rewrite) => self.merge_rebuilt(now, comparison, rewrite),
            None => self.merge(now, comparison),
        }
        self.catalogue.compact();
    }
}
