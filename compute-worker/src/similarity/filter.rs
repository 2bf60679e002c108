//! Which pairs of two laid out tiles may matter: approximate scores whose error is bounded (see
//! `layout`) against what each row has already.

use super::Kernel;
use super::layout::{Block, UNDERFLOW, Values};
use super::rows::Sparse;
use super::strip::{GROUP, Hits, PANEL, Strip};

/// A threshold that no integer score reaches, and minus one that each does.
const BEYOND: i32 = 1 << 29;

/// Rows laid out together.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) block: &'a Block,
    /// ρ of each row.
    pub(super) residuals: &'a [f32],
    /// Values of a laid out row.
    pub(super) length: usize,
}

/// A tile got ready to be the left one.
pub(super) struct Held {
    /// Left values are signed, right ones unsigned.
    values: Vec<u8>,
}

impl Held {
    pub(super) fn new(panels: &Panels<'_>) -> Self {
        let values = match &panels.block.values {
            Values::Integers(values) => values.get().iter().map(|value| value ^ 128).collect(),
            Values::Floats(_) => Vec::new(),
        };
        Self { values }
    }
}

/// A pair that may matter.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    /// Row of the left tile.
    pub(super) row: usize,
    /// Row of the right tile.
    pub(super) column: usize,
    /// The canonical score is not below.
    pub(super) lower: f32,
    /// The canonical score is not above.
    pub(super) upper: f32,
}

/// What a thread needs to filter the pairs of two tiles.
#[derive(Default)]
pub(super) struct Filter {
    integers: Hits<i32>,
    floats: Hits<f32>,
    integer_from: [Vec<i32>; 2],
    float_from: [Vec<f32>; 2],
    sparse: Vec<f32>,
}

impl Filter {
    /// Puts what each row of a tile needs at least: a score, minus infinity for all, or infinity
    /// for none. `side` is 0 for the left tile and 1 for the right one.
    pub(super) fn want(&mut self, side: usize, panels: &Panels<'_>, other: &Panels<'_>, bases: &[f32]) {
        let (block, other) = (panels.block, other.block);
        let columns = block.rows.next_multiple_of(PANEL);
        let (norm, most_of_other) = (other.norm, block.norm * other.residual + UNDERFLOW);
        let least = bases.iter().zip(panels.residuals);
        let least = least.map(|(base, residual)| base - (norm * residual + most_of_other));
        match block.values {
            Values::Integers(_) => {
                let per_unit = 1.0 / unit(block, other);
                let beyond = f64::from(BEYOND);
                let minus = least.map(|least| {
                    // Two units for rounding down and for the quotient's own rounding.
                    let units = f64::from(least) * per_unit - 2.0;
                    -(units.clamp(-beyond, beyond) as i32)
                });
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
                from.extend(least.zip(bases).map(|(least, base)| {
                    if *base == f32::INFINITY {
                        -(2.0 * most + 1.0)
                    } else {
                        -least.clamp(-most, most)
                    }
                }));
                from.resize(columns, -(2.0 * most + 1.0));
            }
        }
    }

    /// Looks for pairs of a group of rows of the left tile; those found before are kept.
    /// `sparse` gives the sparse parts of the left tile's rows.
    pub(super) fn group<'s>(
        &mut self,
        kernel: Kernel,
        (left, held): (&Panels<'_>, &Held),
        right: &Panels<'_>,
        group: usize,
        sparse: impl Fn(usize) -> Sparse<'s>,
    ) {
        let columns = right.block.rows.next_multiple_of(PANEL);
        self.sparse.clear();
        if let (Some(_), Some(terms)) = (&left.block.terms, &right.block.terms) {
            self.sparse.resize(GROUP * columns, 0.0);
            let rows = group * GROUP..((group + 1) * GROUP).min(left.block.rows);
            for (row, sums) in rows.zip(self.sparse.chunks_exact_mut(columns)) {
                let (ids, weights) = sparse(row);
                kernel.sparse_dots(terms, ids, weights, sums);
            }
        }
        let rows = group * GROUP..(group + 1) * GROUP;
        match (&left.block.values, &right.block.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = Strip {
                    left: &held.values,
                    group,
                    right: values.get(),
                    length: left.length,
                    from_left: whole(&self.integer_from[0][rows.clone()]),
                    offsets: whole(&left.block.offsets[rows]),
                    from_right: &self.integer_from[1],
                    sparse: &self.sparse,
                    per_unit: (1.0 / unit(left.block, right.block)) as f32,
                };
                Kernel::integer_strip(&strip, &mut self.integers);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = Strip {
                    left: own.get(),
                    group,
                    right: values.get(),
                    length: left.length,
                    from_left: whole(&self.float_from[0][rows]),
                    offsets: &[0.0; GROUP],
                    from_right: &self.float_from[1],
                    sparse: &self.sparse,
                    per_unit: 1.0,
                };
                kernel.strip(&strip, &mut self.floats);
            }
            _ => unreachable!("both tiles are laid out for one kernel"),
        }
    }

    /// Forgets the pairs found.
    pub(super) fn clear(&mut self) {
        self.integers.count = 0;
        self.floats.count = 0;
    }

    /// Pairs found, a few of rows that are not there among them.
    pub(super) fn count(&self) -> usize {
        self.integers.count + self.floats.count
    }

    /// The pairs found, in the order of their groups.
    pub(super) fn hits<'h>(&'h self, left: &'h Panels<'_>, right: &'h Panels<'_>) -> impl Iterator<Item = Hit> + 'h {
        let unit = unit(left.block, right.block);
        let (one, two) = (left.block, right.block);
        let hit = move |at| {
            let (row, column, score) = if self.integers.count > 0 {
                let (row, column) = split(self.integers.pairs[at]);
                let from = self.integer_from[0][row].max(self.integer_from[1][column]);
                let units = self.integers.values[at] - from;
                (row, column, (f64::from(units) * unit) as f32)
            } else {
                let (row, column) = split(self.floats.pairs[at]);
                let from = self.float_from[0][row].max(self.float_from[1][column]);
                (row, column, self.floats.values[at] - from)
            };
            // Panels are filled up with rows of zeros.
            let (own, other) = (left.residuals.get(row)?, right.residuals.get(column)?);
            let error = two.norm * own + one.norm * other + UNDERFLOW;
            let (lower, upper) = (score - error, score + error);
            Some(Hit { row, column, lower, upper })
        };
        (0..self.count()).filter_map(hit)
    }
}

fn split(pair: u32) -> (usize, usize) {
    ((pair >> 16) as usize, (pair & 0xFFFF) as usize)
}

/// Score of one integer unit.
fn unit(left: &Block, right: &Block) -> f64 {
    f64::from(left.scale) * f64::from(right.scale)
}

fn whole<T>(group: &[T]) -> &[T; GROUP] {
    group
        .try_into()
        .expect("a group has as many rows as it is cut to")
}
