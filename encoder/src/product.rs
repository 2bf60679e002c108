//! Products of matrices. Each value is one chain of fused multiply-adds in the order of the inner dimension, starting
//! from 0, so its bits depend neither on the kernel nor on the other rows.

use kindred_similarity::{Kernel, KernelError};

/// Columns of a panel: two vectors of AVX2, or one of AVX-512.
const WIDTH: usize = 16;
/// Rows that share each load of a panel's row: with these, sums and operands just fit the registers of AVX2.
const ROWS: usize = 6;
/// Most products of two integers of 9 bits with a sign whose sum is exact in `f32`: 256 · 255² < 2²⁴.
const EXACT: usize = 256;

/// A right matrix, arranged for products: panels of 16 columns, row after row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Panels {
    rows: usize,
    columns: usize,
    values: Vec<[f32; WIDTH]>,
}

impl Panels {
    /// A matrix with this many rows and columns, and this value at a row and a column.
    pub(crate) fn new(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let mut values = vec![[0.0; WIDTH]; columns.div_ceil(WIDTH) * rows];
        for (panel, first) in values
            .chunks_mut(rows.max(1))
            .zip((0..columns).step_by(WIDTH))
        {
            let width = WIDTH.min(columns - first);
            for (row, places) in panel.iter_mut().enumerate() {
                for (offset, place) in places[..width].iter_mut().enumerate() {
                    *place = at(row, first + offset);
                }
            }
        }
        Self {
            rows,
            columns,
            values,
        }
    }

    /// A matrix that is stored row after row.
    pub(crate) fn of_rows(rows: usize, columns: usize, values: &[f32]) -> Self {
        Self::new(rows, columns, |row, column| values[row * columns + column])
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The product of a left matrix, whose rows are as long as this one has rows.
    pub(crate) fn times(&self, kernel: Kernel, left: &[f32]) -> Result<Vec<f32>, KernelError> {
        self.product(kernel, left)
    }

    /// The same for whole numbers from −255 to 255 on both sides; exact, but for an inner dimension of more than 33,000.
    pub(crate) fn times_exact(
        &self,
        kernel: Kernel,
        left: &[f32],
    ) -> Result<Vec<i32>, KernelError> {
        self.product(kernel, left)
    }

    fn product<T: Total>(&self, kernel: Kernel, left: &[f32]) -> Result<Vec<T>, KernelError> {
        let count = left.len().checked_div(self.rows).unwrap_or_default();
        let mut made = vec![T::default(); count * self.columns];
        if made.is_empty() {
            return Ok(made);
        }
        let blocks = blocks(left, self.rows, count);
        kernel.run(
            #[inline(always)]
            || self.fill(&blocks, &mut made),
        )?;
        Ok(made)
    }

    #[inline(always)]
    fn fill<T: Total>(&self, blocks: &[[f32; ROWS]], made: &mut [T]) {
        let panels = self.values.chunks_exact(self.rows);
        for (panel, first) in panels.zip((0..self.columns).step_by(WIDTH)) {
            let width = WIDTH.min(self.columns - first);
            let rows = made.chunks_mut(ROWS * self.columns);
            for (block, rows) in blocks.chunks_exact(self.rows).zip(rows) {
                let totals: [[T; WIDTH]; ROWS] = tile(block, panel);
                for (row, totals) in rows.chunks_exact_mut(self.columns).zip(&totals) {
                    row[first..first + width].copy_from_slice(&totals[..width]);
                }
            }
        }
    }
}

/// The rows of a left matrix, of which six go together, value after value; what is missing of the last ones is 0.
fn blocks(left: &[f32], length: usize, count: usize) -> Vec<[f32; ROWS]> {
    let mut blocks = vec![[0.0; ROWS]; count.div_ceil(ROWS) * length];
    for (number, row) in left.chunks_exact(length).enumerate() {
        let block = &mut blocks[number / ROWS * length..][..length];
        for (place, value) in block.iter_mut().zip(row) {
            place[number % ROWS] = *value;
        }
    }
    blocks
}

/// What the products of a row and a column are summed to.
trait Total: Copy + Default {
    /// Products that are summed before the sum is added to the total.
    const PRODUCTS: usize;

    fn add(&mut self, sum: f32);
}

impl Total for f32 {
    const PRODUCTS: usize = usize::MAX;

    #[inline(always)]
    fn add(&mut self, sum: f32) {
        // There is only one.
        *self = sum;
    }
}

impl Total for i32 {
    const PRODUCTS: usize = EXACT;

    #[inline(always)]
    fn add(&mut self, sum: f32) {
        *self = self.wrapping_add(sum as i32);
    }
}

#[inline(always)]
fn tile<T: Total>(block: &[[f32; ROWS]], panel: &[[f32; WIDTH]]) -> [[T; WIDTH]; ROWS] {
    let mut totals = [[T::default(); WIDTH]; ROWS];
    let (mut block, mut panel) = (block, panel);
    while !panel.is_empty() {
        let (lefts, rights);
        (lefts, block) = block.split_at(T::PRODUCTS.min(block.len()));
        (rights, panel) = panel.split_at(T::PRODUCTS.min(panel.len()));
        let mut sums = [[0.0_f32; WIDTH]; ROWS];
        for (left, right) in lefts.iter().zip(rights) {
            for (sums, left) in sums.iter_mut().zip(left) {
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.mul_add(*right, *sum);
                }
            }
        }
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                total.add(*sum);
            }
        }
    }
    totals
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_product_is_what_its_definition_says(
            rows in 0..14_usize,
            inner in 1..40_usize,
            columns in 1..40_usize,
            values in proptest::collection::vec(-2.0_f32..2.0, 80 * 40),
        ) {
            let (left, right) = values.split_at(40 * 40);
            let (left, right) = (&left[..rows * inner], &right[..inner * columns]);
            let panels = Panels::of_rows(inner, columns, right);
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
                let made = panels.times(kernel, left).unwrap();
                prop_assert_eq!(made.len(), rows * columns);
                for (at, value) in made.iter().enumerate() {
                    let row = &left[at / columns * inner..][..inner];
                    let chain = |sum: f32, (n, value): (usize, &f32)| {
                        value.mul_add(right[n * columns + at % columns], sum)
                    };
                    let expected = row.iter().enumerate().fold(0.0, chain);
                    prop_assert_eq!(value.to_bits(), f32::to_bits(expected), "{}", kernel);
                }
            }
        }
    }

    /// With the largest values there are, and more of them than one sum holds exactly.
    #[test]
    fn integers_are_exact() {
        let (inner, columns) = (1_536, 17);
        let right = Panels::new(inner, columns, |row, column| match (row + column) % 3 {
            0 => -255.0,
            1 => 254.0,
            _ => 255.0,
        });
        let left: Vec<f32> = (0..2 * inner)
            .map(|n| if n % 7 == 0 { -253.0 } else { 255.0 })
            .collect();
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
            let made = right.times_exact(kernel, &left).unwrap();
            for (at, value) in made.iter().enumerate() {
                let products = (0..inner).map(|n| {
                    let l: i64 = if (at / columns * inner + n).is_multiple_of(7) {
                        -253
                    } else {
                        255
                    };
                    let r: i64 = [-255, 254, 255][(n + at % columns) % 3];
                    l * r
                });
                assert_eq!(i64::from(*value), products.sum::<i64>());
            }
        }
    }
}
