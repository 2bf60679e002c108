//! Rows laid out for approximate scores, with bounds of their errors.
//!
//! A row x is replaced by x̂: its integers times a scale of its block, after a rotation; or, for kernels without
//! integers, x itself. With the residual r = x − x̂ and its norm ρ, x·y − x̂·ŷ = ½[(x + x̂)·r_y + r_x·(y + ŷ)], so the
//! approximate score is off by at most M_y·ρ_x + M_x·ρ_y, where M is the largest |x| + ρ/2 of a block, hence at least
//! the largest (|x| + |x̂|)/2. ρ includes the rounding of the canonical score and of the approximate one. Sparse parts
//! are not included: what stands in for them is never less than they are.

use std::ops::Add;
use std::sync::Arc;

use super::aligned::Aligned;
use super::columns::{self, TermColumns};
use super::grid::Grid;
use super::kernel::Isa;
use super::rotation::{ERROR, Rotation};
use super::slices::Sparse;
use super::strip::{GROUP, PANEL, SPAN};
use super::terms::{RareTerms, RowTerms};

/// Norms from which on sums could overflow; all pairs are then scored exactly.
pub(super) const MAX_NORM: f64 = 1e15;
/// The least scale; rows with smaller values are all residual.
const LEAST_SCALE: f32 = 1e-15;
/// The least power of two for the unit of rare terms with float kernels: no product of two units underflows.
const LEAST_POWER: i32 = -60;
/// Absolute error of scores near the smallest representable numbers.
pub(super) const UNDERFLOW: f32 = 1e-36;
/// Values of a step of integers.
const STEP: usize = 4;
/// Values prepared at a time.
const TOGETHER: usize = 8;

/// How rows of one length are laid out for a kernel.
pub(super) struct Shape {
    isa: Isa,
    grid: Option<Grid>,
    rotation: Rotation,
    /// Values of a laid out row: a multiple of 4 and never 0, because kernels expect at least one step.
    pub(super) length: usize,
}

/// A block of laid out rows.
pub(super) struct Block {
    /// Rows that exist; the panels are padded with zeros.
    pub(super) rows: usize,
    pub(super) values: Values,
    /// The score of one integer unit, apart from the other block's scale; 1 for floats.
    pub(super) scale: f32,
    /// For integers, what cancels the middle in the sums, group by group: see `Strip`.
    offsets: Vec<i32>,
    /// M of the block, rounded up.
    pub(super) norm: f32,
    /// ρ of every row, rounded up.
    pub(super) residuals: Vec<f32>,
    /// The largest ρ.
    pub(super) residual: f32,
    /// The sparse parts, if there are any.
    pub(super) terms: Option<Terms>,
}

/// The sparse parts of a block.
pub(super) struct Terms {
    /// The columns of this block's frequent terms.
    pub(super) columns: Arc<TermColumns>,
    /// The rows projected onto these columns.
    pub(super) own: Projected,
}

/// An upper estimate of the bytes that the sparse parts of a block take, for this many terms and rows.
pub(super) fn sparse_bytes(terms: usize, rows: usize) -> usize {
    // Postings, tables of distinct terms, steps; columns, and the ends of rows.
    if terms == 0 {
        0
    } else {
        30 * terms + (columns::COLUMNS + 8) * rows
    }
}

/// Sparse rows projected onto some block's columns.
pub(super) struct Projected {
    /// Terms that have a column.
    pub(super) frequent: columns::Values,
    /// All other terms.
    pub(super) rare: RareTerms,
}

