//! What a kernel is asked: eight or so rows against a block, and which pairs reach a threshold.

/// Rows of a panel. Blocks are cut into panels, and a panel lies step by step: the first step of
/// all its rows, then the second. All register tiles divide it.
pub(super) const PANEL: usize = 48;
/// Rows of a group, the rows of a strip.
pub(super) const GROUP: usize = 8;
/// Values that are summed up in 16 bits before they are added in 32.
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
    /// Where they are put into order.
    ordered: Vec<u32>,
    /// By right row, where its pairs go then.
    starts: Vec<u32>,
}

/// Left and right row of a pair.
#[inline(always)]
pub(super) fn split(pair: u32) -> (usize, usize) {
    ((pair >> 16) as usize, (pair & 0xFFFF) as usize)
}

impl Hits {
    /// Room for `more` hits and what a kernel may write beyond them.
    pub(super) fn reserve(&mut self, more: usize) {
        let needed = self.count + more + SPARE;
        if self.pairs.len() < needed {
            self.pairs.resize(needed, 0);
        }
    }

    /// Those there are.
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

    /// Puts those from a place on, which are of one group, into the order of their rows.
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

    /// Puts those with the same right row together, by ascending row; in the order they have otherwise.
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

    /// Adds one; room must have been reserved.
    #[inline(always)]
    pub(super) fn push(&mut self, pair: u32) {
        self.pairs[self.count] = pair;
        self.count += 1;
    }
}

/// A step of a left row's values of frequent terms. Only kernels with integers have such.
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
    /// Panels of the left block; of it, `group`'s rows count.
    pub(super) left: &'a [V],
    /// Which group of the left block.
    pub(super) group: usize,
    /// Panels of the right block.
    pub(super) right: &'a [V],
    /// Values of a row; a multiple of 4.
    pub(super) length: usize,
    /// For each left row of the group, minus its threshold.
    pub(super) from_left: &'a [T; GROUP],
    /// For each left row of the group, what takes the middle of the unsigned values out of every
    /// sum: 128 · the row's sum for 32-bit sums. For 16-bit ones minus 64 · the sum of each half, one
    /// span of `SPAN` values after the other.
    pub(super) offsets: &'a [T],
    /// For each right row, minus its threshold.
    pub(super) from_right: &'a [T],
    /// For each left row of the group, its steps of frequent terms (`columns`), and panels of the
    /// right block's values of them; or empty.
    pub(super) left_terms: [&'a [TermStep]; GROUP],
    pub(super) right_terms: &'a [V],
    /// By how many bits the sums of their products are shifted to be in the units of the others.
    pub(super) terms_shift: u32,
    /// What rare terms come to (`terms`), `GROUP` rows of as many as there are right rows, each so many
    /// values after the one before; or empty.
    pub(super) rare: &'a [u16],
    pub(super) rare_stride: usize,
    /// The power of two by which they are multiplied to be in the units of the others; not negative for
    /// integers.
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

    /// Checks that all slices are as long as kernels take for granted.
    ///
    /// # Panics
    /// When one is not.
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
