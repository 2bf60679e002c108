//! The cycle that makes lists exact again: features are made, stored, and compared.
//!
//! One cycle at a time; while it runs, the next window fills.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::job::{CompareReply, CompareTask, Floor, KEEP, Side};
use kindred_shared::{ItemId, Space};
use kindred_similarity::{RowMask, RowRef};

use super::blocks::{BlockKey, NewRow, Place, pack, row_number};
use super::effect::{CommitStep, Effect, Made, Observation, Ticket, ToExtract};
use super::item::{Item, Placement};
use super::machine::{Domain, Phase};
use super::round::{Pending, RoundInFlight};
use super::slot::Slot;
use super::time::{Now, backoff};
use super::window::Window;
use crate::intake::Failure;
use crate::store::{FeatureRow, Write};

/// Most items of one cycle: windows of a domain with backlog are merged up to this.
const MAX_BATCH: usize = 4_096;

/// The items of one cycle, on their way to features.
#[derive(Debug, Default)]
pub(super) struct Batch {
    asked: BTreeMap<Slot, Pending>,
    made: Vec<Made>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    /// Drops features that are no longer what their item asks for.
    fn retain_wanted(&mut self, items: &[Item]) {
        let asked = &self.asked;
        self.made.retain(|made| {
            let wanted = asked.get(&made.slot);
            wanted.is_some_and(|pending| items[made.slot.index()].is_asked_for(pending))
        });
    }
}

/// Rows of a compare task, as slots.
#[derive(Debug)]
pub(super) struct TaskPlan {
    sides: Vec<Arc<[Slot]>>,
}

impl TaskPlan {
    pub(super) fn slot(&self, row: RowRef) -> Option<Slot> {
        self.sides
            .get(usize::from(row.side))?
            .get(row.row as usize)
            .copied()
    }
}

/// A comparison that makes all lists anew.
#[derive(Debug, Clone, Copy)]
struct Rebuild {
    /// Whether the store may have other lists.
    rewrite: bool,
}

/// A comparison under way.
#[derive(Debug)]
pub(super) struct Comparison {
    ticket: Ticket,
    /// Whether it is about every row of the domain, after loading.
    rebuild: Option<Rebuild>,
    /// Items with a new feature, and when their event came.
    pub(super) fresh: BTreeMap<Slot, Option<Duration>>,
    /// Items whose feature was another before: their old scores leave all lists.
    pub(super) moved: HashSet<Slot>,
    /// Items whose list is made anew with the feature they have.
    pub(super) repaired: BTreeSet<Slot>,
    pub(super) plans: Vec<TaskPlan>,
    pub(super) replies: Vec<Option<CompareReply>>,
    tasks: Vec<CompareTask>,
    failed: Vec<usize>,
    failures: u32,
    retry_at: Option<Duration>,
}

impl Comparison {
    fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            rebuild: None,
            fresh: BTreeMap::new(),
            moved: HashSet::new(),
            repaired: BTreeSet::new(),
            plans: Vec::new(),
            replies: Vec::new(),
            tasks: Vec::new(),
            failed: Vec::new(),
            failures: 0,
            retry_at: None,
        }
    }

    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Of a rebuild: whether all lists will be stored.
    pub(super) fn rewrites(&self) -> Option<bool> {
        self.rebuild.map(|rebuild| rebuild.rewrite)
    }

    /// Number of items with a new feature.
    pub(super) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    fn add(&mut self, sides: Vec<(Side, Arc<[Slot]>)>, within_left: bool) {
        let (sides, slots): (Vec<Side>, Vec<_>) = sides.into_iter().unzip();
        let mut sides = sides.into_iter();
        let Some(left) = sides.next() else { return };
        self.tasks.push(CompareTask {
            left,
            within_left,
            rights: sides.collect(),
            keep: KEEP,
        });
        self.plans.push(TaskPlan { sides: slots });
        self.replies.push(None);
    }
}

impl Domain {
    /// Begins a cycle if one is due: a window has closed, or lists are too short.
    pub(super) fn start_cycle(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        if self.pending.is_empty() && !self.has_arrivals() {
            // What it was opened for was withdrawn since.
            self.window = None;
        }
        let is_open = self
            .window
            .is_some_and(|w| !w.is_closed(self.settings.window, now.monotonic));
        if !self.pending.is_empty() && !is_open {
            self.start_extracting();
        } else if !self.repairs.is_empty() {
            self.compare(now, Batch::default());
        }
    }

