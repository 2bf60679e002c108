//! Decides which pairs of two laid out tiles may matter: compares upper bounds of scores, within a bounded error (see
//! `layout`), with what each row already has.

use std::ops::Range;

use super::kernel::Isa;
use super::layout::{Block, Projected, UNDERFLOW, Values};
use super::strip::{GROUP, Hits, PANEL, Strip, split};
use super::terms::Shared;

/// A threshold that no integer score reaches.
const BEYOND: i32 = 1 << 29;

/// A tile prepared to be the left one.
#[derive(Default)]
pub(super) struct PreparedLeft {
    /// Left values are signed, right values unsigned.
    values: Vec<u8>,
}

impl PreparedLeft {
    pub(super) fn new(isa: Isa, block: &Block) -> Self {
        let mut prepared = Self::default();
        prepared.prepare(isa, block);
        prepared
    }

    /// Prepares another tile.
    pub(super) fn prepare(&mut self, isa: Isa, block: &Block) {
        let middle = isa.grid.map_or(0, |grid| grid.middle);
        self.values.clear();
        if let Values::Integers(values) = &block.values {
            let signed = values.get().iter().map(|value| value.wrapping_sub(middle));
            self.values.extend(signed);
        }
    }
}

/// Row length, in values, from which two blocks of rows do not stay in the second-level cache.
const LONG: usize = 256;

/// The two tiles of a filter.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) isa: Isa,
    pub(super) left: &'a Block,
    pub(super) prepared: &'a PreparedLeft,
    pub(super) right: &'a Block,
    /// The left tile's terms in the right tile's columns, if both have terms.
    pub(super) left_terms: Option<&'a Projected>,
    /// Values of a laid out row.
    pub(super) length: usize,
}

impl Pair<'_> {
    /// Score of one integer unit.
    pub(super) fn unit(&self) -> f64 {
        match self.left.values {
            Values::Integers(_) => f64::from(self.left.scale) * f64::from(self.right.scale),
            Values::Floats(_) => 1.0,
        }
    }

    /// The power of two that converts sums of rare terms into these units.
    fn rare_power(&self) -> i32 {
        match (self.left_terms, &self.right.terms) {
            (Some(left), Some(right)) => left.rare.product_power(&right.own.rare),
            _ => 0,
        }
    }

    /// The most by which a score of a left row can exceed its upper bound.
    pub(super) fn error(&self, row: usize) -> f32 {
        let own = self.right.norm * self.left.residuals[row];
        own + self.left.norm * self.right.residual + UNDERFLOW
    }
}

/// What a thread needs to filter the pairs of two tiles.
#[derive(Default)]
pub(super) struct Filter {
    hits: Hits,
    integer_from: [Vec<i32>; 2],
    float_from: [Vec<f32>; 2],
    shared: Shared,
    /// Contributions of a group's rare terms.
    rare: Vec<u16>,
}

impl Filter {
    /// Sets the threshold of each row of a tile; infinity is unreachable. `side` is 0 for the left tile and 1 for the
    /// right one.
    pub(super) fn want(&mut self, side: usize, pair: &Pair<'_>, bases: &[f32]) {
        let tiles = [pair.left, pair.right];
        let (block, other) = (tiles[side], tiles[1 - side]);
        let columns = block.rows.next_multiple_of(PANEL);
        let rows = bases.iter().zip(&block.residuals);
        // The most that a row's own ρ and the other block's largest ρ add to a score.
        let (own, others) = (other.norm, block.norm * other.residual + UNDERFLOW);
        match block.values {
            Values::Integers(_) => {
                let per_unit = (1.0 / pair.unit()) as f32;
                let from = &mut self.integer_from[side];
                from.clear();
                from.resize(columns, -BEYOND);
                pair.isa.run(
                    #[inline(always)]
                    || {
                        for (from, (base, residual)) in from.iter_mut().zip(rows) {
                            let units = (own * residual + others - base) * per_unit;
                            let units = units.clamp(-(BEYOND as f32), BEYOND as f32);
                            // Rounded up by what floating-point rounding may have taken.
                            *from = (units + units.abs() * f32::EPSILON * 2.0 + 2.0) as i32;
                        }
                    },
                );
            }
            Values::Floats(_) => {
                // A sum that starts far from the scores would lose their last bits.
                let most = 2.0 * block.norm * other.norm;
                let from = &mut self.float_from[side];
                from.clear();
                let minus = rows.map(|(base, residual)| own * residual + others - base);
                from.extend(minus.map(|minus| minus.clamp(-most, most)));
                from.resize(columns, -(2.0 * most + 1.0));
            }
        }
    }

    /// Finds out which rare terms two tiles share; must run before any of their groups.
    pub(super) fn share(&mut self, pair: &Pair<'_>) {
        if let (Some(left), Some(right)) = (pair.left_terms, &pair.right.terms) {
            self.shared.find(&left.rare, &right.own.rare);
        }
    }

