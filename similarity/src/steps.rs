//! The progress of comparing all rows with all rows.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps counted for laying out a block or sorting its lists; a tile counts as one.
const PER_BLOCK: u64 = 1;

/// Counts finished steps and reports progress.
pub(super) struct Steps<'a> {
    done: AtomicU64,
    total: u64,
    tell: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

impl<'a> Steps<'a> {
    /// The steps of this many blocks, each of which meets itself and all others.
    pub(super) fn new(blocks: usize, tell: Option<&'a (dyn Fn(u64, u64) + Sync)>) -> Self {
        let blocks = blocks as u64;
        Self {
            done: AtomicU64::new(0),
            total: blocks * (blocks + 1) / 2 + blocks * PER_BLOCK,
            tell,
        }
    }

    /// Steps counted for sorting the lists of a block.
    pub(super) fn per_block(&self) -> u64 {
        PER_BLOCK
    }

    /// Records that more steps are finished.
    pub(super) fn done(&self, steps: u64) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        if let Some(tell) = self.tell {
            tell(done, self.total);
        }
    }
}
