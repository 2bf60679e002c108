//! The neighbours of every row.

use super::kernel::Kernel;
use super::sorted::Sorted;

/// The neighbours of every row.
#[derive(Debug, Clone)]
pub struct Neighbours {
    pub(super) kernel: Kernel,
    /// Where each row's list is. A block holds the lists of `block_rows` consecutive positions.
    pub(super) positions: Vec<u32>,
    pub(super) block_rows: usize,
    pub(super) blocks: Vec<Sorted>,
}

impl Neighbours {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// The kernel that found them.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The neighbours of a row, best first: their numbers and their canonical scores.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn of(&self, row: usize) -> (&[u32], &[f32]) {
        let position = self.positions[row] as usize;
        match self.blocks.get(position / self.block_rows) {
            Some(block) => block.of(position % self.block_rows),
            // `keep` was 0.
            None => (&[], &[]),
        }
    }
}

/// Equal when the kernel and the neighbours of every row are equal.
impl PartialEq for Neighbours {
    fn eq(&self, other: &Self) -> bool {
        self.kernel == other.kernel
            && self.rows() == other.rows()
            && (0..self.rows()).all(|row| self.of(row) == other.of(row))
    }
}