    /// Looks for pairs of a group of left rows with some right rows, in whole panels; keeps the pairs found before.
    pub(super) fn find(&mut self, pair: &Pair<'_>, group: usize, columns: Range<usize>) {
        self.rare(pair, group);
        let before = self.hits.count;
        let first = columns.start as u32;
        let mut hits = std::mem::take(&mut self.hits);
        match (&pair.left.values, &pair.right.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = self.integer_strip(pair, values.get(), group, columns);
                (pair.isa.strip)(&strip, &mut hits);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = self.float_strip(pair, own.get(), values.get(), group, columns);
                super::scalar::strip(&strip, &mut hits);
            }
            _ => unreachable!("both tiles are laid out for one kernel"),
        }
        // Kernels count columns from the first one examined.
        hits.pairs[before..hits.count]
            .iter_mut()
            .for_each(|hit| *hit += first);
        if pair.left_terms.is_some() {
            // Sparse products need them in this order.
            hits.order(before);
        }
        self.hits = hits;
    }

    /// The upper bounds of a group with some rows of the right tile, whole panels, in integer units.
    pub(super) fn sums(
        &mut self,
        pair: &Pair<'_>,
        group: usize,
        columns: Range<usize>,
        sums: &mut Vec<f32>,
    ) {
        self.rare(pair, group);
        for (side, block) in [pair.left, pair.right].into_iter().enumerate() {
            let columns = block.rows.next_multiple_of(PANEL);
            self.integer_from[side].clear();
            self.integer_from[side].resize(columns, 0);
            self.float_from[side].clear();
            self.float_from[side].resize(columns, 0.0);
        }
        sums.resize(GROUP * columns.len(), 0.0);
        match (&pair.left.values, &pair.right.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = self.integer_strip(pair, values.get(), group, columns);
                (pair.isa.sums)(&strip, sums);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = self.float_strip(pair, own.get(), values.get(), group, columns);
                super::scalar::sums(&strip, sums);
            }
            _ => unreachable!("both tiles are laid out for one kernel"),
        }
    }

    /// Computes the contributions of a group's rare terms, if there are any.
    fn rare(&mut self, pair: &Pair<'_>, group: usize) {
        self.rare.clear();
        if let (Some(_), Some(right)) = (pair.left_terms, &pair.right.terms) {
            let rows = group * GROUP..pair.left.rows.min((group + 1) * GROUP);
            self.shared.sums(&right.own.rare, rows, &mut self.rare);
        }
    }

    fn integer_strip<'s>(
        &'s self,
        pair: &'s Pair<'_>,
        right: &'s [u8],
        group: usize,
        columns: Range<usize>,
    ) -> Strip<'s, u8, i32> {
        let rows = group * GROUP..(group + 1) * GROUP;
        let (left_terms, right_terms, terms_shift) = match (pair.left_terms, &pair.right.terms) {
            (Some(left), Some(right)) => {
                let (left, right) = (&left.frequent, &right.own.frequent);
                let steps = std::array::from_fn(|row| left.steps(rows.start + row));
                (
                    steps,
                    of(right.panels(), pair.right, &columns),
                    left.shift(right),
                )
            }
            _ => ([&[][..]; GROUP], &[][..], 0),
        };
        Strip {
            left: &pair.prepared.values,
            group,
            right: of(right, pair.right, &columns),
            length: pair.length,
            from_left: whole(&self.integer_from[0][rows]),
            offsets: pair.left.offsets(group),
            from_right: &self.integer_from[1][columns.clone()],
            left_terms,
            right_terms,
            terms_shift,
            rare: self.rare.get(columns.start..).unwrap_or_default(),
            rare_stride: pair.right.rows.next_multiple_of(PANEL),
            rare_power: pair.rare_power(),
        }
    }

    fn float_strip<'s>(
        &'s self,
        pair: &Pair<'_>,
        left: &'s [f32],
        right: &'s [f32],
        group: usize,
        columns: Range<usize>,
    ) -> Strip<'s, f32, f32> {
        let rows = group * GROUP..(group + 1) * GROUP;
        Strip {
            left,
            group,
            right: of(right, pair.right, &columns),
            length: pair.length,
            from_left: whole(&self.float_from[0][rows]),
            offsets: &[0.0; GROUP],
            from_right: &self.float_from[1][columns.clone()],
            left_terms: [&[]; GROUP],
            right_terms: &[],
            terms_shift: 0,
            rare: self.rare.get(columns.start..).unwrap_or_default(),
            rare_stride: pair.right.rows.next_multiple_of(PANEL),
            rare_power: pair.rare_power(),
        }
    }

    /// Forgets the pairs found.
    pub(super) fn clear(&mut self) {
        self.hits.count = 0;
    }

    /// The pairs found (see `strip::split`), including a few of rows that do not exist.
    pub(super) fn pairs(&self) -> &[u32] {
        self.hits.get()
    }

    /// Orders pairs so that their products cost least: for long rows most of the cost is fetching right rows, so pairs
    /// with the same right row follow each other.
    pub(super) fn order(&mut self, pair: &Pair<'_>) {
        if pair.length >= LONG && pair.left_terms.is_none() {
            self.hits
                .order_by_right(pair.right.rows.next_multiple_of(PANEL));
        }
    }

    /// Keeps the pairs that are wanted, in their order.
    pub(super) fn retain(&mut self, wanted: impl Fn(u32) -> bool) {
        self.hits.retain(wanted);
    }

    /// Drops the pairs of rows that do not exist.
    pub(super) fn drop_beyond(&mut self, rows: usize, columns: usize) {
        if rows.is_multiple_of(GROUP) && columns.is_multiple_of(PANEL) {
            return;
        }
        self.hits.retain(|pair| {
            let (row, column) = split(pair);
            row < rows && column < columns
        });
    }
}

/// The part of a block's panels that belongs to some rows, whole panels.
fn of<'s, T>(panels: &'s [T], block: &Block, rows: &Range<usize>) -> &'s [T] {
    let each = panels.len() / block.rows.next_multiple_of(PANEL).max(1);
    &panels[rows.start * each..rows.end * each]
}

fn whole<T>(group: &[T]) -> &[T; GROUP] {
    group
        .try_into()
        .expect("a group has as many rows as it is cut to")
}