impl Projected {
    /// Projects rows onto these columns; `scale` is that of the rows' dense parts.
    pub(super) fn new<'a>(
        columns: &TermColumns,
        rows: impl ExactSizeIterator<Item = Sparse<'a>>,
        scale: f32,
        isa: Isa,
    ) -> Self {
        let (half_norm, least) = match isa.grid {
            Some(grid) => (grid.half_norm, 0),
            None => (f32::INFINITY, LEAST_POWER),
        };
        let count = rows.len();
        let mut rare = RowTerms::default();
        let frequent = columns::Values::of(columns, rows, scale, half_norm, |row, id, weight| {
            rare.push(row, id, weight);
        });
        rare.end(count);
        Self {
            frequent,
            rare: RareTerms::of(&rare, scale, least),
        }
    }
}

/// Panels of a block, aligned to cache lines.
pub(super) enum Values {
    /// Plain values.
    Floats(Aligned<f32>),
    /// Integers plus the grid's middle.
    Integers(Aligned<u8>),
}

/// The Euclidean norm. Inlined into each kernel.
#[inline(always)]
pub(super) fn norm(values: &[f32]) -> f64 {
    square(values, |value| value).sqrt()
}

/// The sum of the squares of `of` applied to some values.
#[inline(always)]
fn square(values: &[f32], of: impl Fn(f32) -> f32) -> f64 {
    let mut sums = [0.0_f64; TOGETHER];
    let (chunks, rest) = values.as_chunks::<TOGETHER>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            let value = f64::from(of(value));
            *sum += value * value;
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        let value = f64::from(of(value));
        *sum += value * value;
    }
    sums.iter().sum()
}

impl Shape {
    /// For rows of `dimension` values.
    pub(super) fn new(isa: Isa, dimension: usize) -> Self {
        Self {
            isa,
            grid: isa.grid,
            rotation: Rotation::new(dimension),
            length: dimension.max(1).next_multiple_of(STEP),
        }
    }

    /// Bytes of a laid out row.
    pub(super) fn bytes(&self) -> usize {
        self.length * if self.grid.is_some() { 1 } else { 4 }
    }

    /// The least scale at which a row's integers fit, and the row's norm; `buffer` is scratch space.
    pub(super) fn scale(&self, row: &[f32], buffer: &mut Vec<f32>) -> (f32, f64) {
        self.isa.run(
            #[inline(always)]
            || {
                let norm = norm(row);
                let Some(grid) = self.grid else {
                    return (1.0, norm);
                };
                buffer.clear();
                buffer.extend_from_slice(row);
                self.rotation.apply(buffer);
                (self.scale_of(&grid, buffer), norm)
            },
        )
    }

    /// The least scale of a rotated row.
    #[inline(always)]
    fn scale_of(&self, grid: &Grid, row: &[f32]) -> f32 {
        let mut largest = [0.0_f32; TOGETHER];
        let mut half = 0.0_f32;
        for span in row.chunks(SPAN) {
            let mut squares = [0.0_f32; TOGETHER];
            let mut add = |chunk: &[f32]| {
                for ((most, square), value) in largest.iter_mut().zip(&mut squares).zip(chunk) {
                    *most = if value.abs() > *most {
                        value.abs()
                    } else {
                        *most
                    };
                    *square += value * value;
                }
            };
            let (chunks, rest) = span.as_chunks::<TOGETHER>();
            chunks.iter().for_each(|chunk| add(chunk));
            add(rest);
            half = half.max(halves(squares).into_iter().fold(0.0, f32::max));
        }
        let scale = largest.into_iter().fold(0.0, f32::max) / grid.most;
        if !grid.halves {
            return scale;
        }
        // Rounding to integers moves each value by at most half a unit. The sums of squares above are off by at most
        // one in a thousand.
        let rounding = (SPAN as f32 / 2.0).sqrt() / 2.0;
        scale.max(half.sqrt() * 1.001 / (grid.half_norm - rounding))
    }

