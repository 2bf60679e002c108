//! Scores of items with each other, for answers that contain several of them.

use std::collections::BTreeMap;

use kindred_domain::features::Live;
use kindred_similarity::{Kernel, Probe};

use crate::question::AskError;
use crate::snapshot::Item;

/// Some items, by the blocks that have their features.
pub(crate) struct Peers<'s> {
    kernel: Kernel,
    blocks: BTreeMap<BlockId<'s>, Block<'s>>,
    scores: Vec<f32>,
}

/// Identifies a block: its space, and the address of its rows.
type BlockId<'s> = (&'s str, usize);

struct Block<'s> {
    live: &'s Live,
    rows: Vec<u32>,
    /// The number of each row's item.
    members: Vec<usize>,
}

impl<'s> Peers<'s> {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            blocks: BTreeMap::new(),
            scores: Vec::new(),
        }
    }

    /// Adds an item under this number.
    pub(crate) fn add(&mut self, member: usize, item: &Item<'s>) {
        let Some((space, live, row)) = item.feature() else {
            return;
        };
        let place = std::ptr::from_ref(&*live.rows) as usize;
        let block = self
            .blocks
            .entry((space.as_str(), place))
            .or_insert_with(|| Block {
                live,
                rows: Vec::new(),
                members: Vec::new(),
            });
        block.rows.push(row);
        block.members.push(member);
    }

    /// Calls back with the number and score of each item that has a score with the given one, in any order.
    pub(crate) fn scores(
        &mut self,
        item: &Item<'s>,
        mut each: impl FnMut(usize, f32),
    ) -> Result<(), AskError> {
        let Some((space, live, row)) = item.feature() else {
            return Ok(());
        };
        let feature = live.rows.block.feature(row as usize);
        let (dense, ids, weights) = (feature.dense(), feature.term_ids(), feature.term_weights());
        let probe = Probe::new(self.kernel, dense, ids, weights)?;
        let of_space = (space.as_str(), usize::MIN)..=(space.as_str(), usize::MAX);
        for block in self.blocks.range(of_space).map(|(_, block)| block) {
            let table = block.live.rows.block.table();
            if !probe.is_comparable(table) {
                continue;
            }
            probe.scores(table, &block.rows, &mut self.scores);
            let scored = block.members.iter().zip(&self.scores);
            scored.for_each(|(member, score)| each(*member, *score));
        }
        Ok(())
    }
}
