//! Rows laid out for approximate scores, with what is known of their errors.
//!
//! A row x is replaced by x̂: its 8-bit values times a scale of its block, after a rotation; or,
//! for kernels without integers, x itself. With the residual r = x − x̂ and its norm ρ,
//! x·y − x̂·ŷ = ½[(x + x̂)·r_y + r_x·(y + ŷ)], so the approximate score is off by no more than
//! M_y·ρ_x + M_x·ρ_y, where M is the largest (|x| + |x̂|)/2 of a block. Rounding of the canonical
//! score and of the approximate one is counted in ρ as well.

use rayon::prelude::*;

use super::rotation::{ERROR, Rotation};
use super::rows::Scorer;
use super::strip::PANEL;
use super::terms::TermIndex;

/// Rows of a block, at most: a sample large enough to guess thresholds from.
const MAX_ROWS: usize = 8 * PANEL;
/// Bytes of the values of a block, at most, so that two stay in the second-level cache.
const MAX_BYTES: usize = 320 << 10;
/// Norms from which on sums could overflow: then all is scored exactly.
const MAX_NORM: f64 = 1e15;
/// Least scale; rows of values this small are all residual.
const LEAST_SCALE: f32 = 1e-15;
/// Absolute error of scores near the smallest numbers there are.
pub(super) const UNDERFLOW: f32 = 1e-36;

/// Blocks of rows, by position.
pub(super) struct Layout {
    /// Rows of every block but the last.
    pub(super) block_rows: usize,
    pub(super) blocks: Vec<Block>,
    /// M and the largest ρ of every block.
    errors: Vec<(f32, f32)>,
    /// ρ of every row, rounded up.
    residuals: Vec<f32>,
    /// Values of a laid out row.
    pub(super) length: usize,
}

/// One block.
pub(super) struct Block {
    /// Position of the first row.
    pub(super) first: usize,
    /// Rows that are there; the panels are filled up with zeros.
    pub(super) rows: usize,
    pub(super) values: Values,
    /// Score of one integer unit, but for the other block's scale; 1 for floats.
    pub(super) scale: f32,
    /// For integers, 128 times each row's sum.
    pub(super) offsets: Vec<i32>,
    /// M of the block, rounded up.
    pub(super) norm: f32,
    /// The largest ρ of the block.
    pub(super) residual: f32,
    /// The sparse parts, by term.
    pub(super) terms: Option<TermIndex>,
    /// The least id.
    pub(super) least: u32,
}

/// Panels of a block, aligned to cache lines.
pub(super) enum Values {
    /// Plain values.
    Floats(Aligned<f32>),
    /// 8-bit values plus 128.
    Integers(Aligned<u8>),
}

/// Values that begin at a cache line.
pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
}

impl<T: Copy> Aligned<T> {
    fn new(count: usize, value: T) -> Self {
        let spare = 64 / size_of::<T>();
        let values = vec![value; count + spare];
        let start = values.as_ptr().align_offset(64).min(spare);
        let mut aligned = Self { values, start };
        aligned.values.truncate(start + count);
        aligned
    }

    pub(super) fn get(&self) -> &[T] {
        &self.values[self.start..]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }
}

/// The order in which rows are best laid out: by their largest value after the rotation, so that
/// the rows of a block share a scale. `None`: the data is such that only exact scores will do.
pub(super) fn order<'a>(
    count: usize,
    dimension: usize,
    dense: impl Fn(usize) -> &'a [f32] + Sync,
    sparse_norm: impl Fn(usize) -> f64 + Sync,
    integers: bool,
) -> Option<Vec<u32>> {
    let rotation = Rotation::new(dimension);
    let largest: Vec<f32> = (0..count)
        .into_par_iter()
        .with_min_len(256)
        .map_init(Vec::new, |row, at| {
            row.clear();
            row.extend_from_slice(dense(at));
            if norm(row) + sparse_norm(at) > MAX_NORM {
                return f32::INFINITY;
            }
            if integers {
                rotation.apply(row);
            }
            row.iter().fold(0.0, |most, value| value.abs().max(most))
        })
        .collect();
    if largest.contains(&f32::INFINITY) {
        return None;
    }
    let mut order: Vec<u32> = (0..count as u32).collect();
    if integers {
        order.par_sort_by(|&a, &b| largest[a as usize].total_cmp(&largest[b as usize]));
    }
    Some(order)
}

/// The Euclidean norm.
pub(super) fn norm(values: &[f32]) -> f64 {
    let squares = values
        .iter()
        .map(|&value| f64::from(value) * f64::from(value));
    squares.sum::<f64>().sqrt()
}

impl Layout {
    /// Lays out a scorer's rows. `filter`: whether approximate scores are wanted.
    pub(super) fn new(
        scorer: &Scorer<'_>,
        dimension: usize,
        filter: bool,
        integers: bool,
        threads: usize,
    ) -> Self {
        let count = scorer.rows();
        // Never 0: kernels want a step to look at.
        let length = if filter {
            dimension.max(1).next_multiple_of(4)
        } else {
            0
        };
        let bytes = length * if integers { 1 } else { 4 };
        let most = (MAX_BYTES / bytes.max(1) / PANEL * PANEL).clamp(PANEL, MAX_ROWS);
        // A few blocks a thread, even of few rows.
        let share = (count / (4 * threads)).next_multiple_of(PANEL).max(PANEL);
        let block_rows = most.min(share.max(2 * PANEL)).min(most);
        let rotation = Rotation::new(dimension);
        let parts: Vec<(Block, Vec<f32>)> = (0..count.div_ceil(block_rows))
            .into_par_iter()
            .map(|block| {
                let first = block * block_rows;
                let rows = block_rows.min(count - first);
                let rotation = integers.then_some(&rotation);
                build(scorer, first, rows, length, filter, rotation)
            })
            .collect();
        let (blocks, residuals): (Vec<Block>, Vec<Vec<f32>>) = parts.into_iter().unzip();
        let errors = blocks.iter().map(|block| (block.norm, block.residual));
        Self {
            block_rows,
            errors: errors.collect(),
            blocks,
            residuals: residuals.concat(),
            length,
        }
    }

