//! Which pairs of two laid out tiles may matter: approximate scores whose error is bounded (see
//! `layout`) against what each row has already.

use super::Kernel;
use super::layout::{Block, UNDERFLOW, Values};
use super::strip::{GROUP, Hits, PANEL, Strip};
use super::terms::Shared;

/// A threshold that no integer score reaches.
const BEYOND: i32 = 1 << 29;

/// A tile got ready to be the left one.
pub(super) struct Held {
    /// Left values are signed, right ones unsigned.
    values: Vec<u8>,
}

impl Held {
    pub(super) fn new(kernel: Kernel, block: &Block) -> Self {
        let middle = kernel.grid().map_or(0, |grid| grid.middle);
        let signed = |values: &[u8]| {
            values
                .iter()
                .map(|value| value.wrapping_sub(middle))
                .collect()
        };
        let values = match &block.values {
            Values::Integers(values) => signed(values.get()),
            Values::Floats(_) => Vec::new(),
        };
        Self { values }
    }
}

/// The two tiles of a filter.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) kernel: Kernel,
    pub(super) left: &'a Block,
    pub(super) held: &'a Held,
    pub(super) right: &'a Block,
    /// Values of a laid out row.
    pub(super) length: usize,
}

impl Pair<'_> {
    /// Score of one integer unit.
    pub(super) fn unit(&self) -> f64 {
        f64::from(self.left.scale) * f64::from(self.right.scale)
    }
}

/// What a thread needs to filter the pairs of two tiles.
#[derive(Default)]
pub(super) struct Filter {
    integers: Hits<i32>,
    floats: Hits<f32>,
    integer_from: [Vec<i32>; 2],
    float_from: [Vec<f32>; 2],
    sparse: Vec<f32>,
    shared: Shared,
}

impl Filter {
    /// Puts what each row of a tile needs at least; infinity: more than there is. `side` is 0 for
    /// the left tile and 1 for the right one.
    pub(super) fn want(&mut self, side: usize, pair: &Pair<'_>, bases: impl Iterator<Item = f32>) {
        let tiles = [pair.left, pair.right];
        let (block, other) = (tiles[side], tiles[1 - side]);
        let columns = block.rows.next_multiple_of(PANEL);
        let (norm, most_of_other) = (other.norm, block.norm * other.residual + UNDERFLOW);
        let least = bases.zip(&block.residuals);
        let least = least.map(|(base, residual)| base - (norm * residual + most_of_other));
        match block.values {
            Values::Integers(_) => {
                let per_unit = 1.0 / pair.unit();
                let beyond = f64::from(BEYOND);
                // Two less: one for the digits that are cut off, one for the quotient's rounding.
                let minus = least
                    .map(|least| 2 - (f64::from(least) * per_unit).clamp(-beyond, beyond) as i32);
                let from = &mut self.integer_from[side];
                from.clear();
                from.extend(minus);
                from.resize(columns, -BEYOND);
            }
            Values::Floats(_) => {
                // A sum that begins far from the scores would lose their last bits.
                let most = 2.0 * block.norm * other.norm;
                let from = &mut self.float_from[side];
                from.clear();
                from.extend(least.map(|least| -least.clamp(-most, most)));
                from.resize(columns, -(2.0 * most + 1.0));
            }
        }
    }

    /// Finds out which terms two tiles share; to be done before any of their groups.
    pub(super) fn share(&mut self, pair: &Pair<'_>) {
        if let (Some(one), Some(two)) = (&pair.left.terms, &pair.right.terms) {
            self.shared.find(one, two);
        }
    }

    /// Looks for pairs of a group of rows of the left tile; those found before are kept.
    pub(super) fn find(&mut self, pair: &Pair<'_>, group: usize) {
        self.products(pair, group);
        let (mut integers, mut floats) = (
            std::mem::take(&mut self.integers),
            std::mem::take(&mut self.floats),
        );
        match (&pair.left.values, &pair.right.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = self.integer_strip(pair, values.get(), group);
                pair.kernel.integer_strip(&strip, &mut integers);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = self.float_strip(pair, own.get(), values.get(), group);
                pair.kernel.strip(&strip, &mut floats);
            }
            _ => unreachable!("both tiles are laid out for one kernel"),
        }
        (self.integers, self.floats) = (integers, floats);
    }

    /// The approximate scores of a group with the right tile, in integer units.
    pub(super) fn sums(&mut self, pair: &Pair<'_>, group: usize, sums: &mut Vec<f32>) {
        self.products(pair, group);
        for (side, block) in [pair.left, pair.right].into_iter().enumerate() {
            let columns = block.rows.next_multiple_of(PANEL);
            self.integer_from[side].clear();
            self.integer_from[side].resize(columns, 0);
            self.float_from[side].clear();
            self.float_from[side].resize(columns, 0.0);
        }
        sums.resize(GROUP * pair.right.rows.next_multiple_of(PANEL), 0.0);
        match (&pair.left.values, &pair.right.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = self.integer_strip(pair, values.get(), group);
                pair.kernel.integer_sums(&strip, sums);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = self.float_strip(pair, own.get(), values.get(), group);
                pair.kernel.sums(&strip, sums);
            }
            _ => unreachable!("both tiles are laid out for one kernel"),
        }
    }

    /// The sparse scores of a group, if there are any.
    fn products(&mut self, pair: &Pair<'_>, group: usize) {
        self.sparse.clear();
        let (Some(_), Some(terms)) = (&pair.left.terms, &pair.right.terms) else {
            return;
        };
        let columns = pair.right.rows.next_multiple_of(PANEL);
        self.sparse.resize(GROUP * columns, 0.0);
        let rows = group * GROUP..pair.left.rows.min((group + 1) * GROUP);
        for (row, sums) in rows.zip(self.sparse.chunks_exact_mut(columns)) {
            pair.kernel.sparse_sums(&self.shared, terms, row, sums);
        }
    }

    fn integer_strip<'s>(
        &'s self,
        pair: &'s Pair<'_>,
        right: &'s [u8],
        group: usize,
    ) -> Strip<'s, u8, i32> {
        let rows = group * GROUP..(group + 1) * GROUP;
        Strip {
            left: &pair.held.values,
            group,
            right,
            length: pair.length,
            from_left: whole(&self.integer_from[0][rows]),
            offsets: pair.left.offsets(group),
            from_right: &self.integer_from[1],
            sparse: &self.sparse,
            per_unit: (1.0 / pair.unit()) as f32,
        }
    }

    fn float_strip<'s>(
        &'s self,
        pair: &Pair<'_>,
        left: &'s [f32],
        right: &'s [f32],
        group: usize,
    ) -> Strip<'s, f32, f32> {
        let rows = group * GROUP..(group + 1) * GROUP;
        Strip {
            left,
            group,
            right,
            length: pair.length,
            from_left: whole(&self.float_from[0][rows]),
            offsets: &[0.0; GROUP],
            from_right: &self.float_from[1],
            sparse: &self.sparse,
            per_unit: 1.0,
        }
    }

    /// Forgets the pairs found.
    pub(super) fn clear(&mut self) {
        self.integers.count = 0;
        self.floats.count = 0;
    }

    /// The pairs found (see `strip::split`), among them a few of rows that are not there.
    pub(super) fn pairs(&self) -> &[u32] {
        if self.integers.count > 0 {
            &self.integers.pairs[..self.integers.count]
        } else {
            &self.floats.pairs[..self.floats.count]
        }
    }
}

fn whole<T>(group: &[T]) -> &[T; GROUP] {
    group
        .try_into()
        .expect("a group has as many rows as it is cut to")
}
