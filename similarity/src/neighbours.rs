//! The exact nearest rows of every row.

use std::sync::atomic::AtomicBool;

use super::answer::Neighbours;
use super::circle::Circle;
use super::error::Error;
use super::kernel::Kernel;
use super::rows::Rows;

/// How to look for neighbours. `Options::default()` keeps 20 on the fastest kernel.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Neighbours of a row, at most.
    pub keep: usize,
    /// Lower scores do not count; `None`: all count, those below 0 too.
    pub min_score: Option<f32>,
    /// The instructions to use. The answer does not depend on them.
    pub kernel: Kernel,
    /// Is called with the steps done and the steps there are, from any thread: a step is a tile, or the
    /// sorting of the lists of a block. All are done at the very end.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Once true, the work ends within a few tiles.
    pub cancelled: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            keep: 20,
            min_score: None,
            kernel: Kernel::Auto,
            progress: None,
            cancelled: None,
        }
    }
}

/// Finds, for every row, the `keep` other rows with the highest canonical scores (see the crate):
/// score descending, then number ascending. The answer is that of comparing each with each, to the
/// last bit, whatever the kernel and the number of threads.
///
/// Runs on the current rayon pool: call it within `ThreadPool::install`. Beside the rows it holds the
/// dense parts as integers (a quarter of their size; all of it with the scalar kernel), a copy and an
/// index of the sparse parts (about 40 bytes a term and 140 a row), and the lists (about 10 · `keep` + 150
/// bytes a row), which turn into the answer (8 · `keep` + 8) where they are. It copies short dense parts as
/// well, if all of that, but for the sparse parts, then stays within half of the rows' size and 1,200 bytes
/// a row. Where many rows are equal, bit for
/// bit, only one of each kind is compared.
///
/// # Errors
/// When the kernel cannot run here, or it was cancelled.
///
/// # Examples
/// ```
/// use kindred_similarity::{Options, Rows, neighbours};
///
/// let values = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0];
/// let rows = Rows::new(&values, 4, 2)?;
/// let found = neighbours(&rows, &Options { keep: 2, ..Options::default() })?;
/// assert_eq!(found.of(0), (&[1, 2][..], &[0.8, 0.0][..]));
/// # Ok::<(), kindred_similarity::Error>(())
/// ```
pub fn neighbours(rows: &Rows<'_>, options: &Options<'_>) -> Result<Neighbours, Error> {
    let circle = Circle {
        isa: options.kernel.instructions()?,
        keep: options.keep,
        floor: options.min_score.unwrap_or(f32::NEG_INFINITY),
        progress: options.progress,
        cancelled: options.cancelled,
    };
    circle.compare(&rows.source())
}