    /// For a row: how far a pair's upper bound lies above its lower bound, at most.
    #[inline(always)]
    pub(super) fn slacks(&self, row: u32) -> impl Fn(u32) -> f32 + '_ {
        let (own, _) = self.errors[row as usize / self.block_rows];
        let own_residual = self.residuals[row as usize];
        // 32 bits divide faster.
        let rows = self.block_rows as u32;
        move |other| {
            let (norm, residual) = self.errors[(other / rows) as usize];
            2.0 * (norm * own_residual + own * residual + UNDERFLOW)
        }
    }

    /// The same for one pair.
    pub(super) fn slack(&self, row: u32, other: u32) -> f32 {
        self.slacks(row)(other)
    }

    /// ρ of the rows of a block.
    pub(super) fn residuals(&self, block: &Block) -> &[f32] {
        &self.residuals[block.first..block.first + block.rows]
    }
}

fn build(
    scorer: &Scorer<'_>,
    first: usize,
    rows: usize,
    length: usize,
    filter: bool,
    rotation: Option<&Rotation>,
) -> (Block, Vec<f32>) {
    let padded = rows.next_multiple_of(PANEL);
    let mut dense: Vec<Vec<f32>> = Vec::new();
    if filter {
        dense.extend((first..first + rows).map(|row| scorer.dense(row).to_vec()));
    }
    if let Some(rotation) = rotation {
        dense.iter_mut().for_each(|row| rotation.apply(row));
    }
    let largest = dense
        .iter()
        .flatten()
        .fold(0.0_f32, |most, value| value.abs().max(most));
    // A sparse score must fit into 32 bits of units as well.
    let sparse = |row| scorer.sparse(row).map_or(0.0, |(_, weights)| norm(weights));
    let sparse = (first..first + rows).map(sparse).fold(0.0, f64::max) as f32;
    let scale = if rotation.is_some() {
        (largest / 127.0).max(sparse / 8192.0).max(LEAST_SCALE)
    } else {
        1.0
    };
    let mut offsets = Vec::new();
    let (mut norms, mut residuals) = (Vec::new(), Vec::new());
    let mut most_terms = 0;
    let values = if rotation.is_some() {
        offsets.resize(padded, 0);
        let mut values = Aligned::new(padded * length, 128_u8);
        let panels = values.get_mut();
        for (at, row) in dense.iter().enumerate() {
            let start = at / PANEL * PANEL * length + at % PANEL * 4;
            let (mut residual, mut square, mut sum) = (0.0_f64, 0.0_f64, 0);
            for (k, &value) in row.iter().enumerate() {
                let unit = (value / scale).round().clamp(-127.0, 127.0);
                let kept = f64::from(unit) * f64::from(scale);
                residual += (f64::from(value) - kept).powi(2);
                square += kept * kept;
                sum += unit as i32;
                panels[start + k / 4 * 4 * PANEL + k % 4] = (unit as i32 + 128) as u8;
            }
            offsets[at] = 128 * sum;
            residuals.push(residual.sqrt());
            norms.push(square.sqrt());
        }
        Values::Integers(values)
    } else {
        let mut values = Aligned::new(padded * length, 0.0_f32);
        let panels = values.get_mut();
        for (at, row) in dense.iter().enumerate() {
            let start = at / PANEL * PANEL * length + at % PANEL;
            for (k, &value) in row.iter().enumerate() {
                panels[start + k * PANEL] = value;
            }
            residuals.push(0.0);
            norms.push(0.0);
        }
        Values::Floats(values)
    };
    let mut most = 0.0_f64;
    for (at, norms) in norms.iter_mut().enumerate() {
        let sparse = scorer.sparse(first + at).unwrap_or_default();
        most_terms = most_terms.max(sparse.0.len());
        let own = norm(scorer.dense(first + at)) + norm(sparse.1);
        *norms = norms.max(own) * (1.0 + ERROR);
        most = most.max(*norms);
    }
    // Roundings: of the canonical score, of an approximate one that starts at up to twice the
    // largest score, and of the arithmetic on thresholds; relative to the norms.
    let rounding = (3.0 * (length + most_terms) as f64 + 64.0) * f64::EPSILON * f64::from(1 << 29);
    for (residual, norm) in residuals.iter_mut().zip(&norms) {
        let rotated = if rotation.is_some() {
            ERROR * norm
        } else {
            0.0
        };
        *residual = (*residual + rotated + rounding * most) * (1.0 + ERROR);
    }
    let up = |value: f64| (value as f32).next_up();
    let residuals: Vec<f32> = residuals.into_iter().map(up).collect();
    let rows_of = first..first + rows;
    let has_terms = rows_of
        .clone()
        .any(|row| scorer.sparse(row).is_some_and(|s| !s.0.is_empty()));
    let terms = has_terms.then(|| {
        TermIndex::of(
            rows_of
                .clone()
                .map(|row| scorer.sparse(row).unwrap_or_default()),
        )
    });
    let block = Block {
        first,
        rows,
        values,
        scale,
        offsets,
        norm: up(most),
        residual: residuals.iter().copied().fold(0.0, f32::max),
        terms,
        least: rows_of.map(|row| scorer.id(row as u32)).min().unwrap_or(0),
    };
    (block, residuals)
}