    /// Whether items are being stored whose features are to be made then.
    pub(super) fn has_arrivals(&self) -> bool {
        self.round.has_arrivals()
            || self
                .round_in_flight
                .as_ref()
                .is_some_and(|round| round.arrivals() > 0)
    }

    fn start_extracting(&mut self) {
        let taken: Vec<Slot> = self.pending.keys().take(MAX_BATCH).copied().collect();
        let mut batch = Batch::default();
        let mut rows = Vec::with_capacity(taken.len());
        for slot in taken {
            let Some(pending) = self.remove_pending(slot) else {
                continue;
            };
            rows.push(ToExtract {
                slot,
                id: self.slots.id(slot).clone(),
                version: pending.version,
                material: pending.material.clone(),
            });
            batch.asked.insert(
                slot,
                Pending {
                    material: None,
                    ..pending
                },
            );
        }
        // Items still being stored belong to the next window, which they opened.
        let arrivals = self.round.arrivals()
            + self
                .round_in_flight
                .as_ref()
                .map_or(0, RoundInFlight::arrivals);
        let first = [
            self.round.first_arrival(),
            self.round_in_flight
                .as_ref()
                .and_then(RoundInFlight::first_arrival),
        ];
        self.window = first
            .into_iter()
            .flatten()
            .min()
            .map(|at| Window::reopen(at, arrivals));
        self.observe(Observation::WindowClosed(rows.len()));
        let ticket = self.ticket();
        self.phase = Phase::Extracting { ticket, batch };
        self.effects.push(Effect::Extract { ticket, rows });
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
            Err(failure) => {
                self.trouble = Some(failure.detail);
                for (slot, pending) in batch.asked {
                    // A newer event of the item may be waiting already.
                    if self.items[slot.index()].is_asked_for(&pending)
                        && !self.pending.contains_key(&slot)
                    {
                        self.add_pending(slot, pending);
                    }
                }
                self.phase = Phase::BackingOff {
                    until: now.monotonic + backoff(self.failures),
                };
                self.failures += 1;
                return;
            }
        }
        batch.retain_wanted(&self.items);
        let mut rows = Vec::with_capacity(batch.made.len());
        for made in &batch.made {
            if let Some(row) = &made.rejected {
                rows.push(Write::Item((**row).clone()));
            }
            rows.push(Write::Feature(FeatureRow {
                id: self.slots.id(made.slot).clone(),
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
    fn compare(&mut self, now: Now, batch: Batch) {
        let ticket = self.ticket();
        let mut comparison = Comparison::new(ticket);
        let mut rows: BTreeMap<Space, Vec<NewRow>> = BTreeMap::new();
        // Some may have been withdrawn or changed while their features were being stored.
        let mut batch = batch;
        batch.retain_wanted(&self.items);
        for made in batch.made {
            self.place(made, &batch.asked, &mut rows, &mut comparison);
        }
        let repairs = std::mem::take(&mut self.repairs);
        comparison.repaired = repairs
            .into_iter()
            .filter(|slot| {
                self.items[slot.index()].is_current() && !comparison.fresh.contains_key(slot)
            })
            .collect();
        let mut spaces: BTreeSet<Space> = rows.keys().cloned().collect();
        spaces.extend(
            comparison
                .repaired
                .iter()
                .filter_map(|slot| self.space_of(*slot).cloned()),
        );
        for space in spaces {
            let existing = self.blocks.keys(&space).to_vec();
            let new = rows.remove(&space).map_or_else(Vec::new, |rows| {
                let keys = self.blocks.add_rows(&space, rows);
                self.settle_in(&keys);
                keys
            });
            self.plan_fresh(&existing, &new, &mut comparison);
            self.plan_repairs(&space, &existing, &new, &mut comparison);
        }
        self.dispatch(now, comparison);
    }

    /// Gives an item its new feature; what it was before is no row of any block any more.
    fn place(
        &mut self,
        made: Made,
        asked: &BTreeMap<Slot, Pending>,
        rows: &mut BTreeMap<Space, Vec<NewRow>>,
        comparison: &mut Comparison,
    ) {
        let slot = made.slot;
        let item = &mut self.items[slot.index()];
        if let Some(Placement::Row(place)) = item.placement.take() {
            self.blocks.retire(place);
            comparison.moved.insert(slot);
        }
        if item.hidden {
            return;
        }
        item.placed_version = made.version;
        // What was rejected is tried again with its next event.
        item.is_stale = made.rejected.is_some();
        item.is_doubtful = item.is_stale;
        comparison
            .fresh
            .insert(slot, asked.get(&slot).map(|pending| pending.since));
        if made.feature.is_zero() {
            item.placement = Some(Placement::Zero(made.space));
        } else {
            let id = self.slots.id(slot).clone();
            let row = NewRow {
                slot,
                id,
                version: made.version,
                feature: made.feature,
            };
            rows.entry(made.space).or_default().push(row);
        }
    }

    /// Tells the items of new blocks where they are.
    pub(super) fn settle_in(&mut self, keys: &[BlockKey]) {
        for &block in keys {
            for (row, slot) in self.blocks.get(block).slots.iter().enumerate() {
                let place = Place {
                    block,
                    row: row_number(row),
                };
                self.items[slot.index()].placement = Some(Placement::Row(place));
            }
        }
    }

    /// New rows × all rows, both sides fed.
    fn plan_fresh(&self, existing: &[BlockKey], new: &[BlockKey], comparison: &mut Comparison) {
        let repaired = comparison.repaired.clone();
        for (at, &left) in new.iter().enumerate() {
            let rights: Vec<BlockKey> = existing.iter().chain(&new[at + 1..]).copied().collect();
            for (strip, keys) in self.strips(&rights).enumerate() {
                let mut sides = vec![self.side(left, |_| Floor::Open)];
                sides.extend(keys.iter().map(|key| {
                    self.side(*key, |slot| {
                        if repaired.contains(&slot) {
                            Floor::Closed
                        } else {
                            self.floor(slot)
                        }
                    })
                }));
                comparison.add(sides, strip == 0);
            }
        }
    }

    /// Rows whose lists are too short × all rows; only their own side is fed.
    fn plan_repairs(
        &self,
        space: &Space,
        existing: &[BlockKey],
        new: &[BlockKey],
        comparison: &mut Comparison,
    ) {
        let mut rows = Vec::new();
        for &slot in &comparison.repaired {
            let Some(Placement::Row(place)) = self.items[slot.index()].placement else {
                continue;
            };
            let block = &self.blocks.get(place.block).block;
            if block.space() == space {
                rows.push(NewRow {
                    slot,
                    id: self.slots.id(slot).clone(),
                    version: block.version(place.row as usize),
                    feature: self.blocks.feature(place),
                });
            }
        }
        let lefts: Vec<(Arc<kindred_shared::Block>, Arc<[Slot]>)> = pack(space, rows)
            .into_iter()
            .map(|(block, slots)| (Arc::new(block), slots))
            .collect();
        let rights: Vec<BlockKey> = existing.iter().chain(new).copied().collect();
        for (block, slots) in &lefts {
            for keys in self.strips(&rights) {
                let floors = vec![Floor::Open; block.rows()];
                let live = RowMask::all(block.rows());
                let left = Side {
                    block: Arc::clone(block),
                    live,
                    floors,
                };
                let mut sides = vec![(left, Arc::clone(slots))];
                // Rows meet themselves on the right; the worker leaves such pairs out.
                sides.extend(keys.iter().map(|key| {
                    let (mut side, slots) = self.side(*key, |_| Floor::Closed);
                    side.floors = Vec::new();
                    (side, slots)
                }));
                comparison.add(sides, false);
            }
        }
    }

    /// Every pair of rows there is, once, both sides fed.
    pub(super) fn rebuild(&mut self, now: Now, rewrite: bool) {
        let mut comparison = Comparison::new(self.ticket());
        comparison.rebuild = Some(Rebuild { rewrite });
        let spaces: Vec<Space> = self.blocks.spaces().cloned().collect();
        for space in spaces {
            let keys = self.blocks.keys(&space).to_vec();
            self.plan_fresh(&[], &keys, &mut comparison);
        }
        self.dispatch(now, comparison);
    }

    fn dispatch(&mut self, now: Now, comparison: Comparison) {
        if comparison.tasks.is_empty() {
            self.finish_cycle(now, comparison);
            return;
        }
        let tasks = comparison.tasks.iter().cloned().enumerate().collect();
        self.effects.push(Effect::Compare {
            ticket: comparison.ticket,
            tasks,
        });
        self.phase = Phase::Comparing(Box::new(comparison));
    }

    /// A task is done or was given up; with the last one the lists are made.
    pub(super) fn compared(
        &mut self,
        now: Now,
        ticket: Ticket,
        task: usize,
        result: Result<CompareReply, Failure>,
    ) {
        let Phase::Comparing(comparison) = &mut self.phase else {
            return;
        };
        if comparison.ticket != ticket || comparison.replies.get(task).is_none_or(Option::is_some) {
            return;
        }
        match result {
            Ok(reply) => {
                let pairs = reply.pairs;
                comparison.replies[task] = Some(reply);
                let is_done = comparison.replies.iter().all(Option::is_some);
                self.observe(Observation::Pairs(pairs));
                if is_done
                    && let Phase::Comparing(comparison) =
                        std::mem::replace(&mut self.phase, Phase::Idle)
                {
                    self.finish_cycle(now, *comparison);
                }
            }
            Err(failure) => {
                comparison.failed.push(task);
                if comparison.retry_at.is_none() {
                    comparison.retry_at = Some(now.monotonic + backoff(comparison.failures));
                    comparison.failures += 1;
                }
                self.trouble = Some(failure.detail);
            }
        }
    }

    /// Asks again for the tasks that were given up, once their delay is over.
    pub(super) fn retry_comparison(&mut self, now: Now) {
        let Phase::Comparing(comparison) = &mut self.phase else {
            return;
        };
        if comparison.retry_at.is_none_or(|at| now.monotonic < at) {
            return;
        }
        comparison.retry_at = None;
        let tasks = std::mem::take(&mut comparison.failed)
            .into_iter()
            .map(|task| (task, comparison.tasks[task].clone()))
            .collect();
        let ticket = comparison.ticket;
        self.effects.push(Effect::Compare { ticket, tasks });
    }

    fn finish_cycle(&mut self, now: Now, comparison: Comparison) {
        self.phase = Phase::Idle;
        self.failures = 0;
        self.trouble = None;
        match comparison.rebuild {
            Some(Rebuild { rewrite }) => self.merge_rebuilt(comparison, rewrite),
            None => self.merge(now, comparison),
        }
        let spaces: Vec<Space> = self.blocks.spaces().cloned().collect();
        for space in spaces {
            for (slot, place) in self.blocks.compact(&space) {
                self.items[slot.index()].placement = Some(Placement::Row(place));
            }
        }
    }

    /// A resident block as one side of a comparison.
    fn side(&self, key: BlockKey, floor: impl Fn(Slot) -> Floor) -> (Side, Arc<[Slot]>) {
        let resident = self.blocks.get(key);
        let floors = resident
            .slots
            .iter()
            .enumerate()
            .map(|(row, slot)| {
                if resident.live.contains(row) {
                    floor(*slot)
                } else {
                    Floor::Closed
                }
            })
            .collect();
        let side = Side {
            block: Arc::clone(&resident.block),
            live: resident.live.clone(),
            floors,
        };
        (side, Arc::clone(&resident.slots))
    }

    /// A list's bound, as the floor of what may enter it.
    fn floor(&self, slot: Slot) -> Floor {
        self.lists[slot.index()]
            .bound()
            .map_or(Floor::Open, |bound| {
                let id: ItemId = self.slots.id(bound.slot).clone();
                Floor::At(bound.score, id)
            })
    }

    /// The space of an item's current feature.
    pub(super) fn space_of(&self, slot: Slot) -> Option<&Space> {
        match self.items[slot.index()].placement.as_ref()? {
            Placement::Zero(space) => Some(space),
            Placement::Row(place) => Some(self.blocks.space(*place)),
        }
    }

    /// The model of an item's current feature, else the domain's.
    pub(super) fn model_of(&self, slot: Slot) -> &str {
        self.space_of(slot)
            .map_or(&*self.settings.model, Space::model)
    }

    /// Right blocks in strips; one empty strip when there are none, for the pairs within the left.
    fn strips<'a>(&self, rights: &'a [BlockKey]) -> impl Iterator<Item = &'a [BlockKey]> {
        let none: Option<&[BlockKey]> = rights.is_empty().then_some(&[]);
        none.into_iter()
            .chain(rights.chunks(self.settings.strip_blocks.max(1)))
    }
}
