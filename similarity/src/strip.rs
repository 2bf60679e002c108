//! The work unit of a kernel: a group of rows against a block; it finds the pairs that reach a threshold.

/// Rows of a panel. Blocks are cut into panels, and a panel is stored step by step: the first step of all its rows,
/// then the second. The widths of all register tiles divide it.
pub(super) const PANEL: usize = 48;
/// Rows of a group, the rows of a strip.
pub(super) const GROUP: usize = 8;
/// Values summed in 16 bits before the sum is widened to 32.
pub(super) const SPAN: usize = 128;
/// Lanes that a kernel may write beyond the last hit.
const SPARE: usize = 16;

/// Pairs that may matter to one of their rows.
#[derive(Default)]
pub(super) struct Hits {
    /// Row of the left block in the upper half, of the right block in the lower.
    pub(super) pairs: Vec<u32>,
    /// How many of them count.
    pub(super) count: usize,
    /// Buffer for sorting them.
    ordered: Vec<u32>,
    /// By right row: where its pairs go when sorting.
    starts: Vec<u32>,
}

/// Left and right row of a pair.
#[inline(always)]
pub(super) fn split(pair: u32) -> (usize, usize) {
    ((pair >> 16) as usize, (pair & 0xFFFF) as usize)
}

impl Hits {
    /// Reserves room for `more` hits and for what a kernel may write beyond them.
    pub(super) fn reserve(&mut self, more: usize) {
        let needed = self.count + more + SPARE;
        if self.pairs.len() < needed {
            self.pairs.resize(needed, 0);
        }
    }

    /// The hits found so far.
    pub(super) fn get(&self) -> &[u32] {
        &self.pairs[..self.count]
    }

    /// Keeps the pairs that are wanted, in their order.
    pub(super) fn retain(&mut self, wanted: impl Fn(u32) -> bool) {
        let mut kept = 0;
        for at in 0..self.count {
            self.pairs[kept] = self.pairs[at];
            kept += usize::from(wanted(self.pairs[at]));
        }
        self.count = kept;
    }

    /// Sorts the hits from a position on, which all belong to one group, by row.
    pub(super) fn order(&mut self, from: usize) {
        let found = &mut self.pairs[from..self.count];
        let row = |pair: u32| split(pair).0 % GROUP;
        let mut counts = [0; GROUP];
        found.iter().for_each(|pair| counts[row(*pair)] += 1);
        let mut start = 0;
        let mut places = counts.map(|count| {
            start += count;
            start - count
        });
        self.ordered.clear();
        self.ordered.extend_from_slice(found);
        for &pair in &self.ordered {
            let place = &mut places[row(pair)];
            found[*place] = pair;
            *place += 1;
        }
    }

    /// Groups hits by right row, ascending; otherwise keeps their order.
    pub(super) fn order_by_right(&mut self, columns: usize) {
        let found = &mut self.pairs[..self.count];
        self.starts.clear();
        self.starts.resize(columns + 1, 0);
        found
            .iter()
            .for_each(|pair| self.starts[split(*pair).1 + 1] += 1);
        let mut start = 0;
        for place in &mut self.starts {
            start += *place;
            *place = start;
        }
        self.ordered.clear();
        self.ordered.extend_from_slice(found);
        for &pair in &self.ordered {
            let place = &mut self.starts[split(pair).1];
            found[*place as usize] = pair;
            *place += 1;
        }
    }

    /// Adds a hit; room must have been reserved.
    #[inline(always)]
    pub(super) fn push(&mut self, pair: u32) {
        self.pairs[self.count] = pair;
        self.count += 1;
    }
}

/// A step of a left row's values of frequent terms. Only integer kernels have these.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other kernel has integers
pub(super) struct TermStep {
    /// Where the step begins in a right panel.
    pub(super) at: u32,
    /// Its values, one a byte.
    pub(super) values: i32,
}

/// One strip: the rows of a group of the left block against all rows of the right block.
pub(super) struct Strip<'a, V, T> {
    /// Panels of the left block, of which only the rows of `group` count.
    pub(super) left: &'a [V],
    /// Which group of the left block.
    pub(super) group: usize,
    /// Panels of the right block.
    pub(super) right: &'a [V],
    /// Values of a row; a multiple of 4.
    pub(super) length: usize,
    /// For each left row of the group, minus its threshold.
    pub(super) from_left: &'a [T; GROUP],
    /// For each left row of the group, what cancels the middle of the unsigned values in every sum. For 32-bit sums:
    /// 128 · the row's sum. For 16-bit sums: minus 64 · the sum of each half, one span of `SPAN` values after another.
    pub(super) offsets: &'a [T],
    /// For each right row, minus its threshold.
    pub(super) from_right: &'a [T],
    /// For each left row of the group, its steps of frequent terms (`columns`); and panels of the right block's values
    /// of those terms. Or both empty.
    pub(super) left_terms: [&'a [TermStep]; GROUP],
    pub(super) right_terms: &'a [V],
    /// The number of bits by which the sums of their products are shifted to be in the units of the others.
    pub(super) terms_shift: u32,
    /// Contributions of rare terms (`terms`): `GROUP` rows with one value per right row, each starting `rare_stride`
    /// values after the previous one; or empty.
    pub(super) rare: &'a [u16],
    pub(super) rare_stride: usize,
    /// The power of two that converts them to the units of the others; not negative for integers.
    pub(super) rare_power: i32,
}

impl<V, T> Strip<'_, V, T> {
    /// Right rows.
    pub(super) fn columns(&self) -> usize {
        self.from_right.len()
    }

    /// The values of a panel.
    pub(super) fn panel(&self) -> usize {
        PANEL * self.length
    }

    /// Values of frequent terms of a row.
    pub(super) fn terms(&self) -> usize {
        self.right_terms.len() / self.columns().max(1)
    }

    /// Whether there are terms, frequent or rare.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn has_terms(&self) -> bool {
        !self.right_terms.is_empty() || !self.rare.is_empty()
    }

    /// Checks that all slices have the lengths that kernels rely on.
    ///
    /// # Panics
    /// When one does not.
    pub(super) fn check(&self) {
        let columns = self.columns();
        assert!(columns.is_multiple_of(PANEL), "blocks are whole panels");
        assert!(self.length.is_multiple_of(4), "rows are whole steps");
        assert_eq!(self.right.len(), columns * self.length, "right rows");
        assert!(self.offsets.len() >= GROUP, "an offset a left row");
        let end = (self.group + 1) * GROUP;
        assert!(end <= usize::from(u16::MAX), "rows of a block fit 16 bits");
        assert!(
            columns <= usize::from(u16::MAX),
            "rows of a block fit 16 bits"
        );
        assert!(
            self.left.len() >= end.next_multiple_of(PANEL) * self.length,
            "left rows"
        );
        let terms = self.terms();
        assert!(terms.is_multiple_of(4), "terms are whole steps");
        assert_eq!(self.right_terms.len(), columns * terms, "right terms");
        // The steps of a row ascend.
        let last = self.left_terms.iter().filter_map(|steps| steps.last());
        let most = last.map(|step| step.at as usize + 4 * PANEL).max();
        assert!(most.unwrap_or(0) <= PANEL * terms, "left terms");
        assert!(self.terms_shift < 32, "a shift is within a sum");
        assert!(self.rare_power < 32, "a shift is within a sum");
        let rows = (GROUP - 1) * self.rare_stride + columns;
        assert!(
            self.rare.is_empty() || self.rare.len() >= rows,
            "one sum a pair"
        );
    }
}