    /// The columns for frequent terms of some rows. Float kernels have none.
    pub(super) fn columns<'a>(
        &self,
        rows: usize,
        row: impl Fn(usize) -> Sparse<'a>,
    ) -> TermColumns {
        match self.grid {
            Some(_) => TermColumns::of(rows, |at| row(at).0),
            None => TermColumns::none(),
        }
    }

    /// Lays out rows; `sparse` has one entry per row, or none at all.
    pub(super) fn block(
        &self,
        dense: &[&[f32]],
        sparse: &[Sparse<'_>],
        columns: &Arc<TermColumns>,
    ) -> Block {
        let rows = dense.len();
        let padded = rows.next_multiple_of(PANEL);
        let sparse_norms: Vec<f64> = sparse.iter().map(|row| norm(row.1)).collect();
        let most_sparse = sparse_norms.iter().copied().fold(0.0, f64::max);
        let mut block = Block {
            rows,
            values: Values::Floats(Aligned::new(0, 0.0)),
            scale: 1.0,
            offsets: Vec::new(),
            norm: 0.0,
            residuals: Vec::new(),
            residual: 0.0,
            terms: None,
        };
        let residuals = match self.grid {
            Some(grid) => self.isa.run(
                #[inline(always)]
                || self.integers(&grid, dense, most_sparse as f32, &mut block),
            ),
            None => {
                let mut values = Aligned::new(padded * self.length, 0.0_f32);
                let panels = values.get_mut();
                for (at, row) in dense.iter().enumerate() {
                    let start = at / PANEL * PANEL * self.length + at % PANEL;
                    for (k, &value) in row.iter().enumerate() {
                        panels[start + k * PANEL] = value;
                    }
                }
                block.values = Values::Floats(values);
                vec![0.0; rows]
            }
        };
        if sparse.iter().any(|row| !row.0.is_empty()) {
            let rows = sparse.iter().copied();
            let own = Projected::new(columns, rows, block.scale, self.isa);
            block.terms = Some(Terms {
                columns: Arc::clone(columns),
                own,
            });
        }
        self.errors(dense, &sparse_norms, sparse, residuals, &mut block);
        block
    }

    /// Rotates rows and turns them into integers; returns the norms of their residuals.
    #[inline(always)]
    fn integers(&self, grid: &Grid, dense: &[&[f32]], sparse: f32, block: &mut Block) -> Vec<f64> {
        let padded = dense.len().next_multiple_of(PANEL);
        // Zeros at the end of a row stay as they are.
        let stride = self.length.next_multiple_of(TOGETHER);
        let mut rotated = vec![0.0_f32; dense.len() * stride];
        // A sparse score must also fit 32 bits of units.
        let mut scale = LEAST_SCALE.max(sparse / 8192.0);
        for (to, row) in rotated.chunks_exact_mut(stride).zip(dense) {
            to[..row.len()].copy_from_slice(row);
            self.rotation.apply(&mut to[..row.len()]);
            scale = scale.max(self.scale_of(grid, &to[..row.len()]));
        }
        block.scale = scale;
        let spans = if grid.halves {
            self.length.div_ceil(SPAN)
        } else {
            1
        };
        block.offsets.resize(padded * spans, 0);
        let mut values = Aligned::new(padded * self.length, grid.middle);
        let panels = values.get_mut();
        let mut bytes = vec![0; stride];
        let mut residuals = Vec::with_capacity(dense.len());
        for (at, row) in rotated.chunks_exact(stride).enumerate() {
            let offsets = &mut block.offsets[at / GROUP * GROUP * spans + at % GROUP..];
            let (middle, mut square, mut whole) = (i32::from(grid.middle), 0.0, 0);
            let parts = row.chunks(SPAN).zip(bytes.chunks_mut(SPAN));
            for (span, (row, bytes)) in parts.enumerate() {
                let (left, sums) = quantise(row, scale, grid, bytes);
                square += left;
                whole += sums[0] + sums[1];
                if grid.halves {
                    let low = sums.map(|sum| (-middle * sum) as u32 & 0xFFFF);
                    offsets[span * GROUP] = (low[0] | low[1] << 16).cast_signed();
                }
            }
            residuals.push(square.sqrt());
            if !grid.halves {
                offsets[0] = middle * whole;
            }
            let (steps, _) = bytes[..self.length].as_chunks::<STEP>();
            let start = at / PANEL * PANEL * self.length + at % PANEL * STEP;
            let places = panels[start..].chunks_mut(PANEL * STEP);
            for (step, place) in steps.iter().zip(places) {
                place[..STEP].copy_from_slice(step);
            }
        }
        block.values = Values::Integers(values);
        residuals
    }

    /// Turns residuals into error bounds of scores.
    fn errors(
        &self,
        dense: &[&[f32]],
        sparse_norms: &[f64],
        sparse: &[Sparse<'_>],
        residuals: Vec<f64>,
        block: &mut Block,
    ) {
        let mut norms = Vec::with_capacity(dense.len());
        self.isa.run(
            #[inline(always)]
            || {
                for row in dense {
                    norms.push(norm(row));
                }
            },
        );
        let (mut most, mut most_dense) = (0.0_f64, 0.0_f64);
        for (at, residual) in residuals.iter().enumerate() {
            let sparse = sparse_norms.get(at).copied().unwrap_or(0.0);
            // Both parts together form one row.
            let whole = norms[at].hypot(sparse) + residual / 2.0;
            most = most.max(whole * (1.0 + ERROR));
            most_dense = most_dense.max((norms[at] + residual / 2.0) * (1.0 + ERROR));
        }
        let most_terms = sparse.iter().map(|row| row.0.len()).max().unwrap_or(0);
        // Rounding errors, relative to the norms: of the canonical score, of an approximate one that starts at up to
        // twice the largest score, and of the arithmetic on thresholds.
        let rounding =
            (3.0 * (self.length + most_terms) as f64 + 64.0) * f64::EPSILON * f64::from(1 << 29);
        // The error of the rotation itself.
        let rotated = if self.grid.is_some() { ERROR } else { 0.0 };
        // Integers stand for dense parts only. So M is theirs, but at least half of the whole rows', and terms relative
        // to whole rows count twice.
        let (norm, times) = if self.grid.is_some() {
            (most_dense.max(most / 2.0), 2.0)
        } else {
            (most, 1.0)
        };
        let whole = times * (rotated + rounding) * most;
        let bound = |residual: f64| (((residual + whole) * (1.0 + ERROR)) as f32).next_up();
        block.norm = (norm as f32).next_up();
        block.residuals = residuals.into_iter().map(bound).collect();
        block.residual = block.residuals.iter().copied().fold(0.0, f32::max);
    }
}

/// Rounds values to the nearest integers and makes them unsigned. Returns the squared norm of the rounding error, and
/// the sums of the integers of either half.
#[inline(always)]
fn quantise(row: &[f32], scale: f32, grid: &Grid, bytes: &mut [u8]) -> (f64, [i32; 2]) {
    // Adding this leaves no room for a fraction and puts the integer into the last bits. The integer is small, because
    // the scale is at least the largest value divided by `most`.
    const ROUND: f32 = 12_582_912.0;
    let per_unit = 1.0 / scale;
    let mut squares = [0.0_f64; TOGETHER];
    let mut sums = [0_i32; TOGETHER];
    let (chunks, _) = row.as_chunks::<TOGETHER>();
    let (places, _) = bytes.as_chunks_mut::<TOGETHER>();
    for (chunk, place) in chunks.iter().zip(places) {
        // One loop per step, because the compiler vectorizes all of them this way.
        let most = grid.most as i32;
        let units = chunk.map(|value| {
            let unit = (value * per_unit + ROUND).to_bits().cast_signed();
            (unit - ROUND.to_bits().cast_signed()).max(-most).min(most)
        });
        let mut left = [0.0_f32; TOGETHER];
        for at in 0..TOGETHER {
            left[at] = chunk[at] - units[at] as f32 * scale;
        }
        for at in 0..TOGETHER {
            let left = f64::from(left[at]);
            squares[at] += left * left;
            sums[at] += units[at];
        }
        for at in 0..TOGETHER {
            place[at] = (units[at] + i32::from(grid.middle)) as u8;
        }
    }
    (squares.iter().sum(), halves(sums))
}

/// The sums of values 0 and 1 of each step, and of values 2 and 3.
#[inline(always)]
fn halves<T: Add<Output = T>>(sums: [T; TOGETHER]) -> [T; 2] {
    let [a, b, c, d, e, f, g, h] = sums;
    [(a + b) + (e + f), (c + d) + (g + h)]
}

impl Block {
    /// The offsets of a group's rows.
    pub(super) fn offsets(&self, group: usize) -> &[i32] {
        // Blocks are padded to whole panels, so each group has the same number.
        let groups = self.rows.next_multiple_of(PANEL) / GROUP;
        let each = self.offsets.len() / groups.max(1);
        &self.offsets[group * each..(group + 1) * each]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::filter::{Filter, Pair, PreparedLeft};
    use super::super::kernel::Instructions;
    use super::super::scalar;
    use super::*;

    /// Weights of a few terms, of any size and sign.
    fn sparse() -> impl Strategy<Value = (Vec<u32>, Vec<f32>)> {
        let weight = prop_oneof![-1.0_f32..1.0, -1e-3_f32..1e-3, -1e4_f32..1e4];
        let row = proptest::collection::btree_map(0..60_u32, weight, 0..50);
        row.prop_map(|row| row.into_iter().unzip())
    }

    proptest! {
        /// Nothing that could reach a base is dropped, whichever block's columns are used.
        #[test]
        fn no_score_is_above_its_bound_and_error(
            rows in proptest::collection::vec((sparse(), -1.0_f32..1.0), 2..90),
            shared in any::<bool>(),
        ) {
            let half = rows.len() / 2;
            let values: Vec<[f32; 3]> = rows.iter().map(|row| [row.1, -row.1, 0.5]).collect();
            let dense: Vec<&[f32]> = values.iter().map(|row| &row[..]).collect();
            let sparse: Vec<Sparse<'_>> = rows.iter().map(|((ids, w), _)| (&ids[..], &w[..])).collect();
            for isa in Instructions::all() {
                let shape = Shape::new(isa, 3);
                let columns = |span: std::ops::Range<usize>| {
                    Arc::new(shape.columns(span.len(), |row| sparse[span.start + row]))
                };
                let (first, second) = (columns(0..half), columns(half..rows.len()));
                let one = shape.block(&dense[..half], &sparse[..half], if shared { &second } else { &first });
                let two = shape.block(&dense[half..], &sparse[half..], &second);
                let projected = Projected::new(&second, sparse[..half].iter().copied(), one.scale, isa);
                let pair = Pair {
                    isa,
                    left: &one,
                    prepared: &PreparedLeft::new(isa, &one),
                    right: &two,
                    left_terms: (one.terms.is_some() && two.terms.is_some()).then_some(&projected),
                    length: shape.length,
                };
                let (mut filter, mut sums) = (Filter::default(), Vec::new());
                filter.share(&pair);
                for row in 0..half {
                    filter.sums(&pair, row / GROUP, 0..two.rows.next_multiple_of(PANEL), &mut sums);
                    let sums = &sums[row % GROUP * two.rows.next_multiple_of(PANEL)..];
                    for (other, sum) in (half..rows.len()).zip(sums) {
                        let dot = scalar::dot(dense[row], dense[other]);
                        let score = f64::from(dot + scalar::sparse_dot(sparse[row], sparse[other]));
                        // One more, for converting the contribution of rare terms.
                        let most = (f64::from(*sum) + 1.0) * pair.unit() + f64::from(pair.error(row));
                        prop_assert!(most >= score, "{}: {most:e} < {score:e}", isa.kernel);
                    }
                }
            }
        }
    }
}
