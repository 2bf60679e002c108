//! Counts pairs of rows, leaving out those of one item.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use kindred_shared::ItemId;
use kindred_shared::job::Side;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many left rows each item has: one, in a well-made task.
pub(super) struct Items<'a> {
    rows: u64,
    count: HashMap<&'a ItemId, u64, BuildHasherDefault<IdHasher>>,
}

impl<'a> Items<'a> {
    pub(super) fn new(left: &'a Side, rows: &[u32]) -> Self {
        let mut count: HashMap<_, u64, _> = HashMap::default();
        for &row in rows {
            *count.entry(left.block.id(row as usize)).or_default() += 1;
        }
        Self {
            rows: rows.len() as u64,
            count,
        }
    }

    /// Pairs of two left rows of different items.
    pub(super) fn pairs_within(&self) -> u64 {
        let pairs = |rows: u64| rows * rows.saturating_sub(1) / 2;
        pairs(self.rows) - self.count.values().copied().map(pairs).sum::<u64>()
    }

    /// Pairs of a left row and one of these right rows, of different items.
    pub(super) fn pairs_with(&self, right: &Side, rows: &[u32]) -> u64 {
        let same: u64 = rows
            .iter()
            .filter_map(|&row| self.count.get(right.block.id(row as usize)))
            .sum();
        self.rows * rows.len() as u64 - same
    }
}

/// xxh3: a look-up a right row is a cost that shows when there is one left row, and the default
/// hasher takes as long as scoring that pair.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
