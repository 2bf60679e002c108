//! The exact nearest rows of every row.

use std::sync::atomic::AtomicBool;

use super::answer::Neighbours;
use super::error::Error;
use super::kernel::Kernel;
use super::rows::Rows;
use super::self_join::SelfJoin;

/// How to look for neighbours. `Options::default()` keeps 20 on the fastest kernel.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Most neighbours of a row.
    pub keep: usize,
    /// Lower scores do not count; `None`: all scores count, including negative ones.
    pub min_score: Option<f32>,
    /// The instructions to use. They do not affect the result.
    pub kernel: Kernel,
    /// Called with the number of finished steps and of all steps, from any thread. A step is a tile, or sorting the
    /// lists of a block. All steps are finished only at the very end.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Once true, the call ends within a few tiles.
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

/// For every row, finds the `keep` other rows with the highest canonical scores (see the crate), by descending score,
/// then ascending number. The result equals that of comparing every row with every other, bit for bit, whatever the
/// kernel and the number of threads.
///
/// Runs on the current rayon pool: call it within `ThreadPool::install`. Besides the rows it holds the dense parts as
/// integers (a quarter of their size; all of it with the scalar kernel), a copy and an index of the sparse parts (about
/// 40 bytes per term and 140 per row), and the lists (about 10 · `keep` + 150 bytes per row), which turn into the
/// result (8 · `keep` + 8) in place. It also copies short dense parts, if all of that except the sparse parts then
/// stays within half of the rows' size plus 1,200 bytes per row. Where many rows are bit-identical, only one of each
/// group is compared.
///
/// # Errors
/// When the kernel cannot run here, or the call was cancelled.
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
    let join = SelfJoin {
        isa: options.kernel.instructions()?,
        keep: options.keep,
        floor: options.min_score.unwrap_or(f32::NEG_INFINITY),
        progress: options.progress,
        cancelled: options.cancelled,
    };
    join.compare(&rows.source())
}
