//! The data of a cycle: the items whose features are being made, and the comparison in progress.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::Block;
use kindred_shared::job::{CompareReply, CompareTask, KEEP, Side};
use kindred_similarity::{RowMask, RowRef};

use crate::backlog::Pending;
use crate::catalogue::Catalogue;
use crate::effect::{Comparing, Made};
use crate::slot::Slot;
use crate::time::RETRY;

/// The items of one cycle whose features are being made.
#[derive(Debug, Default)]
pub(crate) struct FeatureBatch {
    /// What was requested, without its material.
    pub(crate) asked: BTreeMap<Slot, Pending>,
    pub(crate) made: Vec<Made>,
    /// Those of `asked` that no event requested: their features were made with other habits.
    pub(crate) made_again: BTreeSet<Slot>,
    /// Arrival of the first of them.
    pub(crate) oldest: Option<Duration>,
}

impl FeatureBatch {
    /// Drops features that their item no longer needs.
    pub(crate) fn retain_wanted(&mut self, catalogue: &Catalogue) {
        let asked = &self.asked;
        self.made.retain(|made| {
            asked.get(&made.slot).is_some_and(|pending| {
                let item = catalogue.item(made.slot);
                item.wants_feature_of(pending.version, pending.content_hash)
            })
        });
    }

    /// When the event of an item arrived, if the item is one of these and an event requested it.
    pub(crate) fn since(&self, slot: Slot) -> Option<Duration> {
        let asked = self.asked.get(&slot);
        let asked = asked.filter(|_| !self.made_again.contains(&slot));
        asked.map(|pending| pending.since)
    }

    /// How many of them were requested by events.
    pub(crate) fn of_events(&self) -> usize {
        self.asked.len() - self.made_again.len()
    }
}

/// The rows of a compare task, as slots.
#[derive(Debug)]
pub(crate) struct TaskPlan {
    sides: Vec<Arc<[Slot]>>,
}

impl TaskPlan {
    #[cfg(test)]
    pub(crate) fn of(sides: Vec<Arc<[Slot]>>) -> Self {
        Self { sides }
    }

    pub(crate) fn slot(&self, row: RowRef) -> Option<Slot> {
        let side = self.sides.get(usize::from(row.side))?;
        side.get(row.row as usize).copied()
    }
}

/// A comparison in progress.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Items with a new feature, and when their event arrived.
    pub(crate) fresh: BTreeMap<Slot, Option<Duration>>,
    /// Arrival of the first of those events.
    oldest: Option<Duration>,
    /// Items whose feature changed: their old scores leave all lists.
    pub(crate) moved: BTreeSet<Slot>,
    /// Items whose list is recomputed from the feature they have.
    pub(crate) repaired: BTreeSet<Slot>,
    plans: Vec<TaskPlan>,
    replies: Vec<Option<CompareReply>>,
    tasks: Vec<Comparing>,
    failed: Vec<usize>,
    failures: u32,
    retry_at: Option<Duration>,
}

impl Comparison {
    /// Adds a task; the first side is the left one.
    pub(crate) fn add(&mut self, sides: Vec<(Side, Arc<[Slot]>)>, within_left: bool) {
        let (sides, slots): (Vec<Side>, Vec<_>) = sides.into_iter().unzip();
        let mut sides = sides.into_iter();
        let Some(left) = sides.next() else { return };
        let task = CompareTask {
            left,
            within_left,
            rights: sides.collect(),
            keep: KEEP,
        };
        self.push(Comparing::Some(Arc::new(task)), slots);
    }

    /// Adds a task that compares all live rows of some blocks with each other.
    pub(crate) fn add_all(&mut self, blocks: Vec<(Arc<Block>, RowMask)>, slots: Vec<Arc<[Slot]>>) {
        self.push(Comparing::All(blocks), slots);
    }

    fn push(&mut self, task: Comparing, sides: Vec<Arc<[Slot]>>) {
        self.tasks.push(task);
        self.plans.push(TaskPlan { sides });
        self.replies.push(None);
    }

    /// Determines when the first event arrived, once all fresh items are known.
    pub(crate) fn look_for_oldest(&mut self) {
        self.oldest = self.fresh.values().flatten().min().copied();
    }

    /// Arrival of the first event of a fresh item.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.oldest
    }

    /// All tasks and their numbers.
    pub(crate) fn tasks(&self) -> Vec<(usize, Comparing)> {
        self.tasks.iter().cloned().enumerate().collect()
    }

    /// Whether the task is still unanswered.
    pub(crate) fn awaits(&self, task: usize) -> bool {
        self.replies.get(task).is_some_and(Option::is_none)
    }

    /// Records the answer to a task; returns whether it was the last one.
    pub(crate) fn answer(&mut self, task: usize, reply: CompareReply) -> bool {
        self.replies[task] = Some(reply);
        self.replies.iter().all(Option::is_some)
    }

    /// Records that a task was given up; it will be retried after a delay.
    pub(crate) fn fail(&mut self, now: Duration, task: usize) {
        self.failed.push(task);
        if self.retry_at.is_none() {
            self.retry_at = Some(now + RETRY.delay(self.failures));
            self.failures += 1;
        }
    }

    /// When failed tasks will be retried, if there are any.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// The failed tasks, if it is time to retry them.
    pub(crate) fn take_retries(&mut self, now: Duration) -> Option<Vec<(usize, Comparing)>> {
        self.retry_at.take_if(|at| *at <= now)?;
        let failed = std::mem::take(&mut self.failed).into_iter();
        Some(
            failed
                .map(|task| (task, self.tasks[task].clone()))
                .collect(),
        )
    }

    /// The answers to all tasks, each with the rows it refers to.
    pub(crate) fn take_found(&mut self) -> impl Iterator<Item = (TaskPlan, CompareReply)> + use<> {
        let replies = std::mem::take(&mut self.replies).into_iter().flatten();
        std::mem::take(&mut self.plans).into_iter().zip(replies)
    }
}
